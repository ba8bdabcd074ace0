"""The loss surface that decisions are made on: a loss fit and a penalty fit together, with every source of error."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit
from simlaw.law import AbstractLaw, AbstractLossLaw, AbstractPenalty, QuantizedLaw
from simlaw.table import Table

#: Bits of an unquantised model in a list of precisions; laws treat it as P = infinity.
UNQUANTIZED = np.inf


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The loss at (N, D, bits), as an estimate and as an ensemble.

    The ensemble joins the bootstrap draws of both fits, drawn from the same trunks, with the forms' own errors
    (`Fit.misfit`): the loss gets a relative offset per draw that is independent at each measured size and linear in
    log N between them, the penalty one that is independent at each precision.
    """

    law: QuantizedLaw
    draws: QuantizedLaw
    sizes: Float[np.ndarray, " m"]
    size_errors: Float[np.ndarray, "k m"]
    bit_errors: Float[np.ndarray, "k 17"]

    @classmethod
    def of(cls, base: Fit, penalty: Fit, sizes: Float[np.ndarray, " m"], *, seed: int = 0) -> "Surface":
        """The surface of two fits of the same table and the same bootstrap; raises `SimlawError` without draws.

        `sizes` are the measured ones, at which the form's errors are independent.
        """
        if not np.isfinite([base.misfit, penalty.misfit]).all():
            raise SimlawError("a decision needs more cells than a law has parameters, to know its error: add cells")
        if base.draws is None or penalty.draws is None:
            raise SimlawError("a decision needs fits with bootstrap draws: fit with weights=trunk_weights(…)")
        count = len(np.atleast_1d(next(iter(base.draws.values.values()))))
        rng = np.random.default_rng(seed)
        return cls(
            law=_joined(base.law, penalty.law),
            draws=_joined(base.draws, penalty.draws),
            sizes=sizes,
            size_errors=rng.normal(0.0, base.misfit, (count, len(sizes))),
            bit_errors=rng.normal(0.0, penalty.misfit, (count, 17)),
        )

    def loss(self, n: np.ndarray, d: np.ndarray, bits: np.ndarray) -> Any:
        """The estimated loss in nats per token."""
        return self.law.loss(N=n, D=d, P_post=bits)

    def ensemble(
        self, n: np.ndarray, d: np.ndarray, bits: np.ndarray, **precisions: np.ndarray
    ) -> Float[np.ndarray, "k ..."]:
        """The loss of every draw; `precisions` of training (P_w …) are passed on to the law of the loss."""
        n, d, bits = np.broadcast_arrays(n, d, bits)
        base = self.draws.base.loss(N=n, D=d, **precisions)
        penalty = self.draws.penalty.penalty(N=n, D=d, P_post=bits)
        size_error = offsets(self.sizes, self.size_errors, n.ravel()).reshape(base.shape)
        # unquantised takes the last place: its penalty is 0 anyway
        bit_error = self.bit_errors[:, np.minimum(bits, 16).astype(int)]
        return base * (1 + size_error) + penalty * np.exp(bit_error)


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Stored bytes of a size at a precision: exact at the measured sizes, between them log-linear in log N."""

    sizes: Float[np.ndarray, " m"]
    overhead: dict[float, Float[np.ndarray, " m"]]

    @classmethod
    def of(cls, table: Table, column: str, granularity: str) -> "Storage":
        """The bytes in a column ("bytes_blocks" or "bytes_total") of the rows with this granularity."""
        found: dict[float, dict[float, float]] = {}
        for row in table:
            if row["ptq_bits"] is None or row["ptq_granularity"] == granularity:
                bits = float(row["ptq_bits"] or UNQUANTIZED)
                per_parameter = row[column] / row["params_blocks"] - _width(bits) / 8
                found.setdefault(bits, {})[row["params_blocks"]] = per_parameter
        sizes = np.array(sorted(found[UNQUANTIZED]), np.float64)
        overhead = {bits: np.array([of[n] for n in sizes]) for bits, of in found.items() if len(of) == len(sizes)}
        return cls(sizes=sizes, overhead=overhead)

    @property
    def precisions(self) -> tuple[float, ...]:
        """The bits that were measured at every size, coarsest first; the last is unquantised."""
        return tuple(sorted(self.overhead))

    def bytes(self, n: np.ndarray, bits: float) -> Any:
        """Bytes of a model of `n` block parameters at these bits."""
        over = self.overhead[bits]
        if (over > 0).all():
            extra = np.exp(np.interp(np.log(n), np.log(self.sizes), np.log(over)))
        else:
            extra = np.interp(np.log(n), np.log(self.sizes), over)
        return n * (_width(bits) / 8 + extra)


def _width(bits: float) -> float:
    return 16.0 if bits == UNQUANTIZED else bits


def _joined(base: AbstractLaw, penalty: AbstractLaw) -> QuantizedLaw:
    if not isinstance(base, AbstractLossLaw) or not isinstance(penalty, AbstractPenalty):
        raise SimlawError(f"{type(base).__name__} and {type(penalty).__name__} are no loss law and penalty: swap them")
    return QuantizedLaw(base=base, penalty=penalty)


def offsets(
    sizes: Float[np.ndarray, " m"], errors: Float[np.ndarray, "k m"], n: Float[np.ndarray, " q"]
) -> Float[np.ndarray, "k q"]:
    """Errors that are independent at some sizes, joined linearly in log N between them, at other sizes."""
    unit = np.eye(len(sizes))
    weights = np.stack([np.interp(np.log(n), np.log(sizes), row) for row in unit], axis=1)
    return (weights @ errors.T).T
