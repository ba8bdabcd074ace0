"""Where tokens come from, as declared."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

from simlaw.config.problems import Digits, Step
from simlaw.config.source import AbstractSource, Seed
from simlaw.declared import Between, Count, Declared, Fraction, Positive, option
from simlaw.errors import SimlawError


@dataclass(frozen=True, kw_only=True)
class BPE(Declared):
    """Byte-pair encoding (1508.07909): the 256 bytes, and merges of a text's training part up to `vocab` tokens."""

    vocab: Annotated[int, Between(257, 65_536)]


@dataclass(frozen=True, kw_only=True)
class Text(AbstractSource):
    """A person's own UTF-8 files, as bytes or by bpe; by default the Python standard library's source on this machine.

    `folder` and `suffixes` say where to look and are no part of a run's identity: the content's hash is. Nor are
    `epochs`, the passes over the data that a run may take before it is refused.
    """

    folder: str | None = field(default=None, metadata={"identity": False})
    suffixes: tuple[str, ...] = field(default=(".py",), metadata={"identity": False})
    epochs: Positive = field(default=1.0, metadata={"identity": False})
    held_out: Fraction = 0.05
    bpe: BPE | None = option(None)

    @property
    def vocab(self) -> int:
        """The bytes, and the merges where there are some."""
        return 256 if self.bpe is None else self.bpe.vocab


@dataclass(frozen=True, kw_only=True)
class Tokens(AbstractSource):
    """A person's own tokens, as two files: one to train on, and one held out.

    A `.bin` file is little-endian integers of `dtype` (by default uint16 where `vocab` is at most 65,536, else uint32),
    with or without the header of llm.c, which says it too; a `.npy` file is one dimension of any integers. Where the
    files lie, and in which form, is no part of a run's identity: their tokens and `vocab` are. `epochs` is as in Text.
    """

    train: str = field(default="train.bin", metadata={"identity": False})
    held_out: str = field(default="val.bin", metadata={"identity": False})
    vocab: Annotated[int, Between(2, 2**31)]
    dtype: Literal["uint8", "uint16", "uint32"] | None = field(default=None, metadata={"identity": False})
    epochs: Positive = field(default=1.0, metadata={"identity": False})


@dataclass(frozen=True, kw_only=True)
class Graph(AbstractSource):
    """Random walks on a seeded directed graph: a bigram source whose entropy is known exactly (its floor).

    Every node has `out` successors with probabilities proportional to 1, 1/2, 1/3, …; the vocabulary is the nodes.
    """

    nodes: Annotated[int, Between(2, 2**14)]
    out: Count
    seed: Seed = 0

    def check(self) -> None:
        if self.out > self.nodes:
            raise SimlawError(f"Graph.out is {self.out}: a node has at most {self.nodes} successors; lower it")

    @property
    def vocab(self) -> int:
        """The nodes."""
        return self.nodes


@dataclass(frozen=True, kw_only=True)
class ZFact(AbstractSource):
    """Facts of entities that are asked about by Zipf's law (2102.04074, 2404.05405): `<fact>` name relation value.

    Entity k of `entities` has a probability proportional to k^-(1 + `exponent`), and a name of the digits of k - 1 to
    the `base`; the value of an entity's relation is drawn once, by the seed. A model that stores the commonest facts it
    has room for has an excess loss of about N^-a, one that knows all facts it has seen about D^-(a / (1 + a)), where a
    is the exponent.
    """

    entities: Annotated[int, Between(2, 2**22)] = 65_536
    relations: Annotated[int, Between(1, 4096)] = 4
    values: Annotated[int, Between(2, 65_536)] = 256
    exponent: Annotated[float, Between(-1, 8)] = 1.0
    base: Annotated[int, Between(2, 4096)] = 16
    seed: Seed = 0

    @property
    def name_tokens(self) -> int:
        """Digits of a name."""
        digits, most = 1, self.base
        while most < self.entities:
            digits, most = digits + 1, most * self.base
        return digits

    @property
    def item(self) -> int:
        """Tokens of one fact: its marker, name, relation and value."""
        return self.name_tokens + 3

    @property
    def vocab(self) -> int:
        """The marker, digits, relations and values."""
        return 1 + self.base + self.relations + self.values

    @property
    def left_out(self) -> tuple[int, ...]:
        """The marker before every fact."""
        return (0,)

    @property
    def names(self) -> tuple[str, ...]:
        """What people call each token."""
        kinds = (("n", self.base), ("r", self.relations), ("v", self.values))
        return ("<fact>", *(f"{kind}{i}" for kind, count in kinds for i in range(count)))

    def check(self) -> None:
        if self.entities & (self.entities - 1):
            low = 1 << (self.entities.bit_length() - 1)
            raise SimlawError(
                f"ZFact.entities is {self.entities}: it must be a power of two, so that every probability is exact; "
                f"take {low} or {2 * low}"
            )
        names, facts = self.base**self.name_tokens, self.entities * self.relations
        if max(names, facts) > _MOST_ENTRIES:
            raise SimlawError(
                f"ZFact has {facts} facts, and {names} names of {self.name_tokens} digits to the base {self.base}: at "
                f"most {_MOST_ENTRIES} of each are worked out; lower entities, relations or base"
            )


@dataclass(frozen=True, kw_only=True)
class ZRHM(AbstractSource):
    """Strings of a random hierarchy of rules (2307.02129, 2406.00048), each behind a `<bos>`; their loss is exact.

    At each of `levels` levels every one of `symbols` symbols has `rules` rules of `branching` symbols each, all of them
    distinct, so that a string has one derivation. The k-th rule of a symbol has a probability proportional to
    k^-(1 + `skew`), or all have the same.
    """

    symbols: Annotated[int, Between(2, 4096)] = 32
    rules: Annotated[int, Between(1, 4096)] = 4
    branching: Annotated[int, Between(2, 8)] = 2
    levels: Annotated[int, Between(1, 12)] = 4
    skew: Annotated[float, Between(0)] | None = None
    seed: Seed = 0

    @property
    def length(self) -> int:
        """Symbols of a string, T."""
        return self.branching**self.levels

    @property
    def item(self) -> int:
        """Tokens of a string with its marker."""
        return self.length + 1

    @property
    def vocab(self) -> int:
        """The marker and the symbols."""
        return 1 + self.symbols

    @property
    def left_out(self) -> tuple[int, ...]:
        """The marker before every string."""
        return (0,)

    @property
    def names(self) -> tuple[str, ...]:
        """What people call each token."""
        return ("<bos>", *map(str, range(self.symbols)))

    def check(self) -> None:
        tuples = self.symbols**self.branching
        if self.rules * self.symbols > tuples:
            most = self.symbols ** (self.branching - 1)
            raise SimlawError(
                f"ZRHM.rules is {self.rules}: {self.symbols} symbols in strings of {self.branching} leave at most "
                f"{most} distinct rules for each (rules <= symbols^(branching - 1)); lower it, or take more symbols"
            )
        if self.skew is not None and (1 + self.skew) * math.log2(self.rules) > _LEAST_BITS:
            raise SimlawError(
                f"ZRHM.skew is {self.skew:g}: the last of {self.rules} rules would be less than 2^-{_LEAST_BITS} times "
                "as likely as the first, which 32 bits do not tell well; lower skew or rules"
            )
        if tuples > _MOST_TUPLES or self.length > _LONGEST:
            raise SimlawError(
                f"ZRHM has {tuples} strings of {self.branching} symbols at a level, and {self.length} symbols in all: "
                f"at most {_MOST_TUPLES} and {_LONGEST} are worked out; lower symbols, branching or levels"
            )


#: The most facts, and the most names.
_MOST_ENTRIES = 2**24
#: A rule is at the least so likely beside the commonest, as a negative power of two.
_LEAST_BITS = 24
#: What of a hierarchy of rules is worked out: its tables have so many entries, its strings so many symbols.
_MOST_TUPLES = 2**22
_LONGEST = 2**14


@dataclass(frozen=True, kw_only=True)
class Teach(AbstractSource):
    """Windows that a small trained model wrote at temperature 1: its own loss is their exact floor.

    `folder` is what `simlaw teach` made, and no part of a run's identity: the hashes of what is in it are. Nor are
    `run`, the teacher that must be in it, and `epochs`, the passes that a run may take before it is refused. `vocab` is
    the teacher's.
    """

    folder: str = field(metadata={"identity": False})
    vocab: Count
    run: str | None = field(default=None, metadata={"identity": False})
    epochs: Positive = field(default=1.0, metadata={"identity": False})


Source = Text | Tokens | Graph | ZFact | ZRHM | Teach | Step | Digits
