"""The best precision along an axis: how many bits are best as data, size, compute or memory grow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float

from simlaw.decision.allocate import Lawful, beyond, factors, refuse_far
from simlaw.decision.amounts import require_amount, require_amounts
from simlaw.decision.cost import BITS, CostTable
from simlaw.decision.named import cost_of, one_training_of
from simlaw.decision.options import Plans, best_plans, plans_at
from simlaw.decision.resources import Option, Resources, Training
from simlaw.decision.shipped import Shipped
from simlaw.decision.surface import surface_of
from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit
from simlaw.fitting.uncertainty import interval
from simlaw.law import AbstractLossLaw, AbstractPenalty, QuantizedLaw
from simlaw.published import Published
from simlaw.report import columns, count, power_of_ten

Axis = Literal["N", "D", "C", "bytes"]
#: Bits tried where no others are given: so fine that a parabola through the best three places the optimum.
_BITS = tuple(float(b) for b in np.round(np.arange(2.0, 16.01, 0.1), 1))


@dataclass(frozen=True, kw_only=True)
class BestBits:
    """The best bits at each place of an axis, with the parameters and tokens that go with them.

    `low` and `high` are the ends of the intervals of the draws, with the forms' own errors (None without draws), each
    draw at the estimate's sizes.
    `edge` is true where the best is the first or the last number of bits tried: a bound, not an optimum. `outside` says
    for each place by which factor N, D and C lie outside the rows of the fit, `counts` what N counts.
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
    counts: str = ""

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
        table = columns(head, rows)
        return f"{table}\n\nN and bytes count parameters: {self.counts}" if self.counts else table


def best_bits(
    law: Lawful,
    *,
    along: Axis,
    at: float | Sequence[float] | Float[np.ndarray, " m"],
    N: float | None = None,
    D: float | None = None,
    flops: float | None = None,
    bytes: float | None = None,
    penalty: Fit | Published | AbstractPenalty | None = None,
    training: Training | str | None = None,
    cost: CostTable | str = BITS,
    bits: Sequence[float] = _BITS,
    force: bool = False,
) -> BestBits:
    """The best bits at each value `at` of N, D, C (training FLOPs) or bytes, the others given or free.

    Quantized after training, or trained in the bits by a kind of `training` (`TIED`, `WEIGHTS`). Bits are idealised: P
    bits store P. A law without P_post takes a `penalty`. N is the best within the resources unless it is given. With
    `training=TIED`, `along="C"` and the table `BITS`, C = 6/16·N·D·P and the answer is Kumar et al.'s best precision
    (2411.04330, 4.3). Bits below those of a fit's rows, role by role, are not tried. Raises `SimlawError` for places
    that are no numbers above 0, where bits cost nothing (neither bytes nor a table that prices them), where no model
    fits, and where N, D or C lies more than ten times outside the rows of the fit, unless `force`.
    """
    if along not in get_args(Axis):
        raise SimlawError(f"along={along!r}: the best bits are along one of {', '.join(get_args(Axis))}")
    places = require_amounts("at", at)
    if N is not None:
        require_amount("N", N)
    kind, prices = one_training_of(training), cost_of(cost)
    surface = surface_of(law, penalty)
    ranges = surface.ranges
    roles = Option(format=_ideal(1.0), training=kind).precisions
    low, high = (
        max((ranges[r][0] for r in roles if r in ranges), default=0.0),
        min((ranges[r][1] for r in roles if r in ranges), default=np.inf),
    )
    grid = np.array(sorted(b for b in bits if low <= b <= high), np.float64)
    if len(grid) < 2:
        raise SimlawError(f"{len(grid)} of the bits lie inside the {low:g} to {high:g} of the fit's rows: give others")
    priced = kind is not None and kind.computed and prices.training(_ideal(4.0)) < prices.training(_ideal(8.0))
    if bytes is None and along != "bytes" and not priced:
        raise SimlawError(
            "bits cost nothing here, so the most are the best: give bytes=…, or training=TIED with a cost table that "
            "prices them"
        )
    options = [Option(format=_ideal(b), training=kind) for b in grid.tolist()]
    tops, drawn, outside = [], [], []
    for place in places:
        given = {"N": N, "D": D, "C": flops, "bytes": bytes, along: float(place)}
        resources = Resources(bytes=given["bytes"], tokens=given["D"], flops=given["C"], cost=prices)
        plans = _plans(surface.law, resources, options, given["N"])
        n, d, tried = plans.params, plans.tokens, np.array([option.format.bits for option in plans.options])
        top = int(np.argmin(plans.loss))
        outside.append(beyond(ranges, {"N": float(n[top]), "D": float(d[top]), "C": float(6 * n[top] * d[top])}))
        if not force:
            refuse_far(outside[-1])
        tops.append((_vertex(tried, plans.loss), n[top], d[top], top in (0, len(tried) - 1)))
        if surface.draws is not None:
            each = surface.ensemble(n, d, **plans.precisions)
            drawn.append(interval(np.array([_vertex(tried, row) for row in each])))
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
        counts=surface.counts,
    )


def _ideal(bits: float) -> Shipped:
    return Shipped(name=f"{bits:g} bits", bits=bits, stored=bits)


def _plans(
    law: AbstractLossLaw | QuantizedLaw, resources: Resources, options: Sequence[Option], fixed: float | None
) -> Plans:
    """The options that fit, at their best sizes or at the one size that is given."""
    fits = [option for option in options if resources.largest(option) * (1 + 1e-9) >= (fixed or 1.0)]
    if len(fits) < 2:
        raise SimlawError(f"at most one of the precisions fits {resources}: raise the budget")
    return best_plans(law, resources, fits, {}) if fixed is None else plans_at(law, resources, fits, fixed)


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
