"""Published laws as values: to plan with, or to plant as a truth. Their constants do not transfer to other models."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from simlaw.errors import SimlawError
from simlaw.law import AbstractLaw, AbstractLossLaw, AbstractPenalty, QuantizedLaw
from simlaw.laws import (
    Chinchilla,
    DataConstrained,
    EffectiveFree,
    GroupPenalty,
    JointPower,
    Overtrained,
    PowerPenalty,
    PrecisionExponential,
    PrecisionFloat,
)


@dataclass(frozen=True, kw_only=True)
class Published:
    """A law from a paper: its source, what its N counts, where it was measured, and what to beware of."""

    law: AbstractLaw | QuantizedLaw
    source: str
    counts: str
    ranges: Mapping[str, tuple[float, float]]
    note: str = ""

    @property
    def parts(self) -> tuple[AbstractLaw, ...]:
        """The law, or the loss and the penalty that it joins."""
        return (self.law.base, self.law.penalty) if isinstance(self.law, QuantizedLaw) else (self.law,)

    def loss(self, **variables: ArrayLike) -> Any:
        """The loss in nats per token; raises `SimlawError` for a law of the penalty alone."""
        if isinstance(self.law, AbstractLossLaw | QuantizedLaw):
            return self.law.loss(**variables)
        raise SimlawError(f"{type(self.law).__name__} is a law of the added loss: call penalty(…)")

    def penalty(self, **variables: ArrayLike) -> Any:
        """The added loss in nats per token; of a law that has no such part alone, raises `SimlawError`."""
        if isinstance(self.law, AbstractPenalty):
            return self.law.penalty(**variables)
        if isinstance(self.law, QuantizedLaw):
            return self.law.penalty.penalty(**variables)
        raise SimlawError(f"{type(self.law).__name__} is a law of the whole loss: take the difference of two losses")


_KUMAR_PTQ = {"C_T": 0.0598, "gD": 0.5068, "gN": 0.3439, "g_post": 0.5907, "b": 1.1277}
_KUMAR_BASE = {"E": 2.7648, "A": 4.299e3, "B": 1.806e4, "alpha": 0.4965, "beta": 0.4965}
_KUMAR_ROLES = {"g_a": 2.2102, "n_a": 1.4072, "g_kv": 0.9578, "n_kv": 2.4185}

kumar2024 = Published(
    law=PrecisionExponential(**_KUMAR_BASE, g_w=2.6745, n_w=0.3037, **_KUMAR_ROLES, **_KUMAR_PTQ),
    source="Kumar et al. 2024, arXiv 2411.04330, Table 2 and Appendix K",
    counts="non-embedding",
    ranges={"N": (30e6, 1.7e9), "D": (1.5e9, 26e9), "P_w": (3, 12), "P_a": (4, 12), "P_kv": (4, 12), "P_post": (3, 8)},
    note=(
        "alpha and beta are tied; offsets are added: the sign of n is settled by the paper's own claims, that of b "
        "follows the same convention and is likely; PTQ by GPTQ"
    ),
)

kumar2024_float = Published(
    law=PrecisionExponential(**_KUMAR_BASE, g_w=2.8111, n_w=0.1240, **_KUMAR_ROLES, **_KUMAR_PTQ),
    source="Kumar et al. 2024, arXiv 2411.04330, Appendix N",
    counts="non-embedding",
    ranges={"N": (30e6, 220e6), "D": (1.5e9, 26e9), "P_w": (3, 12)},
    note="weights trained in floating point (140 runs); the other constants are those of the integer fit",
)

hoffmann2022 = Published(
    law=Chinchilla(
        E=float(np.exp(0.5267228)),
        A=float(np.exp(6.0073404)),
        B=float(np.exp(6.0179186)),
        alpha=0.33917084,
        beta=0.2849083,
    ),
    source="Hoffmann et al. 2022, arXiv 2203.15556, Approach 3, unrounded (TeX source)",
    counts="all, embeddings included",
    ranges={"N": (70e6, 16e9), "D": (5e9, 400e9)},
    note="the published fit stopped early (averaged Huber loss); prefer besiroglu2024",
)

besiroglu2024 = Published(
    law=Chinchilla(
        E=float(np.exp(0.59711196)),
        A=float(np.exp(6.17795598)),
        B=float(np.exp(7.64273236)),
        alpha=0.34781303,
        beta=0.36585412,
    ),
    source="Besiroglu et al. 2024, arXiv 2404.10102 (240 points read off Figure 4 of Hoffmann et al.)",
    counts="all, embeddings included",
    ranges={"N": (70e6, 16e9), "D": (5e9, 400e9)},
    note="the exact optimum of the same objective is A 477.83, B 2143.4, E 1.81722, alpha 0.34731, beta 0.36717",
)

ouyang2024 = Published(
    law=QuantizedLaw(
        base=JointPower(N_c=4.74e19, D_c=7.63e10, alpha_N=0.045, alpha_D=0.399),
        penalty=PowerPenalty(C_T=0.017, gD=0.5251, gN=0.2261, g_post=5.4967),
    ),
    source="Ouyang et al. 2024, arXiv 2411.17691, Eq. 3 and 8 (captions, second hand)",
    counts="non-embedding",
    ranges={"P_post": (2, 4)},
    note="Pythia, GPTQ; 2 bits is outside any sensible range; Table 1 of the paper follows fits by bit-width",
)


def _chen(k: float, gN: float, gD: float, gG: float, note: str = "quantization-aware training") -> Published:
    return Published(
        law=QuantizedLaw(
            base=Chinchilla(E=1.9279, A=237.7042, B=596.2490, alpha=0.3022, beta=0.3022),
            penalty=GroupPenalty(k=k, gD=gD, gN=gN, gG=gG),
        ),
        source="Chen et al. 2025, arXiv 2505.14302, Eq. 5",
        counts="as given",
        ranges={"N": (74e6, 595e6), "D": (10e9, 100e9), "G": (32, 256)},
        note=note,
    )


chen2025_w4a4 = _chen(0.1582, 0.2186, 0.0745, 0.7779)
chen2025_w4a16 = _chen(0.2522, 0.3589, 0.1610, 0.3533)
chen2025_w16a4 = _chen(0.1004, 0.1816, 0.0331, 0.9812)
chen2025_w4a4_fc2 = _chen(0.3519, 0.2637, 0.0964, 0.3407, "quantization-aware training; input of FC2 at 8 bits")
chen2025_w16a4_fc2 = _chen(
    0.1273,
    0.2347,
    0.0827,
    0.4491,
    "quantization-aware training; input of FC2 at 8 bits; the paper's text has gG 0.4471",
)

sun2025 = Published(
    law=PrecisionFloat(
        E=1.9061,
        A=69.2343,
        B=68973.0621,
        alpha=0.2368,
        beta=0.5162,
        g_inverse=1 / 11334.5197,
        delta=3.1926,
        nu=2.9543,
    ),
    source="Sun et al. 2025, arXiv 2501.02423, Eq. 18 and 26",
    counts="as given, 41 to 679 M",
    ranges={"N": (41e6, 679e6), "D": (10e9, 100e9), "X": (1, 8), "M": (1, 7), "G": (1, 2048)},
    note="inputs of the three matrix products rounded (weights, gradients' weights, gradients' activations)",
)

quest2025 = Published(
    law=EffectiveFree(
        E=0.00142329,
        A=8.134031,
        B=86.411906,
        alpha=0.062726522,
        beta=0.241288351,
        eff_1=0.0205,
        eff_2=0.1519,
        eff_3=0.4331,
        eff_4=0.6918,
        eff_5=float("nan"),
        eff_6=float("nan"),
        eff_7=float("nan"),
        eff_8=1.0162,
    ),
    source="Panferov et al. 2025, arXiv 2502.05003 (weights and activations, with Hadamard rotation)",
    counts="non-embedding",
    ranges={"N": (30e6, 800e6), "D": (0.75e9, 80e9), "P_w": (1, 8)},
    note="E and alpha are degenerate (D/N from 25 to 100 only): do not extrapolate; 5 to 7 bits were not run",
)

muennighoff2023 = Published(
    law=DataConstrained(
        E=float(np.exp(0.6254804)),
        A=float(np.exp(6.255414)),
        B=float(np.exp(7.3049974)),
        alpha=0.3526596,
        beta=0.3526596,
        R_D=15.387756,
        R_N=5.309743,
    ),
    source="Muennighoff et al. 2023, arXiv 2305.16264",
    counts="as given",
    ranges={},
)

gadre2024 = Published(
    law=Overtrained(E=1.836648, a=166.211, b=366.687, eta=0.272851),
    source="Gadre et al. 2024, arXiv 2403.08540 (RedPajama, C4 evaluation; five training points)",
    counts="with embeddings",
    ranges={"N": (11e6, 6.9e9)},
    note="predicts 1.4B at D/N 640 and 6.9B at 20 within 0.75 %",
)

sardana2024 = Published(
    law=Chinchilla(E=1.69, A=406.4, B=410.7, alpha=0.336, beta=0.283),
    source="Sardana and Frankle 2024, arXiv 2401.00448: the constants that reproduce its Figure 1",
    counts="all, embeddings included",
    ranges={},
    note="their own refitted coefficients are not public",
)

#: Every published law, by the name to use.
PUBLISHED: Mapping[str, Published] = {
    "kumar2024": kumar2024,
    "kumar2024_float": kumar2024_float,
    "hoffmann2022": hoffmann2022,
    "besiroglu2024": besiroglu2024,
    "ouyang2024": ouyang2024,
    "chen2025_w4a4": chen2025_w4a4,
    "chen2025_w4a16": chen2025_w4a16,
    "chen2025_w16a4": chen2025_w16a4,
    "chen2025_w4a4_fc2": chen2025_w4a4_fc2,
    "chen2025_w16a4_fc2": chen2025_w16a4_fc2,
    "sun2025": sun2025,
    "quest2025": quest2025,
    "muennighoff2023": muennighoff2023,
    "gadre2024": gadre2024,
    "sardana2024": sardana2024,
}
