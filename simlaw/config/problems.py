"""Arithmetic problems, as declared: their tokens are here too, so that a model knows what its own stand for."""

import abc
import functools
from dataclasses import dataclass
from typing import Annotated, Literal

from simlaw.config.source import AbstractSource, Seed
from simlaw.declared import Between, Natural
from simlaw.errors import SimlawError

#: Tokens that no problem is about. The first two are predicted in no loss.
MARKERS = ("<q>", "<pad>", "<sol>", "<step>", "<ans>", "<eos>")
#: What constants, and what is computed, are called.
CONSTANTS = tuple("abcdefgh")
COMPUTED = tuple("ABCDEFGHIJKLMNOP")
#: The steps of the longest problem.
MOST_STEPS = 12
#: The operators, and what they are called in words.
OPERATORS = {"+": "plus", "-": "minus", "x": "times"}
#: How a statement may be put, by form and by what it is about: `x` is the variable that it names, `v` the value of a
#: constant, `y`, `o` and `z` the first operand, the operator and the second. All of a kind have as many words, and in
#: words each begins in a way of its own.
TEMPLATES: dict[str, dict[str, tuple[str, ...]]] = {
    "symbols": {"constant": ("x = v ;",), "computed": ("x = y o z ;",), "query": ("x ?",)},
    "words": {
        "constant": ("the box x holds v coins .", "there are v coins in x .", "in x somebody counted v coins ."),
        "computed": (
            "fill x with as many as y o z .",
            "count for x the coins of y o z .",
            "whoever opens x finds in it y o z .",
        ),
        "query": ("how many coins are in x ?",),
    },
}
#: Places in a template that are no words.
PLACES = ("x", "v", "y", "o", "z")
#: The share of the possible distractors that a problem has on the average (Wang and Lu 2023).
DISTRACTED = 0.7

Operator = Literal["+", "-", "x"]
Form = Literal["symbols", "words"]


@dataclass(frozen=True, kw_only=True)
class AbstractProblem(AbstractSource):
    """A source of problems, whose tokens have names that begin with the markers."""

    @property
    def vocab(self) -> int:
        return len(self.names)

    @property
    def left_out(self) -> tuple[int, ...]:
        return 0, 1

    @property
    @abc.abstractmethod
    def names(self) -> tuple[str, ...]:
        """What each token is called."""


@dataclass(frozen=True, kw_only=True)
class Step(AbstractProblem):
    """Problems of modular arithmetic with one known solution, step by step, which has no entropy.

    A problem wants from `least_steps` to `most_steps` steps, each number as likely, and each of so many `distractors`
    is there with probability 0.7: a statement that computes what nobody asks for. The modulus is prime. Words put the
    same problems in other ways, with the same solution; tokens of symbols are the same in both.
    """

    modulus: Annotated[int, Between(3, 997)] = 23
    least_steps: Annotated[int, Between(1, MOST_STEPS)] = 1
    most_steps: Annotated[int, Between(1, MOST_STEPS)] = 8
    distractors: Natural = 4
    operators: tuple[Operator, ...] = ("+", "-", "x")
    form: Form = "symbols"
    seed: Seed = 0

    def check(self) -> None:
        if not _prime(self.modulus):
            near = [next(n for n in range(self.modulus, 0, -1) if _prime(n))]
            near += [next(n for n in range(self.modulus, 2 * self.modulus) if _prime(n))]
            raise SimlawError(f"Step.modulus is {self.modulus}, no prime: take {near[0]} or {near[1]}")
        if self.least_steps > self.most_steps:
            raise SimlawError(
                f"Step has at least {self.least_steps} steps and at most {self.most_steps}: "
                "lower least_steps or raise most_steps"
            )
        if self.most_steps + self.distractors > len(COMPUTED):
            raise SimlawError(
                f"Step wants {self.most_steps} steps and {self.distractors} distractors, and there are only "
                f"{len(COMPUTED)} variable names: lower one of them"
            )
        _distinct("Step", self.operators)

    @property
    def names(self) -> tuple[str, ...]:
        return _step_names(self.modulus, self.form)


@dataclass(frozen=True, kw_only=True)
class Digits(AbstractProblem):
    """Sums and differences of two numbers of `least_digits` to `most_digits` digits, each number of digits as likely.

    Both have as many digits, zeros in front included; the answer has as many and one more in front, which of a sum is
    what is carried, of a difference the sign. `order` is the answer's: reversed has the last digit first. With a
    `scratchpad` carries are written out before, one `<step>` a digit.
    """

    least_digits: Annotated[int, Between(1, 8)] = 1
    most_digits: Annotated[int, Between(1, 8)] = 6
    operators: tuple[Literal["+", "-"], ...] = ("+", "-")
    order: Literal["plain", "reversed"] = "plain"
    scratchpad: bool = False
    seed: Seed = 0

    def check(self) -> None:
        if self.least_digits > self.most_digits:
            raise SimlawError(
                f"Digits has at least {self.least_digits} digits and at most {self.most_digits}: "
                "lower least_digits or raise most_digits"
            )
        _distinct("Digits", self.operators)

    @property
    def names(self) -> tuple[str, ...]:
        return *MARKERS, "=", "+", "-", *map(str, range(10))


def trained_of(modulus: int) -> int:
    """How many residues the first constant of a solution has in training: all but a twelfth, and at least one less."""
    return modulus - max(1, modulus // 12)


def constants_of(steps: int) -> int:
    """How many constants a problem of so many steps has: one more than half of them, rounded up, at least two."""
    return steps + 1 - steps // 2


@functools.cache
def _step_names(modulus: int, form: Form) -> tuple[str, ...]:
    symbols = (*MARKERS, "=", ";", "?", *OPERATORS, *CONSTANTS, *COMPUTED, *map(str, range(modulus)))
    if form == "symbols":
        return symbols
    put = " ".join(text for texts in TEMPLATES["words"].values() for text in texts).split()
    words = [word for word in dict.fromkeys(put) if word not in (*PLACES, "?")]
    return *symbols, *OPERATORS.values(), *words


def _distinct(name: str, operators: tuple[str, ...]) -> None:
    if not operators or len(set(operators)) < len(operators):
        raise SimlawError(f"{name}.operators is {operators}: give at least one, and none twice")


def _prime(number: int) -> bool:
    return number > 1 and all(number % small for small in range(2, int(number**0.5) + 1))
