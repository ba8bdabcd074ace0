"""An ideal learner of facts: it knows what it has seen and has room for, so that its exponents are known in advance.

On `ZFact` it has room for the facts of the n commonest entities, as many as its parameters have bits for, and knows
those of them that its data held; what it does not know costs ln V nats, and names and relations cost what they must.
Of a training set of F facts, with a = `ZFact.exponent`,

    excess = ln V / (tokens of a fact that count) · (1 - sum_{k <= n} p_k · (1 - (1 - p_k / R)^F)),

which falls as N^-a where room is short, and as D^-(a / (1 + a)) where data are. No entities lie beyond the K-th: sums
of powers of k would go on, so a law of powers has an E that is lower by what they would cost (`beyond`).

Where both are short the excess is nearly the larger of the two terms and not their sum, since what is rare is neither
seen nor stored: Chinchilla's form holds along either edge, and not between them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from simlaw.config import ZFact
from simlaw.errors import SimlawError
from simlaw.observations import Observations

#: Parameters and tokens of which nothing is short.
ENOUGH = 1e18


@dataclass(frozen=True, kw_only=True)
class IdealLearner:
    """A learner of these facts whose parameters hold so many bits each (2 by 2404.05405).

    Where a seed is given it is measured on so many facts, each time on others: trained models share theirs, whose luck
    is in all their rows alike.
    """

    facts: ZFact
    bits: float = 2.0
    measured: int = 2**20

    def __post_init__(self) -> None:
        if self.facts.exponent <= 0:
            raise SimlawError(
                f"ZFact.exponent is {self.facts.exponent:g}: an ideal learner has exponents where it is above 0"
            )

    @property
    def probabilities(self) -> Float[np.ndarray, " k"]:
        """Zipf's law: the probability of each entity, the commonest first."""
        power = np.arange(1.0, self.facts.entities + 1) ** -(1 + self.facts.exponent)
        return power / power.sum()

    @property
    def exponents(self) -> tuple[float, float]:
        """Those of size and of data: a and a / (1 + a)."""
        a = self.facts.exponent
        return a, a / (1 + a)

    @property
    def floor(self) -> float:
        """The entropy of the facts in nats per token that counts."""
        p = self.probabilities
        return float(-np.sum(p * np.log(p)) + np.log(self.facts.relations)) / self._counted

    @property
    def beyond(self) -> float:
        """What all facts of entities beyond the K-th would cost in nats per token, did Zipf's law go on.

        By the middle of each step of k^-(1 + a), to a part in K^2.
        """
        a, k = self.facts.exponent, self.facts.entities
        weight = np.sum(np.arange(1.0, k + 1) ** -(1 + a))
        return float((k + 0.5) ** -a / a / weight * self._unknown)

    def loss(self, params: float, tokens: float, seed: int | None = None) -> float:
        """The loss after so many tokens in nats per token: expected, or as a seed has it.

        The seed draws the training set, and the facts on which the learner is measured.
        """
        facts = self.facts
        with np.errstate(divide="ignore"):
            seen = -np.expm1(tokens / facts.item * np.log1p(-self.probabilities / facts.relations))
        entities = self.bits * params / np.log2(facts.values) / facts.relations
        stored = np.clip(entities - np.arange(facts.entities), 0, 1)
        if seed is None:
            return self.floor + self._unknown * float(1 - np.sum(self.probabilities * seen * stored))
        draws = np.random.default_rng([seed, *np.array([params, tokens], np.float64).view(np.uint64).tolist()])
        seen = draws.binomial(facts.relations, seen) / facts.relations
        known = min(1.0, float(np.sum(self.probabilities * seen * stored)))
        return self.floor + self._unknown * float(1 - draws.binomial(self.measured, known) / self.measured)

    def edges(self, params: Sequence[float], tokens: Sequence[float], seeds: Sequence[int]) -> Observations:
        """The losses of every size with data enough, and of every token count with parameters enough, by seed."""
        cells = [*((n, ENOUGH) for n in params), *((ENOUGH, d) for d in tokens)]
        return self.observations([(*cell, seed) for cell in cells for seed in seeds])

    def observations(self, cells: Sequence[tuple[float, float, int | None]]) -> Observations:
        """The losses at parameters, tokens and seed, each a row that stands alone; None is the expected loss."""
        return Observations(
            x={"N": np.array([n for n, _, _ in cells]), "D": np.array([d for _, d, _ in cells])},
            y=np.array([self.loss(*cell) for cell in cells]),
            sigma=np.full(len(cells), np.nan),
            trunk=tuple(map(str, range(len(cells)))),
            left_out={},
            floor=self.floor,
        )

    @property
    def _counted(self) -> int:
        return self.facts.name_tokens + 2

    @property
    def _unknown(self) -> float:
        """What a fact that is not known costs, in nats per token that counts."""
        return float(np.log(self.facts.values)) / self._counted
