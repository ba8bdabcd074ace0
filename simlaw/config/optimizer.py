"""Optimizers, as declared. `rate` is the recipe's peak learning rate, `rate_multiple` a check's factor on it."""

from dataclasses import dataclass
from typing import Annotated

from simlaw.declared import Above, Between, Declared, Fraction, Positive

Clip = Annotated[float, Above(0)]
Decay = Annotated[float, Between(0)]


@dataclass(frozen=True, kw_only=True)
class AbstractOptimizer(Declared):
    """What every optimizer has: the recipe's peak rate, and a check's factor on it."""

    rate: Positive
    rate_multiple: Positive = 1.0

    @property
    def peak_rate(self) -> float:
        """The learning rate between warm-up and cool-down."""
        return self.rate * self.rate_multiple


@dataclass(frozen=True, kw_only=True)
class AdamW(AbstractOptimizer):
    """AdamW (1711.05101) with global clipping."""

    b1: Fraction = 0.9
    b2: Fraction = 0.95
    eps: Positive = 1e-8
    weight_decay: Decay = 0.1
    clip: Clip = 1.0


@dataclass(frozen=True, kw_only=True)
class SGD(AbstractOptimizer):
    """Stochastic gradient descent with momentum, decoupled weight decay and global clipping."""

    momentum: Fraction = 0.9
    weight_decay: Decay = 0.0
    clip: Clip = 1.0


@dataclass(frozen=True, kw_only=True)
class Muon(AbstractOptimizer):
    """Muon (Jordan 2024; 2502.16982) for the block matrices, AdamW at the same rate for everything else.

    Updates of matrices are scaled to a root mean square of 0.2, as AdamW's are about, so one rate serves both.
    """

    momentum: Fraction = 0.95
    b1: Fraction = 0.9
    b2: Fraction = 0.95
    eps: Positive = 1e-8
    weight_decay: Decay = 0.1
    clip: Clip = 1.0


Optimizer = AdamW | SGD | Muon
