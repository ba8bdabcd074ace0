"""Claims about settings at equal bits: a planted best share, and settings that help or hurt, are found."""

import numpy as np
import pytest

from simlaw.claims import judge
from simlaw.claims.shares import best_share, shares_of
from simlaw.config import Precision
from simlaw.errors import SimlawError
from simlaw.formats import Float32, Int, Percentile, PerChannel, PerTensor, PerToken, Quantizer
from simlaw.quantizations import PLAIN
from simlaw.rows import training_cells
from simlaw.table import make_table
from tests.conftest import tiny_run
from tests.planted import SIZES, TOKENS, planted_precisions

PLACES = {
    "sizes": SIZES[:2],
    "tokens": (TOKENS[2], TOKENS[4]),
    "precisions": ((None,) * 3, (2, None, None), (3, None, None)),
}
INT3 = Quantizer(format=Int(bits=3), granularity=PerChannel())


def verdict(table, name):
    (found,) = judge(table, [name]).each
    return found


def changed(row, added, **columns):
    """The row with other cells, and a loss that is higher by `added`; its id says all of it."""
    name = f"{row['eval_id']} {columns}"
    return {**row, **columns, "run_id": name, "eval_id": name, "loss": row["loss"] + added}


def by_share(curve, seed=0):
    """Runs at full precision and in it, later ones, and rounded ones; `curve` is what a share costs more."""
    rng = np.random.default_rng(seed)
    rows = list(planted_precisions(**PLACES))
    for row in tuple(rows):
        if bits := row["train_weights_bits"]:
            best = best_share(row["params_blocks"], row["tokens"], bits)
            for share in (0.05, 0.2, 0.35, 0.5, 0.8):
                added = curve(share, best) - curve(1.0, best) + 0.003 * rng.normal()
                rows.append(changed(row, added, train_begins=1 - share))
        else:
            rows += [
                changed(row, 0.4, **PLAIN, ptq_bits=bits, ptq_granularity="channel", delta=0.4, delta_se=1e-3)
                for bits in (2, 3)
            ]
    return make_table(rows)


def test_the_rule_of_the_best_share_has_the_published_values():
    # S = 100 and 1000 tokens for each byte
    assert best_share(1e6, 1e8, 8) == pytest.approx(0.23, abs=0.005)
    assert best_share(1e6, 1e9, 8) == pytest.approx(0.38, abs=0.005)
    assert best_share(1e6, 1e6, 8) == 0


def parabola(best):
    """A cost that is least at a share, in logarithms."""
    return lambda share, _: 0.1 * np.log(share / best) ** 2


def test_a_best_share_where_the_rule_has_it_makes_a13_hold():
    held = verdict(by_share(lambda share, best: 0.1 * np.log(share / best) ** 2), "A13")
    assert held.outcome == "holds", held.sentence
    assert {one.what for one in held.findings if not one.judged} == {
        f"int{bits}: cost at the rule's share - that of rounding afterwards" for bits in (2, 3)
    }


@pytest.mark.parametrize(
    "curve", [lambda share, _: -0.1 * share, lambda share, _: 0.2 * share, parabola(0.2), parabola(0.8)]
)
def test_another_best_share_makes_a13_fail(curve):
    assert verdict(by_share(curve), "A13").outcome == "fails"


def test_equal_costs_leave_a13_open_whatever_the_seeds():
    outcomes = [verdict(by_share(lambda *_: 0.0, seed=seed), "A13").outcome for seed in range(12)]
    assert outcomes.count("not identified") >= 11
    assert "holds" not in outcomes


def test_shares_have_the_costs_of_rounding_and_of_the_whole_run_at_their_ends():
    found = shares_of(by_share(lambda share, _: 0.3 * share))
    assert [(one.params, one.bits) for one in found] == [
        (n, bits) for n in SIZES[:2] for _ in range(2) for bits in (2, 3)
    ]
    for one in found:
        assert one.means.x == (0.0, 0.05, 0.2, 0.35, 0.5, 0.8, 1.0)
        assert one.means.mean[0] == pytest.approx(0.4)
        assert one.means.mean[-1] - one.means.mean[1] == pytest.approx(0.3 * 0.95, abs=0.01)
        assert 0 < one.means.error[3] < 0.05
    with pytest.raises(SimlawError, match="no run has plainly rounded weights from a later step on"):
        shares_of(planted_precisions(**PLACES))


SETTINGS = {
    "W3 learned steps": Precision(weights=INT3, learned_steps=True),
    "W3 rotated": Precision(weights=INT3, rotate=True),
    "W3 clipped at 90%, gradient trust": Precision(
        weights=Quantizer(format=Int(bits=3), calibration=Percentile(share=0.9)), estimator="trust"
    ),
    "W3 stochastic": Precision(weights=Quantizer(format=Int(bits=3), rounding="stochastic")),
    "A3 one scale for a batch": Precision(activations=Quantizer(format=Int(bits=3), granularity=PerTensor())),
    "A3 float32 scales": Precision(activations=Quantizer(format=Int(bits=3), granularity=PerToken(), scale=Float32())),
    "G4 gradients": Precision(gradients=Quantizer(format=Int(bits=4), granularity=PerToken())),
}


def with_settings(costs):
    """Plain runs, and others with settings at the same bits, which cost so much more."""
    rows = list(planted_precisions(**{**PLACES, "precisions": ((None,) * 3, (3, None, None), (None, 3, None))}))
    rng = np.random.default_rng(0)
    for row in tuple(rows):
        for name, precision in SETTINGS.items():
            letter = {"W": row["train_weights_bits"], "A": row["train_activations_bits"], "G": None}[name[0]]
            if letter or (name[0] == "G" and not row["train_weights_bits"] and not row["train_activations_bits"]):
                cells = training_cells(tiny_run(precision=precision))
                rows.append(changed(row, costs.get(name, 0.0) + 0.001 * rng.normal(), **cells))
    return make_table(rows)


def test_settings_are_named_and_compared_with_plain_rounding_of_as_many_bits():
    found = verdict(with_settings({"W3 learned steps": -0.05, "W3 rotated": -0.02, "G4 gradients": 0.3}), "A14")
    assert found.outcome == "holds", found.sentence
    values = {one.what: one.value for one in found.findings}
    assert set(values) == set(SETTINGS)
    assert values["W3 learned steps"] == pytest.approx(-0.05, abs=0.003)
    assert values["G4 gradients"] == pytest.approx(0.3, abs=0.003)
    assert {one.what for one in found.findings if one.judged} == {"W3 learned steps", "W3 rotated"}


def test_a_rotation_that_hurts_makes_a14_fail_and_none_leaves_it_open():
    assert verdict(with_settings({"W3 learned steps": -0.05, "W3 rotated": 0.02}), "A14").outcome == "fails"
    assert verdict(with_settings({"W3 learned steps": -0.05}), "A14").outcome == "not identified"
    plain = verdict(planted_precisions(**PLACES), "A14")
    assert plain.outcome == "not identified"
    assert "no run has learned steps" in plain.sentence


def test_a_setting_that_keeps_one_seed_is_left_out_and_the_judged_ones_stay():
    rows = with_settings({"W3 learned steps": -0.05, "W3 rotated": -0.02})
    kept = rows.where(lambda row: row["train_gradients_bits"] is None or row["seed"] == 0)
    found = verdict(kept, "A14")
    assert found.outcome == "holds", found.sentence
    assert {one.what for one in found.findings} == set(SETTINGS) - {"G4 gradients"}
