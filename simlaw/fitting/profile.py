"""The profile of one parameter: how far the objective rises when it is held and all others follow.

The rise says what a spread of draws cannot: whether an interval closes at all, and on which side. Its unit comes from
the draws, whose spread (stretched by Student's factor) says which rise is one standard error: a Huber sum is no
likelihood, and the rows of a trunk move together. Of a penalty without draws the objective is half a chi-squared.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit
from simlaw.fitting.lm import minimise
from simlaw.fitting.problem import pose
from simlaw.fitting.uncertainty import COVERAGE
from simlaw.observations import Observations

#: The square of the two-sided normal quantile of `COVERAGE`.
_SQUARED = 1.6448536269514722**2
#: Steps to each side, and how many standard errors they span together.
_STEPS, _SPAN = 24, 6.0


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Values of a parameter, the rise of the objective at each in squared standard errors, and the 90 % interval.

    An end is infinite (or 0, of a positive parameter) where the rise never gets high enough inside the bounds.
    """

    name: str
    best: float
    values: Float[np.ndarray, " q"]
    rise: Float[np.ndarray, " q"]
    interval: tuple[float, float]

    @property
    def closed(self) -> bool:
        """Whether the data bound the parameter on both sides."""
        low, high = self.interval
        return bool(low >= self.values[0] and high <= self.values[-1])

    def __str__(self) -> str:
        low, high = self.interval
        text = f"{self.name} = {self.best:.4g}, {COVERAGE:.0%} interval {low:.4g} to {high:.4g} by its profile"
        return text if self.closed else f"{text}; the data do not bound it on both sides"


def profile(fit: Fit, seen: Observations, name: str) -> Profile:
    """The profile of a parameter of a fit on the rows that it was fitted to.

    Raises `SimlawError` for a parameter that was not estimated, and for a loss fit without bootstrap draws.
    """
    form = type(fit.law)
    if name in (*fit.fixed, *fit.unknown) or name not in form.parameters():
        estimated = ", ".join(one for one in form.parameters() if one not in (*fit.fixed, *fit.unknown))
        raise SimlawError(f"{name} was not estimated, so it has no profile: take one of {estimated}")
    if fit.table and fit.table != seen.sha256:
        raise SimlawError("these are not the rows that the fit was made from: give those, or fit these")
    if fit.kind != "weighted" and fit.draws is None:
        raise SimlawError("the profile of a loss fit takes its unit from the draws: fit with bootstrap=1000")
    values = {one: float(value) for one, value in fit.law.values.items()}
    problem = pose(
        form,
        seen,
        fixed={one: values[one] for one in fit.fixed},
        bounds={one: (low, high) for one, (low, high) in fit.settings.get("bounds", {}).items()},
        objective=fit.kind,
        limit=fit.threshold,
        starts=1,
        seed=0,
    )
    at = problem.free.index(name)
    rest = [i for i in range(len(problem.free)) if i != at]
    scaled = np.array([np.log(values[one]) if problem.scale(one) == "log" else values[one] for one in problem.free])
    residuals = problem.residuals()
    spread = _spread(fit, residuals(scaled[None], np.arange(1))[1][0], problem.scale(name), name, at)
    steps = np.linspace(-_SPAN, _SPAN, 2 * _STEPS + 1) * spread
    held = np.clip(scaled[at] + steps, problem.low[at], problem.high[at])

    def others(theta: Float[np.ndarray, "k q"], which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r, j = residuals(np.insert(theta, at, held[which], axis=1), which)
        return r, j[:, :, rest]

    if rest:
        cost = minimise(others, np.tile(scaled[rest], (len(held), 1)), problem.low[rest], problem.high[rest]).cost
    else:
        cost = 0.5 * np.sum(residuals(held[:, None], np.arange(len(held)))[0] ** 2, axis=1)
    above = np.maximum(cost - fit.objective, 0.0)
    if fit.draws is None:
        rise = 2 * above
    else:
        near = np.abs(steps) <= 1.5 * spread
        curvature = np.sum(above[near] * steps[near] ** 2) / np.sum(steps[near] ** 4)
        rise = above / (curvature * spread**2) if curvature > 0 else np.zeros_like(above)
    ends = (_crossing(held[_STEPS::-1], rise[_STEPS::-1], -np.inf), _crossing(held[_STEPS:], rise[_STEPS:], np.inf))
    natural = np.exp if problem.scale(name) == "log" else np.asarray
    return Profile(
        name=name,
        best=values[name],
        values=natural(held),
        rise=rise,
        interval=(float(natural(ends[0])), float(natural(ends[1]))),
    )


def _spread(fit: Fit, jacobian: Float[np.ndarray, "n p"], scale: str, name: str, at: int) -> float:
    """The standard error of a parameter in its own scale: of the draws, or by the slopes of a penalty."""
    if fit.draws is not None:
        drawn = np.asarray(fit.draws.values[name])
        return float(np.std(np.log(drawn) if scale == "log" else drawn))
    return float(np.sqrt(np.linalg.pinv(jacobian.T @ jacobian)[at, at]))


def _crossing(values: Float[np.ndarray, " q"], rise: Float[np.ndarray, " q"], open_end: float) -> float:
    """Where the rise first passes the square of the quantile, going outwards; `open_end` where it does not."""
    over = np.flatnonzero(rise >= _SQUARED)
    if not over.size:
        return open_end
    i = int(over[0])
    return float(np.interp(_SQUARED, rise[i - 1 : i + 1], values[i - 1 : i + 1]))
