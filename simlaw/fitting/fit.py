"""Fitting: a form and observations to a law with its health, errors and draws. A fit is a new value; nothing mutates.

Losses are fitted by the summed Huber function of the log residual, penalties by weighted least squares on delta itself.
Many starts; a fit says how many of them agree, and is VALID only where nothing speaks against it.
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float

from simlaw.fitting.certificate import AGREE, Health, condition, health, reconsidered, rounding, search
from simlaw.fitting.lm import Minima, minimise
from simlaw.fitting.objective import Objective, predicted, residuals
from simlaw.fitting.problem import Problem, pose
from simlaw.fitting.uncertainty import TrunkWeights
from simlaw.fitting.varpro import ROUNDS, lifted, project
from simlaw.law import AbstractLaw
from simlaw.observations import Observations
from simlaw.report import AbstractReported, FitReport, span

#: Starts of a fit; with identity damping nearly all of them arrive, so a few are enough to see that they agree.
STARTS = 24
#: Steps that a draw may take from the optimum to its own; half of them take 15, and those that wander are lost.
_DRAW_STEPS = 150
#: Draws that are worth a thread.
_DRAWS_PER_THREAD = 400
#: Robust deviations from which a row is named: one in a billion of a normal noise.
_FAR = 8.0
#: Of the trace of the normal matrix, the part by which a bootstrap is damped in every direction.
_FLOOR = 1e-3
#: What a report adds to the range of a variable.
_UNITS = {"N": " ({})", "C": " FLOPs, 6·N·D"}
#: A correlation of two parameters from which a report names it.
STRONG = 0.9


@dataclass(frozen=True, kw_only=True, repr=False)
class Fit(AbstractReported):
    """A law estimated from observations: health first, then numbers.

    `kind` is the objective that was minimised, with the `threshold` of a Huber sum; `engines` is by how much variable
    projection ended above it, relatively (None where the form has no part to project out). `draws` is the law with a
    leading axis of bootstrap draws (None without a bootstrap), `error` their standard deviation by parameter,
    `covariance` that of each two. The draws are stretched about the law by Student's factor for so few trunks, so that
    their quantiles are intervals; the errors are not. `chi2` is the weighted sum of squares of a penalty fit, None for
    a loss fit. `residual` is the root mean square of what the law leaves over, in nats, and `misfit` the form's own
    error, relative: what noise does not explain at the means of cells, and no bootstrap of the rows can see.
    `correlated` are the pairs of parameters whose draws have a correlation beyond 0.9. `fixed` parameters were given;
    `unknown` ones are NaN, since no row depends on them. `counts` says what N counts. `settings` are the seed, the
    starts, the bounds and the draws that were asked for, `table` is the hash of the rows, `far` where rows lie that are
    far off (not kept in law files). `contest` is the comparison of several forms that this one comes from.
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
    counts: str = "as the table counts"
    kind: Objective = "huber"
    threshold: float | None = None
    engines: float | None = None
    covariance: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    table: str = ""
    far: tuple[Mapping[str, float], ...] = ()
    contest: Any = None

    @property
    def estimated(self) -> int:
        """How many parameters were estimated: neither fixed nor unknown."""
        return len(self.law.values) - len(self.fixed) - len(self.unknown)

    def save(self, path: str | Path, *, counts: str | None = None) -> None:
        """Write the fit as a law file; `counts` says what its N counts, where the fit does not."""
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
            *(
                (name, span(low, high) + _UNITS.get(name, "").format(self.counts))
                for name, (low, high) in self.ranges.items()
            ),
            ("residual", f"{self.residual:.4f} nats; the form's own error is {own}"),
            ("gradient", f"{self.gradient:.1e}; condition number {self.condition:.1e}"),
        ]
        if self.chi2 is None:
            words = {
                "huber": f"Huber sum of log residuals beyond {self.threshold or 0:.2g}",
                "log": "squares of log residuals",
            }
            facts.append(("objective", words.get(self.kind, "squares of residuals in nats")))
        if self.far:
            at = ", ".join(f"{name} {value:.4g}" for name, value in self.far[0].items())
            facts.append(("far off", f"{len(self.far)} rows beyond {_FAR:g} deviations of the others, one at {at}"))
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
    objective: Objective | None = None,
    threshold: float | None = None,
    starts: int = STARTS,
    seed: int = 0,
) -> Fit:
    """The form's parameters at the best of many starts, with bootstrap draws where `weights` are given.

    `fixed` holds parameters at values, `bounds` narrows their ranges. Losses are fitted by the Huber sum, or by the
    least squares of another `objective`; its threshold is 1e-3, or 1.345 standard deviations of the rows where they are
    more (`objective.threshold`), or what `threshold` says. Parameters that no row depends on (of a precision that the
    rows do not have) stay unknown, NaN. Raises `SimlawError` for names that the form lacks, and where there are fewer
    kinds of rows than parameters.
    """
    problem = pose(
        form, seen, fixed=fixed, bounds=bounds, objective=objective, limit=threshold, starts=starts, seed=seed
    )
    problem = lifted(problem)
    reached, second = search(problem), project(problem)
    if second is not None and second.objective > reached.objective * (1 + AGREE) + rounding(problem):
        second = project(problem, len(problem.starts), 4 * ROUNDS)
    reached = reconsidered(problem, reached, second)
    law = problem.law(reached.theta)
    _, jacobian = problem.residuals()(reached.theta[None], np.arange(1))
    drawn = None if weights is None else _draws(problem, reached.theta, jacobian[0], weights.rows(seen.trunk))
    spread = None if drawn is None else problem.law(drawn.theta.T)
    draws = None
    if drawn is not None and weights is not None:
        stretched = reached.theta + weights.stretch * (drawn.theta - reached.theta)
        draws = problem.law(np.clip(stretched, problem.low, problem.high).T)
    conditioned = condition(jacobian[0])
    excess = None
    if second is not None:
        gap = second.objective - reached.objective
        excess = 0.0 if abs(gap) <= rounding(problem) else gap / reached.objective
    status, sentence = health(problem, reached, excess, jacobian[0], drawn)
    said = predicted(law, problem.seen)
    return Fit(
        health=status,
        sentence=sentence,
        law=law,
        draws=draws,
        kind=problem.kind,
        threshold=problem.threshold if problem.kind == "huber" else None,
        objective=reached.objective,
        agreeing=float(reached.agree.mean()),
        engines=excess,
        gradient=reached.gradient,
        condition=conditioned,
        covariance={} if spread is None else _covariance(problem.free, spread),
        settings={
            "seed": seed,
            "starts": starts,
            "bounds": {name: [float(end) for end in ends] for name, ends in bounds.items()},
            "draws": 0 if weights is None else len(weights.weights),
            "stretch": 1.0 if weights is None else weights.stretch,
        },
        table=seen.sha256,
        error={} if spread is None else {name: float(np.std(spread.values[name])) for name in problem.free},
        fixed=tuple(fixed),
        unknown=problem.unknown,
        chi2=float(np.sum(residuals(law, problem.seen, "weighted") ** 2)) if problem.kind == "weighted" else None,
        rows=len(seen.y),
        trunks=len(set(seen.trunk)),
        residual=float(np.sqrt(np.mean((said - seen.y) ** 2))),
        misfit=_misfit(problem.seen, said, len(problem.free)),
        correlated=() if drawn is None else _correlated(problem.free, drawn.theta),
        ranges=_ranges(problem.seen),
        left_out=dict(seen.left_out),
        far=_far(law, problem),
        counts=seen.counts,
    )


def _draws(
    problem: Problem, theta: Float[np.ndarray, " p"], jacobian: Float[np.ndarray, "n p"], rows: Float[np.ndarray, "k n"]
) -> Minima:
    """The optimum of every set of row weights, from the optimum of all rows."""
    valley = jacobian.T @ jacobian
    # not along the valley's floor, where rounding would decide
    valley += _FLOOR * np.trace(valley) * np.eye(len(valley))

    def some(part: Float[np.ndarray, "m n"]) -> Minima:
        start = np.tile(theta, (len(part), 1))
        return minimise(
            problem.residuals(part), start, problem.low, problem.high, metric=valley, iterations=_DRAW_STEPS
        )

    # NumPy leaves the interpreter to others while it works; where a draw ends does not depend on its company
    threads = min(_cores(), max(1, len(rows) // _DRAWS_PER_THREAD))
    with ThreadPoolExecutor(threads) as pool:
        return Minima.joined(list(pool.map(some, np.array_split(rows, threads))))


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _ranges(seen: Observations) -> dict[str, tuple[float, float]]:
    """The least and the most of each variable, and of training FLOPs, "C" = 6·N·D."""
    x = dict(seen.x)
    if "N" in x and "D" in x:
        x = {"N": x["N"], "D": x["D"], "C": 6 * x["N"] * x["D"], **x}
    return {name: (float(values.min()), float(values.max())) for name, values in x.items()}


def _far(law: AbstractLaw, problem: Problem) -> tuple[dict[str, float], ...]:
    """Where the rows lie that are far off, the furthest first: a run that diverged belongs in no fit."""
    left = np.abs(residuals(law, problem.seen, "weighted" if problem.kind == "weighted" else "log"))
    order = np.argsort(-left)
    away = [i for i in order if left[i] > _FAR * 1.4826 * np.median(left) > 0]
    return tuple({name: float(values[i]) for name, values in problem.seen.x.items()} for i in away)


def _misfit(seen: Observations, said: Float[np.ndarray, " n"], fitted: int) -> float:
    """The relative error of the law at cell means beyond the noise of those means; 0 where noise explains all.

    Each of the `fitted` parameters takes up one cell's worth of error; where no more cells than those are there, the
    error cannot be known, and is infinite. Where the noise is not known (no cell was repeated), all of the residual
    counts as the form's own. Of a joint fit it is that of the losses.
    """
    if seen.pairs.any():
        seen, said = seen.keep(~seen.pairs), said[~seen.pairs]
    cells = np.unique(np.stack(list(seen.x.values())), axis=1, return_inverse=True)[1].ravel()
    count = np.bincount(cells)
    error = np.bincount(cells, seen.y - said) / count
    mean = np.bincount(cells, said) / count
    noise = np.bincount(cells, seen.sigma**2) / count**2
    freedom = len(count) - fitted
    if freedom < 1:
        return float("inf")
    if not np.isfinite(noise).all():
        return float(np.sqrt(np.sum((error / mean) ** 2) / freedom))
    excess = (np.sum(error**2 / noise) * len(count) / freedom - len(count)) / np.sum(mean**2 / noise)
    return float(np.sqrt(max(0.0, excess)))


def _covariance(names: tuple[str, ...], drawn: AbstractLaw) -> dict[str, dict[str, float]]:
    matrix = np.atleast_2d(np.cov(np.stack([drawn.values[name] for name in names]), ddof=0))
    return {name: dict(zip(names, map(float, row), strict=True)) for name, row in zip(names, matrix, strict=True)}


def _correlated(names: tuple[str, ...], drawn: Float[np.ndarray, "k p"]) -> tuple[tuple[str, str, float], ...]:
    """The pairs of parameters whose draws, in their own scales, nearly fix each other."""
    varying = [i for i in range(len(names)) if drawn[:, i].std() > 0]
    found = [
        (names[i], names[j], float(np.corrcoef(drawn[:, i], drawn[:, j])[0, 1]))
        for at, i in enumerate(varying)
        for j in varying[at + 1 :]
    ]
    return tuple(pair for pair in found if abs(pair[2]) > STRONG)
