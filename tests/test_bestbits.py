"""The best precision along an axis: published optima, brute force, intervals, honest ends."""

from dataclasses import replace

import numpy as np
import pytest

from simlaw.analysis import analyse
from simlaw.decision.bestbits import best_bits
from simlaw.decision.cost import BITS, FLOPS, H200
from simlaw.decision.resources import TIED, WEIGHTS, Training
from simlaw.errors import SimlawError
from simlaw.fitting.fit import fit
from simlaw.fitting.quantized import QuantizedFit
from simlaw.fitting.uncertainty import trunk_weights
from simlaw.laws import Chinchilla, StepPenalty
from simlaw.observations import loss_observations, penalty_observations
from simlaw.published import kumar2024, quest2025
from tests.planted import planted

KUMAR = kumar2024.law
NO_OFFSETS = replace(KUMAR, n_w=0.0, n_a=0.0, n_kv=0.0)


@pytest.mark.parametrize(
    ("law", "bits"),
    [
        (KUMAR, 7.002),
        (NO_OFFSETS, 3.469),
        (replace(NO_OFFSETS, g_w=1.9475, g_a=1.9475, g_kv=1.9475), 3.708),
    ],
    ids=["offsets", "none", "none, mean gamma"],
)
def test_kumars_best_precision_does_not_depend_on_compute(law, bits):
    found = best_bits(law, along="C", at=[1e18, 1e20, 1e22], training=TIED, cost=BITS)
    assert found.bits == pytest.approx([bits] * 3, abs=2e-3)
    assert 6 / 16 * found.params * found.tokens * found.bits == pytest.approx([1e18, 1e20, 1e22], rel=0.01)
    assert not found.edge.any()


def test_at_fixed_size_the_best_precision_grows_with_compute():
    # 2411.04330, Eq. 22: asymptotically P ~ beta·g·ln C
    found = best_bits(KUMAR, along="C", at=np.geomspace(1e18, 1e21, 4), N=1e8, training=TIED)
    assert (np.diff(found.bits) > 0).all()
    for c, bits in zip(found.at, found.bits, strict=True):
        p = np.linspace(3, 16, 5001)
        losses = KUMAR.loss(N=1e8, D=c / (6 / 16 * 1e8 * p), P_w=p, P_a=p, P_kv=p)
        assert bits == pytest.approx(p[losses.argmin()], abs=0.02)


def test_at_fixed_memory_the_best_precision_grows_with_data():
    # published constants, 660 Mbit: from 4 bits towards 6 as D grows
    found = best_bits(KUMAR, along="D", at=[6e9, 2.6e10, 2e11, 1e12], bytes=82.5e6)
    assert np.round(found.bits) == pytest.approx([4, 5, 5, 6])
    assert found.params * found.bits == pytest.approx([660e6] * 4, rel=0.02)
    whole = best_bits(KUMAR, along="D", at=[6e9, 2.6e10, 2e11, 1e12], bytes=82.5e6, bits=(3, 4, 5, 6, 8))
    assert list(whole.bits) == [4, 5, 5, 6]


def test_with_memory_to_spare_the_most_bits_are_best():
    found = best_bits(KUMAR, along="bytes", at=[1e8, 1e9, 1e11], flops=1e20)
    assert found.bits[0] < found.bits[1] <= found.bits[2] == 16
    assert list(found.edge[[0, 2]]) == [False, True]
    assert "16.00 (end)" in str(found)


def test_the_interval_holds_the_planted_optimum():
    from tests.planted import LOSS, PENALTY

    analysis = analyse(planted(log_loss=0.005, relative=0.1, token=1e-4, seeds=4), draws=200)
    both = QuantizedFit(base=analysis.base, penalty=analysis.penalty)
    truth = type(both.law)(base=LOSS, penalty=PENALTY)
    places = [1e6, 3e6, 9e6]
    found = best_bits(both, along="D", at=places, bytes=20e3)
    exact = best_bits(truth, along="D", at=places, bytes=20e3).bits
    assert ((found.low <= exact) & (exact <= found.high)).all()
    assert ((found.low < found.bits) & (found.bits < found.high)).all()
    assert "90 % interval of the bits" in str(found)


def test_with_bytes_without_bound_the_best_size_is_that_of_the_budget():
    found = best_bits(KUMAR, along="bytes", at=[1e10, 1e15], flops=1e18)
    assert found.params[1] == pytest.approx(found.params[0])
    assert 6 * found.params * found.tokens == pytest.approx([1e18] * 2)


def test_a_place_and_a_training_may_be_given_as_they_are():
    by_name = best_bits(KUMAR, along="C", at=1e20, training="all", cost="bits")
    assert by_name.bits == best_bits(KUMAR, along="C", at=[1e20], training=TIED, cost=BITS).bits


def test_intervals_hold_the_forms_own_error():
    table = planted(log_loss=0.003, relative=0.1, token=1e-4, seeds=4)
    seen, added = loss_observations(table), penalty_observations(table)
    weights = trunk_weights(seen.trunk, seen.x["N"], draws=100)
    base, penalty = fit(Chinchilla, seen, weights, starts=4), fit(StepPenalty, added, weights, starts=4)
    each = [best_bits(base, penalty=replace(penalty, misfit=m), along="D", at=[3e6], bytes=20e3) for m in (0.0, 0.5)]
    assert each[1].high - each[1].low > 1.5 * (each[0].high - each[0].low)
    assert each[0].bits == each[1].bits


def test_bits_outside_the_rows_are_not_tried():
    with pytest.raises(
        SimlawError, match=r"outside the rows of the fit in D by 15 x, more than 10 x: force=True gives"
    ):
        best_bits(kumar2024, along="D", at=[1e8], bytes=82.5e6)
    found = best_bits(kumar2024, along="D", at=[1e8, 1e13], bytes=82.5e6, force=True)
    assert found.outside[0]["D"] == pytest.approx(15)
    assert "D by 15 x" in str(found)
    assert "N and bytes count parameters: non-embedding" in str(found)
    assert found.bits[0] == 3
    assert found.edge[0]
    assert best_bits(kumar2024, along="bytes", at=[1e11], flops=1e20, force=True).bits[0] == 8


def test_laws_of_whole_bits_have_whole_optima():
    both = Training(name="both", roles=("P_w",), computed=True)
    found = best_bits(quest2025.law, along="C", at=[1e19], training=both, bits=(1, 2, 3, 4, 8))
    assert found.bits[0] == 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            {"along": "C", "at": [1e20]},
            "bits cost nothing here, so the most are the best: give bytes=…, or training=TIED",
        ),
        ({"along": "C", "at": [1e20], "training": TIED, "cost": FLOPS}, "bits cost nothing here"),
        ({"along": "C", "at": [1e20], "training": TIED, "cost": H200}, "bits cost nothing here"),
        ({"along": "C", "at": [1e20], "training": WEIGHTS, "cost": BITS}, "bits cost nothing here"),
        (
            {"along": "C", "at": [1e20], "bytes": 1e8, "bits": (20, 30)},
            "0 of the bits lie inside the 3 to 8 of the fit's",
        ),
        ({"along": "C", "at": [-1e20], "bytes": 1e8}, r"at has -1e\+20 in it: give one number above 0, or a list of"),
        ({"along": "C", "at": [], "bytes": 1e8}, r"at has the shape \(0,\): give one number above 0, or a list"),
        ({"along": "C", "at": [np.nan], "bytes": 1e8}, "at has nan in it: give one number above 0, or a list"),
        ({"along": "C", "at": "abc", "bytes": 1e8}, "at='abc': give one number above 0, or a list of them"),
        ({"along": "X", "at": [1e20], "bytes": 1e8}, "along='X': the best bits are along one of N, D, C, bytes"),
        ({"along": "C", "at": [1e20], "training": "some"}, "'some' is no kind of training: give a Training, or the"),
        ({"along": "C", "at": [1e20], "bytes": 1e8, "N": "big"}, "N='big': it must be a number above 0"),
        ({"along": "C", "at": [1e20], "bytes": 1e8, "N": 1e12}, "at most one of the precisions fits within 100 MB"),
    ],
)
def test_refusals(unchecked, arguments, sentence):
    with pytest.raises(SimlawError, match=sentence):
        best_bits(kumar2024, **arguments)
