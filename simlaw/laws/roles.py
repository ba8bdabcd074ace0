"""Training precision of several tensor roles: rivals of `PrecisionExponential`, whose N_eff is a product over roles.

N is non-embedding, D in tokens, losses in nats per token. A precision that is left out is infinite; bf16 is infinite,
not 16. Of rows that differ in one role alone, the other roles' parameters are not fitted.
"""

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

from simlaw.law import AbstractLossLaw, Value, positive, real
from simlaw.laws.factors import (
    Coefficient,
    EffectiveShare,
    ExponentialInBits,
    StepShare,
    falls,
    grows,
)

_EXPONENT = (1e-3, 5.0)
_ROLES = MappingProxyType({"P_w": math.inf, "P_a": math.inf, "P_kv": math.inf})


@final
@dataclass(frozen=True, kw_only=True)
class EffectiveStep(AbstractLossLaw):
    """L = E + A / N_eff^alpha + B / D^beta, N_eff = N / product over the roles x of (1 + c_x / (2^(P_x-1) - 1)^2).

    Parameters are lost with the squared step of a symmetric grid: one constant for each role, and no offset.
    """

    E: Value = positive(0.3, 3.0, (1e-6, 1e2))
    A: Value = positive(1.0, 1e4)
    B: Value = positive(1.0, 1e5)
    alpha: Value = positive(0.1, 1.0, _EXPONENT)
    beta: Value = positive(0.1, 1.0, _EXPONENT)
    c_w: Value = positive(0.1, 10.0, (1e-4, 1e4))
    c_a: Value = positive(0.1, 10.0, (1e-4, 1e4))
    c_kv: Value = positive(0.1, 10.0, (1e-4, 1e4))

    needs = ("N", "D")
    takes = _ROLES
    terms = (
        (Coefficient("E"),),
        (
            Coefficient("A"),
            falls("N", "alpha"),
            StepShare("P_w", "c_w", "alpha"),
            StepShare("P_a", "c_a", "alpha"),
            StepShare("P_kv", "c_kv", "alpha"),
        ),
        (Coefficient("B"), falls("D", "beta")),
    )


@final
@dataclass(frozen=True, kw_only=True)
class EffectiveTokens(AbstractLossLaw):
    """L = E + A / N^alpha + B / D_eff^beta, D_eff = D · product over the roles x of (1 - exp(-P_x / g_x + n_x)).

    Fewer bits act like fewer tokens: `PrecisionExponential` on the other axis, with as many parameters.
    """

    E: Value = positive(0.3, 3.0, (1e-6, 1e2))
    A: Value = positive(1.0, 1e4)
    B: Value = positive(1.0, 1e5)
    alpha: Value = positive(0.1, 1.0, _EXPONENT)
    beta: Value = positive(0.1, 1.0, _EXPONENT)
    g_w: Value = positive(0.5, 4.0, (1e-2, 1e2))
    n_w: Value = real(-1.0, 1.0)
    g_a: Value = positive(0.5, 4.0, (1e-2, 1e2))
    n_a: Value = real(-1.0, 1.0)
    g_kv: Value = positive(0.5, 4.0, (1e-2, 1e2))
    n_kv: Value = real(-1.0, 1.0)

    needs = ("N", "D")
    takes = _ROLES
    terms = (
        (Coefficient("E"),),
        (Coefficient("A"), falls("N", "alpha")),
        (
            Coefficient("B"),
            falls("D", "beta"),
            EffectiveShare("P_w", "g_w", "n_w", "beta"),
            EffectiveShare("P_a", "g_a", "n_a", "beta"),
            EffectiveShare("P_kv", "g_kv", "n_kv", "beta"),
        ),
    )


@final
@dataclass(frozen=True, kw_only=True)
class PrecisionSum(AbstractLossLaw):
    """L = E + A / N^alpha + B / D^beta + sum over the roles x of C_x · exp(-P_x / g_x).

    Each role adds an error that neither size, nor data, nor another role changes.
    """

    E: Value = positive(0.3, 3.0, (1e-6, 1e2))
    A: Value = positive(1.0, 1e4)
    B: Value = positive(1.0, 1e5)
    alpha: Value = positive(0.1, 1.0, _EXPONENT)
    beta: Value = positive(0.1, 1.0, _EXPONENT)
    C_w: Value = positive(1e-1, 1e1)
    g_w: Value = positive(0.5, 4.0, (1e-2, 1e2))
    C_a: Value = positive(1e-1, 1e1)
    g_a: Value = positive(0.5, 4.0, (1e-2, 1e2))
    C_kv: Value = positive(1e-1, 1e1)
    g_kv: Value = positive(0.5, 4.0, (1e-2, 1e2))

    needs = ("N", "D")
    takes = _ROLES
    terms = (
        (Coefficient("E"),),
        (Coefficient("A"), falls("N", "alpha")),
        (Coefficient("B"), falls("D", "beta")),
        (Coefficient("C_w"), ExponentialInBits("P_w", "g_w")),
        (Coefficient("C_a"), ExponentialInBits("P_a", "g_a")),
        (Coefficient("C_kv"), ExponentialInBits("P_kv", "g_kv")),
    )


@final
@dataclass(frozen=True, kw_only=True)
class PrecisionGrowing(AbstractLossLaw):
    """L = E + A / N^alpha + B / D^beta + D^gD / N^gN · sum over the roles x of C_x · exp(-P_x / g_x).

    The penalty of training in low precision as that of rounding after it: it may grow with data and fall with size
    (after Chen et al. 2505.14302, who find both). Without either it is `PrecisionSum`.
    """

    E: Value = positive(0.3, 3.0, (1e-6, 1e2))
    A: Value = positive(1.0, 1e4)
    B: Value = positive(1.0, 1e5)
    alpha: Value = positive(0.1, 1.0, _EXPONENT)
    beta: Value = positive(0.1, 1.0, _EXPONENT)
    gD: Value = real(-0.5, 0.5)
    gN: Value = real(-0.5, 0.5)
    C_w: Value = positive(1e-2, 1e1)
    g_w: Value = positive(0.5, 4.0, (1e-2, 1e2))
    C_a: Value = positive(1e-2, 1e1)
    g_a: Value = positive(0.5, 4.0, (1e-2, 1e2))
    C_kv: Value = positive(1e-2, 1e1)
    g_kv: Value = positive(0.5, 4.0, (1e-2, 1e2))

    needs = ("N", "D")
    takes = _ROLES
    terms = (
        (Coefficient("E"),),
        (Coefficient("A"), falls("N", "alpha")),
        (Coefficient("B"), falls("D", "beta")),
        (Coefficient("C_w"), grows("D", "gD"), falls("N", "gN"), ExponentialInBits("P_w", "g_w")),
        (Coefficient("C_a"), grows("D", "gD"), falls("N", "gN"), ExponentialInBits("P_a", "g_a")),
        (Coefficient("C_kv"), grows("D", "gD"), falls("N", "gN"), ExponentialInBits("P_kv", "g_kv")),
    )
