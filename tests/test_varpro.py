"""The second engine: the same minimum by another way, on the same objective."""

import numpy as np
import pytest

from simlaw.fitting import fit as fitting
from simlaw.fitting.certificate import judged
from simlaw.fitting.fit import fit
from simlaw.fitting.lm import minimise
from simlaw.fitting.problem import pose
from simlaw.fitting.varpro import lifted, multipliers, project
from simlaw.laws import Chinchilla, DataConstrained, ExponentialPenalty, FreePenalty, JointPower, PrecisionExponential
from simlaw.observations import loss_observations, penalty_observations
from tests.planted import LOSS, PENALTY, planted

NOISE = {"log_loss": 0.01, "relative": 0.15, "token": 2e-4}


def posed(form, seen, objective=None, starts=24, **fixed):
    return pose(form, seen, fixed=fixed, bounds={}, objective=objective, starts=starts, seed=0)


def test_what_multiplies_a_whole_term_can_be_projected_out():
    assert multipliers(Chinchilla) == ("E", "A", "B")
    assert multipliers(PrecisionExponential) == ("E", "A", "B", "C_T")
    assert multipliers(DataConstrained) == ("E",)  # A and B say where parameters are in excess
    assert multipliers(JointPower) == ()
    assert multipliers(FreePenalty) == ()


@pytest.mark.parametrize("objective", ["huber", "log", "nats"])
@pytest.mark.parametrize("seed", [0, 1])
def test_both_engines_end_at_one_minimum_of_one_objective(objective, seed):
    seen = loss_observations(planted(seed=seed, **NOISE))
    found = fit(Chinchilla, seen, objective=objective)
    assert found.health == "VALID"
    assert found.kind == objective
    assert abs(found.engines) < 1e-6
    assert found.sentence.endswith("and so does variable projection")
    second = project(posed(Chinchilla, seen, objective))
    assert np.allclose(np.exp(second.theta[:3]), [found.law.E, found.law.A, found.law.B], rtol=1e-3)
    # the first engine without the second's help
    alone = fit(Chinchilla, seen, objective=objective, seed=5)
    assert alone.objective == pytest.approx(found.objective, rel=1e-9)


def test_a_penalty_is_projected_too():
    seen = penalty_observations(planted(**NOISE))
    assert abs(fit(ExponentialPenalty, seen).engines) < 1e-9


def test_forms_without_a_linear_part_have_no_second_engine():
    seen = penalty_observations(planted(**NOISE))
    assert project(posed(FreePenalty, seen)) is None
    found = fit(FreePenalty, seen)
    assert found.engines is None
    assert "projection" not in found.sentence


def test_nothing_is_projected_where_only_coefficients_are_free():
    seen = loss_observations(planted(**NOISE))
    assert project(posed(Chinchilla, seen, alpha=LOSS.alpha, beta=LOSS.beta)) is None


def test_lifted_starts_have_the_best_coefficients_of_their_exponents():
    seen = loss_observations(planted(log_loss=1e-9))
    problem = posed(Chinchilla, seen, alpha=LOSS.alpha)
    some = lifted(problem)
    at = [some.free.index(name) for name in ("E", "A", "B", "beta")]
    moved = (some.starts != problem.starts).any(axis=1)
    assert moved.mean() > 0.5
    assert np.array_equal(some.starts[:, at[3]], problem.starts[:, at[3]])  # exponents stay as they were drawn
    for start in some.starts[moved]:
        law = some.law(start)
        rows = np.stack([np.ones_like(seen.y), seen.x["N"] ** -LOSS.alpha, seen.x["D"] ** -law.beta], 1)
        best = np.linalg.lstsq(rows / seen.y[:, None], np.ones_like(seen.y), rcond=None)[0]
        assert np.allclose(best, [law.E, law.A, law.B], rtol=1e-6)


def test_an_engine_that_finds_a_lower_minimum_is_believed(monkeypatch):
    # starts that all sit at a poor place of a penalty, which the second engine leaves
    seen = penalty_observations(planted(**NOISE))
    good = project(posed(ExponentialPenalty, seen))
    stuck = posed(ExponentialPenalty, seen)
    monkeypatch.setattr(fitting, "project", lambda *_: good)
    monkeypatch.setattr(fitting, "search", _stuck(stuck))
    found = fitting.fit(ExponentialPenalty, seen)
    assert found.objective == pytest.approx(good.objective, rel=1e-9)
    assert found.health == "STARTS_DISAGREE"
    assert found.law.gD == pytest.approx(PENALTY.gD, abs=0.1)


def _stuck(problem):
    return lambda _: judged(
        minimise(problem.residuals(), problem.starts, problem.low, problem.high, iterations=1), problem
    )
