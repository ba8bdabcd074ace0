"""Tokenizers: text or nodes to the integers that a model sees, and back."""

import abc
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Integer

from simlaw.config import Corpus, Graph, Teach, Text, Tokens
from simlaw.corpora.bpe import library
from simlaw.corpora.lessons import taught
from simlaw.errors import SimlawError


@dataclass(frozen=True, kw_only=True)
class AbstractTokenizer(abc.ABC):
    """What a model's tokens stand for; `start` is the token from which a sample sets out."""

    vocab: int
    start: int = 0

    @abc.abstractmethod
    def encode(self, what: Any) -> Int[np.ndarray, "*n"]:
        """The tokens of what a person gives; integers pass through, checked against the vocabulary.

        Raises `SimlawError` for what this tokenizer does not know.
        """

    @abc.abstractmethod
    def decode(self, tokens: Sequence[int] | Integer[np.ndarray, " n"]) -> str | list[int]:
        """What the tokens stand for."""

    def checked(self, tokens: Any) -> Int[np.ndarray, "*n"]:
        """The tokens as an int32 array; raises `SimlawError` where they are no integers or outside the vocabulary."""
        found = np.asarray(tokens)
        if found.size == 0:
            return np.zeros(found.shape, np.int32)
        if not np.issubdtype(found.dtype, np.integer):
            raise SimlawError(f"tokens are of type {found.dtype}: give whole numbers from 0 to {self.vocab - 1}")
        wrong = found[(found < 0) | (found >= self.vocab)]
        if wrong.size:
            raise SimlawError(f"the token {wrong.flat[0]} is not of this vocabulary: give 0 to {self.vocab - 1}")
        return found.astype(np.int32)


@dataclass(frozen=True, kw_only=True)
class Bytes(AbstractTokenizer):
    """The bytes of UTF-8 text; the zero byte, which no text holds, stands before and behind every file."""

    vocab: int = 256

    def encode(self, what: Any) -> Int[np.ndarray, "*n"]:
        """The bytes of a text, of bytes, or tokens as they are."""
        if isinstance(what, str):
            what = what.encode()
        return np.frombuffer(what, np.uint8).astype(np.int32) if isinstance(what, bytes) else self.checked(what)

    def decode(self, tokens: Sequence[int] | Integer[np.ndarray, " n"]) -> str:
        """The text; bytes that are no UTF-8 become U+FFFD."""
        return self.checked(tokens).astype(np.uint8).tobytes().decode("utf-8", "replace")


@dataclass(frozen=True, kw_only=True)
class Numbers(AbstractTokenizer):
    """Numbers as they are, such as a graph's nodes; `why` no text will do."""

    why: str

    def encode(self, what: Any) -> Int[np.ndarray, "*n"]:
        """The numbers as an array."""
        if isinstance(what, str | bytes):
            raise SimlawError(f"{what!r} is text, and {self.why}, such as [0, 3, 7]")
        return self.checked(what)

    def decode(self, tokens: Sequence[int] | Integer[np.ndarray, " n"]) -> list[int]:
        """The numbers as a list."""
        return [int(token) for token in self.checked(tokens)]


@dataclass(frozen=True, kw_only=True)
class Names(AbstractTokenizer):
    """Tokens by the names that a corpus gives them, with spaces between."""

    names: tuple[str, ...]

    def encode(self, what: Any) -> Int[np.ndarray, "*n"]:
        """The tokens of names with spaces between, or tokens as they are."""
        if not isinstance(what, str):
            return self.checked(what)
        known = {name: token for token, name in enumerate(self.names)}
        for name in what.split():
            if name not in known:
                raise SimlawError(
                    f"{name!r} names no token of this corpus: its tokens are {', '.join(self.names[:8])}, …"
                )
        return np.array([known[name] for name in what.split()], np.int32)

    def decode(self, tokens: Sequence[int] | Integer[np.ndarray, " n"]) -> str:
        """The names with spaces between."""
        return " ".join(self.names[token] for token in self.checked(tokens))


@dataclass(frozen=True, kw_only=True)
class Merges(AbstractTokenizer):
    """Tokens of a trained byte-pair encoding, as the library's JSON has it; those below 256 are the bytes."""

    json: str = field(repr=False)

    def encode(self, what: Any) -> Int[np.ndarray, "*n"]:
        """The tokens of a text, of bytes that are UTF-8, or tokens as they are."""
        if isinstance(what, bytes):
            try:
                what = what.decode()
            except UnicodeDecodeError as error:
                raise SimlawError(f"bytes that are no UTF-8 at {error.start}: give text, or tokens") from error
        return np.array(self._library.encode(what).ids, np.int32) if isinstance(what, str) else self.checked(what)

    def decode(self, tokens: Sequence[int] | Integer[np.ndarray, " n"]) -> str:
        """The text; bytes that are no UTF-8 become U+FFFD."""
        text: str = self._library.decode(self.checked(tokens).tolist())
        return text

    @functools.cached_property
    def _library(self) -> Any:
        try:
            return library().Tokenizer.from_str(self.json)
        except SimlawError:
            raise
        except Exception as error:  # the library raises nothing more special
            raise SimlawError(f"the tokenizer that is stored with the model is none ({error}): give tokens") from error


def tokenizer_of(corpus: Corpus, vocab: int, trained: str | None = None) -> AbstractTokenizer:
    """The tokenizer of a declared corpus, whose files need not be there: one that was `trained` for it, as JSON.

    What a teacher wrote is read as the teacher's own corpus; without its folder, as numbers.
    """
    if isinstance(corpus, Teach):
        own = taught(Path(corpus.folder).expanduser())
        if own is None:
            return Numbers(vocab=vocab, why=f"the teacher in {corpus.folder} cannot be read: give tokens")
        return tokenizer_of(own, vocab)
    if corpus.names is not None:
        return Names(vocab=vocab, names=corpus.names)
    if isinstance(corpus, Graph):
        return Numbers(vocab=vocab, why="this model walks on a graph: give nodes")
    if isinstance(corpus, Tokens):
        return Numbers(vocab=vocab, why="this model was trained on token files: give tokens of their tokenizer")
    if isinstance(corpus, Text) and corpus.bpe is not None:
        if trained is None:
            return Numbers(vocab=vocab, why="the tokenizer of this model is not in the store: give tokens")
        return Merges(vocab=vocab, json=trained)
    return Bytes(vocab=vocab)
