"""Whether more data ever hurts a quantized model: the loss after quantization has a least value in D."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from simlaw.claims.growth import COVERAGE
from simlaw.claims.verdict import Finding
from simlaw.errors import SimlawError
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

    The rise is paired by seed, in logarithms of the loss; `error` comes from the spread that all sizes share, of so
    many degrees of `freedom`. `before` and `after` are the neighbouring token counts, None at an end.
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
        return self.before is not None and self.after is not None and self.rise > RISE * self.error

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The rise with its interval, and, of an interior minimum, its place between its neighbours."""
        reach = student(self.freedom, COVERAGE) * self.error
        name = f"int{self.bits}, N = {count(self.params)}"
        rise = Finding(
            what=f"{name}: ln loss, from its least to {count(self.last)} tokens",
            value=self.rise,
            low=self.rise - reach,
            high=self.rise + reach,
        )
        if not self.interior:
            return (rise,)
        assert self.before is not None
        assert self.after is not None
        place = Finding(
            what=f"{name}: tokens of the least loss, and its neighbours",
            value=float(self.tokens),
            low=float(self.before),
            high=float(self.after),
        )
        return (rise, place)


def minima(rows: Table) -> tuple[Minimum, ...]:
    """The minimum of every size and bit-width, over the seeds that have all token counts.

    Raises `SimlawError` where no size has two such seeds.
    """
    found, spreads = [], []
    for bits in sorted({row["ptq_bits"] for row in rows}):
        for size in sorted({row["params_blocks"] for row in rows}):
            losses = _losses(rows, size, bits)
            if losses is None:
                continue
            tokens, y = losses
            least = int(np.argmin(y.mean(axis=1)))
            rises = np.log(y[-1] / y[least])
            if len(rises) > 1 and least < len(tokens) - 1:
                spreads.append((float(np.var(rises, ddof=1)), len(rises) - 1))
            found.append((size, bits, _curve(tokens, y), least, rises))
    if found and max(len(rises) for *_, rises in found) < 2:
        raise SimlawError("no size was run with two seeds at all its token counts, so no rise has an error: add seeds")
    freedom = sum(spare for _, spare in spreads)
    # where no loss has its least value before the end there is no rise, and nothing to know its spread of
    shared = sum(variance * spare for variance, spare in spreads) / freedom if freedom else 0.0
    return tuple(
        Minimum(
            params=size,
            bits=bits,
            curve=curve,
            tokens=curve.tokens[least],
            before=curve.tokens[least - 1] if least else None,
            after=curve.tokens[least + 1] if least < len(curve.tokens) - 1 else None,
            rise=float(rises.mean()),
            error=float(np.sqrt(shared / len(rises))),
            freedom=max(freedom, 1),
            last=curve.tokens[-1],
        )
        for size, bits, curve, least, rises in found
    )


def _curve(tokens: Sequence[int], y: Float[np.ndarray, "d s"]) -> Curve:
    spread = y.std(axis=1, ddof=1) / np.sqrt(y.shape[1]) if y.shape[1] > 1 else np.zeros(len(y))
    return Curve(tokens=tuple(tokens), loss=tuple(y.mean(axis=1).tolist()), error=tuple(spread.tolist()))


def _losses(rows: Table, size: int, bits: int) -> tuple[Sequence[int], Float[np.ndarray, "d s"]] | None:
    """The token counts of a size, and the losses of each seed at them (D × seeds); None for fewer than three."""
    here = rows.where(lambda row: row["params_blocks"] == size and row["ptq_bits"] == bits)
    by_seed: dict[int, dict[int, float]] = {}
    for row in here:
        if row["status"] == "done":
            by_seed.setdefault(row["seed"], {})[row["tokens"]] = row["loss"]
    tokens = sorted({row["tokens"] for row in here})
    whole = [losses for losses in by_seed.values() if len(losses) == len(tokens)]
    if len(tokens) < 3 or not whole:
        return None
    return tokens, np.array([[losses[d] for losses in whole] for d in tokens])
