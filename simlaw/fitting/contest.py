"""A contest of forms on the same rows: which one predicts what it was not shown, and whether that is beyond noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from simlaw.errors import SimlawError
from simlaw.fitting.certificate import Health
from simlaw.fitting.fit import Fit, fit
from simlaw.fitting.holdout import Holdout
from simlaw.fitting.objective import Objective, deviance, residuals, shown
from simlaw.fitting.uncertainty import TrunkWeights
from simlaw.law import AbstractLaw, AbstractPenalty
from simlaw.observations import Observations
from simlaw.report import AbstractReported, TableReport

#: From where a form is beaten: standard errors of its errors on held-out rows, or, without any, of AICc.
_BEATEN, _BEATEN_AICC = 2.0, 6.0
#: Trunks from which their spread tells a lead from noise.
_LEAST_TRUNKS = 5


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One form: its fit to all rows, Akaike's criterion, and its error on each part that was held out.

    `held_out` are the root mean squares of log residuals for a loss, of residuals in standard deviations of the rows
    for a penalty, and where losses and paired rows are fitted together (about 1 where the form extrapolates as well as
    the noise allows), and `refits` the health of the fits that they come from. `behind` is how far its squared error is
    from the best one's, in standard errors between trunks (NaN where too few trunks were held out to know them);
    without a holdout, how far its AICc is.
    """

    fit: Fit
    parameters: int
    aicc: float
    held_out: tuple[float, ...]
    refits: tuple[Health, ...]
    behind: float

    @property
    def name(self) -> str:
        """The form."""
        return type(self.fit.law).__name__


@dataclass(frozen=True, kw_only=True, repr=False)
class Contest(AbstractReported):
    """All entries, the lowest scores first; `best` is the lowest of the valid ones, `chosen` the simplest within noise.

    The score is the error on the rows of all holdouts, each predicted by a fit that had not seen it; without a holdout,
    AICc. A form of which a fit is not valid is best only where none is. `decided` says whether the best one beats all
    others beyond noise; `rows` are those held out by each holdout.
    """

    entries: tuple[Entry, ...]
    best: Entry
    chosen: Entry
    decided: bool
    holdouts: tuple[Holdout, ...]
    rows: tuple[int, ...]

    @property
    def verdict(self) -> str:
        """Who wins, or why nobody does."""
        name, others = self.chosen.name, [entry for entry in self.entries if entry is not self.best]
        if not others:
            return f"{name} has no rival here"
        if self.decided:
            return f"{name} wins beyond noise"
        if any(health != "VALID" for health in (self.best.fit.health, *self.best.refits)):
            return f"UNDECIDED: no form has valid fits throughout; {name} is the simplest within the noise"
        if any(np.isnan(error) for entry in others for error in entry.held_out):
            silent = ", ".join(entry.name for entry in others if np.isnan(entry.held_out).any())
            return f"UNDECIDED: {silent} says nothing of the rows held out, so nothing compares it with {name}"
        sick = [entry.name for entry in others if entry.behind < 0]
        if sick:
            why = f"{', '.join(sick)} would predict better, but a fit of it is not valid"
            return f"UNDECIDED: {name} is the simplest valid form within the noise; {why}"
        if any(np.isnan(entry.behind) for entry in others):
            return f"UNDECIDED: {name} is the simplest form; too few trunks are held out to tell a lead from noise"
        if len({entry.parameters for entry in self.entries}) == 1:
            return f"UNDECIDED: {name} predicts best, but not beyond the noise"
        return f"UNDECIDED: {name} is the simplest form within the noise"

    @property
    def report(self) -> TableReport:
        """The entries as rows, and the verdict."""
        rows = [
            (
                entry.name,
                entry.fit.health,
                str(entry.parameters),
                f"{entry.aicc:.1f}",
                *(
                    f"{error:.4f}" if health == "VALID" else f"{error:.4f}?"
                    for error, health in zip(entry.held_out, entry.refits, strict=True)
                ),
                "best" if entry is self.best else "unknown" if np.isnan(entry.behind) else f"{entry.behind:.1f}",
            )
            for entry in self.entries
        ]
        errors = (f"error on {holdout} ({n} rows)" for holdout, n in zip(self.holdouts, self.rows, strict=True))
        unit = "behind (s.e.)" if self.holdouts else "behind (AICc)"
        doubtful = any(health != "VALID" for entry in self.entries for health in entry.refits)
        note = ["?: of a fit to the other rows that is not valid"] if doubtful else []
        head = ("form", "health", "parameters", "AICc", *errors, unit)
        return TableReport(tables=[(head, rows)], sentences=(*note, self.verdict))


def contest(
    forms: Sequence[type[AbstractLaw]],
    seen: Observations,
    weights: TrunkWeights | None,
    holdouts: Sequence[Holdout],
    *,
    fixed: Mapping[str, float],
    bounds: Mapping[str, tuple[float, float]],
    objective: Objective | None = None,
    threshold: float | None = None,
    seed: int = 0,
) -> Contest:
    """The contest of some forms.

    Raises `SimlawError` where losses would compete with penalties, where a holdout leaves too little to fit, and where
    nothing compares the forms.
    """
    if len({issubclass(form, AbstractPenalty) for form in forms}) > 1:
        raise SimlawError("laws of the loss and laws of the penalty do not compete: fit them apart")
    names = {name for form in forms for name in form.parameters()}
    for name in (*fixed, *bounds):
        if name not in names:
            raise SimlawError(f"no form here has the parameter {name}: they have {', '.join(sorted(names))}")
    parts = [holdout.mask(seen) for holdout in holdouts]
    judged = [seen.keep(part) for part in parts] or [seen]
    wholes, refits, squares = [], [], []
    weighted = bool(seen.pairs.any()) and bool((np.isfinite(seen.sigma) & (seen.sigma > 0)).all())
    for form in forms:
        mine = form.parameters()
        held = {name: value for name, value in fixed.items() if name in mine}
        limits = {name: ends for name, ends in bounds.items() if name in mine}
        given: dict[str, Any] = {
            "fixed": held,
            "bounds": limits,
            "objective": objective,
            "threshold": threshold,
            "seed": seed,
        }
        whole = fit(form, seen, weights, **given)
        again = [_refit(form, seen.keep(~part), rule, given) for rule, part in zip(holdouts, parts, strict=True)]
        wholes.append(whole)
        refits.append(again)
        squares.append([_squares(one.law, rows, weighted) for one, rows in zip(again or [whole], judged, strict=True)])
    together = [np.concatenate(each) for each in squares]
    criteria = [_aicc(whole, len(seen.y)) for whole in wholes]
    scores = np.array([np.mean(each) for each in together] if holdouts else criteria)
    if not np.isfinite(scores).any():
        raise SimlawError(
            f"{len(seen.y)} rows do not compare forms of {min(whole.estimated for whole in wholes)} parameters and "
            "more: add cells, or give a holdout"
        )
    able = np.isfinite(scores) & [
        all(one.health == "VALID" for one in (whole, *again)) for whole, again in zip(wholes, refits, strict=True)
    ]
    best = int(np.nanargmin(np.where(able, scores, np.inf) if able.any() else scores))
    trunks = [trunk for rows in judged for trunk in rows.trunk]
    behind = scores - scores[best] if not holdouts else [_behind(each, together[best], trunks) for each in together]
    limit = _BEATEN if holdouts else _BEATEN_AICC
    entries = [
        Entry(
            fit=wholes[i],
            parameters=wholes[i].estimated,
            aicc=criteria[i],
            held_out=tuple(float(np.sqrt(np.mean(each))) for each in squares[i]) if holdouts else (),
            refits=tuple(one.health for one in refits[i]),
            behind=float(behind[i]),
        )
        for i in range(len(forms))
    ]
    close = [i for i in range(len(forms)) if i == best or (able[i] == able[best] and not behind[i] > limit)]
    chosen = min(close, key=lambda i: (entries[i].parameters, scores[i]))
    order = sorted(range(len(forms)), key=lambda i: (np.isnan(scores[i]), scores[i]))
    return Contest(
        entries=tuple(entries[i] for i in order),
        best=entries[best],
        chosen=entries[chosen],
        decided=len(forms) > 1 and bool(able[best]) and all(behind[i] > limit for i in range(len(forms)) if i != best),
        holdouts=tuple(holdouts),
        rows=tuple(len(rows.y) for rows in judged) if holdouts else (),
    )


def _refit(form: type[AbstractLaw], rest: Observations, rule: Holdout, given: Mapping[str, Any]) -> Fit:
    try:
        return fit(form, rest, **given)
    except SimlawError as error:
        raise SimlawError(f"holding out the {rule}: {error}") from error


def _squares(law: AbstractLaw, seen: Observations, weighted: bool) -> Float[np.ndarray, " n"]:
    """Squared residuals; NaN where the law says nothing of a row.

    Where losses and paired rows are judged together, all are in standard deviations: a row's unit may not depend on
    what is held out beside it.
    """
    seen = shown(type(law), seen)
    try:
        left = residuals(law, seen, "weighted" if weighted or isinstance(law, AbstractPenalty) else "log")
    except SimlawError:
        return np.full_like(seen.y, np.nan)
    return left**2


def _behind(squares: Float[np.ndarray, " n"], best: Float[np.ndarray, " n"], trunk: Sequence[str]) -> float:
    """The mean of the differences over its standard error, rows of a trunk taken together; NaN where it is unknown."""
    difference = squares - best
    if not np.isfinite(difference).all():
        return float("nan")  # it says nothing of some rows
    if abs(difference.mean()) <= 1e-6 * best.mean():
        return 0.0  # two names of one curve, apart by where the optimizer stopped
    names, place = np.unique(trunk, return_inverse=True)
    if len(names) < _LEAST_TRUNKS:
        return float("nan")
    sums = np.bincount(place, difference) / len(difference)
    error = np.sqrt(len(names) * np.var(sums, ddof=1))
    return float(difference.mean() / error) if error > 0 else float("inf")


def _aicc(found: Fit, rows: int) -> float:
    """Akaike's criterion with its small-sample correction; the scale of the residuals is one more parameter."""
    k = found.estimated + 1
    if rows - k - 1 <= 0:
        return float("nan")
    total = deviance(found.objective, rows, found.kind, found.threshold)
    return float(total + 2 * k + 2 * k * (k + 1) / (rows - k - 1))
