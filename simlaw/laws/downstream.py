"""The error rate of tasks from the loss of a language model.

Written as accuracy, 1 - Err, the law is a sum of positive terms like every other, and is fitted to accuracies.
"""

from dataclasses import dataclass
from typing import Any, final

from numpy.typing import ArrayLike

from simlaw.law import AbstractLaw, AbstractLossLaw, QuantizedLaw, Value, positive
from simlaw.laws.factors import Coefficient, Decay


@final
@dataclass(frozen=True, kw_only=True)
class Downstream(AbstractLaw):
    """1 - Err = chance + k · exp(-gamma · L), that is Err = eps - k · exp(-gamma · L) with eps = 1 - chance.

    Gadre et al. 2403.08540: Err is the mean top-1 error of tasks, L the loss in nats per token on a stated
    corpus, eps the error of guessing.
    """

    chance: Value = positive(0.05, 0.6, (1e-6, 1.0))
    k: Value = positive(0.3, 1e2, (1e-6, 1e6))
    gamma: Value = positive(0.2, 3.0, (1e-3, 1e2))

    needs = ("L",)
    terms = ((Coefficient("chance"),), (Coefficient("k"), Decay("L", "gamma")))

    def accuracy(self, *, L: ArrayLike) -> Any:
        """The share of right answers at a loss in nats per token."""
        return self.evaluate({"L": L})

    def error(self, *, L: ArrayLike) -> Any:
        """The error rate, Err, at a loss in nats per token; below 0 where the loss is lower than the law can hold."""
        return 1 - self.evaluate({"L": L})


@dataclass(frozen=True, kw_only=True)
class ErrorLaw:
    """The error rate from size and data: a law of the loss, and of the error from the loss.

    Where both hold draws, those of the error come first, each with all draws of the loss.
    """

    base: AbstractLossLaw | QuantizedLaw
    downstream: Downstream

    def error(self, **variables: ArrayLike) -> Any:
        """The error rate at the variables of the loss, by name (N, D, P_post …)."""
        return self.downstream.error(L=self.base.loss(**variables))
