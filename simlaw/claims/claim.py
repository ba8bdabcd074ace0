"""A claim of the register, and what lies beside a table that some claims look at too."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from simlaw.claims.verdict import Answer
from simlaw.config import Corpus
from simlaw.config.source import AbstractSource
from simlaw.errors import SimlawError
from simlaw.strata import Strata
from simlaw.table import Row, Table

_Kind = TypeVar("_Kind", bound=AbstractSource)


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What a sweep knows and its table does not: the corpora by their fingerprints, and the strata of its rows."""

    corpora: Mapping[str, Corpus] = field(default_factory=lambda: MappingProxyType({}))
    strata: Strata = field(default_factory=Strata)

    def corpus(self, row: Row) -> Corpus | None:
        """The corpus of a row; None where no sweep named it."""
        return self.corpora.get(row["corpus_fingerprint"])

    def tables(self, table: Table, kind: type[_Kind]) -> dict[_Kind, Table]:
        """The rows on each corpus of a kind, in the order in which the sweep names them.

        Raises `SimlawError` where there are none.
        """
        found: dict[_Kind, Table] = {}
        for fingerprint, corpus in self.corpora.items():
            mine = Table(rows=tuple(row for row in table if row["corpus_fingerprint"] == fingerprint))
            if isinstance(corpus, kind) and mine:
                found[corpus] = mine
        if not found:
            if not self.corpora:
                raise SimlawError(
                    f"no row is known to be on a {kind.__name__} corpus: a table does not say with what its corpus was "
                    "built, so judge it through a sweep that names this claim"
                )
            here, there = sorted(self.corpora), sorted({str(row["corpus_fingerprint"]) for row in table})
            raise SimlawError(
                f"no row is on a {kind.__name__} corpus of the sweep: its corpora are {', '.join(here)}, those of the "
                f"rows {', '.join(there)}; run the sweep as it is now"
            )
        return found


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim by its name in the register: what it `says`, the `rule`, and what finds the answer in a table.

    A claim `across` compares runs that were trained in different ways, or on different corpora, and chooses among all
    rows; others see those that may enter a fit. One that looks `beside` the table has its answer from there too.
    """

    name: str
    says: str
    rule: str
    answer: Callable[[Table], Answer] | None = None
    beside: Callable[[Table, Beside], Answer] | None = None
    across: bool = False

    def answered(self, table: Table, known: Beside) -> Answer:
        """The answer of a table and of what lies beside it."""
        if self.beside is not None:
            return self.beside(table, known)
        assert self.answer is not None
        return self.answer(table)
