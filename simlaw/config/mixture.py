"""A mixture of corpora, as declared: parts with shares of the windows."""

from collections import Counter
from dataclasses import dataclass
from itertools import accumulate

from simlaw.config.corpus import Source, Text
from simlaw.config.source import AbstractSource
from simlaw.declared import Declared, Natural, Positive
from simlaw.errors import SimlawError


@dataclass(frozen=True, kw_only=True)
class Part(Declared):
    """A part of a mixture: a corpus, and its share of the windows."""

    source: Source
    share: Positive


@dataclass(frozen=True, kw_only=True)
class Mix(AbstractSource):
    """Windows of several corpora, each behind a tag that says of which; the shares of windows are exact.

    The tags are the first tokens, and each part's own follow in turn. A tag takes the place of the first token of a
    window, which is given and never predicted. `seed` keeps the streams of the parts apart from those of other
    mixtures.
    """

    parts: tuple[Part, ...]
    seed: Natural = 0

    def check(self) -> None:
        if len(self.parts) < 2:
            raise SimlawError(f"Mix.parts has {len(self.parts)}: a mixture has two parts or more; add one")
        total = sum(part.share for part in self.parts)
        if abs(total - 1) > 1e-9:
            shares = " + ".join(f"{part.share:g}" for part in self.parts)
            raise SimlawError(f"the shares of Mix.parts are {shares} = {total:.10g}: they must sum to 1")
        for i, part in enumerate(self.parts):
            if part.source in [other.source for other in self.parts[:i]]:
                raise SimlawError(f"Mix.parts holds {part.source} twice: name it once, with the sum of the shares")

    @property
    def kinds(self) -> tuple[str, ...]:
        """What each part is called: its type, numbered where that occurs more than once."""
        types = [type(part.source).__name__.upper() for part in self.parts]
        return tuple(
            name if types.count(name) == 1 else f"{name}{types[: i + 1].count(name)}" for i, name in enumerate(types)
        )

    @property
    def tags(self) -> tuple[str, ...]:
        """The names of the tags: tokens 0, 1, … stand for them."""
        return tuple(f"<{kind}>" for kind in self.kinds)

    @property
    def offsets(self) -> tuple[int, ...]:
        """Where the tokens of each part begin."""
        return tuple(accumulate((part.source.vocab for part in self.parts[:-1]), initial=len(self.parts)))

    @property
    def vocab(self) -> int:
        """The tags, and the tokens of every part."""
        return len(self.parts) + sum(part.source.vocab for part in self.parts)

    @property
    def left_out(self) -> tuple[int, ...]:
        """The tags, and what the parts leave out."""
        own = (at + token for part, at in zip(self.parts, self.offsets, strict=True) for token in part.source.left_out)
        return (*range(len(self.parts)), *own)

    @property
    def names(self) -> tuple[str, ...]:
        """What people call each token; a name that several parts have is preceded by its part's."""
        each = [_names(part.source) for part in self.parts]
        often = Counter(name for names in (self.tags, *each) for name in names)
        found = list(self.tags)
        for kind, names in zip(self.kinds, each, strict=True):
            found += [name if often[name] == 1 else f"{kind.lower()}:{name}" for name in names]
        return tuple(found)


def _names(source: Source) -> tuple[str, ...]:
    """What people call the tokens of a part: printable bytes by their character, others by their value."""
    if source.names is not None:
        return source.names
    if isinstance(source, Text) and source.bpe is None:
        return tuple(chr(byte) if 0x20 < byte < 0x7F else f"0x{byte:02x}" for byte in range(256))
    return tuple(map(str, range(source.vocab)))


Corpus = Source | Mix
