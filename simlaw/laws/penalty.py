"""delta_PTQ: the loss that post-training quantization adds. Bit terms that a sweep is to tell apart.

All are `C_T · D^gD / N^gN · f(P)`; N is the block (non-embedding) parameters, D tokens, P bits per weight.
"""

from dataclasses import dataclass
from typing import final

from simlaw.law import AbstractPenalty, Value, positive
from simlaw.laws.factors import Coefficient, ExponentialInBits, ShareOfBits, StepSquared, falls, grows

_EXPONENT = (1e-3, 5.0)
_EACH = ("delta_1", "delta_2", "delta_3", "delta_4", "delta_5", "delta_6", "delta_7", "delta_8")


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


@final
@dataclass(frozen=True, kw_only=True)
class FreePenalty(AbstractPenalty):
    """delta = delta_P · D^gD / N^gN with a coefficient of its own for each whole number of bits."""

    gD: Value = positive(0.1, 1.0, _EXPONENT)
    gN: Value = positive(0.1, 1.0, _EXPONENT)
    delta_1: Value = positive(1e-4, 1e1)
    delta_2: Value = positive(1e-4, 1e1)
    delta_3: Value = positive(1e-4, 1e1)
    delta_4: Value = positive(1e-5, 1e0)
    delta_5: Value = positive(1e-5, 1e0)
    delta_6: Value = positive(1e-6, 1e-1)
    delta_7: Value = positive(1e-6, 1e-1)
    delta_8: Value = positive(1e-6, 1e-1)

    needs = ("N", "D", "P_post")
    terms = ((ShareOfBits("P_post", _EACH, None), grows("D", "gD"), falls("N", "gN")),)
