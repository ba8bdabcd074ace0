"""Maps for planners: the loss over size and data, and the best bits over the bytes and compute that one may spend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from simlaw.decision.allocate import Lawful
from simlaw.decision.amounts import NOTHING, require_amounts
from simlaw.decision.bestsize import best_sizes
from simlaw.decision.named import formats_of
from simlaw.decision.shipped import SHIPPED, Shipped
from simlaw.decision.surface import Surface, surface_of
from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit
from simlaw.fitting.residuals import residuals
from simlaw.law import AbstractLossLaw, AbstractPenalty
from simlaw.observations import Observations
from simlaw.published import Published

#: The share of draws from which a winner counts as settled.
SETTLED = 0.9


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
    law = found.law
    if not isinstance(law, AbstractLossLaw) or not {"N", "D"} <= set(law.needs):
        raise SimlawError(f"{type(law).__name__} gives no loss over N and D: take a law of the loss")
    mask = np.ones(len(seen.y), bool)
    for name, value in fixed.items():
        mask &= seen.x.get(name, np.full(len(seen.y), law.takes.get(name, np.nan))) == value
    if not mask.any():
        raise SimlawError(f"no run has {', '.join(f'{k}={v:g}' for k, v in fixed.items())}: fix values of the runs")
    n, d = seen.x["N"][mask], seen.x["D"][mask]
    ranges = {"N": (float(n.min()), float(n.max())), "D": (float(d.min()), float(d.max()))}
    params = np.geomspace(ranges["N"][0] / margin, ranges["N"][1] * margin, points)
    tokens = np.geomspace(ranges["D"][0] / margin, ranges["D"][1] * margin, points)
    flops = np.geomspace(6 * params[0] * tokens[0], 6 * params[-1] * tokens[-1], points)
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
        loss=law.loss(N=params, D=tokens[:, None], **fixed),
        flops=flops,
        optimal=best_sizes(lambda x: law.loss(N=x, D=flops[:, None] / (6 * x), **fixed), flops / 6, flops / 6),
        ranges=ranges,
        measured=tuple(measured),
    )


@dataclass(frozen=True, kw_only=True)
class BitsMap:
    """The best format over bytes of weights and training FLOPs: who wins, at which size, by how much, and how surely.

    `best` is the winner's place in `formats`, `loss` its loss in nats per token, and `lead` by how much that is below
    the loss of the next best format (infinite where there is no other). `share` is the share of the draws in which the
    winner leads all others by half a thousandth nat or more (None without draws). `outside` is true where the winner's
    size or data lie outside the rows of the law. The 16-bit model of as many bytes has bytes / 2 parameters.
    """

    bytes: Float[np.ndarray, " b"]
    flops: Float[np.ndarray, " c"]
    formats: tuple[Shipped, ...]
    best: np.ndarray
    params: Float[np.ndarray, "c b"]
    loss: Float[np.ndarray, "c b"]
    lead: Float[np.ndarray, "c b"]
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

    @property
    def settled(self) -> Bool[np.ndarray, "c b"]:
        """Where the winner leads by half a thousandth nat or more, by the estimate and in 90 % of the draws."""
        found: Bool[np.ndarray, "c b"] = self.lead >= NOTHING
        return found if self.share is None else found & (self.share >= SETTLED)


def best_bits_map(
    law: Lawful,
    *,
    bytes: float | Sequence[float] | Float[np.ndarray, " b"],
    flops: float | Sequence[float] | Float[np.ndarray, " c"],
    penalty: Fit | Published | AbstractPenalty | None = None,
    formats: Sequence[Shipped | str] | str = SHIPPED,
) -> BitsMap:
    """The winner among formats quantized after training, at every budget of bytes and FLOPs, each at its best size.

    It is the winner of `decide` with `training=()`. Formats outside the bits of a fit's rows are no candidates. Of
    formats with equal bits the one that stores least wins, since a law tells formats by their bits. Raises
    `SimlawError` for budgets that are not above 0 or train nothing, for fits that are not valid, for laws that know no
    P_post, and where by the law the smallest model of all wins.
    """
    bytes, flops = require_amounts("bytes", bytes), require_amounts("flops", flops)
    for name, amounts, least in (("bytes", bytes, 2.0), ("flops", flops, 6.0)):
        if amounts.min() < least:
            raise SimlawError(f"{name}={amounts.min():g} do not do for one parameter and one token: raise the budget")
    surface = surface_of(law, penalty)
    if "P_post" not in surface.precisions:
        raise SimlawError(f"{surface.name} does not know P_post, so no format wins: give penalty=…")
    allowed = _candidates(formats_of(formats), surface.ranges)
    params = np.stack([_best_sizes(surface, bytes * 8 / one.stored, flops, one.bits) for one in allowed])
    tokens = flops[:, None] / (6 * params)
    bits = np.array([one.bits for one in allowed])
    loss = np.stack([surface.loss(n, d, b) for n, d, b in zip(params, tokens, bits, strict=True)])
    best = loss.argmin(axis=0)
    at = (best, *np.indices(best.shape))
    if (params[at] <= 1).any():
        raise SimlawError(
            "by the law one parameter is the best size of a budget, where no law means anything: raise it"
        )
    outside = np.zeros(best.shape, bool)
    for name, value in (("N", params[at]), ("D", tokens[at])):
        low, high = surface.ranges.get(name, (0.0, np.inf))
        outside |= (value < low / 1.05) | (value > high * 1.05)
    return BitsMap(
        bytes=bytes,
        flops=flops,
        formats=allowed,
        best=best,
        params=params[at],
        loss=loss[at],
        lead=_lead(loss, best),
        share=None if surface.draws is None else _share(surface, params, tokens, bits, best),
        outside=outside,
    )


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
    surface: Surface, most: Float[np.ndarray, " b"], flops: Float[np.ndarray, " c"], bits: float
) -> Float[np.ndarray, "c b"]:
    """The best size of at most `most` parameters at every budget: that of the budget alone, unless it is too large."""

    def search(flops: Float[np.ndarray, " q"], most: Float[np.ndarray, " q"]) -> Float[np.ndarray, " q"]:
        return best_sizes(lambda n: surface.loss(n, flops[:, None] / (6 * n), bits), flops / 6, most)

    found = np.repeat(search(flops, flops / 6)[:, None], len(most), axis=1)
    c, b = np.nonzero(found > most)  # the bytes bind
    if c.size:
        found[c, b] = search(flops[c], most[b])
    return found


def _lead(loss: Float[np.ndarray, "... f c b"], best: np.ndarray) -> Float[np.ndarray, "... c b"]:
    """By how much the winner's loss is below that of every other format."""
    own = np.arange(loss.shape[-3])[:, None, None] == best
    others = np.where(own, np.inf, loss).min(axis=-3)
    winner = np.where(own, loss, np.inf).min(axis=-3)
    found: Float[np.ndarray, "... c b"] = others - winner
    return found


def _share(
    surface: Surface,
    params: Float[np.ndarray, "f c b"],
    tokens: Float[np.ndarray, "f c b"],
    bits: Float[np.ndarray, " f"],
    best: np.ndarray,
) -> Float[np.ndarray, "c b"]:
    """The share of draws in which the winner leads, every format at its best size by the estimate."""
    share = np.empty(best.shape)
    for i in range(len(best)):  # a row at a time, for the memory's sake
        row = np.s_[:, i : i + 1]
        drawn = surface.ensemble(params[row], tokens[row], bits[:, None, None])
        share[i] = (_lead(drawn, best[i : i + 1]) >= NOTHING).mean(axis=0)
    return share
