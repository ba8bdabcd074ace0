"""A contest of forms on the same rows: which one predicts what it was not shown, and whether that is beyond noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from simlaw.errors import SimlawError
from simlaw.fitting import Fit, fit
from simlaw.holdout import Holdout
from simlaw.law import AbstractLaw, AbstractPenalty
from simlaw.observations import Observations
from simlaw.report import AbstractReported, TableReport
from simlaw.uncertainty import TrunkWeights


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One form: its fit to all rows, Akaike's criterion, and its error on what was held out.

    `held_out` is the root mean square of log residuals for a loss, of residuals in nats for a penalty; None without a
    holdout. `behind` is how far its squared error is from the best one's, in standard errors between trunks.
    """

    fit: Fit
    parameters: int
    aicc: float
    held_out: float | None
    behind: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Contest(AbstractReported):
    """All entries, the best first; `chosen` is the simplest that is not beaten beyond noise.

    `decided` says whether the best one beats all others by more than two standard errors.
    """

    entries: tuple[Entry, ...]
    chosen: Entry
    decided: bool
    holdout: Holdout | None

    @property
    def report(self) -> TableReport:
        """The entries as rows, and the verdict."""
        rows = [
            (
                type(entry.fit.law).__name__,
                entry.fit.health,
                str(entry.parameters),
                f"{entry.aicc:.1f}",
                "" if entry.held_out is None else f"{entry.held_out:.4f}",
                f"{entry.behind:.1f}" if entry is not self.entries[0] else "best",
            )
            for entry in self.entries
        ]
        head = ("form", "health", "parameters", "AICc", f"error on {self.holdout or 'nothing'}", "behind (s.e.)")
        name = type(self.chosen.fit.law).__name__
        verdict = (
            f"{name} wins beyond noise" if self.decided else f"UNDECIDED: {name} is the simplest form within the noise"
        )
        return TableReport(tables=[(head, rows)], sentences=(verdict,))


def contest(
    forms: Sequence[type[AbstractLaw]],
    seen: Observations,
    weights: TrunkWeights | None,
    holdout: Holdout | None,
    *,
    fixed: Mapping[str, float],
    bounds: Mapping[str, tuple[float, float]],
    seed: int = 0,
) -> Contest:
    """The contest of some forms; raises `SimlawError` where losses would compete with penalties."""
    if len({issubclass(form, AbstractPenalty) for form in forms}) > 1:
        raise SimlawError("laws of the loss and laws of the penalty do not compete: fit them apart")
    names = {name for form in forms for name in form.parameters()}
    for name in (*fixed, *bounds):
        if name not in names:
            raise SimlawError(f"no form here has the parameter {name}: they have {', '.join(sorted(names))}")
    found = []
    for form in forms:
        mine = form.parameters()
        held = {name: value for name, value in fixed.items() if name in mine}
        limits = {name: ends for name, ends in bounds.items() if name in mine}
        whole = fit(form, seen, weights, fixed=held, bounds=limits, seed=seed)
        if holdout is None:
            squares = _squares(whole.law, seen)
        else:
            away = holdout.mask(seen)
            squares = _squares(fit(form, seen.keep(~away), fixed=held, bounds=limits, seed=seed).law, seen.keep(away))
        found.append((whole, squares))
    judged = seen if holdout is None else seen.keep(holdout.mask(seen))
    criteria = [_aicc(whole, len(seen.y)) for whole, _ in found]
    scores = criteria if holdout is None else [float(np.mean(squares)) for _, squares in found]
    best = int(np.nanargmin(scores))
    entries = [
        Entry(
            fit=whole,
            parameters=whole.estimated,
            aicc=criterion,
            held_out=None if holdout is None else float(np.sqrt(np.mean(squares))),
            behind=_behind(squares, found[best][1], judged),
        )
        for (whole, squares), criterion in zip(found, criteria, strict=True)
    ]
    close = [entry for i, entry in enumerate(entries) if i == best or not entry.behind > 2]
    chosen = min(close, key=lambda entry: (entry.parameters, scores[entries.index(entry)]))
    order = sorted(range(len(entries)), key=lambda i: (np.isnan(scores[i]), scores[i]))
    return Contest(entries=tuple(entries[i] for i in order), chosen=chosen, decided=len(close) == 1, holdout=holdout)


def _squares(law: AbstractLaw, seen: Observations) -> Float[np.ndarray, " n"]:
    predicted = law.evaluate(seen.x)
    residual = predicted - seen.y if isinstance(law, AbstractPenalty) else np.log(predicted / seen.y)
    return residual**2


def _behind(squares: Float[np.ndarray, " n"], best: Float[np.ndarray, " n"], seen: Observations) -> float:
    """The mean of the differences over its standard error, rows of one trunk taken together."""
    difference = squares - best
    if abs(difference.mean()) <= 1e-6 * best.mean():
        return 0.0  # two names of one curve, apart by where the optimizer stopped
    names, place = np.unique(seen.trunk, return_inverse=True)
    if len(names) < 5:
        return 0.0  # nothing tells noise from lead
    sums = np.bincount(place, difference) / len(difference)
    error = np.sqrt(len(names) * np.var(sums, ddof=1))
    return float(difference.mean() / error) if error > 0 else float("inf")


def _aicc(found: Fit, rows: int) -> float:
    """Akaike's criterion with its small-sample correction, of the objective as a sum of squares."""
    k = found.estimated + 1
    if rows - k - 1 <= 0:
        return float("nan")
    return float(rows * np.log(2 * found.objective / rows) + 2 * k + 2 * k * (k + 1) / (rows - k - 1))
