"""A contest of forms on the same rows: which one predicts what it was not shown, and whether that is beyond noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit, fit
from simlaw.fitting.holdout import Holdout
from simlaw.fitting.objective import Objective, residuals, shown
from simlaw.fitting.uncertainty import TrunkWeights
from simlaw.law import AbstractLaw, AbstractPenalty
from simlaw.observations import Observations
from simlaw.report import AbstractReported, TableReport


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One form: its fit to all rows, Akaike's criterion, and its error on each part that was held out.

    `held_out` are the root mean squares of log residuals for a loss, of residuals in nats for a penalty. `behind` is
    how far its squared error is from the best one's, in standard errors between trunks.
    """

    fit: Fit
    parameters: int
    aicc: float
    held_out: tuple[float, ...]
    behind: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Contest(AbstractReported):
    """All entries, the best predictions first; `chosen` is the simplest that is not beaten beyond noise.

    Predictions are of the rows of all holdouts, each from a fit that had not seen it. A form whose fit is not valid
    wins only where none is. `decided` says whether the best one beats all others by more than two standard errors.
    """

    entries: tuple[Entry, ...]
    chosen: Entry
    decided: bool
    holdouts: tuple[Holdout, ...]

    @property
    def report(self) -> TableReport:
        """The entries as rows, and the verdict."""
        rows = [
            (
                type(entry.fit.law).__name__,
                entry.fit.health,
                str(entry.parameters),
                f"{entry.aicc:.1f}",
                *(f"{error:.4f}" for error in entry.held_out),
                f"{entry.behind:.1f}" if entry is not self.entries[0] else "best",
            )
            for entry in self.entries
        ]
        errors = (f"error on {holdout}" for holdout in self.holdouts)
        head = ("form", "health", "parameters", "AICc", *errors, "behind (s.e.)")
        name = type(self.chosen.fit.law).__name__
        verdict = (
            f"{name} wins beyond noise" if self.decided else f"UNDECIDED: {name} is the simplest form within the noise"
        )
        return TableReport(tables=[(head, rows)], sentences=(verdict,))


def contest(
    forms: Sequence[type[AbstractLaw]],
    seen: Observations,
    weights: TrunkWeights | None,
    holdouts: Sequence[Holdout],
    *,
    fixed: Mapping[str, float],
    bounds: Mapping[str, tuple[float, float]],
    objective: Objective | None = None,
    seed: int = 0,
) -> Contest:
    """The contest of some forms; raises `SimlawError` where losses would compete with penalties."""
    if len({issubclass(form, AbstractPenalty) for form in forms}) > 1:
        raise SimlawError("laws of the loss and laws of the penalty do not compete: fit them apart")
    names = {name for form in forms for name in form.parameters()}
    for name in (*fixed, *bounds):
        if name not in names:
            raise SimlawError(f"no form here has the parameter {name}: they have {', '.join(sorted(names))}")
    parts = [holdout.mask(seen) for holdout in holdouts]
    judged = [seen.keep(part) for part in parts] or [seen]
    found: list[tuple[Fit, list[Float[np.ndarray, " n"]]]] = []
    for form in forms:
        mine = form.parameters()
        held = {name: value for name, value in fixed.items() if name in mine}
        limits = {name: ends for name, ends in bounds.items() if name in mine}
        given: dict[str, Any] = {"fixed": held, "bounds": limits, "objective": objective, "seed": seed}
        whole = fit(form, seen, weights, **given)
        laws = [fit(form, seen.keep(~part), **given).law for part in parts] or [whole.law]
        found.append((whole, [_squares(law, rows) for law, rows in zip(laws, judged, strict=True)]))
    together = [np.concatenate(squares) for _, squares in found]
    criteria = [_aicc(whole, len(seen.y)) for whole, _ in found]
    scores = [float(np.mean(squares)) for squares in together] if holdouts else criteria
    able = np.array([whole.health == "VALID" for whole, _ in found])
    best = int(np.nanargmin(np.where(able, scores, np.inf) if able.any() else scores))
    trunks = [trunk for rows in judged for trunk in rows.trunk]
    entries = [
        Entry(
            fit=whole,
            parameters=whole.estimated,
            aicc=criterion,
            held_out=tuple(float(np.sqrt(np.mean(each))) for each in squares) if holdouts else (),
            behind=_behind(together[i], together[best], trunks),
        )
        for i, ((whole, squares), criterion) in enumerate(zip(found, criteria, strict=True))
    ]
    close = [entry for i, entry in enumerate(entries) if i == best or (able[i] == able[best] and not entry.behind > 2)]
    chosen = min(close, key=lambda entry: (entry.parameters, scores[entries.index(entry)]))
    decided = all(entry.behind > 2 for i, entry in enumerate(entries) if i != best)
    order = sorted(range(len(entries)), key=lambda i: (np.isnan(scores[i]), scores[i]))
    return Contest(entries=tuple(entries[i] for i in order), chosen=chosen, decided=decided, holdouts=tuple(holdouts))


def _squares(law: AbstractLaw, seen: Observations) -> Float[np.ndarray, " n"]:
    seen = shown(type(law), seen)
    if isinstance(law, AbstractPenalty):
        return (law.evaluate(seen.x) - seen.y) ** 2
    return residuals(law, seen, "log") ** 2


def _behind(squares: Float[np.ndarray, " n"], best: Float[np.ndarray, " n"], trunk: Sequence[str]) -> float:
    """The mean of the differences over its standard error, rows of one trunk taken together."""
    difference = squares - best
    if abs(difference.mean()) <= 1e-6 * best.mean():
        return 0.0  # two names of one curve, apart by where the optimizer stopped
    names, place = np.unique(trunk, return_inverse=True)
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
