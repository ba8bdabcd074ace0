"""The factors that laws are products of. Slopes are exact everywhere; those used in most fits are in closed form."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from simlaw.law import AbstractFactor, Named

#: The least share of parameters that a precision leaves: published activations have a negative one at 3 bits, where
#: training diverges.
FLOOR = 1e-3


@dataclass(frozen=True)
class Coefficient(AbstractFactor):
    """A positive parameter."""

    name: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def log(self, p: Named, x: Named) -> Any:
        return np.log(p[self.name])

    def slopes(self, p: Named, x: Named) -> dict[str, Any]:
        return {self.name: 1.0 / p[self.name]}


@dataclass(frozen=True)
class Power(AbstractFactor):
    """`variable ** (sign · exponent)` with a positive exponent."""

    variable: str
    exponent: str
    sign: int

    @property
    def names(self) -> tuple[str, ...]:
        return (self.exponent,)

    def log(self, p: Named, x: Named) -> Any:
        return self.sign * p[self.exponent] * np.log(x[self.variable])

    def slopes(self, p: Named, x: Named) -> dict[str, Any]:
        return {self.exponent: self.sign * np.log(x[self.variable])}


def grows(variable: str, exponent: str) -> Power:
    """`variable ** exponent`."""
    return Power(variable, exponent, 1)


def falls(variable: str, exponent: str) -> Power:
    """`variable ** -exponent`."""
    return Power(variable, exponent, -1)


@dataclass(frozen=True)
class Scale(AbstractFactor):
    """`(scale / variable) ** (over / under)`: a scale with the unit of the variable, and a ratio of two exponents."""

    scale: str
    variable: str
    over: str | None = None
    under: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name in (self.scale, self.over, self.under) if name)

    def log(self, p: Named, x: Named) -> Any:
        exponent = (p[self.over] if self.over else 1.0) / (p[self.under] if self.under else 1.0)
        return exponent * (np.log(p[self.scale]) - np.log(x[self.variable]))


@dataclass(frozen=True)
class LogTwo(AbstractFactor):
    """`log2(variable) ** exponent`, or without an exponent to the first power; of a variable above 1."""

    variable: str
    exponent: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return (self.exponent,) if self.exponent else ()

    def log(self, p: Named, x: Named) -> Any:
        return (p[self.exponent] if self.exponent else 1.0) * np.log(np.log2(x[self.variable]))


@dataclass(frozen=True)
class HalfMore(AbstractFactor):
    """`(variable + 1/2) ** -exponent`: exponent and mantissa bits, which may be 0."""

    variable: str
    exponent: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.exponent,)

    def log(self, p: Named, x: Named) -> Any:
        return -p[self.exponent] * np.log(x[self.variable] + 0.5)


@dataclass(frozen=True)
class Constant(AbstractFactor):
    """`value ** (over / under)`: a number that the form fixes, such as the 6 of 6ND, to half an exponent."""

    value: float
    over: str
    under: float

    @property
    def names(self) -> tuple[str, ...]:
        return (self.over,)

    def log(self, p: Named, x: Named) -> Any:
        return p[self.over] / self.under * np.log(self.value)


@dataclass(frozen=True)
class Decay(AbstractFactor):
    """`exp(-rate · variable)`."""

    variable: str
    rate: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.rate,)

    def log(self, p: Named, x: Named) -> Any:
        return -p[self.rate] * x[self.variable]

    def slopes(self, p: Named, x: Named) -> dict[str, Any]:
        return {self.rate: -x[self.variable]}


@dataclass(frozen=True)
class ExponentialInBits(AbstractFactor):
    """`exp(-P / scale)`, or with an offset `exp(-P / scale + offset)`."""

    bits: str
    scale: str
    offset: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return (self.scale, self.offset) if self.offset else (self.scale,)

    def log(self, p: Named, x: Named) -> Any:
        # at P = infinity the factor is 0 whatever the scale, even where that was never fitted
        finite = np.where(np.isinf(x[self.bits]), 1.0, x[self.bits])
        log = -finite / p[self.scale] + (p[self.offset] if self.offset else 0.0)
        return np.where(np.isinf(x[self.bits]), -np.inf, log)

    def slopes(self, p: Named, x: Named) -> dict[str, Any]:
        slope = np.where(np.isinf(x[self.bits]), 0.0, x[self.bits]) / p[self.scale] ** 2
        return {self.scale: slope, **({self.offset: 1.0} if self.offset else {})}


@dataclass(frozen=True)
class StepSquared(AbstractFactor):
    """The squared step of a symmetric grid, `(2^(P-1) - 1)^-2`: rounding noise in the quadratic regime, no constant."""

    bits: str

    @property
    def names(self) -> tuple[str, ...]:
        return ()

    def log(self, p: Named, x: Named) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):  # below 1 bit there is no grid
            return -2.0 * np.log(2.0 ** (x[self.bits] - 1) - 1)


def _kept(lost: Any) -> Any:
    """1 - lost, and never below the floor; NaN stays NaN."""
    return np.where(np.real(lost) >= 1 - FLOOR, FLOOR, 1 - lost)


@dataclass(frozen=True)
class EffectiveShare(AbstractFactor):
    """`(N_eff / N) ** -exponent` for one tensor role: N_eff / N = 1 - exp(-P / scale + offset) (Kumar, Eq. 3 and 4).

    The share is kept above `FLOOR`.
    """

    bits: str
    scale: str
    offset: str
    exponent: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.scale, self.offset, self.exponent)

    def _lost(self, p: Named, x: Named) -> Any:
        infinite = np.isinf(x[self.bits])
        lost = np.exp(-np.where(infinite, 1.0, x[self.bits]) / p[self.scale] + p[self.offset])
        return np.where(infinite, 0.0, lost)

    def log(self, p: Named, x: Named) -> Any:
        lost = self._lost(p, x)
        return -p[self.exponent] * np.log(_kept(lost))

    def slopes(self, p: Named, x: Named) -> dict[str, Any]:
        return self.with_slopes(p, x)[1]

    def with_slopes(self, p: Named, x: Named) -> tuple[Any, dict[str, Any]]:
        lost = self._lost(p, x)
        kept = _kept(lost)
        log = np.log(kept)
        # d log(1 - lost) / d log lost; nothing moves while the share is held at its floor
        pull = p[self.exponent] * np.where(kept > FLOOR, lost / kept, 0.0)
        bits = np.where(np.isinf(x[self.bits]), 0.0, x[self.bits])
        return -p[self.exponent] * log, {
            self.exponent: -log,
            self.scale: pull * (bits / p[self.scale] ** 2),
            self.offset: pull,
        }


@dataclass(frozen=True)
class ShiftedShare(AbstractFactor):
    """`(N_eff / N) ** -exponent` with N_eff / N = 1 - exp(-(P - shift) / scale): nothing is left at P = shift."""

    bits: str
    scale: str
    shift: str
    exponent: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.scale, self.shift, self.exponent)

    def log(self, p: Named, x: Named) -> Any:
        infinite = np.isinf(x[self.bits])
        lost = np.exp(-(np.where(infinite, 1.0, x[self.bits]) - p[self.shift]) / p[self.scale])
        lost = np.where(infinite, 0.0, lost)
        return -p[self.exponent] * np.log(_kept(lost))


@dataclass(frozen=True)
class StepShare(AbstractFactor):
    """`(N_eff / N) ** -exponent` with N_eff / N = 1 / (1 + constant · (2^(P-1) - 1)^-2): lost with the squared step."""

    bits: str
    constant: str
    exponent: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.constant, self.exponent)

    def log(self, p: Named, x: Named) -> Any:
        infinite = np.isinf(x[self.bits])
        steps = 2.0 ** (np.where(infinite, 2.0, x[self.bits]) - 1) - 1
        return p[self.exponent] * np.log(1 + np.where(infinite, 0.0, p[self.constant] * steps**-2.0))


@dataclass(frozen=True)
class ShareOfBits(AbstractFactor):
    """`share ** -exponent` with a share of its own for each whole number of bits: 1 at P = infinity.

    `shares` are the parameters of 1, 2, 3, … bits. NaN at bits for which there is none. Without an exponent it is the
    share itself, and 0 at P = infinity.
    """

    bits: str
    shares: tuple[str, ...]
    exponent: str | None

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.shares, self.exponent) if self.exponent else self.shares

    def log(self, p: Named, x: Named) -> Any:
        total: Any = np.where(np.isinf(x[self.bits]), 0.0 if self.exponent else -np.inf, np.nan)
        for i, name in enumerate(self.shares):
            total = np.where(x[self.bits] == i + 1, np.log(p[name]), total)
        return (-p[self.exponent] if self.exponent else 1.0) * total


@dataclass(frozen=True)
class GaussianShare(AbstractFactor):
    """`rho ** -exponent` with rho = limit · tanh(slope · log_1/4(error)) ** curve (Panferov et al. 2506.01863, Eq. 3).

    `error` is a variable: the mean squared error of the representation on standard normal numbers (`gaussian_error`).
    """

    error: str
    limit: str
    slope: str
    curve: str
    exponent: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.limit, self.slope, self.curve, self.exponent)

    def log(self, p: Named, x: Named) -> Any:
        depth = np.log(x[self.error]) / np.log(0.25)
        rho = np.log(p[self.limit]) + p[self.curve] * np.log(np.tanh(p[self.slope] * depth))
        return -p[self.exponent] * rho


@dataclass(frozen=True)
class FinerThan(AbstractFactor):
    """`1 - exp(-constant · (P - P_post))`: trained at P bits it loses less at P_post, and nothing from P on."""

    bits: str
    post: str
    constant: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.constant,)

    def log(self, p: Named, x: Named) -> Any:
        finer, infinite = x[self.bits] > x[self.post], np.isinf(x[self.bits])
        distance = np.where(
            finer & ~infinite, np.where(infinite, 1.0, x[self.bits]) - np.where(finer, x[self.post], 0.0), 1.0
        )
        with np.errstate(divide="ignore"):
            return np.where(infinite, 0.0, np.where(finer, np.log(1 - np.exp(-p[self.constant] * distance)), -np.inf))
