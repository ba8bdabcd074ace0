"""Training precision: fewer bits act like fewer parameters. N is non-embedding, D in tokens, losses in nats per token.

A precision that is left out is infinite; bf16 is infinite, not 16.
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
    FinerThan,
    GaussianShare,
    ShareOfBits,
    ShiftedShare,
    falls,
    grows,
)

_EXPONENT = (1e-3, 5.0)
_WEIGHTS = MappingProxyType({"P_w": math.inf})
#: The whole numbers of bits that have a share of their own.
_SHARES = ("eff_1", "eff_2", "eff_3", "eff_4", "eff_5", "eff_6", "eff_7", "eff_8")


@final
@dataclass(frozen=True, kw_only=True)
class PrecisionWeights(AbstractLossLaw):
    """L = E + A / N_eff^alpha + B / D^beta, N_eff = N · (1 - exp(-P_w / g_w + n_w)).

    Kumar et al. 2411.04330, Eq. 3 with the offset of their appendix K.
    """

    E: Value = positive(0.3, 3.0, (1e-6, 1e2))
    A: Value = positive(1.0, 1e4)
    B: Value = positive(1.0, 1e5)
    alpha: Value = positive(0.1, 1.0, _EXPONENT)
    beta: Value = positive(0.1, 1.0, _EXPONENT)
    g_w: Value = positive(0.5, 4.0, (1e-2, 1e2))
    n_w: Value = real(-1.0, 1.0)

    needs = ("N", "D")
    takes = _WEIGHTS
    terms = (
        (Coefficient("E"),),
        (Coefficient("A"), falls("N", "alpha"), EffectiveShare("P_w", "g_w", "n_w", "alpha")),
        (Coefficient("B"), falls("D", "beta")),
    )


@final
@dataclass(frozen=True, kw_only=True)
class PrecisionShifted(AbstractLossLaw):
    """L = E + A / N_eff^alpha + B / D^beta, N_eff = N · (1 - exp(-(P_w - s_w) / g_w)): nothing is left at s_w bits.

    The same curves as `PrecisionWeights` (s_w = g_w · n_w), with an offset in bits.
    """

    E: Value = positive(0.3, 3.0, (1e-6, 1e2))
    A: Value = positive(1.0, 1e4)
    B: Value = positive(1.0, 1e5)
    alpha: Value = positive(0.1, 1.0, _EXPONENT)
    beta: Value = positive(0.1, 1.0, _EXPONENT)
    g_w: Value = positive(0.5, 4.0, (1e-2, 1e2))
    s_w: Value = real(-1.0, 2.0)

    needs = ("N", "D")
    takes = _WEIGHTS
    terms = (
        (Coefficient("E"),),
        (Coefficient("A"), falls("N", "alpha"), ShiftedShare("P_w", "g_w", "s_w", "alpha")),
        (Coefficient("B"), falls("D", "beta")),
    )


@final
@dataclass(frozen=True, kw_only=True)
class PrecisionTokens(AbstractLossLaw):
    """L = E + A / N^alpha + B / D_eff^beta, D_eff = D · (1 - exp(-P_w / g_w + n_w)): fewer bits act like fewer tokens.

    The rival of `PrecisionWeights` on the other axis, with as many parameters (after Zhang et al. 2602.19241).
    """

    E: Value = positive(0.3, 3.0, (1e-6, 1e2))
    A: Value = positive(1.0, 1e4)
    B: Value = positive(1.0, 1e5)
    alpha: Value = positive(0.1, 1.0, _EXPONENT)
    beta: Value = positive(0.1, 1.0, _EXPONENT)
    g_w: Value = positive(0.5, 4.0, (1e-2, 1e2))
    n_w: Value = real(-1.0, 1.0)

    needs = ("N", "D")
    takes = _WEIGHTS
    terms = (
        (Coefficient("E"),),
        (Coefficient("A"), falls("N", "alpha")),
        (Coefficient("B"), falls("D", "beta"), EffectiveShare("P_w", "g_w", "n_w", "beta")),
    )


@final
@dataclass(frozen=True, kw_only=True)
class PrecisionAdded(AbstractLossLaw):
    """L = E + A / N^alpha + B / D^beta + C · exp(-P_w / g_w): fewer bits add an error that neither size nor data mend.

    The third rival, with as many parameters as `PrecisionWeights` (after Zhang et al. 2602.19241).
    """

    E: Value = positive(0.3, 3.0, (1e-6, 1e2))
    A: Value = positive(1.0, 1e4)
    B: Value = positive(1.0, 1e5)
    alpha: Value = positive(0.1, 1.0, _EXPONENT)
    beta: Value = positive(0.1, 1.0, _EXPONENT)
    C: Value = positive(1e-2, 1e1)
    g_w: Value = positive(0.5, 4.0, (1e-2, 1e2))

    needs = ("N", "D")
    takes = _WEIGHTS
    terms = (
        (Coefficient("E"),),
        (Coefficient("A"), falls("N", "alpha")),
        (Coefficient("B"), falls("D", "beta")),
        (Coefficient("C"), ExponentialInBits("P_w", "g_w")),
    )


@final
@dataclass(frozen=True, kw_only=True)
class EffectiveFree(AbstractLossLaw):
    """L = E + A / (N · eff(P_w))^alpha + B / D^beta with a share of its own for each whole number of bits.

    As measured by QuEST (Panferov et al. 2502.05003): no form in P is assumed, and none can be extrapolated.
    """

    E: Value = positive(0.3, 3.0, (1e-6, 1e2))
    A: Value = positive(1.0, 1e4)
    B: Value = positive(1.0, 1e5)
    alpha: Value = positive(0.1, 1.0, _EXPONENT)
    beta: Value = positive(0.1, 1.0, _EXPONENT)
    eff_1: Value = positive(0.05, 1.0, (1e-6, 1e2))
    eff_2: Value = positive(0.05, 1.0, (1e-6, 1e2))
    eff_3: Value = positive(0.1, 1.0, (1e-6, 1e2))
    eff_4: Value = positive(0.3, 1.0, (1e-6, 1e2))
    eff_5: Value = positive(0.5, 1.0, (1e-6, 1e2))
    eff_6: Value = positive(0.5, 1.0, (1e-6, 1e2))
    eff_7: Value = positive(0.5, 1.0, (1e-6, 1e2))
    eff_8: Value = positive(0.5, 1.0, (1e-6, 1e2))

    needs = ("N", "D")
    takes = _WEIGHTS
    terms = (
        (Coefficient("E"),),
        (Coefficient("A"), falls("N", "alpha"), ShareOfBits("P_w", _SHARES, "alpha")),
        (Coefficient("B"), falls("D", "beta")),
    )


@final
@dataclass(frozen=True, kw_only=True)
class EffectiveGaussian(AbstractLossLaw):
    """L = E + A / (N · rho)^alpha + B / D^beta, rho = limit · tanh(slope · log_1/4(error))^curve.

    `error` is the mean squared error of the representation on standard normal numbers, whatever the representation:
    `gaussian_error(bits)` for an integer grid (Panferov et al. 2506.01863, Eq. 3; its constants are not public).
    """

    E: Value = positive(0.3, 3.0, (1e-6, 1e2))
    A: Value = positive(1.0, 1e4)
    B: Value = positive(1.0, 1e5)
    alpha: Value = positive(0.1, 1.0, _EXPONENT)
    beta: Value = positive(0.1, 1.0, _EXPONENT)
    limit: Value = positive(0.8, 1.2, (1e-3, 1e1))
    slope: Value = positive(0.2, 2.0, (1e-3, 1e2))
    curve: Value = positive(0.3, 3.0, (1e-3, 1e2))

    needs = ("N", "D", "error")
    terms = (
        (Coefficient("E"),),
        (Coefficient("A"), falls("N", "alpha"), GaussianShare("error", "limit", "slope", "curve", "alpha")),
        (Coefficient("B"), falls("D", "beta")),
    )


@final
@dataclass(frozen=True, kw_only=True)
class EffectiveCompression(AbstractLossLaw):
    """L = E + A / (N · eff)^alpha + B / D^beta with a measured share `eff` (Frantar et al. 2502.16440)."""

    E: Value = positive(0.3, 3.0, (1e-6, 1e2))
    A: Value = positive(1.0, 1e4)
    B: Value = positive(1.0, 1e5)
    alpha: Value = positive(0.1, 1.0, _EXPONENT)
    beta: Value = positive(0.1, 1.0, _EXPONENT)

    needs = ("N", "D")
    takes = MappingProxyType({"eff": 1.0})
    terms = (
        (Coefficient("E"),),
        (Coefficient("A"), falls("N", "alpha"), falls("eff", "alpha")),
        (Coefficient("B"), falls("D", "beta")),
    )


@final
@dataclass(frozen=True, kw_only=True)
class PrecisionExponential(AbstractLossLaw):
    """L = E + A / N_eff^alpha + B / D^beta + C_T · D^gD / N^gN · exp(-P_post / g_post + b), nats per token.

    N_eff = N · product over the roles x of (1 - exp(-P_x / g_x + n_x)) (Eq. 4); the last term is delta_PTQ of a model
    trained at high precision (Eq. 2). The offsets n and b are added, as in the paper's appendix K: without them the
    published constants give neither its best precision of 7 bits nor its instability at 3. N is non-embedding.
    Precisions that are left out are infinite; bf16 is infinite, not 16.
    """

    E: Value = positive(0.3, 3.0)
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
    C_T: Value = positive(1e-3, 1e2)
    gD: Value = positive(0.1, 1.0, _EXPONENT)
    gN: Value = positive(0.1, 1.0, _EXPONENT)
    g_post: Value = positive(0.3, 2.0, (1e-2, 1e2))
    b: Value = real(-1.0, 1.0)

    needs = ("N", "D")
    takes = MappingProxyType({"P_w": math.inf, "P_a": math.inf, "P_kv": math.inf, "P_post": math.inf})
    terms = (
        (Coefficient("E"),),
        (
            Coefficient("A"),
            falls("N", "alpha"),
            EffectiveShare("P_w", "g_w", "n_w", "alpha"),
            EffectiveShare("P_a", "g_a", "n_a", "alpha"),
            EffectiveShare("P_kv", "g_kv", "n_kv", "alpha"),
        ),
        (Coefficient("B"), falls("D", "beta")),
        (Coefficient("C_T"), grows("D", "gD"), falls("N", "gN"), ExponentialInBits("P_post", "g_post", "b")),
    )


@final
@dataclass(frozen=True, kw_only=True)
class PrecisionUnified(AbstractLossLaw):
    """The unified law of Kumar et al. (Eq. 8 to 11): quantizing after training at low precision costs less.

    As `PrecisionExponential`, with delta_PTQ = C_T · D^gD / N_eff^gN · exp(-P_post / g_post + b) · product over the
    roles x of (1 - exp(-C_x · (P_x - P_post))): nothing is lost where a role was trained at P_post bits or fewer. The
    paper does not give C_w, C_a and C_kv.
    """

    E: Value = positive(0.3, 3.0)
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
    C_T: Value = positive(1e-3, 1e2)
    gD: Value = positive(0.1, 1.0, _EXPONENT)
    gN: Value = positive(0.1, 1.0, _EXPONENT)
    g_post: Value = positive(0.3, 2.0, (1e-2, 1e2))
    b: Value = real(-1.0, 1.0)
    C_w: Value = positive(0.1, 3.0, (1e-3, 1e2))
    C_a: Value = positive(0.1, 3.0, (1e-3, 1e2))
    C_kv: Value = positive(0.1, 3.0, (1e-3, 1e2))

    needs = ("N", "D")
    takes = MappingProxyType({"P_w": math.inf, "P_a": math.inf, "P_kv": math.inf, "P_post": math.inf})
    terms = (
        (Coefficient("E"),),
        (
            Coefficient("A"),
            falls("N", "alpha"),
            EffectiveShare("P_w", "g_w", "n_w", "alpha"),
            EffectiveShare("P_a", "g_a", "n_a", "alpha"),
            EffectiveShare("P_kv", "g_kv", "n_kv", "alpha"),
        ),
        (Coefficient("B"), falls("D", "beta")),
        (
            Coefficient("C_T"),
            grows("D", "gD"),
            falls("N", "gN"),
            EffectiveShare("P_w", "g_w", "n_w", "gN"),
            EffectiveShare("P_a", "g_a", "n_a", "gN"),
            EffectiveShare("P_kv", "g_kv", "n_kv", "gN"),
            ExponentialInBits("P_post", "g_post", "b"),
            FinerThan("P_w", "P_post", "C_w"),
            FinerThan("P_a", "P_post", "C_a"),
            FinerThan("P_kv", "P_post", "C_kv"),
        ),
    )
