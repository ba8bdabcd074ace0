"""Objectives: what is summed, and losses and penalties fitted together."""

from dataclasses import replace

import numpy as np
import pytest

import simlaw as sl
from simlaw.errors import SimlawError
from simlaw.fitting.fit import fit
from simlaw.fitting.objective import HUBER_DELTA, predicted, residuals, terms, threshold
from simlaw.laws import Chinchilla, PrecisionExponential, StepPenalty
from simlaw.observations import Observations, joint_observations, loss_observations, penalty_observations
from tests.planted import LOSS, planted

NOISE = {"log_loss": 0.01, "relative": 0.15, "token": 2e-4}
JOINT = PrecisionExponential(
    **{name: float(value) for name, value in LOSS.values.items()},
    **{"g_w": 2.0, "n_w": 0.1, "g_a": 2.0, "n_a": 0.1, "g_kv": 1.0, "n_kv": 0.1},
    **{"C_T": 0.03, "gD": 0.5, "gN": 0.35, "g_post": 0.6, "b": 0.5},
)


def rows(seed=0, noise=0.0, sigma=0.01):
    """Losses at three precisions, and paired penalties, of the joint law."""
    rng = np.random.default_rng(seed)
    n, d, p = (g.ravel() for g in np.meshgrid([6e3, 2e4, 8e4, 3e5], [3e5, 1e6, 4e6, 2e7], [2.0, 3.0, 4.0, np.inf]))
    x = {"N": n, "D": d, "P_w": p, "P_post": np.full_like(n, np.inf)}
    y = JOINT.loss(**x)
    n2, d2, p2 = (g.ravel() for g in np.meshgrid([6e3, 2e4, 8e4, 3e5], [3e5, 1e6, 4e6, 2e7], [3.0, 4.0, 5.0]))
    plain = {"N": n2, "D": d2, "P_w": np.full_like(n2, np.inf)}
    added = JOINT.loss(**plain, P_post=p2) - JOINT.loss(**plain)
    both = {name: np.concatenate([x[name], {**plain, "P_post": p2}[name]]) for name in x}
    return Observations(
        x=both,
        y=np.concatenate(
            [y * np.exp(noise * rng.normal(size=len(y))), added * (1 + 5 * noise * rng.normal(size=len(added)))]
        ),
        sigma=np.concatenate([sigma * y, 0.1 * added]),
        trunk=tuple(map(str, range(len(y) + len(added)))),
        left_out={},
        paired=np.repeat([False, True], [len(y), len(added)]),
    )


def summed(law, seen, kind):
    """The terms of one law, which `terms` takes as a stack of one."""
    stack = type(law)(**{name: np.array([value]) for name, value in law.values.items()})
    r, j = terms(stack, seen, kind, threshold(seen))
    return r[0], j[0]


def test_a_planted_law_of_losses_and_penalties_comes_back():
    found = fit(PrecisionExponential, rows(), fixed={"b": 0.5}, starts=60)
    assert found.health in ("VALID", "STARTS_DISAGREE")
    assert set(found.unknown) == {"g_a", "n_a", "g_kv", "n_kv"}
    for name in ("E", "A", "B", "alpha", "beta", "g_w", "n_w", "C_T", "gD", "gN", "g_post"):
        assert getattr(found.law, name) == pytest.approx(getattr(JOINT, name), rel=1e-4), name


def test_a_paired_row_is_the_difference_of_two_losses():
    seen = rows()
    said = predicted(JOINT, seen)
    assert np.allclose(said, seen.y, rtol=1e-12)
    assert np.allclose(residuals(JOINT, seen, "log"), 0, atol=1e-12)


@pytest.mark.parametrize("kind", ["huber", "log", "nats"])
def test_slopes_of_the_terms_are_those_of_differences(kind):
    seen = rows(noise=0.02)
    names = list(JOINT.parameters())
    r, j = summed(JOINT, seen, kind)
    for i, name in enumerate(names):
        step = 1e-6
        scale = JOINT.parameters()[name].scale
        up, down = (
            type(JOINT)(**{**JOINT.values, name: value})
            for value in (
                (JOINT.values[name] * np.exp(sign * step) if scale == "log" else JOINT.values[name] + sign * step)
                for sign in (1, -1)
            )
        )
        numeric = (summed(up, seen, kind)[0] - summed(down, seen, kind)[0]) / (2 * step)
        assert np.allclose(j[:, i], numeric, rtol=1e-4, atol=1e-6 * (1 + np.abs(j[:, i]).max())), name
    assert r.shape == seen.y.shape


def test_a_paired_row_counts_as_many_deviations_as_a_loss():
    # the same miss in standard deviations weighs the same in both parts, whatever the unit
    seen = rows()
    off = Observations(
        x=seen.x, y=seen.y + 2 * seen.sigma, sigma=seen.sigma, trunk=seen.trunk, left_out={}, paired=seen.paired
    )
    for kind in ("log", "nats"):
        r = np.abs(residuals(JOINT, off, kind))
        typical = np.median(r[~seen.pairs])
        assert np.allclose(r[seen.pairs], np.median(r[seen.pairs]))
        assert np.median(r[seen.pairs]) == pytest.approx(typical, rel=0.05)


def test_huber_terms_sum_to_the_huber_function_of_all_residuals():
    seen = rows(noise=0.02)
    r = np.abs(residuals(JOINT, seen, "log"))
    limit = threshold(seen)
    expected = np.where(r > limit, limit * (r - limit / 2), r * r / 2).sum()
    assert (summed(JOINT, seen, "huber")[0] ** 2).sum() / 2 == pytest.approx(expected, rel=1e-12)


def test_the_threshold_is_the_fields_unless_replicates_show_more_noise():
    seen = rows(sigma=0.01)
    assert threshold(seen) == pytest.approx(1.345 * 0.01)
    assert threshold(replace(seen, sigma=1e-2 * seen.sigma)) == HUBER_DELTA == 1e-3
    assert threshold(replace(seen, sigma=np.full_like(seen.y, np.nan))) == HUBER_DELTA


def test_a_table_of_simlaws_own_gives_each_form_what_it_takes():
    table = planted(**NOISE)
    assert sl.fit(Chinchilla, table, bootstrap=0).rows == len(loss_observations(table).y)
    assert sl.fit(StepPenalty, table, bootstrap=0).rows == len(penalty_observations(table).y)
    joint = joint_observations(table)
    found = sl.fit(PrecisionExponential, table, bootstrap=0, fixed={"b": 0.0})
    assert found.rows == len(joint.y)
    assert found.law.gD == pytest.approx(0.5, abs=0.1)


def test_what_cannot_be_fitted_together():
    joint = joint_observations(planted(**NOISE))
    for form in (Chinchilla, StepPenalty):
        with pytest.raises(
            SimlawError, match="cannot be fitted to losses and penalties at once: take a law of the loss"
        ):
            fit(form, joint)
    with pytest.raises(
        SimlawError, match="objective='weighted' does not fit Chinchilla: take 'huber' or 'log' or 'nats'"
    ):
        fit(Chinchilla, loss_observations(planted(**NOISE)), objective="weighted")
    with pytest.raises(SimlawError, match="objective='huber' does not fit StepPenalty: take 'weighted'"):
        fit(StepPenalty, penalty_observations(planted(**NOISE)), objective="huber")


def test_values_and_bounds_that_no_parameter_can_have():
    seen = loss_observations(planted(**NOISE))
    with pytest.raises(SimlawError, match="fixed alpha=-1: Chinchilla takes numbers above 0"):
        fit(Chinchilla, seen, fixed={"alpha": -1.0})
    with pytest.raises(
        SimlawError, match=r"bounds alpha=1 to 0\.5: give the lower end first; Chinchilla takes numbers above 0"
    ):
        fit(Chinchilla, seen, bounds={"alpha": (1.0, 0.5)})
