"""Fitting: a form and observations to a law with its health, errors and draws. A fit is a new value; nothing mutates.

Losses are fitted by the summed Huber function (1e-3) of the log residual, penalties by weighted least squares on delta
itself. Many starts; a fit says how many of them agree, and is VALID only where nothing speaks against it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from simlaw.errors import SimlawError
from simlaw.law import AbstractLaw, AbstractPenalty, Parameter
from simlaw.lm import NOTHING, Minima, Residuals, huber, minimise
from simlaw.observations import Observations
from simlaw.report import AbstractReported, FitReport
from simlaw.uncertainty import TrunkWeights

#: Threshold of the Huber function on log losses (Hoffmann et al. 2203.15556).
HUBER_DELTA = 1e-3
#: Starts of a fit; with identity damping nearly all of them arrive, so a few are enough to see that they agree.
STARTS = 24
#: Two starts agree where their objectives are this close, relatively.
AGREE = 1e-6
#: Draws that may fail, or end at a bound, before the fit counts as not identified.
LOST_DRAWS = 0.05
#: Steps that a draw may take from the optimum to its own; half of them take 15, and those that wander are lost.
_DRAW_STEPS = 150
#: Of the trace of the normal matrix, the part by which a bootstrap is damped in every direction.
_FLOOR = 1e-3
#: A correlation of two parameters from which a report names it.
STRONG = 0.9

#: Scales of precision: at their lower bound the precision has no effect, whatever the bits.
COLLAPSING = ("g_w", "g_a", "g_kv", "g_post")

Health = Literal["VALID", "NOT_CONVERGED", "STARTS_DISAGREE", "AT_BOUND", "COLLAPSED", "NOT_IDENTIFIED"]


@dataclass(frozen=True, kw_only=True, repr=False)
class Fit(AbstractReported):
    """A law estimated from observations: health first, then numbers.

    `draws` is the law with a leading axis of bootstrap draws (None without a bootstrap), `error` their standard
    deviation by parameter. `chi2` is the weighted sum of squares of a penalty fit, None for a loss fit. `residual` is
    the root mean square of what the law leaves over, in nats, and `misfit` the form's own error, relative: what noise
    does not explain at the means of cells, and no bootstrap of the rows can see. `correlated` are the pairs of
    parameters whose draws have a correlation beyond 0.9. `fixed` parameters were given; `unknown` ones are
    NaN, since no row depends on them. `contest` is the comparison of several forms that this one comes from.
    """

    health: Health
    sentence: str
    law: AbstractLaw
    draws: AbstractLaw | None
    objective: float
    agreeing: float
    gradient: float
    condition: float
    error: Mapping[str, float]
    fixed: tuple[str, ...]
    unknown: tuple[str, ...]
    chi2: float | None
    rows: int
    trunks: int
    residual: float
    misfit: float
    correlated: tuple[tuple[str, str, float], ...]
    ranges: Mapping[str, tuple[float, float]]
    left_out: Mapping[str, int]
    contest: Any = None

    @property
    def estimated(self) -> int:
        """How many parameters were estimated: neither fixed nor unknown."""
        return len(self.law.values) - len(self.fixed) - len(self.unknown)

    def save(self, path: str | Path, *, counts: str = "as the table counts") -> None:
        """Write the fit as a law file; `counts` says what its N counts."""
        from simlaw.lawfile import save_fit  # the file format knows fits, and fits need it for this line alone

        save_fit(self, path, counts=counts)

    @property
    def report(self) -> FitReport:
        """Its health, its numbers, what it rests on, and the contest that it comes from."""
        own = f"{self.misfit:.1%}" if np.isfinite(self.misfit) else "unknown: as many parameters as cells"
        # errors of numbers that are not identified would only look like knowledge
        error = self.error if self.health == "VALID" else {}
        facts = [
            ("rows", f"{self.rows} from {self.trunks} trunks"),
            ("left out", ", ".join(f"{n} {why}" for why, n in self.left_out.items() if n) or "none"),
            *((name, f"{low:.4g} to {high:.4g}") for name, (low, high) in self.ranges.items()),
            ("residual", f"{self.residual:.4f} nats; the form's own error is {own}"),
            ("gradient", f"{self.gradient:.1e}; condition number {self.condition:.1e}"),
        ]
        if self.unknown:
            facts.append(("unknown", f"{', '.join(self.unknown)}: no row depends on them"))
        if self.fixed:
            facts.append(("fixed", ", ".join(self.fixed)))
        if self.correlated:
            facts.append(("correlated", ", ".join(f"{a} and {b} {r:+.2f}" for a, b, r in self.correlated)))
        if self.chi2 is not None:
            facts.append(("chi2", f"{self.chi2:.0f} for {self.rows - self.estimated} degrees of freedom"))
        return FitReport(
            form=type(self.law).__name__,
            health=self.health,
            sentence=self.sentence,
            numbers=[
                (name, float(value), error.get(name))
                for name, value in self.law.values.items()
                if name not in self.unknown
            ],
            facts=facts,
            more=None if self.contest is None else self.contest.report,
        )


def fit(
    form: type[AbstractLaw],
    seen: Observations,
    weights: TrunkWeights | None = None,
    *,
    fixed: Mapping[str, float] = MappingProxyType({}),
    bounds: Mapping[str, tuple[float, float]] = MappingProxyType({}),
    starts: int = STARTS,
    seed: int = 0,
) -> Fit:
    """The form's parameters at the best of many starts, with bootstrap draws where `weights` are given.

    `fixed` holds parameters at values, `bounds` narrows their ranges. Parameters that no row depends on (of a precision
    that the rows do not have) stay unknown, NaN. Raises `SimlawError` for names that the form lacks, and where there
    are fewer kinds of rows than parameters.
    """
    problem = _problem(form, seen, fixed, bounds, starts, seed)
    _enough(problem, seen)
    found = minimise(_residuals(problem, seen, None), problem.starts, problem.low, problem.high)
    rounding = NOTHING**2 * len(seen.y) / 2
    lowest = np.nanmin(found.cost)
    agree = found.cost <= lowest * (1 + AGREE) + rounding
    best = int(np.argmin(np.where(agree, found.gradient, np.inf)))
    theta = found.theta[best]
    law = problem.law(theta)
    drawn: Minima | None = None
    _, jacobian = _residuals(problem, seen, None)(theta[None], np.arange(1))
    if weights is not None:
        rows = weights.rows(seen.trunk)
        start = np.tile(theta, (len(rows), 1))
        valley = jacobian[0].T @ jacobian[0]
        # not along the valley's floor, where rounding would decide
        valley += _FLOOR * np.trace(valley) * np.eye(len(valley))
        drawn = minimise(
            _residuals(problem, seen, rows), start, problem.low, problem.high, metric=valley, iterations=_DRAW_STEPS
        )
    condition = _condition(jacobian[0])
    agreeing = float(agree.mean())
    draws = None if drawn is None else problem.law(drawn.theta.T)
    error = {} if draws is None else {name: float(np.std(draws.values[name])) for name in problem.free}
    health, sentence = _health(problem, found, best, agreeing, condition, drawn)
    predicted = law.evaluate(seen.x)
    return Fit(
        health=health,
        sentence=sentence,
        law=law,
        draws=draws,
        objective=float(found.cost[best]),
        agreeing=agreeing,
        gradient=float(found.gradient[best]),
        condition=condition,
        error=error,
        fixed=tuple(fixed),
        unknown=problem.unknown,
        chi2=float(np.sum(((predicted - seen.y) / seen.sigma) ** 2)) if problem.penalty else None,
        rows=len(seen.y),
        trunks=len(set(seen.trunk)),
        residual=float(np.sqrt(np.mean((predicted - seen.y) ** 2))),
        misfit=_misfit(seen, predicted, len(problem.free)),
        correlated=() if drawn is None else _correlated(problem.free, drawn.theta),
        ranges={name: (float(values.min()), float(values.max())) for name, values in seen.x.items()},
        left_out=dict(seen.left_out),
    )


@dataclass(frozen=True, kw_only=True)
class _Problem:
    """A form with some of its parameters free: their starts and bounds in their own scales."""

    form: type[AbstractLaw]
    free: tuple[str, ...]
    held: Mapping[str, float]
    unknown: tuple[str, ...]
    starts: Float[np.ndarray, "k p"]
    low: Float[np.ndarray, " p"]
    high: Float[np.ndarray, " p"]

    @property
    def penalty(self) -> bool:
        return issubclass(self.form, AbstractPenalty)

    def scale(self, name: str) -> str:
        return self.form.parameters()[name].scale

    def law(self, theta: np.ndarray) -> AbstractLaw:
        """The law at scaled parameters; the parameter axis is the first."""
        values = {
            name: np.exp(value) if self.scale(name) == "log" else value
            for name, value in zip(self.free, theta, strict=True)
        }
        return self.form(**values, **self.held)

    def columns(self) -> list[int]:
        names = list(self.form.parameters())
        return [names.index(name) for name in self.free]


def _problem(
    form: type[AbstractLaw],
    seen: Observations,
    fixed: Mapping[str, float],
    bounds: Mapping[str, tuple[float, float]],
    starts: int,
    seed: int,
) -> _Problem:
    parameters = form.parameters()
    for name in (*fixed, *bounds):
        if name not in parameters:
            raise SimlawError(f"{form.__name__} has no parameter {name}: it has {', '.join(parameters)}")
    limits = {name: bounds.get(name, one.bounds) for name, one in parameters.items()}
    rng = np.random.default_rng(seed)
    drawn = {}
    for name, one in parameters.items():
        low, high = (_scaled(one, end) for end in limits[name])
        first, last = (float(np.clip(_scaled(one, end), low, high)) for end in one.starts)
        drawn[name] = rng.uniform(first, last, starts)
    for name, value in fixed.items():
        drawn[name] = np.full(starts, _scaled(parameters[name], value))
    everything = _Problem(
        form=form,
        free=tuple(parameters),
        held={},
        unknown=(),
        starts=np.stack(list(drawn.values()), axis=1),
        low=np.array([_scaled(one, limits[name][0]) for name, one in parameters.items()]),
        high=np.array([_scaled(one, limits[name][1]) for name, one in parameters.items()]),
    )
    # a parameter that moves no row at any start is none of theirs
    _, slopes = everything.law(everything.starts.T).log_slopes(seen.x)
    moves = (slopes != 0).any(axis=(0, 1))
    unknown = tuple(name for name, move in zip(parameters, moves, strict=True) if not move and name not in fixed)
    free = [i for i, name in enumerate(parameters) if name not in fixed and name not in unknown]
    return _Problem(
        form=form,
        free=tuple(list(parameters)[i] for i in free),
        held={**{name: float(value) for name, value in fixed.items()}, **dict.fromkeys(unknown, np.nan)},
        unknown=unknown,
        starts=everything.starts[:, free],
        low=everything.low[free],
        high=everything.high[free],
    )


def _enough(problem: _Problem, seen: Observations) -> None:
    kinds = np.unique(np.stack(list(seen.x.values())), axis=1).shape[1]
    if kinds < len(problem.free) or len(seen.y) <= len(problem.free):
        raise SimlawError(
            f"{problem.form.__name__} has {len(problem.free)} parameters and the table gives {len(seen.y)} rows of "
            f"{kinds} kinds: add cells, or fix parameters"
        )


def bits_error(form: type[AbstractLaw], seen: Observations, *, seed: int = 0) -> float:
    """The root mean square of standardised residuals on the lowest bits, from a fit to the higher bits alone.

    In units of the rows' standard deviations: about 1 where the form extrapolates as well as the noise allows. NaN
    where there are too few higher bits to fit.
    """
    lowest = seen.x["P_post"] == seen.x["P_post"].min()
    if (~lowest).sum() <= len(form.parameters()):
        return float("nan")
    law = fit(form, seen.keep(~lowest), seed=seed).law
    held = seen.keep(lowest)
    return float(np.sqrt(np.mean(((law.evaluate(held.x) - held.y) / held.sigma) ** 2)))


def _residuals(problem: _Problem, seen: Observations, weights: Float[np.ndarray, "k n"] | None) -> Residuals:
    """The residual function of the form's objective; with `weights`, of one problem for each of their rows."""
    columns = problem.columns()

    def residuals(theta: Float[np.ndarray, "k p"], which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log, slopes = problem.law(theta.T).log_slopes(seen.x)
        slopes = slopes[:, :, columns]
        if problem.penalty:
            value = np.exp(log)
            r, j = (value - seen.y) / seen.sigma, value[:, :, None] * slopes / seen.sigma[:, None]
        else:
            r, j = huber(log - np.log(seen.y), slopes, HUBER_DELTA)
        if weights is None:
            return r, j
        root = np.sqrt(weights[which])
        return r * root, j * root[:, :, None]

    return residuals


def _scaled(parameter: Parameter, value: float) -> float:
    return float(np.log(value)) if parameter.scale == "log" else value


def _misfit(seen: Observations, predicted: Float[np.ndarray, " n"], fitted: int) -> float:
    """The relative error of the law at cell means beyond the noise of those means; 0 where noise explains all.

    Each of the `fitted` parameters takes up one cell's worth of error; where no more cells than those are there, the
    error cannot be known, and is infinite. Where the noise is not known (no cell was repeated), all of the residual
    counts as the form's own.
    """
    cells = np.unique(np.stack(list(seen.x.values())), axis=1, return_inverse=True)[1].ravel()
    count = np.bincount(cells)
    error = np.bincount(cells, seen.y - predicted) / count
    mean = np.bincount(cells, predicted) / count
    noise = np.bincount(cells, seen.sigma**2) / count**2
    freedom = len(count) - fitted
    if freedom < 1:
        return float("inf")
    if not np.isfinite(noise).all():
        return float(np.sqrt(np.sum((error / mean) ** 2) / freedom))
    excess = (np.sum(error**2 / noise) * len(count) / freedom - len(count)) / np.sum(mean**2 / noise)
    return float(np.sqrt(max(0.0, excess)))


def _correlated(names: tuple[str, ...], drawn: Float[np.ndarray, "k p"]) -> tuple[tuple[str, str, float], ...]:
    """The pairs of parameters whose draws, in their own scales, nearly fix each other."""
    varying = [i for i in range(len(names)) if drawn[:, i].std() > 0]
    found = [
        (names[i], names[j], float(np.corrcoef(drawn[:, i], drawn[:, j])[0, 1]))
        for at, i in enumerate(varying)
        for j in varying[at + 1 :]
    ]
    return tuple(pair for pair in found if abs(pair[2]) > STRONG)


def _condition(jacobian: Float[np.ndarray, "n p"]) -> float:
    """The condition number of the Jacobian with columns of length 1: collinearity, whatever the parameters' units."""
    length = np.sqrt(np.sum(jacobian**2, axis=0))
    if not (length > 0).all():
        return float("inf")
    singular = np.linalg.svd(jacobian / length, compute_uv=False)
    return float(singular[0] / singular[-1]) if singular[-1] > 0 else float("inf")


def _health(
    problem: _Problem, found: Minima, best: int, agreeing: float, condition: float, drawn: Minima | None
) -> tuple[Health, str]:
    low, high, names = problem.low, problem.high, problem.free
    theta = found.theta[best]
    at = [name for name, value, a, b in zip(names, theta, low, high, strict=True) if min(value - a, b - value) < 1e-6]
    if collapsed := [
        name for name in at if name in COLLAPSING and theta[names.index(name)] - low[names.index(name)] < 1e-6
    ]:
        return "COLLAPSED", (
            f"{', '.join(collapsed)} ran to 0: the rows show no effect of that precision; add lower bits or fix it"
        )
    if at:
        return "AT_BOUND", f"{', '.join(at)} ended at a bound: the data do not hold it; fix it or add data"
    if not found.converged[best]:
        return "NOT_CONVERGED", f"the gradient is still {found.gradient[best]:.1e}: no minimum was reached"
    if condition > 1e7:
        return "NOT_IDENTIFIED", f"the condition number is {condition:.1e}: two parameters do the same work; fix one"
    if drawn is not None:
        lost = ~drawn.converged | ((drawn.theta - low < 1e-6) | (high - drawn.theta < 1e-6)).any(axis=1)
        if lost.mean() > LOST_DRAWS:
            return "NOT_IDENTIFIED", f"{lost.mean():.0%} of the draws reach no minimum inside the bounds: add data"
        loose = [
            name
            for name, spread in zip(names, drawn.theta.std(axis=0), strict=True)
            if problem.scale(name) == "log" and spread > np.log(10)
        ]
        if loose:
            return "NOT_IDENTIFIED", f"{', '.join(loose)} varies more than tenfold between draws: add data or fix it"
    if agreeing < 0.5:
        return "STARTS_DISAGREE", f"only {agreeing:.0%} of the starts reached the best objective: look at the others"
    return "VALID", f"{agreeing:.0%} of {len(found.cost)} starts agree"
