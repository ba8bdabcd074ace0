"""Whether more data ever hurts a quantized model: the loss after quantization has a least value in D.

A model of no tokens at all is known: it gives every token of the vocabulary the same probability.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from simlaw.claims.growth import COVERAGE
from simlaw.claims.verdict import Finding
from simlaw.fitting.uncertainty import student
from simlaw.report import count
from simlaw.table import Table

#: Standard errors that a rise must have.
RISE = 3.0


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Mean losses after quantization at each token count, with their standard errors over seeds."""

    tokens: tuple[int, ...]
    loss: tuple[float, ...]
    error: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Minimum:
    """The least quantized loss of a size over its token counts, and the rise from there to the most tokens.

    The rise is paired by seed, in logarithms of the loss; `error` comes from the spread that all sizes share at these
    bits, of so many degrees of `freedom` (0: it is unknown). `before` and `after` are the neighbouring token counts,
    None at an end; before the first one there are 0 tokens, where the loss is less than that of an untrained model.
    """

    params: int
    bits: int
    curve: Curve
    tokens: int
    before: int | None
    after: int | None
    rise: float
    error: float
    freedom: int
    last: int

    @property
    def interior(self) -> bool:
        """Whether both neighbours were measured, and the rise stands out."""
        inside = self.before is not None and self.after is not None and self.freedom > 0
        return inside and self.rise > RISE * self.error

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The rise with its interval, and, of an interior minimum, its place."""
        half = student(self.freedom, COVERAGE) * self.error if self.freedom else None
        name = f"int{self.bits}, N = {count(self.params)}"
        rise = Finding(
            what=f"{name}: ln loss, from its least to {count(self.last)} tokens",
            value=self.rise,
            low=None if half is None else self.rise - half,
            high=None if half is None else self.rise + half,
        )
        if not self.interior:
            return (rise,)
        neighbours = f"between {count(self.before or 0)} and {count(self.after or 0)}"
        return (rise, Finding(what=f"{name}: tokens of the least loss, {neighbours}", value=float(self.tokens)))


def minima(rows: Table) -> tuple[Minimum, ...]:
    """The minimum of every size and bit-width that has three token counts, over the seeds that have all of them."""
    return tuple(
        one
        for bits in sorted({row["ptq_bits"] for row in rows})
        for one in _of_bits(Table(rows=tuple(row for row in rows if row["ptq_bits"] == bits)), bits)
    )


def _of_bits(rows: Table, bits: int) -> list[Minimum]:
    found, spreads = [], []
    for size in sorted({row["params_blocks"] for row in rows}):
        losses = _losses(rows, size)
        if losses is None:
            continue
        tokens, y = losses
        least = int(np.argmin(y.mean(axis=1)))
        rises = np.log(y[-1] / y[least])
        if len(rises) > 1 and least < len(tokens) - 1:
            spreads.append((float(np.var(rises, ddof=1)), len(rises) - 1))
        found.append((size, _curve(tokens, y), least, rises))
    untrained = np.log(min((row["vocab"] or 1 for row in rows), default=1))
    freedom = sum(spare for _, spare in spreads)
    shared = sum(variance * spare for variance, spare in spreads) / freedom if freedom else 0.0
    return [
        Minimum(
            params=size,
            bits=bits,
            curve=curve,
            tokens=curve.tokens[least],
            before=curve.tokens[least - 1] if least else 0 if curve.loss[0] < untrained else None,
            after=curve.tokens[least + 1] if least < len(curve.tokens) - 1 else None,
            rise=float(rises.mean()),
            error=float(np.sqrt(shared / len(rises))),
            freedom=freedom,
            last=curve.tokens[-1],
        )
        for size, curve, least, rises in found
    ]


def _curve(tokens: Sequence[int], y: Float[np.ndarray, "d s"]) -> Curve:
    spread = y.std(axis=1, ddof=1) / np.sqrt(y.shape[1]) if y.shape[1] > 1 else np.zeros(len(y))
    return Curve(tokens=tuple(tokens), loss=tuple(y.mean(axis=1).tolist()), error=tuple(spread.tolist()))


def _losses(rows: Table, size: int) -> tuple[Sequence[int], Float[np.ndarray, "d s"]] | None:
    """The token counts of a size, and the losses of each seed at them (D × seeds); None for fewer than three."""
    here = rows.where(lambda row: row["params_blocks"] == size)
    by_seed: dict[int, dict[int, float]] = {}
    for row in here:
        by_seed.setdefault(row["seed"], {})[row["tokens"]] = row["loss"]
    tokens = sorted({row["tokens"] for row in here})
    whole = [losses for losses in by_seed.values() if len(losses) == len(tokens)]
    if len(tokens) < 3 or not whole:
        return None
    return tokens, np.array([[losses[d] for losses in whole] for d in tokens])
