"""The health of a ladder: curves of a known law collapse, what stands off is named, and noise alone is called noise."""

from dataclasses import replace

import numpy as np
import pytest

from simlaw.errors import SimlawError
from simlaw.fitting.fit import fit
from simlaw.health.collapse import Collapse, Irreducible, collapse, floor_of, gamma_of, irreducible_of
from simlaw.health.judge import Judge, running
from simlaw.health.ladder import ladder
from simlaw.laws import Chinchilla
from simlaw.losscurves import PLACES, LossCurve, LossCurves, make_curves
from simlaw.observations import loss_observations
from simlaw.table import Table, make_table
from tests.planted import LOSS, planted

SIZES = (6656, 26624, 106496, 425984)
GAMMA = LOSS.alpha / LOSS.beta
STEPS = 2**16
E = Irreducible(value=LOSS.E, draws=None, source="as planted")


def rungs_of(gamma: float) -> tuple[int, ...]:
    return tuple(STEPS * round(8 * (n / SIZES[0]) ** gamma * 2**10) for n in SIZES)


#: Tokens of each size on the compute-optimal ladder, in whole steps.
RUNGS = rungs_of(GAMMA)


def drawn(
    *,
    seeds: int = 3,
    seed: int = 0,
    noise: float = 0.004,
    bent: dict[int, float] | None = None,
    rungs: tuple[int, ...] = RUNGS,
) -> tuple[LossCurves, Table]:
    """Curves of the law with D in place of each step's tokens, every size on every rung, and the table of their ends.

    `noise` is the standard deviation of ln(L - E) between seeds: of a part that lasts and of one at each place. A size
    that is `bent` has its excess times 1 + bent·ln(1/x), as a wrong learning rate may have it.
    """
    rng = np.random.default_rng(seed)
    table = planted(sizes=SIZES, tokens=rungs, seeds=seeds, bits=())
    steps = np.unique(np.maximum(1, np.round(PLACES * STEPS).astype(np.int64)))
    x = steps / STEPS
    curves, rows = [], []
    for row in table:
        n, d = row["params_blocks"], row["tokens"]
        excess = LOSS.loss(N=float(n), D=x * d) - LOSS.E
        excess = excess * (1 + (bent or {}).get(n, 0.0) * np.log(1 / x))
        lasting = np.interp(np.log(x), np.linspace(np.log(x[0]), 0, 6), rng.normal(size=6))
        excess = excess * np.exp(noise * (lasting + rng.normal(size=len(x))))
        one = np.ones_like(steps)
        curves.append(
            LossCurve(
                run_id=row["run_id"],
                step=steps,
                tokens=steps * (d // STEPS),
                window=one,
                loss=LOSS.E + excess,
                loss_se=np.full(len(x), np.nan),
            )
        )
        rows.append({**row, "loss": float(LOSS.E + excess[-1]), "warmup_tokens": rungs[SIZES.index(n)] // 50})
    return make_curves(curves), make_table(rows)


def judged(irreducible: Irreducible = E, gamma: float = GAMMA, draws: int = 400, **how) -> Collapse:
    return collapse(*drawn(**how), irreducible=irreducible, gamma=gamma, draws=draws)


def test_curves_of_a_law_are_one_on_its_compute_optimal_ladder():
    found = judged(noise=1e-7)
    assert [size.tokens for size in found.sizes] == list(RUNGS)
    for size in found.sizes:
        np.testing.assert_allclose(size.normalised, found.common, rtol=2e-4)  # rungs are whole steps
    a, b = LOSS.A / SIZES[0] ** LOSS.alpha, LOSS.B / RUNGS[0] ** LOSS.beta
    np.testing.assert_allclose(found.common, (a + b * found.x**-LOSS.beta) / (a + b), rtol=2e-4)


def test_off_that_ladder_they_fan_out_in_the_order_of_size():
    found = judged(gamma=1.0, noise=1e-3, rungs=rungs_of(1.0))
    assert [size.of_ladder for size in found.sizes] == pytest.approx([1.0] * len(SIZES), rel=1e-3)
    assert all(size.standing == "stands off" for size in found.sizes)
    assert "no two sizes share a curve" in found.sentence
    assert "They lie in the order of size, as under a wrong gamma, E, or exponent" in found.sentence


@pytest.mark.parametrize(("place", "bend"), [(0, 0.05), (2, -0.05), (3, 0.05)])
def test_a_size_with_a_wrong_learning_rate_is_named_with_its_sign_and_no_other(place, bend):
    found = judged(bent={SIZES[place]: bend})
    assert found.worst.params == SIZES[place]
    assert [size.standing == "stands off" for size in found.sizes] == [i == place for i in range(len(SIZES))]
    assert np.sign(found.worst.largest) == np.sign(bend)
    assert found.ratio_interval[0] > 1.5
    word = "above" if bend > 0 else "below"
    assert f"stands off: {abs(found.worst.largest):.1f} seed spreads {word} at x = " in found.sentence
    # where the law says by how much it is off, the deviation is that, in seed spreads
    at = int(np.argmin(np.abs(found.x - found.worst.at)))
    expected = np.log(1 + bend * np.log(1 / found.worst.at)) / found.spread[at]
    assert found.worst.largest == pytest.approx(expected, rel=0.35)


def test_noise_alone_has_a_ratio_near_one_and_nothing_stands_off():
    found = [judged(seed=seed, draws=100) for seed in range(30)]
    assert np.median([one.ratio for one in found]) == pytest.approx(1.0, abs=0.15)
    holds = np.mean([one.ratio_interval[0] <= 1 <= one.ratio_interval[1] for one in found])
    assert holds >= 0.8
    false = np.mean([any(size.standing == "stands off" for size in one.sizes) for one in found])
    assert false <= 0.15
    assert "the ladder collapses within seed noise" in found[0].sentence


def test_an_error_of_e_that_could_explain_it_keeps_a_size_from_being_blamed():
    wrong = replace(E, value=LOSS.E + 0.05)
    sure = judged(wrong, noise=1e-3)
    assert sure.worst.standing == "stands off"
    rng = np.random.default_rng(1)
    vague = judged(replace(wrong, draws=wrong.value + 0.05 * rng.normal(size=1000)), noise=1e-3)
    assert vague.worst.standing == "E decides"
    assert not any(size.standing == "stands off" for size in vague.sizes)
    assert "stands off hangs on E" in vague.sentence
    assert vague.ratio == sure.ratio
    assert vague.ratio_interval[0] < sure.ratio_interval[0]
    # a size that stands off whatever E is stays named
    bent = judged(replace(wrong, draws=vague.irreducible.draws), noise=1e-3, bent={SIZES[1]: 0.1})
    assert bent.worst.standing == "stands off"
    assert bent.worst.params == SIZES[1]


def test_a_distance_is_from_the_mean_of_the_others_that_are_trusted():
    size = np.repeat(np.eye(3), 4, axis=1)
    judge = Judge(mean=size / 4, freedom=9, smooth=running(20))
    everyone, two = np.array([True, True, True]), np.array([True, True, False])
    np.testing.assert_allclose(judge.contrasts(everyone), [[1, -0.5, -0.5], [-0.5, 1, -0.5], [-0.5, -0.5, 1]])
    np.testing.assert_allclose(judge.contrasts(two), [[1, -1, 0], [-1, 1, 0], [-0.5, -0.5, 1]])
    np.testing.assert_allclose(judge.errors(two), np.sqrt([2 / 4, 2 / 4, 1.5 / 4]))
    np.testing.assert_allclose(np.ones(20) @ running(20), 1.0)  # what does not vary stays as it is


def test_units_of_tokens_and_the_order_of_rows_change_nothing():
    curves, table = drawn(bent={SIZES[1]: 0.05})
    found = collapse(curves, table, irreducible=E, gamma=GAMMA, draws=100)
    shuffled = np.random.default_rng(0).permutation(len(table))
    again = collapse(
        LossCurves(curves=tuple(reversed(curves.curves))),
        Table(
            rows=tuple(
                {**table.rows[i], **{name: 1000 * table.rows[i][name] for name in ("tokens", "warmup_tokens")}}
                for i in shuffled
            )
        ),
        irreducible=E,
        gamma=GAMMA,
        draws=100,
    )
    assert again.ratio == pytest.approx(found.ratio, rel=1e-9)
    for mine, theirs in zip(found.sizes, again.sizes, strict=True):
        assert theirs.tokens == pytest.approx(1000 * mine.tokens, rel=1e-9)
        np.testing.assert_allclose(theirs.deviation, mine.deviation, rtol=1e-6)


def test_training_losses_have_an_e_of_their_own():
    curves, table = drawn()
    easier = Table(rows=tuple({**row, "loss": row["loss"] - 0.2} for row in table))
    moved = replace(E, value=E.value - 0.2)
    found = collapse(curves, easier, irreducible=moved, gamma=GAMMA, draws=50)
    assert found.shift == pytest.approx(0.2)
    assert found.ratio == pytest.approx(collapse(curves, table, irreducible=E, gamma=GAMMA, draws=50).ratio)


def test_nothing_is_scored_in_twice_the_longest_warm_up_nor_at_the_end():
    curves, table = drawn()
    long = Table(rows=tuple({**row, "warmup_tokens": RUNGS[0] // 10} for row in table))
    found = collapse(curves, long, irreducible=E, gamma=GAMMA, draws=50)
    assert found.x[found.scored].min() == pytest.approx(0.2, abs=0.05)
    assert found.x[found.scored].min() >= 0.2
    assert not found.scored[-1]
    assert np.isnan(found.sizes[0].deviation[~found.scored]).all()
    assert found.warm == pytest.approx((0.1 * RUNGS[0] / RUNGS[-1], 0.1))


def test_a_ladder_takes_the_nearest_rungs_of_the_longest_one():
    doubling = {n: [327_680 * 2**k for k in range(5)] for n in (6656, 26624, 106496)}
    exact = ladder(doubling, gamma=0.5)
    assert [rung.tokens for rung in exact] == [327_680 * 4, 327_680 * 8, 327_680 * 16]
    assert [rung.of_ladder for rung in exact] == pytest.approx([1, 1, 1])
    near = ladder(doubling, gamma=0.42)
    assert [rung.tokens for rung in near] == [rung.tokens for rung in exact]
    assert near[0].of_ladder == pytest.approx(1 / near[2].of_ladder) == pytest.approx(4 ** -(0.5 - 0.42))
    assert len(ladder(doubling, gamma=1.25)) == 2  # 1 : 5.66 : 32 is off the doubling by 1.41 at the middle size
    assert len(ladder(doubling, gamma=1.25, tolerance=1.5)) == 3
    assert ladder({}, gamma=1.0) == ()


def test_what_cannot_be_judged_is_refused_in_a_sentence():
    curves, table = drawn()
    two = table.where(lambda row: row["params_blocks"] in SIZES[:2])
    one = table.where(lambda row: row["seed"] == 0)
    warm = Table(rows=tuple({**row, "warmup_tokens": RUNGS[-1]} for row in table))
    flat = make_curves(replace(curve, loss=np.full_like(curve.loss, 2.0)) for curve in curves)
    for some, rows, changes, said in [
        (curves, two, {}, r"2 sizes have a rung within 1.25 x of one ladder D = c·N\^0.7, and two cannot say which"),
        (curves, one, {}, r"no size of the ladder has two seeds"),
        (curves, warm, {}, r"the warm-up is \d+% of a run of this ladder, so 0 places are left"),
        (LossCurves(), table, {}, r"none of the 48 runs of the table has a loss curve: `simlaw table SWEEP --write`"),
        (flat, table, {}, r"all seeds of every size have the same curve"),
        (curves, table, {"irreducible": replace(E, value=3.0)}, r"E = 3.000 as planted, moved by .*reach the lowest"),
        (
            curves,
            table,
            {"irreducible": replace(E, draws=np.linspace(1.0, 9.0, 50))},
            r"half the draws of E = 1.200 as planted.*give irreducible=… below every loss",
        ),
        (curves, table, {"gamma": float("nan")}, r"gamma=nan: it is the power of N"),
        (curves, table, {"tolerance": 1.0}, r"tolerance=1: it is the factor that a rung may miss the ladder by"),
    ]:
        with pytest.raises(SimlawError, match=said):
            collapse(some, rows, **{"irreducible": E, "gamma": GAMMA, "draws": 50, **changes})


def test_e_and_gamma_come_from_the_floor_or_from_a_valid_fit():
    table = planted(log_loss=0.003, bits=())
    base = fit(Chinchilla, loss_observations(table))
    assert gamma_of(base) == pytest.approx(GAMMA, rel=0.2)
    found = irreducible_of(base)
    assert (found.value, found.source) == (base.law.E, "by Chinchilla")
    floored = Table(rows=tuple({**row, "floor": 1.25} for row in table))
    assert str(floor_of(floored)) == "1.250 nats by the exact floor"
    assert floor_of(table) is None
    sick = replace(base, health="NOT_IDENTIFIED")
    said = "is not known: the fit of Chinchilla is NOT_IDENTIFIED"
    with pytest.raises(SimlawError, match=rf"the irreducible loss {said}; give irreducible=…"):
        irreducible_of(sick)
    with pytest.raises(SimlawError, match=rf"the compute-optimal proportion {said}; give gamma=…"):
        gamma_of(sick)
