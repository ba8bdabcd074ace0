"""How a column grows with data and size: straight lines through the logarithms of cells' means.

No form of a law bounds these exponents, so that one of the other sign can be found.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float

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
    """An exponent with its standard deviation over resampled trunks, and the degrees of freedom of that.

    `reach` is the root of the sum of squares of the logarithms about their mean: how far apart the rows are. `drawn`
    are the exponents of the resamplings, the same ones for rows of the same trunks.
    """

    value: float
    spread: float
    freedom: int
    reach: float
    drawn: Float[np.ndarray, " k"] = field(repr=False, compare=False)

    def finding(self, what: str, judged: bool = True, *, among: int = 1) -> Finding:
        """The exponent with its interval, of 95 % for `among` of them together (Bonferroni)."""
        half = student(self.freedom, 1 - (1 - COVERAGE) / among) * self.spread
        return Finding(what=what, value=self.value, low=self.value - half, high=self.value + half, judged=judged)


@dataclass(frozen=True, kw_only=True)
class Growth:
    """The exponents of a column in D and in N; of one size there is none in N.

    `dropped` of the `cells` have a mean that is not positive, and so no logarithm.
    """

    data: Slope
    size: Slope | None
    cells: int
    dropped: int


def growth(rows: Table, column: str = "delta") -> Growth:
    """The exponents of a column of quantized rows, one level for each bit-width.

    A cell is a size, a token count and a bit-width. It counts by its relative error at what the lines say of it, so
    that none counts for having come out high; means that are not positive have no logarithm and are left out. Raises
    `SimlawError` for fewer than two token counts, and where a size has one trunk.
    """
    rows = usable(rows)[0].where(lambda row: row[column] is not None)
    if not rows:
        raise SimlawError(f"no row has {column}: declare what measures it, and run the sweep")
    n, d, bits, y = (rows.column(name) for name in ("params_blocks", "tokens", "ptq_bits", column))
    cells, place = np.unique(np.stack([n, d, bits]), axis=1, return_inverse=True)
    place, count = place.reshape(-1), cells.shape[1]
    if len(np.unique(cells[1])) < 2:
        raise SimlawError("the rows have one token count, so nothing grows: add tokens")
    trunks = tuple(rows.column("trunk_id"))
    weights = trunk_weights(trunks, n, draws=_DRAWS)
    each = np.concatenate([np.ones((1, len(y))), weights.rows(trunks)])
    total = np.stack([np.bincount(place, row, minlength=count) for row in each])
    mean = np.stack([np.bincount(place, row * y, minlength=count) for row in each]) / np.maximum(total, 1e-9)
    there = (mean > 0) & (mean[0] > 0) & (total > 0)
    # of a cell's mean: the variance between its seeds, and that of its tokens
    between = np.bincount(place, (y - mean[0, place]) ** 2, minlength=count) / np.maximum(total[0] - 1, 1)
    se = rows.column("delta_se") if column == "delta" else np.zeros_like(y)
    token = np.bincount(place, se**2, minlength=count) / total[0]
    noise = _Noise(bits=cells[2], between=between, token=token, seeds=total[0])
    axes = np.stack([np.log(cells[1]), *([np.log(cells[0])] if len(np.unique(cells[0])) > 1 else [])], axis=1)
    design = np.concatenate([axes, cells[2][:, None] == np.unique(cells[2])[None]], axis=1)
    (first,) = _lines(design, mean[:1], np.where(there[:1], noise.weights(mean[0], there[0]), 0.0))
    found = _lines(design, mean, np.where(there, noise.weights(np.exp(design @ first), there[0]), 0.0))

    def slope(i: int, sign: float = 1.0) -> Slope:
        return Slope(
            value=sign * float(found[0, i]),
            spread=float(np.std(found[1:, i], ddof=1)),
            freedom=weights.freedom,
            reach=float(np.sqrt(np.sum((axes[:, i] - axes[:, i].mean()) ** 2))),
            drawn=sign * found[1:, i],
        )

    # a penalty falls with size: its exponent is that of N in the denominator
    size = slope(1, -1.0) if axes.shape[1] > 1 else None
    return Growth(data=slope(0), size=size, cells=count, dropped=int(np.sum(mean[0] <= 0)))


def difference(one: Slope, other: Slope, what: str, judged: bool = True) -> Finding:
    """By how much one exponent is above another of the same trunks, which are resampled together."""
    spread = float(np.std(one.drawn - other.drawn, ddof=1))
    half = student(min(one.freedom, other.freedom), COVERAGE) * spread
    value = one.value - other.value
    return Finding(what=what, value=value, low=value - half, high=value + half, judged=judged)


def pooled(slopes: Sequence[Slope]) -> tuple[Slope, ...]:
    """The slopes with the noise that their points share: of three trunks alone each spread is hardly known.

    A slope's own spread is that noise over its reach.
    """
    noise = float(np.sqrt(np.mean([(slope.spread * slope.reach) ** 2 for slope in slopes])))
    freedom = sum(slope.freedom for slope in slopes)
    return tuple(replace(slope, spread=noise / slope.reach, freedom=freedom) for slope in slopes)


@dataclass(frozen=True, kw_only=True)
class _Noise:
    """The variances of cells between seeds, which is known at each bit-width together, and of their tokens."""

    bits: Float[np.ndarray, " c"]
    between: Float[np.ndarray, " c"]
    token: Float[np.ndarray, " c"]
    seeds: Float[np.ndarray, " c"]

    def weights(self, mean: Float[np.ndarray, " c"], there: Bool[np.ndarray, " c"]) -> Float[np.ndarray, " c"]:
        """The inverse of each cell's squared relative error, about these means."""
        scale = np.where(there, mean, 1.0) ** 2
        spread = np.zeros_like(mean)
        for level in np.unique(self.bits):
            known = (self.bits == level) & there
            relative = float(np.median((self.between / scale)[known])) if known.any() else 0.0
            spread[self.bits == level] = max(relative, 1e-6)
        return self.seeds / (spread + self.token / scale)


def _lines(
    design: Float[np.ndarray, "c p"], mean: Float[np.ndarray, "k c"], weight: Float[np.ndarray, "k c"]
) -> Float[np.ndarray, "k p"]:
    """Weighted least squares of the logarithms, once for every draw."""
    y = np.log(np.where(weight > 0, mean, 1.0))
    left = np.einsum("cp,kc,cq->kpq", design, weight, design)
    right = np.einsum("cp,kc,kc->kp", design, weight, y)
    try:
        if np.linalg.matrix_rank(left[0]) == design.shape[1]:
            return np.linalg.solve(left, right[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:
        pass  # a draw lacks what the rows have
    raise SimlawError("the rows do not tell growth with data from growth with size: add cells")
