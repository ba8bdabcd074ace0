"""Allocation: closed forms where there are any, served tokens, how far an answer extrapolates."""

from dataclasses import replace

import numpy as np
import pytest

from simlaw.decision.allocate import allocate, beyond
from simlaw.errors import SimlawError
from simlaw.fitting.fit import fit
from simlaw.fitting.quantized import QuantizedFit
from simlaw.fitting.uncertainty import trunk_weights
from simlaw.laws import Chinchilla, StepPenalty
from simlaw.observations import loss_observations, penalty_observations
from simlaw.published import besiroglu2024, chen2025_w4a4, kumar2024, sardana2024
from tests.planted import LOSS, planted


def test_training_alone_is_the_closed_form():
    law = besiroglu2024.law
    a, b = law.alpha, law.beta
    g = (a * law.A / (b * law.B)) ** (1 / (a + b))
    for flops in (1e19, 1e21, 1e23):
        found = allocate(law, flops=flops)
        assert found.params == pytest.approx(g * (flops / 6) ** (b / (a + b)), rel=3e-3)
        assert 6 * found.params * found.tokens == pytest.approx(flops, rel=1e-12)


def test_serving_shrinks_the_model_as_sardana_found():
    # a model of the quality of a 13B one, to serve 2T tokens: 7B costs 17.4 % less in all
    def cost(n, quality):
        law = sardana2024.law
        d = (law.B / (quality - law.E - law.A * n**-law.alpha)) ** (1 / law.beta)
        return 6 * n * d + 2 * n * 2e12

    best = allocate(sardana2024.law, flops=6 * 13e9 * 1e12)
    law = sardana2024.law
    g = (law.alpha * law.A / (law.beta * law.B)) ** (1 / (law.alpha + law.beta))
    d13 = (13e9 / g) ** (law.alpha / law.beta) / g
    quality = float(law.loss(N=13e9, D=d13))
    assert cost(13e9, quality) - cost(7e9, quality) == pytest.approx(1.69e22, rel=0.01)
    assert 1 - cost(7e9, quality) / cost(13e9, quality) == pytest.approx(0.174, abs=0.002)
    served = allocate(law, flops=6 * 13e9 * 1e12, serve_tokens=2e12)
    assert served.params < best.params
    assert 6 * served.params * served.tokens + 2 * served.params * 2e12 == pytest.approx(6 * 13e9 * 1e12, rel=1e-12)


def test_precisions_are_passed_on():
    low = allocate(kumar2024, flops=1e20, P_w=4)
    assert low.loss == pytest.approx(float(kumar2024.loss(N=low.params, D=low.tokens, P_w=4)))
    assert low.loss > allocate(kumar2024, flops=1e20).loss


def test_intervals_come_from_the_draws():
    seen = loss_observations(planted(log_loss=0.003, bits=(), seeds=6, seed=1))
    found = fit(Chinchilla, seen, trunk_weights(seen.trunk, seen.x["N"], draws=200))
    answer = allocate(found, flops=1e12)
    assert answer.params_interval[0] < allocate(LOSS, flops=1e12).params < answer.params_interval[1]
    assert answer.loss_interval[0] < float(LOSS.loss(N=answer.params, D=answer.tokens)) < answer.loss_interval[1]
    assert "(90 % interval " in str(answer)
    assert 6 * answer.params_interval[0] * answer.tokens_interval[1] == pytest.approx(
        1e12, rel=0.01
    )  # neighbouring draws
    assert answer.tokens_interval[0] < answer.tokens < answer.tokens_interval[1]


def test_two_fits_together_are_allocated_at_a_precision():
    table = planted(log_loss=0.003, relative=0.05, token=1e-4, seeds=6, seed=1)
    seen, added = loss_observations(table), penalty_observations(table)
    trunks = trunk_weights(seen.trunk, seen.x["N"], draws=100)
    both = QuantizedFit(base=fit(Chinchilla, seen, trunks), penalty=fit(StepPenalty, added, trunks))
    low, high = allocate(both, flops=1e12, P_post=3), allocate(both, flops=1e12)
    assert low.loss > high.loss
    assert low.params > high.params  # rounding punishes tokens for each parameter
    sick = replace(both, penalty=replace(both.penalty, health="COLLAPSED", sentence="no"))
    with pytest.raises(SimlawError, match="the fit of StepPenalty is COLLAPSED: no; not identified"):
        allocate(sick, flops=1e12)


def test_extrapolation_is_said_and_refused_beyond_ten():
    answer = allocate(besiroglu2024, flops=1e23)
    assert answer.outside["N"] > 1
    assert "that extrapolates beyond the rows of the fit in N by" in str(answer).replace("\n", " ")
    assert max(map(len, str(answer).splitlines())) <= 100
    with pytest.raises(SimlawError, match=r"outside the rows of the fit in N by .* more than 10 x: force=True"):
        allocate(besiroglu2024, flops=1e27)
    assert allocate(besiroglu2024, flops=1e27, force=True).outside["N"] > 10


def test_how_far_a_point_lies_outside():
    ranges = {"N": (1e6, 1e8), "D": (1e8, 1e10), "P_post": (3, 8)}
    assert beyond(ranges, {"N": 1e7, "D": 1e9, "C": 6e16, "P_post": 4}) == {}
    assert beyond(ranges, {"N": 1e9}) == pytest.approx({"N": 10})
    assert beyond(ranges, {"D": 1e7, "C": 6e13}) == pytest.approx({"D": 10, "C": 10})
    # where the rows' own FLOPs are known, the corners, which nobody ran, say nothing
    assert beyond({**ranges, "C": (6e15, 6e16)}, {"N": 1e8, "D": 1e10, "C": 6e18}) == pytest.approx({"C": 100})
    assert beyond(ranges, {"P_post": 2}) == {"P_post": 2}
    assert beyond(ranges, {"P_post": np.inf}) == {}


def test_refusals():
    with pytest.raises(SimlawError, match="flops=-1: it must be a number above 0"):
        allocate(besiroglu2024, flops=-1)
    with pytest.raises(SimlawError, match="serve_tokens=-2: it must be a number above 0, or 0"):
        allocate(besiroglu2024, flops=1e20, serve_tokens=-2)
    with pytest.raises(SimlawError, match="GroupPenalty is no law of the loss: give one"):
        allocate(chen2025_w4a4.law.penalty, flops=1e20)
    with pytest.raises(SimlawError, match="Chinchilla takes no P_w: it takes N, D"):
        allocate(besiroglu2024, flops=1e20, P_w=4)
    for name in ("N", "D", "C"):
        with pytest.raises(
            SimlawError, match=f"{name}=1e\\+09: allocate finds {name} itself: leave it out|{name}=1000000000"
        ):
            allocate(besiroglu2024, flops=1e20, **{name: 1e9})


def test_a_budget_that_trains_nothing_says_what_would():
    with pytest.raises(
        SimlawError, match="flops=1 train no model of 1000 parameters on one token, which takes 6e3: rai"
    ):
        allocate(besiroglu2024, flops=1.0)
    with pytest.raises(
        SimlawError, match="on one token and serve 1B tokens with it, which takes 2e12: raise the budget"
    ):
        allocate(besiroglu2024, flops=1e6, serve_tokens=1e9)


def test_variables_that_are_no_precision_are_passed_on():
    low, high = (allocate(chen2025_w4a4, flops=1e20, G=g) for g in (32, 256))
    assert low.loss < high.loss
    assert low.loss == pytest.approx(float(chen2025_w4a4.loss(N=low.params, D=low.tokens, G=32)))
