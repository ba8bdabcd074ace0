"""Maps: the same winners as `decide` and the same best sizes as `allocate`, at every budget at once."""

import itertools

import numpy as np
import pytest

import simlaw as sl
from simlaw.decision.choice import SHIPPED
from simlaw.decision.maps import best_bits_map, loss_map
from simlaw.errors import SimlawError
from simlaw.fitting.fit import fit
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
        # decide tries sizes in steps of a percent, so it is no better and hardly worse
        assert best.loss - 2e-5 < found.loss[i, j] < best.loss + 1e-9
        winner = found.formats[found.best[i, j]]
        assert found.params[i, j] <= BYTES[j] * 8 / winner.stored * (1 + 1e-12)
        assert found.tokens[i, j] == pytest.approx(FLOPS[i] / 6 / found.params[i, j])


def test_shares_are_those_of_the_draws():
    bytes, flops = np.geomspace(3e3, 4e5, 12), np.geomspace(3e10, 3e12, 10)
    found = best_bits_map(BASE, penalty=PENALTY, bytes=bytes, flops=flops)
    assert ((found.share >= 0) & (found.share <= 1)).all()
    assert (found.share < 0.9).any()
    assert (found.share >= 0.9).any()
    for i, j in ((4, 3), (5, 6), (7, 2)):
        candidates = sl.decide(BASE, penalty=PENALTY, bytes=bytes[j], flops=flops[i], force=True).candidates
        assert candidates[0].format.bits == found.bits[i, j]
        together = sum(c.best for c in candidates if c.format.bits == found.bits[i, j])
        assert found.share[i, j] == pytest.approx(together, abs=0.03)


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
    with pytest.raises(SimlawError, match="bytes of 0 to 1e\\+06: budgets are numbers above 0"):
        best_bits_map(kumar2024, bytes=np.array([0.0, 1e6]), flops=FLOPS)
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
