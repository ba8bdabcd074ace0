"""The factors that laws are products of."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from simlaw.law import AbstractFactor, Named


@dataclass(frozen=True)
class Coefficient(AbstractFactor):
    """A positive parameter."""

    name: str

    def log(self, p: Named, x: Named) -> Any:
        return np.log(p[self.name])

    def slopes(self, p: Named, x: Named) -> dict[str, Any]:
        return {self.name: 1.0}


@dataclass(frozen=True)
class Power(AbstractFactor):
    """`variable ** (sign · exponent)` with a positive exponent."""

    variable: str
    exponent: str
    sign: int

    def log(self, p: Named, x: Named) -> Any:
        return self.sign * p[self.exponent] * np.log(x[self.variable])

    def slopes(self, p: Named, x: Named) -> dict[str, Any]:
        return {self.exponent: self.log(p, x)}


def grows(variable: str, exponent: str) -> Power:
    """`variable ** exponent`."""
    return Power(variable, exponent, 1)


def falls(variable: str, exponent: str) -> Power:
    """`variable ** -exponent`."""
    return Power(variable, exponent, -1)


@dataclass(frozen=True)
class ExponentialInBits(AbstractFactor):
    """`exp(-P / scale)`, or with an offset `exp(-P / scale + offset)`."""

    bits: str
    scale: str
    offset: str | None = None

    def log(self, p: Named, x: Named) -> Any:
        return -x[self.bits] / p[self.scale] + (p[self.offset] if self.offset else 0.0)

    def slopes(self, p: Named, x: Named) -> dict[str, Any]:
        # at P = infinity the factor is 0 whatever the scale
        slope = np.where(np.isinf(x[self.bits]), 0.0, x[self.bits]) / p[self.scale]
        return {self.scale: slope, **({self.offset: 1.0} if self.offset else {})}


@dataclass(frozen=True)
class StepSquared(AbstractFactor):
    """The squared step of a symmetric grid, `(2^(P-1) - 1)^-2`: rounding noise in the quadratic regime, no constant."""

    bits: str

    def log(self, p: Named, x: Named) -> Any:
        with np.errstate(divide="ignore"):
            return -2.0 * np.log(2.0 ** (x[self.bits] - 1) - 1)

    def slopes(self, p: Named, x: Named) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class EffectiveShare(AbstractFactor):
    """`(N_eff / N) ** -exponent` for one tensor role: N_eff / N = 1 - exp(-P / scale + offset) (Kumar, Eq. 3 and 4).

    The share is kept above `FLOOR`: the published activations have a negative one at 3 bits, where training diverges.
    """

    FLOOR = 1e-3

    bits: str
    scale: str
    offset: str
    exponent: str

    def _lost(self, p: Named, x: Named) -> Any:
        return np.exp(-x[self.bits] / p[self.scale] + p[self.offset])

    def log(self, p: Named, x: Named) -> Any:
        lost = self._lost(p, x)
        return -p[self.exponent] * np.log(np.where(np.real(lost) < 1 - self.FLOOR, 1 - lost, self.FLOOR))

    def slopes(self, p: Named, x: Named) -> dict[str, Any]:
        lost = self._lost(p, x)
        above = lost < 1 - self.FLOOR
        # d log(1 - lost) / d log lost; nothing moves while the share is held at its floor
        pull = np.where(above, lost / np.where(above, 1 - lost, 1.0), 0.0)
        bits = np.where(np.isinf(x[self.bits]), 0.0, x[self.bits])
        return {
            self.exponent: self.log(p, x),
            self.scale: p[self.exponent] * pull * bits / p[self.scale],
            self.offset: p[self.exponent] * pull,
        }
