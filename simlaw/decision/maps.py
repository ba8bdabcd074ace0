"""Maps for planners: the loss over size and data, and the best bits over the bytes and compute that one may spend."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from simlaw.decision.allocate import Lawful, parts_of
from simlaw.decision.shipped import SHIPPED, Shipped
from simlaw.decision.surface import Surface
from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit
from simlaw.fitting.residuals import residuals
from simlaw.law import AbstractLaw, AbstractLossLaw, AbstractPenalty, QuantizedLaw
from simlaw.observations import Observations

#: Sizes tried at each budget, from a millionth of the smallest bound to the largest; a parabola joins three of them.
_SIZES = 500


@dataclass(frozen=True, kw_only=True)
class MeasuredPoint:
    """The runs of one size and token count: how many, and the mean of their residuals in deviations of that mean."""

    params: float
    tokens: float
    rows: int
    residual: float


@dataclass(frozen=True, kw_only=True)
class LossMap:
    """The loss of a law in nats per token over size and data, with the best size of every budget and the runs.

    `optimal` is the size of least loss at the training FLOPs `flops` = 6·N·D; `ranges` are those of the runs.
    """

    params: Float[np.ndarray, " n"]
    tokens: Float[np.ndarray, " d"]
    loss: Float[np.ndarray, "d n"]
    flops: Float[np.ndarray, " c"]
    optimal: Float[np.ndarray, " c"]
    ranges: Mapping[str, tuple[float, float]]
    measured: tuple[MeasuredPoint, ...]


def loss_map(found: Fit, seen: Observations, *, margin: float = 4.0, points: int = 120, **fixed: float) -> LossMap:
    """The map of a fit of the loss over its observations and `margin` times beyond them, `points` a side.

    `fixed` holds the law's other variables (P_w=4), and keeps the runs that have them. Raises `SimlawError` for a law
    that does not know N and D, and where no run has the fixed values.
    """
    if not isinstance(found.law, AbstractLossLaw) or not {"N", "D"} <= set(found.law.needs):
        raise SimlawError(f"{type(found.law).__name__} gives no loss over N and D: take a law of the loss")
    mask = np.ones(len(seen.y), bool)
    for name, value in fixed.items():
        mask &= seen.x.get(name, np.full(len(seen.y), found.law.takes.get(name, np.nan))) == value
    if not mask.any():
        raise SimlawError(f"no run has {', '.join(f'{k}={v:g}' for k, v in fixed.items())}: fix values of the runs")
    n, d = seen.x["N"][mask], seen.x["D"][mask]
    ranges = {"N": (float(n.min()), float(n.max())), "D": (float(d.min()), float(d.max()))}
    params = np.geomspace(ranges["N"][0] / margin, ranges["N"][1] * margin, points)
    tokens = np.geomspace(ranges["D"][0] / margin, ranges["D"][1] * margin, points)
    flops = np.geomspace(6 * params[0] * tokens[0], 6 * params[-1] * tokens[-1], points)
    # sizes far beyond the map, so that the edge of the search is no optimum
    wide = np.geomspace(params[0] / 1e2, params[-1] * 1e2, 4000)
    along = found.law.loss(N=wide, D=flops[:, None] / (6 * wide), **fixed)
    standard = residuals(found, seen).standard[mask]
    cells = {(float(a), float(b)) for a, b in zip(n, d, strict=True)}
    measured = []
    for a, b in sorted(cells):
        here = standard[(n == a) & (d == b)]
        mean = float(here.mean() * np.sqrt(len(here)))
        measured.append(MeasuredPoint(params=a, tokens=b, rows=len(here), residual=mean))
    return LossMap(
        params=params,
        tokens=tokens,
        loss=found.law.loss(N=params, D=tokens[:, None], **fixed),
        flops=flops,
        optimal=wide[along.argmin(axis=1)],
        ranges=ranges,
        measured=tuple(measured),
    )


@dataclass(frozen=True, kw_only=True)
class BitsMap:
    """The best format over bytes of weights and training FLOPs: who wins, at which size, and how surely.

    `best` is the winner's place in `formats`, `loss` its loss in nats per token. `share` is the share of the draws in
    which formats of the winner's bits win (None without draws). `outside` is true where the winner's size or data lie
    outside the rows of the law. The 16-bit model of as many bytes has bytes / 2 parameters.
    """

    bytes: Float[np.ndarray, " b"]
    flops: Float[np.ndarray, " c"]
    formats: tuple[Shipped, ...]
    best: np.ndarray
    params: Float[np.ndarray, "c b"]
    loss: Float[np.ndarray, "c b"]
    share: Float[np.ndarray, "c b"] | None
    outside: Bool[np.ndarray, "c b"]

    @property
    def bits(self) -> Float[np.ndarray, "c b"]:
        """The bits of the winner, infinite for 16 bits."""
        return np.array([one.bits for one in self.formats], np.float64)[self.best]

    @property
    def tokens(self) -> Float[np.ndarray, "c b"]:
        """The training tokens of the winner."""
        return self.flops[:, None] / (6 * self.params)


def best_bits_map(
    law: Lawful,
    *,
    bytes: Float[np.ndarray, " b"],
    flops: Float[np.ndarray, " c"],
    penalty: Fit | AbstractPenalty | None = None,
    formats: Sequence[Shipped] = SHIPPED,
) -> BitsMap:
    """The winner of `decide` at every budget of bytes and FLOPs, each format at its best size.

    Formats outside the bits of a fit's rows are no candidates. Of formats with equal bits the one that stores least
    wins, since a law tells formats by their bits. Raises `SimlawError` for budgets that are not above 0, for fits that
    are not valid, and for laws that know no P_post.
    """
    for name, amounts in (("bytes", bytes), ("flops", flops)):
        if not (np.isfinite(amounts).all() and (amounts > 0).all()):
            raise SimlawError(f"{name} of {amounts.min():g} to {amounts.max():g}: budgets are numbers above 0")
    ranges, estimate, ensemble = _laws(law, penalty)
    allowed = _candidates(formats, ranges)
    params = np.stack([_best_sizes(estimate, bytes * 8 / one.stored, flops, one.bits) for one in allowed])
    tokens = flops[:, None] / (6 * params)
    bits = np.array([one.bits for one in allowed])
    loss = np.stack([estimate.loss(N=n, D=d, P_post=b) for n, d, b in zip(params, tokens, bits, strict=True)])
    best = loss.argmin(axis=0)
    share = None if ensemble is None else _share(ensemble, params, tokens, bits, best)
    at = (best, *np.indices(best.shape))
    outside = np.zeros(best.shape, bool)
    for name, value in (("N", params[at]), ("D", tokens[at])):
        low, high = ranges.get(name, (0.0, np.inf))
        outside |= (value < low / 1.05) | (value > high * 1.05)
    return BitsMap(
        bytes=bytes,
        flops=flops,
        formats=allowed,
        best=best,
        params=params[at],
        loss=loss[at],
        share=share,
        outside=outside,
    )


#: The losses of all draws at sizes, tokens and bits.
_Ensemble = Callable[[np.ndarray, np.ndarray, np.ndarray], Any]


def _laws(
    law: Lawful, penalty: Fit | AbstractPenalty | None
) -> tuple[dict[str, tuple[float, float]], AbstractLossLaw | QuantizedLaw, _Ensemble | None]:
    """The ranges of the rows, the law of the loss in every format, and that of the draws with all their errors."""
    ranges, estimate, draws = parts_of(law)
    if penalty is None:
        if isinstance(estimate, AbstractLaw) and "P_post" not in (*estimate.needs, *estimate.takes):
            raise SimlawError(f"{type(estimate).__name__} does not know P_post, so no format wins: give penalty=…")
        return ranges, estimate, None if draws is None else lambda n, d, bits: draws.loss(N=n, D=d, P_post=bits)
    added = penalty.law if isinstance(penalty, Fit) else penalty
    if isinstance(penalty, Fit) and penalty.health != "VALID":
        raise SimlawError(f"the fit of {type(added).__name__} is {penalty.health}: {penalty.sentence}; not identified")
    if not isinstance(estimate, AbstractLossLaw) or not isinstance(added, AbstractPenalty):
        raise SimlawError("a map is of a law of the loss and a law of the penalty: give them in this order")
    ensemble: _Ensemble | None = None
    if isinstance(law, Fit) and isinstance(penalty, Fit):
        ranges = {**penalty.ranges, **ranges}
        if law.draws is not None and penalty.draws is not None:
            ensemble = Surface.of(law, penalty, np.geomspace(*law.ranges["N"], 3)).ensemble
    return ranges, QuantizedLaw(base=estimate, penalty=added), ensemble


def _candidates(formats: Sequence[Shipped], ranges: Mapping[str, tuple[float, float]]) -> tuple[Shipped, ...]:
    """Of the formats within the bits of the rows, the one of each number of bits that stores least; finest first."""
    low, high = ranges.get("P_post", (0.0, np.inf))
    least: dict[float, Shipped] = {}
    for one in formats:
        known = low <= one.bits <= high or np.isinf(one.bits)
        if known and (one.bits not in least or one.stored < least[one.bits].stored):
            least[one.bits] = one
    if not least:
        raise SimlawError(f"no format lies within the {low:g} to {high:g} bits of the rows: give others")
    return tuple(least[bits] for bits in sorted(least, reverse=True))


def _best_sizes(
    law: AbstractLossLaw | QuantizedLaw, most: Float[np.ndarray, " b"], flops: Float[np.ndarray, " c"], bits: float
) -> Float[np.ndarray, "c b"]:
    """The best size of at most `most` parameters at every budget: that of the budget alone, unless it is too large."""
    tried = np.geomspace(most.min() * 1e-6, most.max(), _SIZES)
    loss = law.loss(N=tried, D=flops[:, None] / (6 * tried), P_post=bits)
    lowest = np.minimum.accumulate(loss, axis=1)
    # the place of the lowest so far: where it was last improved
    better = np.concatenate([np.ones((len(flops), 1), bool), lowest[:, 1:] < lowest[:, :-1]], axis=1)
    place = np.maximum.accumulate(np.where(better, np.arange(_SIZES), 0), axis=1)
    left, middle, right = loss[:, :-2], loss[:, 1:-1], loss[:, 2:]
    bend = left - 2 * middle + right
    valley = (middle <= left) & (middle <= right) & (bend > 0)
    step = np.log(tried[1] / tried[0])
    off = np.where(valley, (left - right) / np.where(valley, 2 * bend, 1.0), 0.0)
    alone = np.full(loss.shape, np.inf)  # while the loss still falls, every byte is used
    alone[:, 1:-1] = np.where(valley, tried[1:-1] * np.exp(step * off), np.inf)
    last = np.searchsorted(tried, most * (1 + 1e-9), side="right") - 1
    rows = np.arange(len(flops))[:, None]
    return np.minimum(alone[rows, place[:, last]], most)


def _share(
    ensemble: _Ensemble,
    params: Float[np.ndarray, "f c b"],
    tokens: Float[np.ndarray, "f c b"],
    bits: Float[np.ndarray, " f"],
    best: np.ndarray,
) -> Float[np.ndarray, "c b"]:
    """The share of draws in which the winner wins, every format at its best size by the estimate."""
    share = np.empty(best.shape)
    for i in range(len(best)):  # a row at a time, for the memory's sake
        drawn = ensemble(params[:, i], tokens[:, i], np.broadcast_to(bits[:, None], params[:, i].shape))
        share[i] = (drawn.argmin(axis=1) == best[i]).mean(axis=0)
    return share
