"""Training precision: fewer bits act like fewer parameters (Kumar et al. 2411.04330)."""

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

from simlaw.law import AbstractLossLaw, Value, positive, real
from simlaw.laws.factors import Coefficient, EffectiveShare, ExponentialInBits, falls, grows


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
    alpha: Value = positive(0.1, 1.0, (1e-3, 5.0))
    beta: Value = positive(0.1, 1.0, (1e-3, 5.0))
    g_w: Value = positive(0.5, 4.0, (1e-2, 1e2))
    n_w: Value = real(-1.0, 1.0)
    g_a: Value = positive(0.5, 4.0, (1e-2, 1e2))
    n_a: Value = real(-1.0, 1.0)
    g_kv: Value = positive(0.5, 4.0, (1e-2, 1e2))
    n_kv: Value = real(-1.0, 1.0)
    C_T: Value = positive(1e-3, 1e2)
    gD: Value = positive(0.1, 1.0, (1e-3, 5.0))
    gN: Value = positive(0.1, 1.0, (1e-3, 5.0))
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
