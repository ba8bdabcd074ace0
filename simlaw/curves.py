"""Curves of a law with their bands: against tokens, sizes or bits, over the rows that were measured and beyond."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit
from simlaw.fitting.uncertainty import interval
from simlaw.law import AbstractPenalty
from simlaw.observations import Observations, PenaltyCell


@dataclass(frozen=True, kw_only=True)
class PenaltyCurve:
    """delta_PTQ of one size and precision by the law, in nats per token, with its interval, against tokens."""

    params: int
    bits: int
    tokens: Float[np.ndarray, " n"]
    law: Float[np.ndarray, " n"]
    low: Float[np.ndarray, " n"]
    high: Float[np.ndarray, " n"]


def penalty_curves(cells: Sequence[PenaltyCell], fit: Fit, bits: Sequence[int]) -> tuple[PenaltyCurve, ...]:
    """The curves of every size at these bits; raises `SimlawError` where the fit is no penalty with draws."""
    if not isinstance(fit.law, AbstractPenalty) or not isinstance(fit.draws, AbstractPenalty):
        raise SimlawError(f"{type(fit.law).__name__} gives no penalty with draws: fit a penalty with weights")
    curves = []
    for n in sorted({cell.params for cell in cells}):
        for b in bits:
            there = [cell.tokens for cell in cells if (cell.params, cell.bits) == (n, b)]
            if there:
                tokens = np.geomspace(min(there), max(there), 40)
                low, high = interval(fit.draws.penalty(N=n, D=tokens, P_post=b))
                law = fit.law.penalty(N=n, D=tokens, P_post=b)
                curves.append(PenaltyCurve(params=n, bits=b, tokens=tokens, law=law, low=low, high=high))
    return tuple(curves)


@dataclass(frozen=True, kw_only=True)
class Band:
    """A law along one variable at fixed others, in nats per token: estimate, interval of the draws, measured cells.

    `low` and `high` are None without draws. `inside` is true between the rows at these fixed values. `cells` are the
    places of the rows on the axis, `means` theirs, `errors` the standard errors, NaN where the noise is not known.
    """

    along: str
    fixed: Mapping[str, float]
    penalty: bool
    x: Float[np.ndarray, " n"]
    law: Float[np.ndarray, " n"]
    low: Float[np.ndarray, " n"] | None
    high: Float[np.ndarray, " n"] | None
    inside: Bool[np.ndarray, " n"]
    cells: Float[np.ndarray, " m"]
    means: Float[np.ndarray, " m"]
    errors: Float[np.ndarray, " m"]


def bands(found: Fit, seen: Observations, *, along: str = "D", margin: float = 4.0) -> tuple[Band, ...]:
    """The law of a fit along a variable, once for each set of values that the rows have in the others.

    Curves go `margin` times beyond the rows (of bits: one bit). Unquantized rows have no place on an axis of bits and
    left out there. Of losses and penalties in one table a law of the loss is drawn with the losses alone, and a law of
    the penalty with the penalties: a penalty is the difference of two losses. `seen.keep(…)` chooses fewer curves.
    Raises `SimlawError` for an axis that the rows lack, and where none of the rows can be drawn.
    """
    penalty = isinstance(found.law, AbstractPenalty)
    added = np.full(len(seen.y), seen.response == "delta") if seen.paired is None else seen.pairs
    seen = seen.keep(added == penalty)
    if along not in seen.x:
        raise SimlawError(f"the rows have no {along}: they have {', '.join(seen.x)}")
    on_axis = seen.keep(np.isfinite(seen.x[along]))
    if not len(on_axis.y):
        kind = "penalty" if penalty else "loss"
        raise SimlawError(
            f"no row that is a {kind} has a finite {along}, so nothing can be drawn along it: take another axis or rows"
        )
    others = [name for name in seen.x if name != along]
    first, last = on_axis.x[along].min(), on_axis.x[along].max()
    bits = along.startswith("P_")
    x = np.linspace(max(2.0, first - 1), last + 1, 161) if bits else np.geomspace(first / margin, last * margin, 161)
    places: dict[tuple[float, ...], list[int]] = {}
    for i, key in enumerate(zip(*(on_axis.x[name] for name in others), strict=True)):
        places.setdefault(tuple(map(float, key)), []).append(i)
    curves = []
    for key in sorted(places):
        rows = on_axis.keep(np.isin(np.arange(len(on_axis.y)), places[key]))
        fixed = dict(zip(others, key, strict=True))
        at: dict[str, Any] = {along: x, **fixed}
        cells, place = np.unique(rows.x[along], return_inverse=True)
        number = np.bincount(place.ravel())
        low, high = (None, None) if found.draws is None else interval(found.draws.evaluate(at))
        curves.append(
            Band(
                along=along,
                fixed=fixed,
                penalty=penalty,
                x=x,
                law=found.law.evaluate(at),
                low=low,
                high=high,
                inside=(x >= cells[0]) & (x <= cells[-1]),
                cells=cells,
                means=np.bincount(place.ravel(), rows.y) / number,
                errors=np.sqrt(np.bincount(place.ravel(), rows.sigma**2)) / number,
            )
        )
    return tuple(curves)
