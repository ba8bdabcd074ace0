"""Residuals of a fit against every axis: does what the law leaves over still depend on N, D, C or a precision?

A fit absorbs most of a trend, so the scatter of the rows alone would call every trend noise. Errors here know that the
law was fitted to these very rows: they are those of the part of an axis that the law's parameters cannot take up. They
hold a spread between trunks beside that of the rows, since the rows of one trunk move together.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit
from simlaw.fitting.objective import predicted
from simlaw.law import AbstractLaw, AbstractLossLaw
from simlaw.observations import Observations
from simlaw.report import AbstractReported, TableReport, count, with_error

#: Standard errors from which a number stands out: of the twenty that a table tests, one would at two by chance.
STANDS_OUT = 3.5
#: Values of an axis that are levels of their own; of more, neighbours are taken together.
_LEVELS = 8


@dataclass(frozen=True, kw_only=True)
class Level:
    """The mean residual of the rows at one value of an axis, with its error; of neighbours, at their middle."""

    value: float
    mean: float
    error: float
    rows: int

    @property
    def lead(self) -> float:
        """The mean in standard errors, of either sign; 0 where the error is not known."""
        return abs(self.mean) / self.error if self.error > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class AxisResiduals:
    """The residuals along one axis: their slope per doubling of it with its error, Spearman's rank correlation, levels.

    Unquantized rows, at infinite bits, are a level and no part of slope and rank, which are NaN on an axis with fewer
    than three finite values. An error is NaN where the rows are too few to know it.
    """

    name: str
    slope: float
    error: float
    rank: float
    levels: tuple[Level, ...]

    @property
    def sentence(self) -> str:
        """What stands out on this axis, of the slope and the furthest level the larger; empty where nothing does."""
        level = max(self.levels, key=lambda one: one.lead)
        finite = [one.value for one in self.levels if np.isfinite(one.value)]
        trend = abs(self.slope) * float(np.log2(max(finite) / min(finite))) if len(finite) > 1 else 0.0
        part = "N and D do together" if self.name == "C" else f"{self.name} does"
        if abs(self.slope) > STANDS_OUT * self.error and not (level.lead > STANDS_OUT and abs(level.mean) > trend):
            way = "rise" if self.slope > 0 else "fall"
            by = with_error(abs(self.slope), self.error)
            return f"residuals {way} with {self.name}, by {by} per doubling: the form misses part of what {part}"
        if level.lead > STANDS_OUT:
            way = "above" if level.mean > 0 else "below"
            by = with_error(abs(level.mean), level.error)
            at = f"{self.name} = {_value(level.value)}"
            return f"residuals at {at} lie {by} {way} 0: the form misses part of what {part}"
        return ""


@dataclass(frozen=True, kw_only=True, repr=False)
class Residuals(AbstractReported):
    """What the law of a fit leaves over, observed less predicted, in standard deviations of the noise.

    That is each row's own for a penalty, and for a loss the rows' common relative one. `standard` is one number for
    each observation, `x` its place on every axis (C is 6·N·D). Where the noise is not known (`noise_known` is false),
    the unit is the root mean square of the residuals.
    """

    form: str
    x: Mapping[str, Float[np.ndarray, " n"]]
    standard: Float[np.ndarray, " n"]
    noise_known: bool
    axes: tuple[AxisResiduals, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """What stands out, an axis each; or that nothing does."""
        found = tuple(axis.sentence for axis in self.axes if axis.sentence)
        if not found and not any(level.error > 0 for axis in self.axes for level in axis.levels):
            return ("the rows are too few to know what stands out",)
        return found or (f"nothing stands out beyond {STANDS_OUT:g} standard errors",)

    @property
    def report(self) -> TableReport:
        """The axes as rows, and what stands out."""
        head = (f"residuals of {self.form}", "per doubling", "rank", "level furthest off")
        rows = []
        for axis in self.axes:
            far = max(axis.levels, key=lambda level: level.lead)
            off = f"{far.mean:+.2f} ± {far.error:.2f} at {_value(far.value)}" if far.lead else "error unknown"
            trend = "" if np.isnan(axis.slope) else f"{axis.slope:+.3f} ± {axis.error:.3f}"
            rows.append((axis.name, trend, "" if np.isnan(axis.rank) else f"{axis.rank:+.2f}", off))
        unit = "the noise of a row" if self.noise_known else "their root mean square, since no cell is repeated"
        return TableReport(tables=[(head, rows)], sentences=(*self.sentences, f"residuals are in units of {unit}"))


def residuals(found: Fit, seen: Observations) -> Residuals:
    """The residuals of a fit on observations, its own as a rule, against N, D, C = 6·N·D and every precision.

    Residuals are those of the log of a loss, or of a penalty itself. They are taken after one more least-squares step
    of the parameters, because the optimum of the Huber function leaves a residual that the law could still absorb.
    Variables that the law does not know are axes too. Raises `SimlawError` where the rows lack a variable of the law,
    or are no more than its parameters.
    """
    known = (*found.law.needs, *found.law.takes)
    visible = replace(seen, x={name: values for name, values in seen.x.items() if name in known})
    names = list(found.law.values)
    free = [i for i, name in enumerate(names) if name not in (*found.fixed, *found.unknown)]
    if len(seen.y) <= len(free):
        raise SimlawError(f"{len(seen.y)} rows leave nothing over of {len(free)} parameters: give the rows of the fit")
    added = seen.pairs if isinstance(found.law, AbstractLossLaw) else np.full(len(seen.y), seen.response == "delta")
    raw, slopes = _left(found.law, visible, added)
    slopes = slopes[:, free]
    noise_known = bool((seen.sigma > 0).all())
    unit = np.full_like(raw, _rms(raw))
    if noise_known:
        # a fit weighs all losses alike, whatever noise each row claims
        common = _rms((seen.sigma / seen.y)[~added]) if not added.all() else 1.0
        unit = np.where(added, seen.sigma, common)
    elif added.any() and not added.all():
        unit = np.where(added, _rms(raw[added]), _rms(raw[~added]))
    absorbed = _basis(slopes / unit[:, None])
    standard = raw / unit
    standard = standard - absorbed @ (absorbed.T @ standard)
    x = {name: np.broadcast_to(values, raw.shape) for name, values in seen.x.items()}
    if {"N", "D"} <= set(x):
        x = {"N": x["N"], "D": x["D"], "C": 6 * x["N"] * x["D"], **x}
    trunk = np.unique(seen.trunk, return_inverse=True)[1].ravel()
    return Residuals(
        form=type(found.law).__name__,
        x=x,
        standard=standard,
        noise_known=noise_known,
        axes=tuple(_axis(name, at, standard, absorbed, trunk) for name, at in x.items() if len(set(at)) > 1),
    )


def _left(
    law: AbstractLaw, seen: Observations, added: Bool[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n p"]]:
    """Observed less predicted, of the log of a loss or of a penalty itself, and the slopes of what is predicted."""
    log, slopes = law.log_slopes(seen.x)
    if not added.any():
        return np.log(seen.y) - log, slopes
    said = predicted(law, seen)
    value = np.exp(log)[:, None] * slopes
    if seen.pairs.any():
        plain, plain_slopes = law.log_slopes({**seen.x, "P_post": np.full_like(seen.y, np.inf)})
        value = value - np.exp(plain)[:, None] * plain_slopes
    raw = np.where(added, seen.y - said, np.log(np.where(added, 1.0, seen.y)) - log)
    return raw, np.where(added[:, None], value, slopes)


def _axis(
    name: str,
    at: Float[np.ndarray, " n"],
    standard: Float[np.ndarray, " n"],
    absorbed: Float[np.ndarray, "n q"],
    trunk: Int[np.ndarray, " n"],
) -> AxisResiduals:
    place, values = _levels(at)
    each = (place[:, None] == np.arange(len(values))) / np.bincount(place)
    spread = _Spread.of(standard, _basis(np.concatenate([absorbed, each], axis=1)), trunk)
    finite = np.isfinite(at) & (at > 0)
    slope = error = rank = float("nan")
    if len(set(at[finite])) > 2:
        away = np.where(finite, np.log2(np.where(finite, at, 1.0)), 0.0)
        away = np.where(finite, away - away[finite].mean(), 0.0)
        away /= np.sum(away**2)
        slope, error = float(away @ standard), spread.error(away, absorbed)
        rank = float(np.corrcoef(_ranks(at[finite]), _ranks(standard[finite]))[0, 1])
    levels = tuple(
        Level(value=value, mean=float(w @ standard), error=spread.error(w, absorbed), rows=int((w > 0).sum()))
        for value, w in zip(values, each.T, strict=True)
    )
    return AxisResiduals(name=name, slope=slope, error=error, rank=rank, levels=levels)


@dataclass(frozen=True, kw_only=True)
class _Spread:
    """The variance of a row, and the one that all rows of a trunk share."""

    row: float
    shared: float
    trunk: Int[np.ndarray, " n"]

    @classmethod
    def of(cls, r: Float[np.ndarray, " n"], taken: Float[np.ndarray, "n q"], trunk: Int[np.ndarray, " n"]) -> "_Spread":
        """Both from what `r` keeps outside the columns of `taken`; NaN where nothing is left.

        That of a row comes from the scatter within trunks, that of a trunk from what this leaves unexplained
        (Henderson 1953, method 3).
        """
        n, size = len(r), np.bincount(trunk)

        def within(columns: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n m"]:
            means = np.stack([np.bincount(trunk, column) for column in columns.T], axis=1) / size[:, None]
            return columns - means[trunk]

        left = r - taken @ (taken.T @ r)
        total, freedom = float(np.sum(left**2)), n - taken.shape[1]
        if freedom < 1:
            return cls(row=float("nan"), shared=float("nan"), trunk=trunk)
        inner, around = within(r[:, None])[:, 0], _basis(within(taken))
        inside = n - len(size) - around.shape[1]
        if inside < 1:
            return cls(row=total / freedom, shared=0.0, trunk=trunk)
        row = float(np.sum((inner - around @ (around.T @ inner)) ** 2)) / inside
        sums = np.stack([np.bincount(trunk, column) for column in taken.T], axis=1)
        shared = max(0.0, (total - row * freedom) / (n - float(np.sum(sums**2))))
        return cls(row=row if shared else total / freedom, shared=shared, trunk=trunk)

    def error(self, weights: Float[np.ndarray, " n"], absorbed: Float[np.ndarray, "n q"]) -> float:
        """The standard error of a weighted sum of residuals."""
        kept = weights - absorbed @ (absorbed.T @ weights)
        variance = self.row * np.sum(kept**2) + self.shared * np.sum(np.bincount(self.trunk, kept) ** 2)
        return float(np.sqrt(variance))


def _levels(at: Float[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " n"], list[float]]:
    """The level of each row and the values of the levels: those that occur, or equal shares of the rows of many."""
    close = np.round(np.log(at), 6)  # products of N and D differ in their last digit
    values, place = np.unique(close, return_inverse=True)
    place = place.ravel()
    if len(values) > _LEVELS:
        order = np.cumsum(np.bincount(place)) - 1
        place = (order * _LEVELS // len(at))[place]
        place = np.unique(place, return_inverse=True)[1].ravel()
    middles = [float(np.exp(np.log(at[place == i]).mean())) for i in range(place.max() + 1)]
    return place, middles


def _basis(columns: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n q"]:
    """An orthonormal basis of the columns' span."""
    length = np.sqrt(np.sum(columns**2, axis=0))
    left, singular, _ = np.linalg.svd(columns / np.where(length > 0, length, 1.0), full_matrices=False)
    return left[:, singular > 1e-9 * singular[0]]


def _ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Ranks from 0; equal values share the mean of theirs."""
    _, place, number = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(number) - (number + 1) / 2)[place.ravel()]


def _rms(values: Float[np.ndarray, " n"]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _value(at: float) -> str:
    return "16 bit" if np.isinf(at) else count(at)
