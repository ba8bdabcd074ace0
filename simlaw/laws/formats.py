"""Quantized training: integer formats with groups, floating-point formats with blocks."""

from dataclasses import dataclass
from typing import final

from simlaw.law import AbstractLossLaw, AbstractPenalty, Value, positive
from simlaw.laws.factors import Coefficient, HalfMore, LogTwo, falls, grows

_EXPONENT = (1e-3, 5.0)


@final
@dataclass(frozen=True, kw_only=True)
class GroupPenalty(AbstractPenalty):
    """delta = k · D^gD · log2(G)^gG / N^gN: what training at one low precision costs, by group size G.

    Quantization-aware training at 4 bits (Chen et al. 2505.14302, Eq. 5); one set of constants for each precision.
    """

    k: Value = positive(1e-3, 1e2)
    gD: Value = positive(0.01, 1.0, _EXPONENT)
    gN: Value = positive(0.1, 1.0, _EXPONENT)
    gG: Value = positive(0.1, 2.0, _EXPONENT)

    needs = ("N", "D", "G")
    terms = ((Coefficient("k"), grows("D", "gD"), LogTwo("G", "gG"), falls("N", "gN")),)


@final
@dataclass(frozen=True, kw_only=True)
class PrecisionFloat(AbstractLossLaw):
    """L = E + A / N^alpha + B / D^beta + D^beta / N^alpha · log2(G) / (g · (X + 1/2)^delta · (M + 1/2)^nu).

    Training with X exponent and M mantissa bits and blocks of G numbers to a scale (Sun et al. 2501.02423, Eq. 18).
    """

    E: Value = positive(0.3, 3.0, (1e-6, 1e2))
    A: Value = positive(1.0, 1e4)
    B: Value = positive(1.0, 1e6)
    alpha: Value = positive(0.1, 1.0, _EXPONENT)
    beta: Value = positive(0.1, 1.0, _EXPONENT)
    g_inverse: Value = positive(1e-6, 1e-2, (1e-12, 1e3))
    delta: Value = positive(1.0, 5.0, (1e-2, 2e1))
    nu: Value = positive(1.0, 5.0, (1e-2, 2e1))

    needs = ("N", "D", "X", "M", "G")
    zero = ("X", "M")
    terms = (
        (Coefficient("E"),),
        (Coefficient("A"), falls("N", "alpha")),
        (Coefficient("B"), falls("D", "beta")),
        (
            Coefficient("g_inverse"),
            grows("D", "beta"),
            falls("N", "alpha"),
            LogTwo("G"),
            HalfMore("X", "delta"),
            HalfMore("M", "nu"),
        ),
    )
