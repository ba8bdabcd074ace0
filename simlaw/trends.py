"""Trends of the penalty that any law must share: a rise with data at fixed size, a fall with size at fixed data."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from simlaw.observations import Observations, PenaltyCell, penalty_cells, penalty_observations
from simlaw.report import count
from simlaw.table import Table


@dataclass(frozen=True, kw_only=True)
class Trend:
    """One trend at one precision, in logarithms, with its standard error: positive where it goes the expected way."""

    bits: int
    what: str
    value: float
    error: float

    @property
    def verdict(self) -> str:
        """Whether the trend stands out from the noise between seeds, at two standard errors."""
        if abs(self.value) <= 2 * self.error:
            return "within noise"
        return "as expected" if self.value > 0 else "the other way"


def trends(table: Table, bits: tuple[int, ...] = (3, 4), *, granularity: str = "channel") -> tuple[Trend, ...]:
    """For each precision: the slope of ln delta in ln D at every size, and how ln delta falls from size to size.

    Falls are averages over the token counts that both sizes have. Cells are weighted by their relative errors, so
    those near the noise floor hardly count; a mean that is not positive has no logarithm and is left out. The
    branches of a trunk move together, so the error is the spread of whole trunks where that is the larger one.
    """
    measured = penalty_cells(table, granularity=granularity)
    cells = {(cell.params, cell.tokens, cell.bits): cell for cell in measured if cell.delta > 0}
    seen = penalty_observations(table, granularity=granularity, lowest_bits=2)
    shares = _trunk_shares(seen, cells)
    found = []
    for b in bits:
        sizes = sorted({n for n, _, bits in cells if bits == b})
        tokens = {n: [d for m, d, bits in cells if m == n and bits == b] for n in sizes}
        for n in sizes:
            here = [(n, d, b) for d in tokens[n]]
            if len(here) > 1:
                what = f"ln delta per ln D at N = {count(n)}"
                found.append(_trend(b, what, _slope_weights(here, cells), cells, shares))
        for small, large in itertools.pairwise(sizes):
            both = [d for d in tokens[small] if d in tokens[large]]
            if both:
                variance = np.sum([[_relative(cells[n, d, b]) ** 2 for d in both] for n in (small, large)], axis=0)
                weight = 1 / variance / np.sum(1 / variance)
                parts = {(small, d, b): w for d, w in zip(both, weight, strict=True)}
                parts |= {(large, d, b): -w for d, w in zip(both, weight, strict=True)}
                what = f"fall of ln delta from N = {count(small)} to {count(large)}"
                found.append(_trend(b, what, parts, cells, shares))
    return tuple(found)


#: A cell: parameters, tokens, bits.
_Key = tuple[int, int, int]


def _trend(
    bits: int,
    what: str,
    parts: Mapping[_Key, float],
    cells: Mapping[_Key, PenaltyCell],
    shares: Mapping[_Key, Mapping[str, float]],
) -> Trend:
    """The weighted sum of the cells' logarithms, with the error of independent cells or of whole trunks."""
    value = sum(w * np.log(cells[key].delta) for key, w in parts.items())
    alone = sum((w * _relative(cells[key])) ** 2 for key, w in parts.items())
    together = 0.0
    for n in {key[0] for key in parts}:
        trunks: dict[str, float] = {}
        for key, w in parts.items():
            for trunk, share in shares[key].items() if key[0] == n else ():
                trunks[trunk] = trunks.get(trunk, 0.0) + w * share
        if len(trunks) > 1:
            together += float(np.var(list(trunks.values()), ddof=1)) / len(trunks)
    return Trend(bits=bits, what=what, value=float(value), error=float(np.sqrt(max(alone, together))))


def _trunk_shares(seen: Observations, cells: Mapping[_Key, PenaltyCell]) -> dict[_Key, dict[str, float]]:
    """Of each cell, every trunk's delta over the cell's mean."""
    shares: dict[_Key, dict[str, float]] = {}
    for i, (n, d, bits) in enumerate(zip(seen.x["N"], seen.x["D"], seen.x["P_post"], strict=True)):
        key = (int(n), int(d), int(bits))
        if key in cells:
            shares.setdefault(key, {})[seen.trunk[i]] = float(seen.y[i]) / cells[key].delta
    return shares


def _relative(cell: PenaltyCell) -> float:
    return cell.error / cell.delta


def _slope_weights(here: list[_Key], cells: Mapping[_Key, PenaltyCell]) -> dict[_Key, float]:
    """The weights with which the logarithms of the cells add up to the slope of a weighted straight line."""
    x: Float[np.ndarray, " n"] = np.log([d for _, d, _ in here])
    weight = np.array([_relative(cells[key]) ** -2 for key in here])
    away = x - np.sum(weight * x) / weight.sum()
    each = weight * away / np.sum(weight * away**2)
    return dict(zip(here, each.tolist(), strict=True))
