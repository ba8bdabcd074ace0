"""The designs of the calibration: for each form a planted truth, and the rows of a plausible sweep."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from simlaw.law import AbstractLaw
from simlaw.laws import (
    Chinchilla,
    DataConstrained,
    EffectiveFree,
    ExponentialPenalty,
    JointPower,
    Overtrained,
    PowerPenalty,
    PrecisionExponential,
    PrecisionShifted,
    PrecisionTokens,
    PrecisionWeights,
    StepPenalty,
)
from simlaw.simulation import TYPICAL, Noise

SIZES = tuple(1e6 * 4.0**k for k in range(5))
TOKENS = tuple(2e7 * 4.0**k for k in range(5))


@dataclass(frozen=True, kw_only=True)
class Design:
    """A truth, and the rows to draw from it: every combination of the axes, `seeds` times.

    Rows of equal values of `shared` variables and equal seed are one trunk. `fixed` parameters are given to the fit.
    """

    truth: AbstractLaw
    axes: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    shared: tuple[str, ...] = ("N",)
    seeds: int = 4
    noise: Noise = TYPICAL
    fixed: tuple[str, ...] = ()

    def rows(self) -> tuple[dict[str, np.ndarray], list[str]]:
        """The variables of every row, and its trunk."""
        axes = {"N": SIZES, "D": TOKENS, **self.axes}
        grid = [axis.ravel() for axis in np.meshgrid(*axes.values(), np.arange(self.seeds), indexing="ij")]
        x = {name: values.astype(float) for name, values in zip(axes, grid, strict=False)}
        names = [x[name] for name in self.shared]
        return x, ["-".join(f"{value:g}" for value in each) for each in zip(*names, grid[-1], strict=True)]

    def far(self) -> dict[str, float]:
        """The point to predict: three times the largest size and tokens, the other variables in their middle."""
        axes = {"N": SIZES, "D": TOKENS, **self.axes}
        point = {name: sorted(values)[len(values) // 2] for name, values in axes.items()}
        return {**point, "N": 3 * max(SIZES), "D": 3 * max(TOKENS)}


_BASE = {"E": 1.8, "A": 400.0, "B": 2000.0, "alpha": 0.35, "beta": 0.37}
_WEIGHTS = {"axes": {"P_w": (3.0, 4.0, 6.0, math.inf)}, "shared": ("N", "P_w")}
_BITS = {"axes": {"P_post": (3.0, 4.0, 5.0, 6.0)}}
_ROLES = {"g_a": 2.2, "n_a": 1.4, "g_kv": 0.96, "n_kv": 2.4}
_UNKNOWN = {f"eff_{bits}": 0.5 for bits in (1, 2, 5, 7, 8)}

DESIGNS: dict[str, Design] = {
    "Chinchilla": Design(truth=Chinchilla(**_BASE)),
    "Overtrained": Design(truth=Overtrained(E=1.8, a=160.0, b=370.0, eta=0.27)),
    "JointPower": Design(truth=JointPower(N_c=1e13, D_c=1e13, alpha_N=0.08, alpha_D=0.1)),
    "DataConstrained": Design(
        truth=DataConstrained(**_BASE, R_D=15.0, R_N=5.0), axes={"U": (5e6, 8e7, 6e9)}, shared=("N", "U")
    ),
    "PrecisionWeights": Design(truth=PrecisionWeights(**_BASE, g_w=2.7, n_w=0.3), **_WEIGHTS),
    "PrecisionShifted": Design(truth=PrecisionShifted(**_BASE, g_w=2.7, s_w=0.8), **_WEIGHTS),
    "PrecisionTokens": Design(truth=PrecisionTokens(**_BASE, g_w=2.7, n_w=0.3), **_WEIGHTS),
    "EffectiveFree": Design(truth=EffectiveFree(**_BASE, eff_3=0.45, eff_4=0.7, eff_6=0.95, **_UNKNOWN), **_WEIGHTS),
    "PrecisionExponential": Design(
        truth=PrecisionExponential(**_BASE, g_w=2.7, n_w=0.3, **_ROLES, C_T=0.06, gD=0.5, gN=0.34, g_post=0.6, b=1.1),
        axes={"P_w": (3.0, 4.0, 6.0, math.inf), "P_post": (3.0, 4.0, 5.0, math.inf)},
        shared=("N", "P_w"),
        # the offset does the work of C_T
        fixed=("b",),
    ),
    "StepPenalty": Design(truth=StepPenalty(C_T=0.03, gD=0.5, gN=0.35), **_BITS),
    "ExponentialPenalty": Design(truth=ExponentialPenalty(C_T=0.2, gD=0.5, gN=0.35, g_post=0.6), **_BITS),
    "PowerPenalty": Design(truth=PowerPenalty(C_T=5.0, gD=0.4, gN=0.3, g_post=5.5), **_BITS),
}
