"""The best precision along an axis: how many bits are best as data, size, compute or memory grow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from simlaw.decision.allocate import Lawful, beyond, factors, parts_of, refuse_far
from simlaw.decision.cost import BITS, CostTable
from simlaw.decision.resources import Option, Resources, Training
from simlaw.decision.shipped import Shipped
from simlaw.errors import SimlawError
from simlaw.fitting.uncertainty import interval
from simlaw.law import AbstractLossLaw, QuantizedLaw
from simlaw.report import columns, count, power_of_ten

Axis = Literal["N", "D", "C", "bytes"]
#: Bits tried where no others are given: so fine that a parabola through the best three places the optimum.
_BITS = tuple(float(b) for b in np.round(np.arange(2.0, 16.01, 0.1), 1))
#: Of the sizes within resources, one in this many is tried.
_EVERY = 4


@dataclass(frozen=True, kw_only=True)
class BestBits:
    """The best bits at each place of an axis, with the parameters and tokens that go with them.

    `low` and `high` are the ends of the intervals of the draws (None without draws), each draw at the estimate's sizes.
    `edge` is true where the best is the first or the last number of bits tried: a bound, not an optimum. `outside` says
    for each place by which factor N, D and C lie outside the rows of the fit.
    """

    along: Axis
    at: Float[np.ndarray, " m"]
    bits: Float[np.ndarray, " m"]
    low: Float[np.ndarray, " m"] | None
    high: Float[np.ndarray, " m"] | None
    params: Float[np.ndarray, " m"]
    tokens: Float[np.ndarray, " m"]
    edge: Bool[np.ndarray, " m"]
    outside: tuple[Mapping[str, float], ...]

    def __str__(self) -> str:
        head = [self.along, "best bits", "parameters", "tokens"]
        rows = [
            [
                power_of_ten(at) if self.along == "C" else count(at),
                f"{bits:.2f}" + (" (end)" if edge else ""),
                count(n),
                count(d),
            ]
            for at, bits, edge, n, d in zip(self.at, self.bits, self.edge, self.params, self.tokens, strict=True)
        ]
        if self.low is not None and self.high is not None:
            head.append("90 % interval of the bits")
            for row, low, high in zip(rows, self.low, self.high, strict=True):
                row.append(f"{low:.2f} to {high:.2f}")
        if any(self.outside):
            head.append("outside the rows of the fit")
            for row, far in zip(rows, self.outside, strict=True):
                row.append(factors(far))
        return columns(head, rows)


def best_bits(
    law: Lawful,
    *,
    along: Axis,
    at: Sequence[float] | Float[np.ndarray, " m"],
    N: float | None = None,
    D: float | None = None,
    flops: float | None = None,
    bytes: float | None = None,
    training: Training | None = None,
    cost: CostTable = BITS,
    bits: Sequence[float] = _BITS,
    force: bool = False,
) -> BestBits:
    """The best bits at each value `at` of N, D, C (training FLOPs) or bytes, the others given or free.

    Quantized after training, or trained in the bits by a kind of `training` (`TIED`, `WEIGHTS`). Bits are idealised: P
    bits store P. N is the best within the resources unless it is given. With `training=TIED`, `along="C"` and the table
    `BITS`, C = 6/16·N·D·P and the answer is Kumar et al.'s best precision (2411.04330, 4.3). Bits outside those of a
    fit's rows are not tried. Raises `SimlawError` where bits cost nothing (neither bytes nor a table that prices them),
    where no model fits, and where N, D or C lies more than ten times outside the rows of the fit, unless `force`.
    """
    ranges, estimate, draws = parts_of(law)
    roles = Option(format=_ideal(1.0), training=training).precisions
    low, high = (
        max((ranges[r][0] for r in roles if r in ranges), default=0.0),
        min((ranges[r][1] for r in roles if r in ranges), default=np.inf),
    )
    grid = np.array(sorted(b for b in bits if low <= b <= high), np.float64)
    if len(grid) < 2:
        raise SimlawError(f"{len(grid)} of the bits lie inside the {low:g} to {high:g} of the fit's rows: give others")
    priced = training is not None and training.computed and cost.training(_ideal(4.0)) < cost.training(_ideal(8.0))
    if bytes is None and along != "bytes" and not priced:
        raise SimlawError(
            "bits cost nothing here, so the most are the best: give bytes=…, or training=TIED with a cost table that "
            "prices them"
        )
    options = [Option(format=_ideal(b), training=training) for b in grid.tolist()]
    places = np.asarray(at, np.float64)
    tops, drawn, outside = [], [], []
    for place in places:
        given = {"N": N, "D": D, "C": flops, "bytes": bytes, along: float(place)}
        resources = Resources(bytes=given["bytes"], tokens=given["D"], flops=given["C"], cost=cost)
        fits, n, d, loss = _best_sizes(estimate, resources, options, given["N"])
        top = int(np.argmin(loss))
        outside.append(beyond(ranges, {"N": float(n[top]), "D": float(d[top]), "C": float(6 * n[top] * d[top])}))
        if not force:
            refuse_far(outside[-1])
        tops.append((_vertex(grid[fits], loss), n[top], d[top], top in (0, len(loss) - 1)))
        if draws is not None:
            each = draws.loss(N=n, D=d, **dict.fromkeys(roles, grid[fits]))
            drawn.append(interval(np.array([_vertex(grid[fits], row) for row in each])))
    ends = np.array(drawn).T if drawn else None
    return BestBits(
        along=along,
        at=places,
        bits=np.array([top[0] for top in tops]),
        low=None if ends is None else ends[0],
        high=None if ends is None else ends[1],
        params=np.array([top[1] for top in tops]),
        tokens=np.array([top[2] for top in tops]),
        edge=np.array([top[3] for top in tops]),
        outside=tuple(outside),
    )


def _ideal(bits: float) -> Shipped:
    return Shipped(name=f"{bits:g} bits", bits=bits, stored=bits)


def _best_sizes(
    law: AbstractLossLaw | QuantizedLaw, resources: Resources, options: Sequence[Option], fixed: float | None
) -> tuple[Bool[np.ndarray, " b"], Float[np.ndarray, " f"], Float[np.ndarray, " f"], Float[np.ndarray, " f"]]:
    """Which options fit, and their best sizes, tokens and losses."""
    found, fits = [], []
    for option in options:
        n = resources.sizes(option)
        if fixed is not None:
            n = np.array([fixed]) if n.size and fixed <= n[-1] * (1 + 1e-9) else n[:0]
        else:
            n = n[::-1][::_EVERY]
        fits.append(bool(n.size))
        if n.size:
            loss = law.loss(N=n, D=resources.tokens_for(n, option), **option.precisions)
            i = int(np.argmin(loss))
            log = np.log(n)
            if 0 < i < len(n) - 1:  # between the sizes tried
                log[i] = _vertex(log[i - 1 : i + 2], loss[i - 1 : i + 2])
            best = np.exp(log[i : i + 1])
            d = resources.tokens_for(best, option)
            found.append((best[0], d[0], float(law.loss(N=best, D=d, **option.precisions)[0])))
    if len(found) < 2:
        raise SimlawError(f"at most one of the precisions fits {resources}: raise the budget")
    n, d, loss = np.array(found).T
    return np.array(fits), n, d, loss


def _vertex(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """Where the parabola through the least `y` and its neighbours is least; whole bits, and ends, stay as they are."""
    i = int(np.argmin(y))
    if i in (0, len(x) - 1) or abs(x[i + 1] - x[i - 1]) >= 1.99:
        return float(x[i])
    (a, b, c), (u, v, w) = x[i - 1 : i + 2], y[i - 1 : i + 2]
    below, above = (b - a) * (v - w), (b - c) * (v - u)
    if below == above:
        return float(b)
    return float(b - 0.5 * ((b - a) * below - (b - c) * above) / (below - above))
