"""How a column grows with data and size: straight lines through the logarithms of cells' means.

No form of a law bounds these exponents, so that one of the other sign can be found.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from simlaw.claims.verdict import Finding
from simlaw.errors import SimlawError
from simlaw.fitting.uncertainty import student, trunk_weights
from simlaw.observations import usable
from simlaw.table import Table

#: Two-sided probability of the intervals that claims are judged by.
COVERAGE = 0.95
#: Resamplings of trunks.
_DRAWS = 1000


@dataclass(frozen=True, kw_only=True)
class Slope:
    """An exponent with its standard deviation over resampled trunks, and the degrees of freedom of that."""

    value: float
    spread: float
    freedom: int

    def finding(self, what: str, judged: bool = True) -> Finding:
        """The exponent with its interval."""
        reach = student(self.freedom, COVERAGE) * self.spread
        return Finding(what=what, value=self.value, low=self.value - reach, high=self.value + reach, judged=judged)


@dataclass(frozen=True, kw_only=True)
class Growth:
    """The exponents of a column in D and in N; of one size there is none in N."""

    data: Slope
    size: Slope | None


def growth(rows: Table, column: str = "delta") -> Growth:
    """The exponents of a column of quantized rows, one level for each bit-width.

    A cell is a size, a token count and a bit-width; it counts by its relative error.
    Means that are not positive have no logarithm and are left out. Raises `SimlawError` for fewer than two token
    counts, and where a size has one trunk.
    """
    rows = usable(rows)[0].where(lambda row: row[column] is not None)
    if not rows:
        raise SimlawError(f"no row has {column}: declare what measures it, and run the sweep")
    n, d, bits, y = (rows.column(name) for name in ("params_blocks", "tokens", "ptq_bits", column))
    cells, place = np.unique(np.stack([n, d, bits]), axis=1, return_inverse=True)
    place = place.reshape(-1)
    weights = trunk_weights(tuple(rows.column("trunk_id")), n, draws=_DRAWS)
    each = np.concatenate([np.ones((1, len(y))), weights.rows(tuple(rows.column("trunk_id")))])
    total = np.stack([np.bincount(place, row, minlength=cells.shape[1]) for row in each])
    mean = np.stack([np.bincount(place, row * y, minlength=cells.shape[1]) for row in each]) / np.maximum(total, 1e-9)
    se = rows.column("delta_se") if column == "delta" else np.zeros_like(y)
    weight = _weights(cells[2], place, y, se, mean[0], total[0])
    sizes, levels = np.unique(cells[0]), np.unique(cells[2])
    if len(np.unique(cells[1])) < 2:
        raise SimlawError("the rows have one token count, so nothing grows: add tokens")
    parts = [np.log(cells[1]), *([np.log(cells[0])] if len(sizes) > 1 else [])]
    design = np.stack([*parts, *((cells[2] == level).astype(float) for level in levels)], axis=1)
    found = _lines(design, mean, np.where((mean > 0) & (total > 0), weight, 0.0))

    def slope(i: int, sign: float = 1.0) -> Slope:
        return Slope(
            value=sign * float(found[0, i]), spread=float(np.std(found[1:, i], ddof=1)), freedom=weights.freedom
        )

    # a penalty falls with size: its exponent is that of N in the denominator
    return Growth(data=slope(0), size=slope(1, -1.0) if len(sizes) > 1 else None)


def pooled(slopes: Sequence[Slope]) -> tuple[Slope, ...]:
    """The slopes with the spread that they share: of three trunks alone each spread is hardly known."""
    spread = float(np.sqrt(np.mean([slope.spread**2 for slope in slopes])))
    freedom = sum(slope.freedom for slope in slopes)
    return tuple(Slope(value=slope.value, spread=spread, freedom=freedom) for slope in slopes)


def _weights(
    bits: Float[np.ndarray, " c"],
    place: np.ndarray,
    y: Float[np.ndarray, " n"],
    se: Float[np.ndarray, " n"],
    mean: Float[np.ndarray, " c"],
    seeds: Float[np.ndarray, " c"],
) -> Float[np.ndarray, " c"]:
    """The inverse of each cell's squared relative error: of its tokens, and of the median spread between seeds."""
    around = np.bincount(place, (y - mean[place]) ** 2, minlength=len(mean)) / np.maximum(seeds - 1, 1)
    token = np.bincount(place, se**2, minlength=len(mean)) / seeds
    scale = np.where(mean > 0, mean, np.inf) ** 2
    between = np.zeros_like(mean)
    for level in np.unique(bits):
        here = bits == level
        between[here] = max(float(np.median((around / scale)[here])), 1e-6)
    return seeds / (between + token / scale)


def _lines(
    design: Float[np.ndarray, "c p"], mean: Float[np.ndarray, "k c"], weight: Float[np.ndarray, "k c"]
) -> Float[np.ndarray, "k p"]:
    """Weighted least squares of the logarithms, once for every draw."""
    y = np.log(np.where(weight > 0, mean, 1.0))
    left = np.einsum("cp,kc,cq->kpq", design, weight, design)
    right = np.einsum("cp,kc,kc->kp", design, weight, y)
    if np.linalg.matrix_rank(left[0]) < design.shape[1]:
        raise SimlawError("the rows do not tell growth with data from growth with size: add cells")
    return np.linalg.solve(left, right[:, :, None])[:, :, 0]
