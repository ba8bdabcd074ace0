"""Residuals: a planted trend is found on its axis, none in noise, and errors know that the law was fitted."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

import simlaw as sl
from simlaw.errors import SimlawError
from simlaw.fitting.fit import fit
from simlaw.fitting.residuals import Level, _left, residuals
from simlaw.law import AbstractLossLaw, positive
from simlaw.laws import Chinchilla, ExponentialPenalty, PrecisionExponential, StepPenalty
from simlaw.laws.factors import Coefficient, falls
from simlaw.observations import Observations, loss_observations, penalty_observations
from tests.planted import planted

#: A law of losses and penalties at once.
JOINT = PrecisionExponential(
    **{
        "E": 1.8,
        "A": 400.0,
        "B": 2000.0,
        "alpha": 0.35,
        "beta": 0.37,
        "g_w": 2.0,
        "n_w": 0.0,
        "g_a": 2.0,
        "n_a": 0.0,
    },
    **{"g_kv": 1.0, "n_kv": 0.0, "C_T": 0.06, "gD": 0.5, "gN": 0.34, "g_post": 0.6, "b": 0.0},
)


def noisy(seed=0, **changes):
    """Losses with a noise of trunks and half as much of rows."""
    seen = loss_observations(planted(log_loss=0.01, seed=seed, bits=(), **changes))
    noise = np.random.default_rng(1000 + seed).normal(0, 0.005, len(seen.y))
    return replace(seen, y=seen.y * np.exp(noise))


@dataclass(frozen=True, kw_only=True)
class SizeAlone(AbstractLossLaw):
    """A form that is told D and does not look at it."""

    E: float = positive(0.3, 3.0)
    A: float = positive(1.0, 1e4)
    alpha: float = positive(0.1, 1.0)
    needs = ("N", "D")
    terms = ((Coefficient("E"),), (Coefficient("A"), falls("N", "alpha")))


def test_a_form_blind_to_an_axis_leaves_its_trend():
    seen = noisy()
    found = sl.residuals(fit(SizeAlone, seen, starts=4), seen)
    axis = {one.name: one for one in found.axes}["D"]
    assert axis.sentence.startswith("residuals fall with D, by ")
    assert axis.sentence.endswith(" per doubling: the form misses part of what D does")
    # D is no part of the law, so the slope is that of the losses themselves
    expected = np.polyfit(np.log2(seen.x["D"]), np.log(seen.y), 1)[0] / np.sqrt(np.mean((seen.sigma / seen.y) ** 2))
    assert axis.slope == pytest.approx(expected, rel=0.02)
    assert axis.rank < -0.8
    assert "D" in str(found).split("\n")[2]
    assert axis.sentence in str(found)


def test_in_noise_nothing_stands_out_and_errors_are_right():
    leads, slopes, alarms = [], [], 0
    for seed in range(60):
        seen = noisy(seed)
        found = residuals(fit(Chinchilla, seen, starts=2), seen)
        slopes += [axis.slope / axis.error for axis in found.axes]
        leads += [level.mean / level.error for axis in found.axes for level in axis.levels]
        alarms += any(axis.sentence for axis in found.axes)
    assert np.std(slopes) == pytest.approx(1, abs=0.15)
    assert np.std(leads) == pytest.approx(1, abs=0.15)
    assert np.mean(np.abs(leads) > 2) == pytest.approx(0.05, abs=0.03)
    assert alarms <= 2


def test_quiet_residuals_say_so():
    seen = noisy()
    found = residuals(fit(Chinchilla, seen, starts=4), seen)
    assert [axis.name for axis in found.axes] == ["N", "D", "C"]
    assert found.sentences == ("nothing stands out beyond 3.5 standard errors",)
    assert str(found).startswith("  residuals of Chinchilla ")
    assert np.std(found.standard) == pytest.approx(1, abs=0.3)


def test_the_wrong_bits_stand_out_and_the_right_ones_do_not():
    seen = penalty_observations(planted(log_loss=0.01, relative=0.1, token=1e-4, seeds=6))
    wrong = residuals(fit(ExponentialPenalty, seen, starts=4), seen)
    assert any("P_post" in sentence for sentence in wrong.sentences)
    assert residuals(fit(StepPenalty, seen, starts=4), seen).sentences[0].startswith("nothing")


def test_an_interaction_shows_along_compute():
    seen = noisy(seeds=6)
    bend = 0.02 * np.log(seen.x["N"] / 26624) * np.log(seen.x["D"] / 1.8e6)
    seen = replace(seen, y=seen.y * np.exp(bend))
    axis = {one.name: one for one in residuals(fit(Chinchilla, seen, starts=4), seen).axes}["C"]
    assert axis.sentence.endswith("the form misses part of what N and D do together")


def test_variables_that_the_law_does_not_know_are_axes():
    seen = noisy()
    bits = np.where(np.arange(len(seen.y)) % 3 == 0, 4.0, np.where(np.arange(len(seen.y)) % 3 == 1, 8.0, np.inf))
    lifted = replace(seen, y=seen.y * np.exp(0.1 * (bits == 4)))
    found = residuals(fit(Chinchilla, lifted, starts=4), replace(lifted, x={**lifted.x, "P_w": bits}))
    axis = found.axes[-1]
    assert [level.value for level in axis.levels] == pytest.approx([4, 8, np.inf])
    assert np.isnan(axis.slope)
    assert axis.sentence.startswith("residuals at P_w = 4 lie ")


def test_many_values_are_taken_together_and_rows_without_noise_stand_alone():
    rng = np.random.default_rng(1)
    n, d = 10 ** rng.uniform(6, 9, 100), 10 ** rng.uniform(8, 11, 100)
    law = Chinchilla(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)
    loss = law.loss(N=n, D=d) * np.exp(0.01 * rng.normal(size=100))
    seen = sl.load_table({"n": n, "d": d, "l": loss}, N="n", D="d", loss="l")
    found = residuals(fit(Chinchilla, seen, starts=4), seen)
    assert not found.noise_known
    assert "residuals are in units of their root mean square, since no cell is repeated" in str(found)
    for axis in found.axes:
        assert len(axis.levels) == 8
        assert sum(level.rows for level in axis.levels) == 100
        assert [level.value for level in axis.levels] == sorted(level.value for level in axis.levels)


def test_errors_are_unknown_where_levels_take_all_rows():
    seen = noisy(sizes=(6656, 26624), tokens=(327_680, 655_360, 1_310_720), seeds=2)
    few = seen.keep(np.array([trunk.endswith("0") for trunk in seen.trunk]))
    found = residuals(fit(Chinchilla, few, fixed={"E": 1.2}, starts=4), few)
    assert "error unknown" in str(found)
    assert found.sentences[0].startswith("nothing")
    assert Level(value=1.0, mean=1.0, error=float("nan"), rows=1).lead == 0


def test_too_few_rows_and_missing_variables_are_refused():
    seen = noisy()
    found = fit(Chinchilla, seen, starts=4)
    with pytest.raises(SimlawError, match="5 rows leave nothing over of 5 parameters: give the rows of the fit"):
        residuals(found, seen.keep(np.arange(len(seen.y)) < 5))
    with pytest.raises(SimlawError, match="Chinchilla needs D"):
        residuals(found, replace(seen, x={"N": seen.x["N"]}))


def test_residuals_of_a_joint_fit_are_those_of_both_parts():
    grid = [(n, d, p) for n in (1e7, 4e7, 1.6e8, 6.4e8) for d in (2e8, 1e9, 5e9, 2.5e10) for p in (np.inf, 3, 4, 5)]
    n, d, p = np.array([row for row in grid for _ in range(3)]).T
    rng = np.random.default_rng(0)
    noise = rng.normal(size=len(n))
    loss = JOINT.loss(N=n, D=d) * np.exp(0.003 * noise)
    added = JOINT.loss(N=n, D=d, P_post=p) - JOINT.loss(N=n, D=d)

    def residuals_of(factor):
        delta = np.where(np.isinf(p), np.nan, added * factor * (1 + 0.05 * noise))
        table = {"n": n, "d": d, "p": p, "l": loss, "a": delta, "s": np.where(np.isinf(p), 0.003 * loss, 0.05 * added)}
        seen = sl.load_table(table, N="n", D="d", P_post="p", loss="l", delta="a", sigma="s")
        found = sl.fit(PrecisionExponential, seen, bootstrap=0, fixed={"b": 0.0})
        return residuals(found, seen)

    sound = residuals_of(1.0)
    assert sound.sentences == ("nothing stands out beyond 3.5 standard errors",)
    assert np.std(sound.standard) == pytest.approx(1.0, abs=0.15)
    # a penalty that rises and falls again with data is no power of it
    bent = residuals_of(np.where((d > 5e8) & (d < 1e10), 1.4, 1.0))
    assert any(" D" in sentence for sentence in bent.sentences)


def test_what_a_paired_row_leaves_is_no_matter_of_the_loss_alone():
    # delta_PTQ of this law does not depend on alpha: a shift of penalties along its slope in the losses stays visible
    n, d, p = (axis.ravel() for axis in np.meshgrid([1e7, 1e8, 1e9], [1e9, 1e10], [3.0, 4.0, np.inf]))
    paired = np.isfinite(p)
    y = np.where(paired, JOINT.loss(N=n, D=d, P_post=p) - JOINT.loss(N=n, D=d), JOINT.loss(N=n, D=d))
    seen = Observations(
        x={"N": n, "D": d, "P_post": p}, y=y, sigma=0.01 * y, trunk=tuple(map(str, n)), left_out={}, paired=paired
    )
    raw, slopes = _left(JOINT, seen, paired)
    assert np.allclose(raw, 0, atol=1e-12)
    names = list(JOINT.parameters())
    assert np.abs(slopes[paired][:, names.index("alpha")]).max() < 1e-12
    assert np.allclose(slopes[paired][:, names.index("C_T")], y[paired])
    assert np.allclose(slopes[~paired][:, names.index("C_T")], 0)
