"""Compute-optimal sizes without a law: closed forms found again, bias where it is known, and edges never used."""

import numpy as np
import pytest

import simlaw as sl
from simlaw.errors import SimlawError
from simlaw.laws import Chinchilla, JointPower
from simlaw.published import besiroglu2024, kumar2024
from tests.conftest import said_in_a_notebook

EVEN = Chinchilla(E=1.8, A=400.0, B=2000.0, alpha=0.35, beta=0.35)
UNEVEN = Chinchilla(E=1.8, A=400.0, B=9000.0, alpha=0.30, beta=0.45)
BUDGETS = np.geomspace(1e18, 1e21, 7)


def closed(law):
    """The exponent and the coefficient of N_opt = G · (C / 6)^a, as G · 6^-a."""
    a = law.beta / (law.alpha + law.beta)
    return a, (law.alpha * law.A / (law.beta * law.B)) ** (1 / (law.alpha + law.beta)) * 6**-a


def runs(law, *, width=8.0, sizes=9, off=1.0, drift=0.0, budgets=BUDGETS, noise=0.0, seed=0, **columns):
    """Runs at equal compute, from 1/width to width times the optimum, moved by `off` and ever more by `drift`."""
    a, g = closed(law)
    steps = np.geomspace(1 / width, width, sizes)
    n = np.concatenate([g * c**a * off * np.exp(drift * i) * steps for i, c in enumerate(budgets)])
    d = np.repeat(budgets, sizes) / (6 * n)
    loss = law.loss(N=n, D=d) + noise * np.random.default_rng(seed).normal(size=len(n))
    table = {"N": n, "D": d, "loss": loss, **{name: np.resize(values, len(n)) for name, values in columns.items()}}
    return sl.load_table(table, N="N", D="D", loss="loss", **{name: name for name in columns})


def grid(law, sizes=13, noise=0.0, seed=0):
    """Runs of every size at every token count."""
    n, d = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e10, sizes), np.geomspace(1e8, 1e12, 17)))
    loss = law.loss(N=n, D=d) + noise * np.random.default_rng(seed).normal(size=len(n))
    return sl.load_table({"N": n, "D": d, "loss": loss}, N="N", D="D", loss="loss")


@pytest.mark.parametrize("law", [EVEN, UNEVEN, besiroglu2024.law])
def test_of_a_law_it_is_the_closed_form(law):
    a, g = closed(law)
    found = sl.compute_optimal(law, BUDGETS)
    assert found.exponent == pytest.approx(a, abs=1e-9)
    assert found.coefficient == pytest.approx(g, rel=1e-7)
    assert found.params_at(1e25) == pytest.approx(g * 1e25**a, rel=1e-7)
    assert np.allclose(6 * found.params * found.tokens, BUDGETS, rtol=1e-12)
    assert found.scatter < 1e-9
    assert found.exponent_error is None


def test_of_other_forms_it_is_the_numerical_optimum():
    # Kaplan's form: N_opt grows as C^(alpha_D / (alpha_N + alpha_D)), whatever its outer power
    kaplan = JointPower(N_c=8.8e13, D_c=5.4e13, alpha_N=0.076, alpha_D=0.095)
    slope = (0.076 / 0.095) + 1
    assert sl.compute_optimal(kaplan, BUDGETS).exponent == pytest.approx(1 / slope, abs=1e-9)
    whole, low = sl.compute_optimal(kumar2024, BUDGETS), sl.compute_optimal(kumar2024, BUDGETS, P_w=4)
    share = 1 - np.exp(-4 / 2.6745 + 0.3037)
    assert low.exponent == pytest.approx(0.5, abs=1e-9)
    assert low.params / whole.params == pytest.approx(share**-0.5, rel=1e-7)


def test_draws_of_a_fit_give_its_errors():
    found = sl.fit(Chinchilla, runs(UNEVEN, noise=0.002), bootstrap=200)
    answer = sl.compute_optimal(found, BUDGETS)
    each = found.draws.beta / (found.draws.alpha + found.draws.beta)
    assert answer.exponent_error == pytest.approx(np.std(each), rel=1e-5)
    assert answer.exponent_interval[0] < 0.6 < answer.exponent_interval[1]
    assert answer.coefficient_interval[0] < closed(UNEVEN)[1] < answer.coefficient_interval[1]


@pytest.mark.parametrize("approach", ["akima", "parabola"])
def test_equal_exponents_give_one_half_exactly(approach):
    found = sl.isoflop(runs(EVEN), approach=approach, bootstrap=0)
    a, g = closed(EVEN)
    assert a == 0.5
    assert found.exponent == pytest.approx(0.5, abs=1e-10)
    assert found.coefficient == pytest.approx(g, rel=1e-8)
    assert found.loss == pytest.approx(EVEN.loss(N=found.params, D=found.tokens), rel=1e-3)
    assert not found.dropped


def test_all_three_approaches_agree_where_nothing_is_noisy():
    for law in (EVEN, UNEVEN):
        a, g = closed(law)
        for found in (
            sl.isoflop(runs(law), bootstrap=0),
            sl.isoflop(runs(law), approach="parabola", bootstrap=0),
            sl.isoflop(grid(law), approach="envelope", bootstrap=0),
            sl.compute_optimal(law, BUDGETS),
        ):
            assert found.exponent == pytest.approx(a, abs=5e-5), found.approach
            if found.approach != "parabola":
                assert found.coefficient == pytest.approx(g, rel=0.02), found.approach


def test_a_parabola_is_biased_where_exponents_differ_and_akima_less():
    # centred grids shift every optimum alike: the exponent survives, the size is 7.6 % too small or 1.2 % too large
    a, g = closed(UNEVEN)
    seen = runs(UNEVEN)
    curve, parabola = (sl.isoflop(seen, approach=name, bootstrap=0) for name in ("akima", "parabola"))
    square, line, _ = np.polyfit(np.log(seen.x["N"][:9]), seen.y[:9], 2)
    assert parabola.params[0] == pytest.approx(np.exp(-line / (2 * square)), rel=1e-6)
    assert np.allclose(parabola.params / (g * BUDGETS**a), 0.92364, atol=1e-5)
    assert np.allclose(curve.params / (g * BUDGETS**a), 1.0116, atol=1e-4)
    # grids that drift with the budget bias the exponent of the parabola too
    drifting = runs(UNEVEN, width=16.0, sizes=17, off=0.6, drift=0.15)
    curve, parabola = (sl.isoflop(drifting, approach=name, bootstrap=0).exponent - a for name in ("akima", "parabola"))
    assert abs(parabola) > 2e-3
    assert abs(curve) < abs(parabola) / 10


def test_the_envelope_is_not_flattened_by_its_first_and_last_stairs():
    # a line through the whole staircase of k sizes would have (1 - 1 / k²) of the exponent: 6 % less for four
    found = sl.isoflop(grid(UNEVEN, sizes=7), approach="envelope", bootstrap=0)
    assert len(found.params) == 4
    assert found.exponent == pytest.approx(0.6, abs=2e-4)
    assert set(found.dropped.values()) == {"the best size only where runs end"}
    assert found.loss == pytest.approx(UNEVEN.loss(N=found.params, D=found.tokens), rel=1e-4)


@pytest.mark.parametrize("approach", ["akima", "parabola", "envelope"])
def test_intervals_of_known_noise_hold_the_truth_as_often_as_they_say(approach):
    hits, away = [], []
    for seed in range(20):
        seen = (
            grid(UNEVEN, noise=0.004, seed=seed)
            if approach == "envelope"
            else runs(UNEVEN, width=4.0, sizes=11, noise=0.004, seed=seed)
        )
        found = sl.isoflop(seen, approach=approach, noise=0.004, bootstrap=60, seed=seed)
        hits.append(found.exponent_interval[0] < 0.6 < found.exponent_interval[1])
        away.append((found.exponent - 0.6) / found.exponent_error)
    assert np.mean(hits) >= 0.75  # of 90 % intervals fewer than 15 of 20 have a probability of 1 %
    assert 0.6 < np.std(away) < 1.4


def test_without_known_noise_runs_are_resampled():
    found = sl.isoflop(runs(UNEVEN, width=4.0, sizes=11, noise=0.004), approach="parabola", bootstrap=200)
    assert 0.003 < found.exponent_error < 0.03
    assert found.exponent_interval[0] < 0.6 < found.exponent_interval[1]
    assert found.spread.shape == found.budgets.shape
    again = sl.isoflop(runs(UNEVEN, width=4.0, sizes=11, noise=0.004), approach="parabola", bootstrap=200)
    assert again.exponent_interval == found.exponent_interval


def test_noise_is_a_number_a_function_or_the_sigma_of_the_runs():
    seen = runs(UNEVEN, width=4.0)
    one = sl.isoflop(seen, noise=0.004, bootstrap=100)
    same = sl.isoflop(seen, noise=lambda loss: 0.004 + 0 * loss, bootstrap=100)
    table = {**seen.x, "loss": seen.y, "s": 0 * seen.y + 0.004}
    given = sl.isoflop(sl.load_table(table, N="N", D="D", loss="loss", sigma="s"), bootstrap=100)
    assert one.exponent_error == same.exponent_error == given.exponent_error
    assert sl.isoflop(seen, noise=0.02, bootstrap=100).exponent_error > 2 * one.exponent_error
    with pytest.raises(SimlawError, match="the noise is -1: a standard deviation in nats is 0 or above"):
        sl.isoflop(seen, noise=-1)


def test_runs_of_one_trunk_share_their_noise():
    # what moves all losses of a budget alike moves no optimum
    seen = runs(EVEN, trunk=np.repeat([f"trunk {i}" for i in range(7)], 9))
    together = sl.isoflop(seen, noise=0.004, approach="parabola", bootstrap=100)
    alone = sl.isoflop(runs(EVEN), noise=0.004, approach="parabola", bootstrap=100)
    assert together.exponent_error < 1e-9
    assert alone.exponent_error > 1e-3


def test_noisy_budgets_weigh_less():
    seen = runs(EVEN)
    bad = np.isclose(6 * seen.x["N"] * seen.x["D"], BUDGETS[0])
    spoiled = {**seen.x, "loss": seen.y + np.where(bad, 0.05 * np.log(seen.x["N"] / seen.x["N"][4]), 0)}
    spoiled["s"] = np.where(bad, 0.05, 1e-4)
    given = sl.load_table(spoiled, N="N", D="D", loss="loss", sigma="s")
    weighted, plain = (sl.isoflop(given, bootstrap=draws) for draws in (200, 0))
    assert weighted.spread[0] > 3 * weighted.spread[1:].max()
    assert abs(weighted.exponent - 0.5) < abs(plain.exponent - 0.5) / 2


def test_budgets_at_an_edge_are_dropped_and_said():
    low = runs(UNEVEN, budgets=BUDGETS[:2], off=20.0)
    high = runs(UNEVEN, budgets=BUDGETS[-1:] * 10, off=0.02)
    few = runs(UNEVEN, budgets=BUDGETS[-1:] * 100, sizes=3)
    seen = [runs(UNEVEN, budgets=BUDGETS[2:]), low, high, few]
    columns = {name: np.concatenate([one.x[name] for one in seen]) for name in ("N", "D")}
    columns["loss"] = np.concatenate([one.y for one in seen])
    for approach in ("akima", "parabola"):
        found = sl.isoflop(sl.load_table(columns, N="N", D="D", loss="loss"), approach=approach, bootstrap=0)
        assert np.allclose(found.budgets, BUDGETS[2:])
        assert list(found.dropped.values()) == [
            "the best size is the smallest",
            "the best size is the smallest",
            "the best size is the largest",
            "fewer than 4 sizes",
        ]
        assert np.allclose(list(found.dropped), [*BUDGETS[:2], 1e22, 1e23])
        assert found.exponent == pytest.approx(0.6, abs=1e-4)
        assert "dropped      1e18: the best size is the smallest; 3.2e18: the best size is the smallest; 1e22:" in str(
            found
        )
        assert "5 of 9 budgets used" in str(found)


def spoiled(law, losses, **columns):
    """Runs of four budgets, of which the first has losses of its own."""
    seen = runs(law, budgets=BUDGETS[:4], sizes=len(losses))
    table = {**seen.x, "loss": np.concatenate([losses, seen.y[len(losses) :]]), **columns}
    return sl.load_table(table, N="N", D="D", loss="loss", **{name: name for name in columns})


def test_a_parabola_without_a_minimum_is_dropped():
    # the lowest loss is inside, and the whole bends downwards
    found = sl.isoflop(spoiled(EVEN, [4.2, 5.0, 4.0, 5.0, 4.1]), approach="parabola", bootstrap=0)
    assert list(found.dropped.values()) == ["the parabola has no minimum among the sizes"]
    assert len(found.budgets) == 3


def test_a_budget_whose_minimum_is_noise_is_dropped():
    seen = spoiled(EVEN, [4.1, 4.2, 4.099, 4.2, 4.1], sigma=np.repeat([0.05, 1e-4], [5, 15]))
    found = sl.isoflop(seen, bootstrap=200)
    assert list(found.dropped.values()) == ["half of the draws or more do not bracket a minimum"]
    assert len(found.budgets) == 3


def test_replicates_are_averaged():
    seen = runs(UNEVEN)
    twice = {name: np.tile(values, 2) for name, values in seen.x.items()}
    twice["loss"] = np.concatenate([seen.y + 0.01, seen.y - 0.01])
    found = sl.isoflop(sl.load_table(twice, N="N", D="D", loss="loss"), bootstrap=0)
    assert found.params == pytest.approx(sl.isoflop(seen, bootstrap=0).params, rel=1e-9)


def test_flops_of_ones_own_are_the_budgets():
    # with 8 FLOPs for each parameter and token, the same optima lie at 8/6 of the compute
    seen = runs(UNEVEN)
    table = {**seen.x, "loss": seen.y, "flops": 8 * seen.x["N"] * seen.x["D"]}
    found = sl.isoflop(sl.load_table(table, N="N", D="D", C="flops", loss="loss"), bootstrap=0)
    plain = sl.isoflop(seen, bootstrap=0)
    assert found.budgets == pytest.approx(BUDGETS * 8 / 6)
    assert found.params == pytest.approx(plain.params)
    assert found.tokens == pytest.approx(plain.tokens)
    assert found.convention == "as the runs give them"
    assert plain.convention == "6·N·D"


def test_budgets_are_named_or_found():
    seen = runs(UNEVEN)
    scatter = np.exp(np.random.default_rng(0).uniform(-0.03, 0.03, len(seen.y)))
    table = {"N": seen.x["N"], "D": seen.x["D"] * scatter, "loss": seen.y}
    loose = sl.load_table(table, N="N", D="D", loss="loss")
    assert len(sl.isoflop(loose, bootstrap=0).budgets) == 7
    named = sl.isoflop(loose, budgets=BUDGETS[:5], bootstrap=0)
    assert named.budgets == pytest.approx(BUDGETS[:5])
    assert named.left_out["of no budget"] == 18
    assert "18 of no budget" in str(named)


@pytest.mark.parametrize(
    ("seen", "options", "sentence"),
    [
        (
            grid(UNEVEN),
            {"tolerance": 0.9},
            r"the compute of the runs goes from 6e\+15 to 6e\+22 FLOPs without a gap of 90%",
        ),
        (
            runs(UNEVEN, budgets=BUDGETS[:2]),
            {},
            r"2 of 2 optima are left \(no more were given\), and a power law needs 3: add",
        ),
        (
            runs(UNEVEN, off=20.0),
            {},
            r"0 of 7 optima are left \(7 x the best size is the smallest\), and a power law",
        ),
        (runs(UNEVEN, sizes=3), {}, r"\(7 x fewer than 4 sizes\)"),
        (
            runs(UNEVEN, P_w=[4.0, 8.0]),
            {},
            r"the runs differ in P_w \(4, 8\), and have an optimum for each: choose runs of",
        ),
        (runs(UNEVEN), {"approach": "spline"}, "approach='spline': it is 'akima', 'parabola' or 'envelope'"),
        (runs(UNEVEN), {"tolerance": 0}, "tolerance=0: it must be above 0"),
        (runs(UNEVEN), {"budgets": [1e18, -1]}, r"budget=-1: it must be a number above 0"),
        (
            grid(UNEVEN),
            {"approach": "envelope", "budgets": [1e18]},
            "the envelope takes runs of any compute: leave budgets",
        ),
        (runs(UNEVEN, sizes=7), {"approach": "envelope"}, "a single run"),
    ],
    ids=[
        "no groups",
        "two budgets",
        "edges",
        "sizes",
        "precisions",
        "approach",
        "tolerance",
        "budget",
        "named",
        "alone",
    ],
)
def test_refusals(seen, options, sentence):
    with pytest.raises(SimlawError, match=sentence):
        sl.isoflop(seen, **{"bootstrap": 0, **options})


def test_a_table_without_sizes_and_a_law_without_an_optimum():
    with pytest.raises(SimlawError, match="the runs have no D, only N: name its column to load_table"):
        sl.isoflop(sl.load_table({"n": [1.0, 2.0], "l": [3.0, 2.0]}, N="n", loss="l"))
    size_alone = Chinchilla(E=1.0, A=400.0, B=1e-12, alpha=0.3, beta=5.0)
    with pytest.raises(SimlawError, match=r"at 1e\+18 FLOPs the law is lowest at one parameter or at one token"):
        sl.compute_optimal(size_alone, BUDGETS)
    with pytest.raises(SimlawError, match="2 of 2 optima are left"):
        sl.compute_optimal(EVEN, [1e18, 1e19])


def test_settings_of_another_kind_get_one_sentence():
    said = said_in_a_notebook(
        "n = np.geomspace(1e6, 1e8, 20)",
        "runs = sl.load_table({'n': n, 'd': 1e18 / 6 / n, 'l': 2 + np.log(n / 1e7) ** 2}, N='n', D='d', loss='l')",
        "sl.isoflop(runs, bootstrap=-1)",
        "sl.isoflop(runs, bootstrap=2.5)",
        "sl.isoflop(runs, noise='a')",
        "sl.isoflop(runs, noise=[0.1, 0.2])",
        "sl.isoflop(runs, tolerance='a')",
        "sl.isoflop(runs, min_sizes='a')",
        "sl.isoflop(runs, seed=-1)",
        "sl.isoflop(runs, budgets='x')",
        "sl.isoflop(3)",
        "sl.compute_optimal(sl.published.kumar2024, 'x')",
        "sl.compute_optimal(sl.published.kumar2024, [1e18, 1e19, 1e20], P_w=np.array([3.0, 4.0]))",
        "sl.compute_optimal(sl.published.kumar2024, [1e18, 1e19, 1e20], P_w='int4')",
        "sl.compute_optimal(sl.published.kumar2024, [1e18, 1e19, 1e20], P_w=np.float32(4))",  # a number
    )
    assert said == [
        "SimlawError: bootstrap=-1: it must be at least 0",
        "SimlawError: bootstrap=2.5: it must be a whole number",
        "SimlawError: noise='a': give a number of nats, or a function of the losses",
        "SimlawError: noise=[0.1, 0.2]: give a number of nats, or a function of the losses",
        "SimlawError: tolerance='a': it must be a finite number",
        "SimlawError: min_sizes='a': it must be a whole number",
        "SimlawError: seed=-1: it must be at least 0",
        "SimlawError: budgets='x': give numbers of FLOPs, for example [1e18, 1e19, 1e20]",
        "SimlawError: int is no set of runs: give what load_table(…) gives",
        "SimlawError: budgets='x': give numbers of FLOPs, for example [1e18, 1e19, 1e20]",
        "SimlawError: P_w=array([3., 4.]): give one number of bits, and ask again for each other one",
        "SimlawError: P_w='int4': give one number of bits, and ask again for each other one",
    ]


def test_the_report():
    text = str(sl.isoflop(runs(UNEVEN), noise=0.004, bootstrap=100))
    assert text.startswith("N_opt = coefficient · C^exponent: akima (7 of 7 budgets used)\n  exponent     0.60")
    assert "FLOPs, 6·N·D" in text
    assert "D/N" in text
