"""Profiles: intervals that know their shape, and say where the data do not close them."""

from dataclasses import replace

import numpy as np
import pytest

from simlaw.errors import SimlawError
from simlaw.fitting.fit import fit
from simlaw.fitting.profile import profile
from simlaw.fitting.uncertainty import interval, trunk_weights
from simlaw.laws import Chinchilla, StepPenalty
from simlaw.observations import loss_observations, penalty_observations
from tests.planted import LOSS, PENALTY, planted

NOISE = {"log_loss": 0.01, "relative": 0.1, "token": 2e-4}


def noisy(**changes):
    """Losses with a spread between trunks, and one of each row alone."""
    seen = loss_observations(planted(**{**NOISE, "log_loss": 0.005, **changes}))
    return replace(seen, y=seen.y * np.exp(0.005 * np.random.default_rng(3).normal(size=len(seen.y))))


def drawn(form, seen, draws=400):
    return fit(form, seen, trunk_weights(seen.trunk, seen.x["N"], draws=draws))


def test_the_profile_of_a_line_is_its_parabola():
    # with one free parameter of a penalty the objective is exactly quadratic where the law is linear in it
    seen = penalty_observations(planted(**NOISE))
    found = fit(StepPenalty, seen, fixed={"gD": 0.5, "gN": 0.35})
    whole = profile(found, seen, "C_T")
    rows = found.law.evaluate(seen.x) / found.law.C_T / seen.sigma
    error = 1 / np.sqrt(np.sum(rows**2))
    assert np.allclose(whole.rise, ((whole.values - found.law.C_T) / error) ** 2, atol=1e-6 * whole.rise.max())
    low, high = whole.interval
    # straight lines between the steps of a parabola are off by less than the step's square
    assert low == pytest.approx(found.law.C_T - 1.6449 * error, abs=0.02 * error)
    assert high == pytest.approx(found.law.C_T + 1.6449 * error, abs=0.02 * error)


def test_profiles_and_draws_agree_where_the_data_hold_a_parameter():
    seen = noisy(seeds=6)
    found = drawn(Chinchilla, seen)
    for name in ("alpha", "beta"):
        by_profile, by_draws = profile(found, seen, name), interval(found.draws.values[name])
        assert by_profile.closed
        width = by_draws[1] - by_draws[0]
        assert by_profile.interval == pytest.approx(by_draws, abs=0.35 * width), name
        assert by_profile.interval[0] < LOSS.values[name] < by_profile.interval[1]


def test_a_parameter_that_the_data_do_not_bound_stays_open():
    # the irreducible loss of a table that is far above it may be anything below
    seen = noisy(loss=Chinchilla(E=0.005, A=20.0, B=900.0, alpha=0.35, beta=0.5), seeds=4, log_loss=0.02)
    whole = profile(drawn(Chinchilla, seen), seen, "E")
    assert whole.interval[0] == 0.0
    assert not whole.closed
    assert str(whole).endswith("the data do not bound it on both sides")
    assert str(whole).startswith("E = ")


def test_the_best_value_is_the_bottom():
    seen = penalty_observations(planted(**NOISE))
    found = drawn(StepPenalty, seen, 200)
    whole = profile(found, seen, "gD")
    assert whole.values[np.argmin(whole.rise)] == pytest.approx(found.law.gD, rel=1e-6)
    assert whole.interval[0] < PENALTY.gD < whole.interval[1]
    assert (np.diff(whole.rise[24:]) > 0).all()


def test_what_has_no_profile():
    seen = loss_observations(planted(**NOISE))
    with pytest.raises(
        SimlawError, match=r"the profile of a loss fit takes its unit from the draws: fit with bootstrap"
    ):
        profile(fit(Chinchilla, seen), seen, "alpha")
    with pytest.raises(SimlawError, match="alpha was not estimated, so it has no profile: take one of E, A, B, beta"):
        profile(fit(Chinchilla, seen, fixed={"alpha": 0.35}), seen, "alpha")


def test_a_profile_stays_inside_the_bounds_of_its_fit():
    seen = noisy(seeds=4)
    weights = trunk_weights(seen.trunk, seen.x["N"], draws=100)
    free = profile(fit(Chinchilla, seen, weights), seen, "alpha")
    low = float(free.interval[0] + free.best) / 2
    inside = profile(fit(Chinchilla, seen, weights, bounds={"alpha": (low, 2.0)}), seen, "alpha")
    assert inside.values.min() >= low * (1 - 1e-9)
    assert inside.interval[0] == 0.0  # the bound, and not the data, ends it there
    # the others keep theirs while one is held
    bounded = fit(Chinchilla, seen, weights, bounds={"beta": (0.45, 0.55)})
    assert profile(bounded, seen, "alpha").interval == pytest.approx(free.interval, rel=0.2)


def test_rows_of_another_fit_have_no_profile():
    seen = noisy(seeds=4)
    found = drawn(Chinchilla, seen, 50)
    with pytest.raises(
        SimlawError, match="these are not the rows that the fit was made from: give those, or fit these"
    ):
        profile(found, noisy(seeds=4, seed=7), "alpha")
