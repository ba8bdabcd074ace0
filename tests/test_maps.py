"""Maps: the same winners as `decide` and the same best sizes as `allocate`, at every budget at once."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

import simlaw as sl
from simlaw.decision.choice import SHIPPED
from simlaw.decision.maps import best_bits_map, loss_map
from simlaw.decision.surface import surface_of
from simlaw.errors import SimlawError
from simlaw.fitting.fit import fit
from simlaw.fitting.quantized import QuantizedFit
from simlaw.fitting.uncertainty import trunk_weights
from simlaw.laws import Chinchilla, StepPenalty
from simlaw.observations import loss_observations, penalty_observations
from simlaw.published import besiroglu2024, kumar2024
from tests.planted import SIZES, planted

TABLE = planted(log_loss=0.003, relative=0.1, token=1e-4, seeds=6)
LOSSES, PENALTIES = loss_observations(TABLE), penalty_observations(TABLE)
WEIGHTS = trunk_weights(LOSSES.trunk, LOSSES.x["N"], draws=100)
BASE, PENALTY = fit(Chinchilla, LOSSES, WEIGHTS, starts=4), fit(StepPenalty, PENALTIES, WEIGHTS, starts=4)
BYTES, FLOPS = np.geomspace(5e6, 2e9, 30), np.geomspace(1e17, 1e21, 25)


def test_every_budget_has_the_winner_that_decide_finds():
    found = best_bits_map(kumar2024, bytes=BYTES, flops=FLOPS)
    assert found.share is None
    assert len(np.unique(found.bits)) == 5
    for i, j in itertools.product(range(0, 25, 6), range(0, 30, 5)):
        # the map is of formats quantized after training
        best = sl.decide(kumar2024, bytes=BYTES[j], flops=FLOPS[i], training=(), force=True).candidates[0]
        assert found.bits[i, j] == best.format.bits
        assert found.loss[i, j] == pytest.approx(best.loss, abs=1e-9)
        winner = found.formats[found.best[i, j]]
        assert found.params[i, j] <= BYTES[j] * 8 / winner.stored * (1 + 1e-12)
        assert found.tokens[i, j] == pytest.approx(FLOPS[i] / 6 / found.params[i, j])


def test_shares_are_those_of_the_draws_in_which_the_winner_leads():
    bytes, flops = np.geomspace(3e3, 4e5, 12), np.geomspace(3e10, 3e12, 10)
    found = best_bits_map(BASE, penalty=PENALTY, bytes=bytes, flops=flops)
    assert ((found.share >= 0) & (found.share <= 1)).all()
    surface = surface_of(BASE, PENALTY)
    for i, j in ((4, 3), (5, 6), (7, 2)):
        candidates = sl.decide(BASE, penalty=PENALTY, bytes=bytes[j], flops=flops[i], force=True).candidates
        assert candidates[0].format.bits == found.bits[i, j]
        n, d, bits = (np.array(v) for v in zip(*((c.params, c.tokens, c.format.bits) for c in candidates), strict=True))
        drawn = surface.ensemble(n, d, bits)
        ahead = drawn[:, bits != bits[0]].min(axis=1) - drawn[:, 0] >= 5e-4
        assert found.share[i, j] == pytest.approx(ahead.mean(), abs=0.02)


def test_a_law_of_two_fits_has_the_same_map_however_it_is_given():
    bytes, flops = np.geomspace(3e3, 4e5, 12), np.geomspace(3e10, 3e12, 10)
    wide = replace(PENALTY, misfit=0.3)
    one = best_bits_map(BASE, penalty=wide, bytes=bytes, flops=flops)
    other = best_bits_map(QuantizedFit(base=BASE, penalty=wide), bytes=bytes, flops=flops)
    assert (one.share == other.share).all()
    assert (one.share < best_bits_map(BASE, penalty=PENALTY, bytes=bytes, flops=flops).share).any()


def test_a_lead_of_nothing_settles_nothing():
    # with bytes to spare 16 bits are ahead of 8 by 1e-5 nat, which no penalty above 0 could change
    roomy = best_bits_map(kumar2024, bytes=[1e10], flops=[1e18, 1e19])
    assert np.isinf(roomy.bits).all()
    assert (roomy.lead > 0).all()
    assert (roomy.lead < 1e-4).all()
    assert not roomy.settled.any()
    narrow = best_bits_map(kumar2024, bytes=[82.5e6], flops=[1.7e19])
    each = sl.decide(kumar2024, bytes=82.5e6, flops=1.7e19, training=()).candidates
    assert narrow.lead[0, 0] == pytest.approx(each[1].loss - each[0].loss, abs=1e-9)
    assert narrow.settled.all()
    alone = best_bits_map(kumar2024, bytes=[82.5e6], flops=[1.7e19], formats=["int4"])
    assert np.isinf(alone.lead).all()
    assert alone.settled.all()


def test_bytes_without_bound_leave_the_best_of_the_budget():
    found = best_bits_map(kumar2024, bytes=[1e9, 1e10, 1e15], flops=[1e18])
    assert found.params[0] == pytest.approx([found.params[0, 0]] * 3)
    assert found.params[0, 0] == pytest.approx(96e6, rel=0.01)
    assert found.loss[0] == pytest.approx([3.6997] * 3, abs=1e-4)


def test_a_budget_may_be_one_number():
    found = best_bits_map(kumar2024, bytes=82.5e6, flops=1.7e19)
    assert found.params.shape == (1, 1)


def test_outside_is_where_the_winner_lies_outside_the_rows():
    found = best_bits_map(kumar2024, bytes=BYTES, flops=FLOPS)
    (n0, n1), (d0, d1) = kumar2024.ranges["N"], kumar2024.ranges["D"]
    far = (
        (found.params < n0 / 1.06)
        | (found.params > n1 * 1.06)
        | (found.tokens < d0 / 1.06)
        | (found.tokens > d1 * 1.06)
    )
    near = (found.params >= n0) & (found.params <= n1) & (found.tokens >= d0) & (found.tokens <= d1)
    assert found.outside[far].all()
    assert not found.outside[near].any()
    assert near.any()


def test_formats_of_equal_bits_are_one():
    found = best_bits_map(kumar2024, bytes=BYTES, flops=FLOPS)
    assert [one.bits for one in found.formats] == [np.inf, 8, 6, 5, 4, 3]
    for one in found.formats:
        assert one.stored == min(other.stored for other in SHIPPED if other.bits == one.bits)


def test_what_no_map_can_be_made_of_is_refused():
    with pytest.raises(SimlawError, match="bytes has 0 in it: give one number above 0, or a list of"):
        best_bits_map(kumar2024, bytes=np.array([0.0, 1e6]), flops=FLOPS)
    with pytest.raises(SimlawError, match=r"flops has the shape \(0,\): give one number above 0, or a list of them"):
        best_bits_map(kumar2024, bytes=BYTES, flops=[])
    with pytest.raises(SimlawError, match="flops=1 do not do for one parameter and one token: raise the budget"):
        best_bits_map(kumar2024, bytes=BYTES, flops=[1.0])
    with pytest.raises(SimlawError, match="by the law one parameter is the best size of a budget"):
        best_bits_map(kumar2024, bytes=BYTES, flops=[7.0])
    with pytest.raises(SimlawError, match="Chinchilla does not know P_post, so no format wins: give penalty="):
        best_bits_map(besiroglu2024, bytes=BYTES, flops=FLOPS)
    with pytest.raises(SimlawError, match="no format lies within the 3 to 8 bits of the rows"):
        best_bits_map(kumar2024, bytes=BYTES, flops=FLOPS, formats=SHIPPED[-1:])
    with pytest.raises(SimlawError, match="StepPenalty gives no loss over N and D"):
        loss_map(PENALTY, PENALTIES)
    with pytest.raises(SimlawError, match="no run has P_w=4"):
        loss_map(BASE, LOSSES, P_w=4)


def test_the_surface_is_the_law_and_its_best_sizes_those_of_allocate():
    found = loss_map(BASE, LOSSES)
    assert found.loss[30, 40] == pytest.approx(float(BASE.law.loss(N=found.params[40], D=found.tokens[30])))
    for i in (30, 60, 90):
        best = sl.allocate(BASE.law, flops=found.flops[i]).params
        assert found.optimal[i] == pytest.approx(best, rel=0.01)
    assert {point.params for point in found.measured} == set(SIZES)
    assert all(point.rows == 6 for point in found.measured)
    standard = sl.residuals(BASE, LOSSES).standard
    for point in found.measured:
        here = (LOSSES.x["N"] == point.params) & (LOSSES.x["D"] == point.tokens)
        assert point.residual == pytest.approx(standard[here].sum() / np.sqrt(6))
