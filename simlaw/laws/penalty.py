"""delta_PTQ: the loss that post-training quantization adds. Three bit terms, which a sweep is to tell apart.

All are `C_T · D^gD / N^gN · f(P)`; N is the block (non-embedding) parameters, D tokens, P bits per weight.
"""

from dataclasses import dataclass
from typing import final

from simlaw.law import AbstractPenalty, Value, positive
from simlaw.laws.factors import Coefficient, ExponentialInBits, StepSquared, falls, grows

_EXPONENT = (1e-3, 5.0)


@final
@dataclass(frozen=True, kw_only=True)
class ExponentialPenalty(AbstractPenalty):
    """delta = C_T · D^gD / N^gN · exp(-P / g_post) (Kumar et al. 2411.04330, Eq. 2; their offset b is in C_T)."""

    C_T: Value = positive(1e-3, 1e2)
    gD: Value = positive(0.1, 1.0, _EXPONENT)
    gN: Value = positive(0.1, 1.0, _EXPONENT)
    g_post: Value = positive(0.3, 2.0, (1e-2, 1e2))

    needs = ("N", "D", "P_post")
    terms = ((Coefficient("C_T"), grows("D", "gD"), falls("N", "gN"), ExponentialInBits("P_post", "g_post")),)


@final
@dataclass(frozen=True, kw_only=True)
class PowerPenalty(AbstractPenalty):
    """delta = C_T · D^gD / N^gN · P^-g_post (Ouyang et al. 2411.17691, Eq. 8)."""

    C_T: Value = positive(1e-3, 1e3)
    gD: Value = positive(0.1, 1.0, _EXPONENT)
    gN: Value = positive(0.1, 1.0, _EXPONENT)
    g_post: Value = positive(3.0, 8.0, (1e-2, 1e2))

    needs = ("N", "D", "P_post")
    terms = ((Coefficient("C_T"), grows("D", "gD"), falls("N", "gN"), falls("P_post", "g_post")),)


@final
@dataclass(frozen=True, kw_only=True)
class StepPenalty(AbstractPenalty):
    """delta = C_T · D^gD / N^gN · (2^(P-1) - 1)^-2: a symmetric grid's step squared, with no constant of its own."""

    C_T: Value = positive(1e-3, 1e2)
    gD: Value = positive(0.1, 1.0, _EXPONENT)
    gN: Value = positive(0.1, 1.0, _EXPONENT)

    needs = ("N", "D", "P_post")
    terms = ((Coefficient("C_T"), grows("D", "gD"), falls("N", "gN"), StepSquared("P_post")),)
