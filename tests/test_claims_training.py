"""Claims about training: planted schedules, effective parameters and roles are found, and the opposite is not."""

import dataclasses

import numpy as np
import pytest

from simlaw.claims import judge
from simlaw.claims.architectures import rate_curves, share_interval
from simlaw.claims.arms import arms_of
from simlaw.claims.formats import cost_curves
from simlaw.errors import SimlawError
from simlaw.fitting.fit import fit
from simlaw.laws import PrecisionExponential, PrecisionGrowing, PrecisionSum, StepPenalty
from simlaw.precisions import cost_noise, of_roles, pairs_of, precision_observations
from simlaw.seednoise import two_spreads
from simlaw.table import make_table
from tests.planted import ROLES, SIZES, TOKENS, planted, planted_precisions, trained_at

NOISE = {"log_loss": 0.01, "relative": 0.05, "token": 1e-5}
#: The penalty of a constant rate: it does not grow with data.
FLAT = StepPenalty(C_T=3.0, gD=1e-9, gN=0.35)


def arm(penalty=None, seed=0, **columns):
    """Rows of one arm: the penalty, and what its rows have in other columns."""
    given = {} if penalty is None else {"penalty": penalty}
    rows = planted(seed=seed, bits=(4, 5, 6), **given, **NOISE)
    key = str(sorted(columns.items()))
    columns = {"weight_decay": 0.1, **columns}
    return [{**row, **columns, "eval_id": row["eval_id"] + key, "run_id": row["run_id"] + key} for row in rows]


def verdict(table, name):
    (found,) = judge(table, [name]).each
    return found


def finding(found, what):
    (one,) = [one for one in found.findings if one.what == what]
    return one


def test_a_penalty_that_is_flat_at_the_constant_rate_makes_a5_hold_and_one_that_grows_makes_it_fail():
    cooled = arm(cooldown=0.2)
    held = verdict(make_table([*cooled, *arm(FLAT, cooldown=0.0)]), "A5")
    assert held.outcome == "holds"
    assert finding(held, "gD cooled down - gD at the constant rate").low > 0
    assert finding(held, "gD, cooled down").value == pytest.approx(0.5, abs=0.05)
    assert finding(held, "gD, constant rate").value == pytest.approx(0, abs=0.05)
    grows = verdict(make_table([*cooled, *arm(cooldown=0.0, seed=1)]), "A5")
    assert grows.outcome == "fails"
    ratio = finding(grows, "mean penalty constant rate / cooled down")
    assert ratio.low < 1 < ratio.high


def test_other_arms_are_named_and_not_judged():
    rows = [
        *arm(cooldown=0.2),
        *arm(cooldown=0.0),
        *arm(cooldown=0.0, average="lawa"),
        *arm(cooldown=0.2, rate_multiple=2.0),
        *arm(cooldown=0.2, weight_decay=0.0),
        *arm(cooldown=None, schedule="cosine"),
    ]
    found = verdict(make_table(rows), "A5")
    names = {one.what: one.judged for one in found.findings if one.what.startswith("gD, ")}
    assert names == {
        "gD, cooled down": True,
        "gD, constant rate": True,
        "gD, constant rate, averaged": False,
        "gD, cooled down, 2 x the rate": False,
        "gD, cooled down, weight decay 0": False,
        "gD, cosine": False,
    }
    assert arms_of(make_table(rows), (4,)).cooldown == 0.2


def test_without_a_constant_rate_a5_says_what_is_missing():
    found = verdict(make_table(arm(cooldown=0.2)), "A5")
    assert found.outcome == "not identified"
    assert "no quantized row is of the arm 'constant rate'" in found.sentence


def test_pairs_cancel_the_noise_of_the_seed():
    table = planted_precisions(log_loss=0.1, relative=0.0, constant=0.002)
    pairs, left_out = pairs_of(table)
    assert not sum(left_out.values())
    noise = cost_noise(pairs)
    assert noise.constant == pytest.approx(0.002, rel=0.2)
    assert noise.relative < 0.02
    for pair in pairs[:50]:
        bits = {name: value for name, value in pair.bits.items() if np.isfinite(value)}
        n, d = pair.low["params_blocks"], pair.low["tokens"]
        truth = ROLES.loss(N=n, D=d, **bits) - ROLES.loss(N=n, D=d)
        assert pair.cost == pytest.approx(float(truth), abs=0.01)


def test_spreads_of_costs_come_back():
    rng = np.random.default_rng(0)
    mean = np.geomspace(0.001, 1, 400)
    spread = np.hypot(0.1 * mean, 0.01)
    variance = np.array([rng.normal(m, s, 4).var(ddof=1) for m, s in zip(mean, spread, strict=True)])
    assert two_spreads(mean, variance, np.full(400, 3.0)) == pytest.approx((0.1, 0.01), rel=0.12)


def test_runs_that_were_trained_otherwise_are_left_out_by_reason():
    table = planted_precisions(sizes=SIZES[:1], tokens=(327_680,))
    rows = list(table)
    low = next(row for row in rows if row["train_kv_bits"] == 6)
    odd = {**low, "train_settings": "[]", "run_id": "odd", "eval_id": "odd"}
    alone = {**low, "seed": 77, "run_id": "alone", "eval_id": "alone"}
    pairs, left_out = pairs_of(make_table([*rows, odd, alone]))
    assert len(pairs) == len(rows) - 3
    assert left_out["trained in low precision otherwise"] == 1
    assert left_out["without a run at full precision"] == 1
    with pytest.raises(SimlawError, match="no run was trained in low precision beside one at full precision"):
        pairs_of(
            make_table([row for row in rows if row["train_weights_bits"] is None and row["seed"] == 77] or [alone])
        )


def test_effective_parameters_of_three_roles_come_back_from_losses_and_pairs():
    seen = precision_observations(planted_precisions())
    found = fit(PrecisionExponential, seen)
    assert found.health == "VALID"
    for name in ("g_w", "g_a", "g_kv"):
        assert found.law.values[name] == pytest.approx(ROLES.values[name], rel=0.12)
    weights = of_roles(seen, ("P_w",))
    assert np.isinf(weights.x["P_a"]).all()
    assert set(weights.x["P_w"]) == {2, 3, 4, 6, np.inf}
    assert set(fit(PrecisionExponential, weights).unknown) >= {"g_a", "n_a", "g_kv", "n_kv"}


#: Weights alone, at fewer places: quick to fit.
WEIGHTS = {
    "sizes": (*SIZES, 425_984),
    "tokens": TOKENS[:4],
    "log_loss": 0.003,
    "precisions": tuple((w, None, None) for w in (None, 2, 3, 4, 6)),
}


def test_a7_holds_of_effective_parameters_and_not_of_an_added_error(monkeypatch):
    monkeypatch.setattr("simlaw.analysis.PRECISIONS", (PrecisionExponential, PrecisionSum))
    held = verdict(planted_precisions(**WEIGHTS), "A7")
    assert held.outcome == "holds"
    g = finding(held, "g_w")
    assert g.low < ROLES.g_w < g.high
    truth = {name: ROLES.values[name] for name in ("E", "A", "B", "alpha", "beta")}
    added = PrecisionSum(**truth, C_w=2.0, g_w=0.9, C_a=3.0, g_a=1.2, C_kv=1.0, g_kv=0.8)
    other = verdict(planted_precisions(added, **WEIGHTS), "A7")
    assert other.outcome != "holds"
    assert "PrecisionSum" in other.sentence


def test_a10_holds_where_inputs_cost_most_and_fails_in_another_order():
    assert verdict(planted_precisions(), "A10").outcome == "holds"
    swapped = PrecisionExponential(
        **{**ROLES.values, "g_w": ROLES.g_a, "n_w": ROLES.n_a, "g_a": ROLES.g_w, "n_a": ROLES.n_w}
    )
    found = verdict(planted_precisions(swapped), "A10")
    assert found.outcome == "fails"
    assert found.sentence == "from the most costly: weights, inputs, keys and values"


@pytest.mark.parametrize(("share", "outcome"), [(0.3, "holds"), (1.6, "fails")])
def test_a8_compares_what_rounding_costs_after_training_low_with_what_it_costs_otherwise(share, outcome):
    plain = planted(bits=(2, 3, 5), **NOISE)
    rows = list(plain)
    for bits in (3, 4, 6):
        for row in plain:
            if row["ptq_bits"] in (None, bits - 1):
                delta = row["delta"] * share
                own = {**row, **trained_at(bits), "delta": delta, "loss": row["loss"] - row["delta"] + delta}
                rows.append({**own, **{name: f"{row[name]}-{bits}" for name in ("run_id", "eval_id", "trunk_id")}})
    found = verdict(make_table(rows), "A8")
    assert found.outcome == outcome
    assert len([one for one in found.findings if one.judged]) == 3


def as_floats(rows):
    """The same runs in floats with two bits of exponent."""
    for row in rows:
        forms = {
            name: f"e2m{int(row[bits]) - 3}"
            for name, bits in (
                ("train_weights_format", "train_weights_bits"),
                ("train_activations_format", "train_activations_bits"),
            )
            if row[bits] is not None
        }
        own = {name: f"{row[name]}-f" for name in ("run_id", "eval_id", "trunk_id")}
        yield {**row, **forms, "train_weights_grid": None, **own}


def quantized(table):
    """The rows of runs in low precision."""
    return [row for row in table if row["train_weights_bits"] or row["train_activations_bits"]]


def families(first, second, seed=0):
    """Integers by one law and floats by another, at three sizes, as the sweep has them."""
    bits = tuple((w, None, None) for w in (None, 3, 4, 5, 6)) + tuple((None, a, None) for a in (3, 4, 5, 6))
    how = {"sizes": SIZES, "precisions": bits, "seed": seed}
    integers, others = planted_precisions(first, **how), planted_precisions(second, **how)
    return make_table([*integers, *as_floats(quantized(others))])


TRUTH = {name: ROLES.values[name] for name in ("E", "A", "B", "alpha", "beta")}
ADDED = PrecisionSum(**TRUTH, C_w=2.0, g_w=1.2, C_a=3.0, g_a=1.4, C_kv=1.0, g_kv=0.8)
OF_SIZE = dataclasses.replace(ROLES, g_w=1.8)


def test_a11_never_fails_where_floats_add_an_error_and_integers_take_parameters():
    outcomes = [verdict(families(OF_SIZE, ADDED, seed), "A11").outcome for seed in (0, 2)]
    assert outcomes == ["not identified", "holds"]
    growing = PrecisionGrowing(**TRUTH, gD=0.3, gN=0.0, C_w=0.03, g_w=1.2, C_a=0.05, g_a=1.4, C_kv=0.1, g_kv=0.8)
    found = verdict(families(growing, ADDED), "A11")
    assert found.outcome == "fails", found.sentence
    assert finding(found, "gD of floats - of integers, weights").value == pytest.approx(-0.3, abs=0.1)
    assert finding(found, "cost of e2m1 - int4, weights").value < 0


def test_costs_of_a_role_are_curves_of_each_family_of_formats():
    how = {"sizes": SIZES[:1], "tokens": TOKENS[:2], "relative": 0.0, "constant": 1e-6}
    low = planted_precisions(**how, precisions=((None,) * 3, (3, None, None), (4, None, None), (None, 4, None)))
    curves = cost_curves(make_table([*low, *as_floats(quantized(low))]), "P_w", SIZES[0], TOKENS[1])
    assert [(curve.name, curve.x) for curve in curves] == [("integers", (3, 4)), ("floats e2m0 to e2m3", (3, 4))]
    cost = ROLES.loss(N=SIZES[0], D=TOKENS[1], P_w=3) - ROLES.loss(N=SIZES[0], D=TOKENS[1])
    assert curves[0].mean[0] == pytest.approx(float(cost), abs=1e-5)


def architectures_where(plain, stable, bits=(2,)):
    """Runs of two architectures at two, four and 16 bits; those at `bits` diverge at these multiples and seeds."""
    for bound, diverged in ((None, plain), (4.0, stable)):
        for multiple in (1.0, 2.0, 4.0, 8.0):
            for row in planted_precisions(
                sizes=SIZES[:1], tokens=TOKENS[:2], precisions=((None,) * 3, (2, 2, 2), (4, 4, 4))
            ):
                gone = row["train_weights_bits"] in bits and (multiple, row["seed"]) in diverged
                yield {
                    **row,
                    "bound": bound,
                    "rate_multiple": multiple,
                    "status": "diverged" if gone else "done",
                    "eval_id": f"{row['eval_id']} {bound} {multiple}",
                }


def test_a12_counts_the_cells_that_one_architecture_alone_loses():
    def lost(*multiples, seeds=(0, 1, 2)):
        return {(multiple, seed) for multiple in multiples for seed in seeds}

    table = make_table(list(architectures_where(lost(2.0, 4.0), lost(4.0, seeds=(0,)))))
    found = verdict(table, "A12")
    assert found.outcome == "not identified"
    assert found.sentence == "2 plain and 0 stable of 8 cells in low precision are lost"
    (judged,) = [one for one in found.findings if one.judged]
    assert (judged.value, judged.high) == (1, 1)
    assert judged.low == pytest.approx(0.025 ** (1 / 2), abs=1e-6)
    shares = {one.what: one.value for one in found.findings if "share of runs" in one.what}
    assert shares == {
        "plain, W2 A2 KV2 at 2 x the rate: share of runs that hold": 0,
        "plain, W2 A2 KV2 at 4 x the rate: share of runs that hold": 0,
        "stable, W2 A2 KV2 at 4 x the rate: share of runs that hold": pytest.approx(2 / 3),
    }
    curves = rate_curves(table.where(lambda row: row["bound"] is None), SIZES[0], TOKENS[0])
    assert [(curve.name, curve.x) for curve in curves] == [
        ("16 bit", (1.0, 2.0, 4.0, 8.0)),
        ("W4 A4 KV4", (1.0, 2.0, 4.0, 8.0)),
        ("W2 A2 KV2", (1.0, 8.0)),
    ]
    every = lost(1.0, 2.0, 4.0, 8.0)
    assert verdict(make_table(list(architectures_where(every, set(), bits=(2, 4)))), "A12").outcome == "holds"
    assert verdict(make_table(list(architectures_where(set(), every, bits=(2, 4)))), "A12").outcome == "fails"
    none = verdict(make_table(list(architectures_where(set(), lost(2.0, seeds=(0,))))), "A12")
    assert none.outcome == "not identified"
    assert none.sentence.startswith("0 plain and 0 stable of 8 cells in low precision are lost, none by one")
    # the same runs but for the bound: bits cost the same
    assert finding(none, "cost of W4 A4 KV4, stable - plain").value == pytest.approx(0, abs=1e-12)
    one = make_table([row for row in architectures_where(set(), set()) if row["bound"] is None])
    assert "one architecture" in verdict(one, "A12").sentence


def test_the_interval_of_a_share_is_the_exact_one():
    # Clopper and Pearson, 1934
    assert share_interval(0, 10, 0.95) == (0, pytest.approx(0.30850, abs=1e-5))
    assert share_interval(10, 10, 0.95) == (pytest.approx(0.69150, abs=1e-5), 1)
    assert share_interval(3, 10, 0.95) == (pytest.approx(0.06674, abs=1e-5), pytest.approx(0.65245, abs=1e-5))
