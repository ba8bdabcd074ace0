"""The problem of a fit: a form with some of its parameters free, the rows, and where to start."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from simlaw.errors import SimlawError
from simlaw.fitting.lm import Residuals
from simlaw.fitting.objective import Objective, objective_of, shown, terms, threshold
from simlaw.law import AbstractLaw, AbstractPenalty, Parameter
from simlaw.observations import Observations


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A form and rows, the objective and its threshold, the free parameters' starts and bounds in their own scales.

    `held` are the values of the others: fixed ones, and NaN for `unknown` ones, which no row depends on.
    """

    form: type[AbstractLaw]
    seen: Observations
    kind: Objective
    threshold: float
    free: tuple[str, ...]
    held: Mapping[str, float]
    unknown: tuple[str, ...]
    starts: Float[np.ndarray, "k p"]
    low: Float[np.ndarray, " p"]
    high: Float[np.ndarray, " p"]

    def scale(self, name: str) -> str:
        """Whether a parameter is fitted by its logarithm, "log", or as it is, "linear"."""
        return self.form.parameters()[name].scale

    def law(self, theta: Float[np.ndarray, "p *k"]) -> AbstractLaw:
        """The law at scaled parameters; the parameter axis is the first."""
        values = {
            name: np.exp(value) if self.scale(name) == "log" else value
            for name, value in zip(self.free, theta, strict=True)
        }
        return self.form(**values, **self.held)

    def columns(self) -> list[int]:
        """The places of the free parameters among all."""
        names = list(self.form.parameters())
        return [names.index(name) for name in self.free]

    def residuals(self, weights: Float[np.ndarray, "k n"] | None = None) -> Residuals:
        """The residual function of the objective; with `weights`, of one problem for each of their rows."""
        columns = self.columns()
        root = None if weights is None else np.sqrt(weights)

        def found(theta: Float[np.ndarray, "k p"], which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            r, j = terms(self.law(theta.T), self.seen, self.kind, self.threshold)
            if len(columns) < j.shape[2]:
                j = j[:, :, columns]
            if root is not None:
                r *= root[which]
                j *= root[which][:, :, None]
            return r, j

        return found


def draw_starts(
    form: type[AbstractLaw], limits: Mapping[str, tuple[float, float]], count: int, seed: int
) -> dict[str, Float[np.ndarray, " k"]]:
    """`count` starts of every parameter in its own scale, uniform in the range of its starts inside the limits."""
    rng = np.random.default_rng(seed)
    drawn = {}
    for name, one in form.parameters().items():
        low, high = (_scaled(one, end) for end in limits[name])
        first, last = (float(np.clip(_scaled(one, end), low, high)) for end in one.starts)
        drawn[name] = rng.uniform(first, last, count)
    return drawn


def pose(
    form: type[AbstractLaw],
    seen: Observations,
    *,
    fixed: Mapping[str, float],
    bounds: Mapping[str, tuple[float, float]],
    objective: Objective | None,
    limit: float | None = None,
    starts: int,
    seed: int,
) -> Problem:
    """The problem of a fit.

    Raises `SimlawError` for names that the form lacks, values and bounds that it cannot have, an objective that is not
    its own, and where there are fewer kinds of rows than parameters.
    """
    parameters = form.parameters()
    seen = shown(form, seen)
    if limit is not None and not (limit > 0 and np.isfinite(limit)):
        raise SimlawError(f"threshold={limit:g}: the threshold of the Huber function is a number above 0")
    _require_numbers(seen, weighted=issubclass(form, AbstractPenalty))
    for name in (*fixed, *bounds):
        if name not in parameters:
            raise SimlawError(f"{form.__name__} has no parameter {name}: it has {', '.join(parameters)}")
    for name, value in fixed.items():
        if not _sensible(parameters[name], value):
            raise SimlawError(f"fixed {name}={value:g}: {form.__name__} takes {_range(parameters[name])}")
        if name in bounds and not bounds[name][0] <= value <= bounds[name][1]:
            low, high = bounds[name]
            raise SimlawError(
                f"fixed {name}={value:g} is outside its bounds {low:g} to {high:g}: leave one of them out"
            )
    for name, (first, last) in bounds.items():
        if not (first < last and _sensible(parameters[name], first) and _sensible(parameters[name], last)):
            raise SimlawError(
                f"bounds {name}={first:g} to {last:g}: give the lower end first; {form.__name__} takes "
                f"{_range(parameters[name])}"
            )
    limits = {name: bounds.get(name, one.bounds) for name, one in parameters.items()}
    drawn = draw_starts(form, limits, starts, seed)
    for name, value in fixed.items():
        drawn[name] = np.full(starts, _scaled(parameters[name], value))
    everything = Problem(
        form=form,
        seen=seen,
        kind=objective_of(form, objective),
        threshold=threshold(seen) if limit is None else limit,
        free=tuple(parameters),
        held={},
        unknown=(),
        starts=np.stack(list(drawn.values()), axis=1),
        low=np.array([_scaled(one, limits[name][0]) for name, one in parameters.items()]),
        high=np.array([_scaled(one, limits[name][1]) for name, one in parameters.items()]),
    )
    # a parameter that moves no row at any start is none of theirs
    log, slopes = everything.law(everything.starts.T).log_slopes(seen.x)
    if (silent := np.isnan(log).all(axis=0)).any():
        at = ", ".join(f"{name}={values[silent][0]:g}" for name, values in seen.x.items() if name.startswith("P_"))
        raise SimlawError(
            f"{form.__name__} says nothing of a row{f' at {at}' if at else ''}: leave such rows out, or take another "
            "form (an unquantized tensor is an empty cell, not 16 bits)"
        )
    moves = (slopes != 0).any(axis=(0, 1))
    unknown = tuple(name for name, move in zip(parameters, moves, strict=True) if not move and name not in fixed)
    free = [i for i, name in enumerate(parameters) if name not in fixed and name not in unknown]
    posed = Problem(
        form=form,
        seen=seen,
        kind=everything.kind,
        threshold=everything.threshold,
        free=tuple(list(parameters)[i] for i in free),
        held={**{name: float(value) for name, value in fixed.items()}, **dict.fromkeys(unknown, np.nan)},
        unknown=unknown,
        starts=everything.starts[:, free],
        low=everything.low[free],
        high=everything.high[free],
    )
    if not posed.free:
        raise SimlawError(f"no parameter of {form.__name__} is left to fit: leave one of {', '.join(parameters)} free")
    kinds = np.unique(np.stack(list(seen.x.values())), axis=1).shape[1]
    if kinds < len(posed.free) or len(seen.y) <= len(posed.free):
        raise SimlawError(
            f"{form.__name__} has {len(posed.free)} parameters and the table gives {len(seen.y)} rows of "
            f"{kinds} kinds: add cells, or fix parameters"
        )
    return posed


def _require_numbers(seen: Observations, *, weighted: bool) -> None:
    """Nothing; raises `SimlawError` for rows that no fit can weigh."""
    if not np.isfinite(seen.y).all():
        raise SimlawError(f"a row has the {seen.response} {seen.y[~np.isfinite(seen.y)][0]:g}: leave such rows out")
    if weighted and not (np.isfinite(seen.sigma) & (seen.sigma > 0)).all():
        raise SimlawError(
            "penalties are weighed by their standard deviations, and those of these rows are not known: name their "
            "column, sigma=…, or give cells that are repeated"
        )


def _scaled(parameter: Parameter, value: float) -> float:
    return float(np.log(value)) if parameter.scale == "log" else value


def _sensible(parameter: Parameter, value: float) -> bool:
    return bool(np.isfinite(value) and (value > 0 or parameter.scale == "linear"))


def _range(parameter: Parameter) -> str:
    return "numbers above 0" if parameter.scale == "log" else "finite numbers"
