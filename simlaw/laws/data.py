"""Data that repeat or run long: unique tokens, over-training, one exponent for two axes."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from simlaw.law import AbstractFactor, AbstractLossLaw, Named, Value, positive
from simlaw.laws.factors import Coefficient, Constant, Scale, falls

_EXPONENT = (1e-3, 5.0)


@dataclass(frozen=True)
class RepeatedData(AbstractFactor):
    """`D' ** -beta`, D' = U + U · R_D · (1 - exp(-(D / U - 1) / R_D)): what D tokens of U unique ones are worth."""

    @property
    def names(self) -> tuple[str, ...]:
        return ("R_D", "beta")

    def log(self, p: Named, x: Named) -> Any:
        unique = np.minimum(x["U"], x["D"])
        worth = _saturated(x["D"] / unique - 1, p["R_D"])
        return -p["beta"] * (np.log(unique) + np.log(1 + worth))


@dataclass(frozen=True)
class ExcessParameters(AbstractFactor):
    """`N' ** -alpha`, where parameters beyond those that are optimal for the unique tokens are worth ever less."""

    @property
    def names(self) -> tuple[str, ...]:
        return ("A", "B", "alpha", "beta", "R_N")

    def log(self, p: Named, x: Named) -> Any:
        unique = np.minimum(x["U"], x["D"])
        log_g = np.log(p["alpha"] * p["A"] / (p["beta"] * p["B"])) / (p["alpha"] + p["beta"])
        best = p["beta"] / p["alpha"] * (np.log(unique) + log_g) + log_g
        enough = np.log(x["N"]) <= np.real(best)
        base = np.where(enough, np.log(x["N"]) + 0 * best, best)
        worth = _saturated(np.exp(np.log(x["N"]) - base) - 1, p["R_N"])
        return -p["alpha"] * (base + np.log(1 + worth))


def _saturated(repeats: Any, half: Any) -> Any:
    return half * (1 - np.exp(-repeats / half))


@final
@dataclass(frozen=True, kw_only=True)
class DataConstrained(AbstractLossLaw):
    """L = E + A / N'^alpha + B / D'^beta with U unique tokens among D (Muennighoff et al. 2305.16264).

    D' = U + U · R_D · (1 - exp(-(D/U - 1) / R_D)); N' likewise around the size that is optimal for U tokens.
    """

    E: Value = positive(0.3, 3.0, (1e-6, 1e2))
    A: Value = positive(1.0, 1e4)
    B: Value = positive(1.0, 1e5)
    alpha: Value = positive(0.1, 1.0, _EXPONENT)
    beta: Value = positive(0.1, 1.0, _EXPONENT)
    R_D: Value = positive(1.0, 50.0, (1e-2, 1e4))
    R_N: Value = positive(1.0, 50.0, (1e-2, 1e4))

    needs = ("N", "D", "U")
    terms = ((Coefficient("E"),), (Coefficient("A"), ExcessParameters()), (Coefficient("B"), RepeatedData()))


@final
@dataclass(frozen=True, kw_only=True)
class Overtrained(AbstractLossLaw):
    """L = E + a / N^eta + b · 6^(-eta/2) / D^eta: one exponent, so that losses fall in parallel at every D/N.

    Gadre et al. 2403.08540, Eq. 4, whose b is -eta; N as theirs, with embeddings.
    """

    E: Value = positive(0.3, 3.0, (1e-6, 1e2))
    a: Value = positive(1.0, 1e4)
    b: Value = positive(1.0, 1e4)
    eta: Value = positive(0.1, 1.0, _EXPONENT)

    needs = ("N", "D")
    terms = (
        (Coefficient("E"),),
        (Coefficient("a"), falls("N", "eta")),
        (Coefficient("b"), Constant(6.0, "eta", -2.0), falls("D", "eta")),
    )


@final
@dataclass(frozen=True, kw_only=True)
class JointPower(AbstractLossLaw):
    """L = ((N_c / N)^(alpha_N / alpha_D) + D_c / D)^alpha_D (Kaplan et al. 2001.08361, Eq. 1.5).

    Nothing is irreducible.
    """

    N_c: Value = positive(1e8, 1e20, (1e-3, 1e30))
    D_c: Value = positive(1e8, 1e14, (1e-3, 1e30))
    alpha_N: Value = positive(0.03, 0.5, _EXPONENT)
    alpha_D: Value = positive(0.03, 0.5, _EXPONENT)

    needs = ("N", "D")
    power = "alpha_D"
    terms = ((Scale("N_c", "N", "alpha_N", "alpha_D"),), (Scale("D_c", "D"),))
