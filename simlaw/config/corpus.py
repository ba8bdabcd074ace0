"""Where tokens come from, as declared."""

from dataclasses import dataclass, field
from typing import Annotated

from simlaw.declared import Between, Count, Declared, Fraction, Natural, Positive
from simlaw.errors import SimlawError


class AbstractSource(Declared):
    """What every declared corpus has besides its fields."""

    @property
    def vocab(self) -> int:
        """How many tokens there are: every token is below it."""
        raise NotImplementedError

    @property
    def left_out(self) -> tuple[int, ...]:
        """Tokens whose predictions no loss counts: markers at known places, which tell nothing."""
        return ()

    @property
    def names(self) -> tuple[str, ...] | None:
        """What people call each token, without spaces; None where tokens are bytes, or numbers as they are."""
        return None


@dataclass(frozen=True, kw_only=True)
class Text(AbstractSource):
    """A person's own UTF-8 files, as bytes; by default the Python standard library's source on this machine.

    `folder` and `suffixes` say where to look and are no part of a run's identity: the content's hash is. Nor are
    `epochs`, the passes over the data that a run may take before it is refused.
    """

    folder: str | None = field(default=None, metadata={"identity": False})
    suffixes: tuple[str, ...] = field(default=(".py",), metadata={"identity": False})
    epochs: Positive = field(default=1.0, metadata={"identity": False})
    held_out: Fraction = 0.05

    @property
    def vocab(self) -> int:
        """The bytes."""
        return 256


@dataclass(frozen=True, kw_only=True)
class Graph(AbstractSource):
    """Random walks on a seeded directed graph: a bigram source whose entropy is known exactly (its floor).

    Every node has `out` successors with probabilities proportional to 1, 1/2, 1/3, …; the vocabulary is the nodes.
    """

    nodes: Annotated[int, Between(2)]
    out: Count
    seed: Natural = 0

    def check(self) -> None:
        if self.out > self.nodes:
            raise SimlawError(f"Graph.out is {self.out}: a node has at most {self.nodes} successors; lower it")

    @property
    def vocab(self) -> int:
        """The nodes."""
        return self.nodes


Corpus = Text | Graph
