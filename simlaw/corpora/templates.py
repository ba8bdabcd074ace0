"""How the statements and the solution of a problem of `Step` are put, as tokens."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from simlaw.config import Step
from simlaw.config.problems import COMPUTED, CONSTANTS, DISTRACTED, OPERATORS, PLACES, TEMPLATES, constants_of

#: What stands in a template where no fixed token does: the variable, a value, first operand, operator, second operand.
NAME, VALUE, FIRST, OPERATOR, SECOND = range(-1, -6, -1)


@dataclass(frozen=True, kw_only=True)
class Templates:
    """The templates of each kind of statement, one a row, and the first token of each range of names."""

    constant: Int[np.ndarray, "k c"]
    computed: Int[np.ndarray, "k s"]
    query: Int[np.ndarray, " q"]
    solution: Int[np.ndarray, " 12"]
    """`<step> x = y o z = y o z = v`; the second operands are values."""
    asked: Int[np.ndarray, " o"]
    """The declared operators as questions have them."""
    solved: Int[np.ndarray, " o"]
    """The same as solutions have them."""
    constants: int
    variables: int
    values: int

    @classmethod
    def of(cls, spec: Step) -> "Templates":
        """The templates of a declared source."""
        known = {name: token for token, name in enumerate(spec.names)}
        known.update({f"\0{place}": -1 - i for i, place in enumerate(PLACES)})

        def row(text: str) -> list[int]:
            return [known[f"\0{word}" if word in PLACES else word] for word in text.split()]

        put = {kind: np.array([row(text) for text in texts], np.int32) for kind, texts in TEMPLATES[spec.form].items()}
        words = spec.form == "words"
        return cls(
            constant=put["constant"],
            computed=put["computed"],
            query=put["query"][0],
            solution=np.array(row("<step> x = y o z = y o z = v"), np.int32),
            asked=np.array([known[OPERATORS[o] if words else o] for o in spec.operators], np.int32),
            solved=np.array([known[o] for o in spec.operators], np.int32),
            constants=known[CONSTANTS[0]],
            variables=known[COMPUTED[0]],
            values=known[COMPUTED[-1]] + 1,
        )

    def length(self, steps: int, distractors: int) -> int:
        """The tokens of a problem: marker, statements, query, `<sol>`, steps, `<ans>`, the answer and `<eos>`."""
        statements = constants_of(steps) * self.constant.shape[1] + (steps + distractors) * self.computed.shape[1]
        return 1 + statements + self.query.size + 1 + steps * self.solution.size + 3


def distracted(most: int) -> Float[np.ndarray, " d"]:
    """The probabilities of 0 to `most` distractors: each is there with probability 0.7."""
    return np.array([math.comb(most, d) * DISTRACTED**d * (1 - DISTRACTED) ** (most - d) for d in range(most + 1)])
