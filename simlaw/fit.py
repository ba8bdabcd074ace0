"""Fitting: a form and observations to a law with its health, errors and draws. A fit is a new value; nothing mutates.

Losses are fitted by the summed Huber function (1e-3) of the log residual, penalties by weighted least squares on delta
itself. Many starts; a fit says how many of them agree, and is VALID only where nothing speaks against it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from simlaw.errors import SimlawError
from simlaw.law import AbstractLaw, AbstractPenalty, Parameter
from simlaw.lm import NOTHING, Minima, Residuals, huber, minimise
from simlaw.observations import Observations
from simlaw.report import fit_text
from simlaw.uncertainty import TrunkWeights

#: Threshold of the Huber function on log losses (Hoffmann et al. 2203.15556).
HUBER_DELTA = 1e-3
#: Starts of a fit; with identity damping nearly all of them arrive, so a few are enough to see that they agree.
STARTS = 24
#: Two starts agree where their objectives are this close, relatively.
AGREE = 1e-6
#: Draws that may fail, or end at a bound, before the fit counts as not identified.
LOST_DRAWS = 0.05
#: A correlation of two parameters from which a report names it.
STRONG = 0.9

Health = Literal["VALID", "NOT_CONVERGED", "STARTS_DISAGREE", "AT_BOUND", "NOT_IDENTIFIED"]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A law estimated from observations: health first, then numbers.

    `draws` is the law with a leading axis of bootstrap draws (None without a bootstrap), `error` their standard
    deviation by parameter. `chi2` is the weighted sum of squares of a penalty fit, None for a loss fit. `residual` is
    the root mean square of what the law leaves over, in nats, and `misfit` the form's own error, relative: what noise
    does not explain at the means of cells, and no bootstrap of the rows can see. `correlated` are the pairs of
    parameters whose draws have a correlation beyond 0.9.
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
    chi2: float | None
    rows: int
    trunks: int
    residual: float
    misfit: float
    correlated: tuple[tuple[str, str, float], ...]
    ranges: Mapping[str, tuple[float, float]]
    left_out: Mapping[str, int]

    def __str__(self) -> str:
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
        if self.correlated:
            facts.append(("correlated", ", ".join(f"{a} and {b} {r:+.2f}" for a, b, r in self.correlated)))
        if self.chi2 is not None:
            facts.append(("chi2", f"{self.chi2:.0f} for {self.rows - len(self.law.values)} degrees of freedom"))
        return fit_text(
            form=type(self.law).__name__,
            health=self.health,
            sentence=self.sentence,
            numbers=[(name, float(value), error.get(name)) for name, value in self.law.values.items()],
            facts=facts,
        )


def fit(form: type[AbstractLaw], seen: Observations, weights: TrunkWeights | None = None, *, seed: int = 0) -> Fit:
    """The form's parameters at the best of many starts, with bootstrap draws where `weights` are given.

    Raises `SimlawError` where there are fewer cells than parameters, or no more rows.
    """
    parameters = form.parameters()
    cells = np.unique(np.stack(list(seen.x.values())), axis=1).shape[1]
    if cells < len(parameters) or len(seen.y) <= len(parameters):
        raise SimlawError(
            f"{form.__name__} has {len(parameters)} parameters and the table gives {len(seen.y)} rows of "
            f"{cells} kinds: add cells"
        )
    low, high = (np.array([_scaled(p, p.bounds[i]) for p in parameters.values()]) for i in (0, 1))
    found = minimise(_residuals(form, seen, None), _starts(form, seed), low, high)
    rounding = NOTHING**2 * len(seen.y) / 2
    lowest = np.nanmin(found.cost)
    agree = found.cost <= lowest * (1 + AGREE) + rounding
    best = int(np.argmin(np.where(agree, found.gradient, np.inf)))
    theta = found.theta[best]
    law = _law(form, theta)
    drawn: Minima | None = None
    if weights is not None:
        rows = weights.rows(seen.trunk)
        start = np.tile(theta, (len(rows), 1))
        drawn = minimise(_residuals(form, seen, rows), start, low, high)
    _, jacobian = _residuals(form, seen, None)(theta[None], np.arange(1))
    condition = _condition(jacobian[0])
    agreeing = float(agree.mean())
    draws = None if drawn is None else _law(form, drawn.theta.T)
    error = {} if draws is None else {name: float(np.std(value)) for name, value in draws.values.items()}
    health, sentence = _health(form, found, best, agreeing, condition, low, high, drawn)
    predicted = law.evaluate(seen.x)
    penalty = issubclass(form, AbstractPenalty)
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
        chi2=float(np.sum(((predicted - seen.y) / seen.sigma) ** 2)) if penalty else None,
        rows=len(seen.y),
        trunks=len(set(seen.trunk)),
        residual=float(np.sqrt(np.mean((predicted - seen.y) ** 2))),
        misfit=_misfit(seen, predicted, len(parameters)),
        correlated=() if drawn is None else _correlated(list(parameters), drawn.theta),
        ranges={name: (float(values.min()), float(values.max())) for name, values in seen.x.items()},
        left_out=dict(seen.left_out),
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


def _residuals(form: type[AbstractLaw], seen: Observations, weights: Float[np.ndarray, "k n"] | None) -> Residuals:
    """The residual function of the form's objective; with `weights`, of one problem for each of their rows."""
    penalty = issubclass(form, AbstractPenalty)

    def residuals(theta: Float[np.ndarray, "k p"], problem: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log, slopes = _law(form, theta.T).log_slopes(seen.x)
        if penalty:
            value = np.exp(log)
            r, j = (value - seen.y) / seen.sigma, value[:, :, None] * slopes / seen.sigma[:, None]
        else:
            r, j = huber(log - np.log(seen.y), slopes, HUBER_DELTA)
        if weights is None:
            return r, j
        root = np.sqrt(weights[problem])
        return r * root, j * root[:, :, None]

    return residuals


def _law(form: type[AbstractLaw], theta: np.ndarray) -> AbstractLaw:
    """The law at scaled parameters; the parameter axis is the first."""
    values = zip(form.parameters().items(), theta, strict=True)
    return form(**{name: np.exp(value) if p.scale == "log" else value for (name, p), value in values})


def _starts(form: type[AbstractLaw], seed: int) -> Float[np.ndarray, "k p"]:
    rng = np.random.default_rng(seed)
    ranges = [(_scaled(p, p.starts[0]), _scaled(p, p.starts[1])) for p in form.parameters().values()]
    return np.stack([rng.uniform(low, high, STARTS) for low, high in ranges], axis=1)


def _scaled(parameter: Parameter, value: float) -> float:
    return float(np.log(value)) if parameter.scale == "log" else value


def _misfit(seen: Observations, predicted: Float[np.ndarray, " n"], fitted: int) -> float:
    """The relative error of the law at cell means beyond the noise of those means; 0 where noise explains all.

    Each of the `fitted` parameters takes up one cell's worth of error; where no more cells than those are there, the
    error cannot be known, and is infinite.
    """
    cells = np.unique(np.stack(list(seen.x.values())), axis=1, return_inverse=True)[1].ravel()
    count = np.bincount(cells)
    error = np.bincount(cells, seen.y - predicted) / count
    mean = np.bincount(cells, predicted) / count
    noise = np.bincount(cells, seen.sigma**2) / count**2
    freedom = len(count) - fitted
    if freedom < 1:
        return float("inf")
    excess = (np.sum(error**2 / noise) * len(count) / freedom - len(count)) / np.sum(mean**2 / noise)
    return float(np.sqrt(max(0.0, excess)))


def _correlated(names: list[str], drawn: Float[np.ndarray, "k p"]) -> tuple[tuple[str, str, float], ...]:
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
    form: type[AbstractLaw],
    found: Minima,
    best: int,
    agreeing: float,
    condition: float,
    low: np.ndarray,
    high: np.ndarray,
    drawn: Minima | None,
) -> tuple[Health, str]:
    names = list(form.parameters())
    theta = found.theta[best]
    at = [name for name, value, a, b in zip(names, theta, low, high, strict=True) if min(value - a, b - value) < 1e-6]
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
            for name, p, spread in zip(names, form.parameters().values(), drawn.theta.std(axis=0), strict=True)
            if p.scale == "log" and spread > np.log(10)
        ]
        if loose:
            return "NOT_IDENTIFIED", f"{', '.join(loose)} varies more than tenfold between draws: add data or fix it"
    if agreeing < 0.5:
        return "STARTS_DISAGREE", f"only {agreeing:.0%} of the starts reached the best objective: look at the others"
    return "VALID", f"{agreeing:.0%} of {STARTS} starts agree"
