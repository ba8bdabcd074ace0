"""Chinchilla: loss from size and data."""

from dataclasses import dataclass
from typing import final

from simlaw.law import AbstractLossLaw, Value, positive
from simlaw.laws.factors import Coefficient, falls


@final
@dataclass(frozen=True, kw_only=True)
class Chinchilla(AbstractLossLaw):
    """L = E + A / N^alpha + B / D^beta, in nats per token (Hoffmann et al. 2203.15556, Eq. 10).

    N is whatever the table counts (state it); D in tokens.
    """

    E: Value = positive(0.3, 3.0, (1e-6, 1e2))
    A: Value = positive(1.0, 1e4)
    B: Value = positive(1.0, 1e5)
    alpha: Value = positive(0.1, 1.0, (1e-3, 5.0))
    beta: Value = positive(0.1, 1.0, (1e-3, 5.0))

    needs = ("N", "D")
    terms = (
        (Coefficient("E"),),
        (Coefficient("A"), falls("N", "alpha")),
        (Coefficient("B"), falls("D", "beta")),
    )
