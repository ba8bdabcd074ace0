"""What every corpus offers: batches as a pure function of (seed, step), held-out windows, and a floor where known."""

import abc
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer

from simlaw.config import Corpus
from simlaw.counted import window_means

#: Whatever `batch` needs of a corpus: a tree of arrays.
Data = Any


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """Windows of items of one kind, and which of their predicted tokens are looked at.

    Items differ along an `axis` such as rank, and these have from `low` to `high` of it; the source has `items` of
    them, None where they are too many to count.
    """

    axis: str
    low: int
    high: int
    items: int | None
    windows: Int[np.ndarray, "m w"]
    looked_at: Bool[np.ndarray, "m t"]
    floor: float
    """The exact Bayes loss of the tokens that are looked at, in nats per token."""
    one_item: bool = False
    """Whether those of a window are all of one item; else each is of an item of its own."""


class AbstractCorpus(abc.ABC):
    """A source of windows of `context + 1` tokens, of which the last `context` are predicted."""

    spec: Corpus
    """What was declared: its `vocab`, and the tokens that no loss counts, `left_out`."""
    fingerprint: str
    """Hash of everything that decides the tokens; part of every run's identity."""

    @property
    def vocab(self) -> int:
        """How many tokens there are: every token is below it."""
        return self.spec.vocab

    @abc.abstractmethod
    def describe(self) -> str:
        """One clause for people: what it holds, how much, and its fingerprint."""

    @abc.abstractmethod
    def listing(self) -> str:
        """What the corpus is made of, as text to keep beside the runs: the fingerprint can be checked against it."""

    @property
    def tokenizer(self) -> str | None:
        """The tokenizer that was trained for it, as JSON; None where its spec says what tokens are."""
        return None

    @property
    def kept(self) -> tuple[str, ...]:
        """The keys under which the store keeps its tokens for the next process; none where they are made anew."""
        return ()

    @abc.abstractmethod
    def epoch_tokens(self, context: int) -> int | None:
        """Training tokens before any repeats; None where fresh ones never end."""

    @abc.abstractmethod
    def shared_data(self) -> Data:
        """The arrays that all runs read."""

    @abc.abstractmethod
    def seed_data(self, seed: int, context: int) -> Data:
        """The arrays that belong to one seed."""

    @abc.abstractmethod
    def batch(self, shared: Data, own: Data, step: Int[Array, ""], batch: int, context: int) -> Int[Array, "b w"]:
        """The windows of training step `step`; pure and traceable, so it runs inside the compiled step."""

    @property
    def streamed(self) -> bool:
        """Whether windows are gathered on the host (`gather`) and given to the program, which else makes them."""
        return False

    def gather(self, own: Data, step: int, steps: int, batch: int, context: int) -> Integer[np.ndarray, "s b w"]:
        """What `batch` gives for so many steps from `step` on, on the host; only of a corpus that is `streamed`."""
        raise NotImplementedError(f"{type(self).__name__} makes its windows inside the program")

    @abc.abstractmethod
    def held_out(self, tokens: int, context: int) -> Int[np.ndarray, "m w"]:
        """The evaluation windows, the same for every run; raises `SimlawError` where there are too few."""

    def check_apart(self) -> None:
        """Nothing; a corpus of given parts raises `SimlawError` where the held-out one is in the training one too."""
        return

    @property
    def resident_bytes(self) -> int:
        """Bytes of what all runs read, where they are worth a thought."""
        return 0

    @property
    def host_bytes(self) -> int:
        """Bytes of the host's memory that a process takes for it: what it is made of, and what all runs read."""
        return 2 * self.resident_bytes

    @property
    def entropy(self) -> float | None:
        """The entropy of the source in nats per token that counts, in closed form; None where nobody knows it."""
        return None

    @abc.abstractmethod
    def floor_nll(self, windows: Int[np.ndarray, "m w"]) -> Float[np.ndarray, "m t"] | None:
        """The exact Bayes loss of each predicted token in nats: -log p(token | the tokens of its window before it).

        None where nobody knows it. Raises `SimlawError` for tokens that the source cannot give, named by position.
        """

    @property
    def floor_known(self) -> bool:
        """Whether `floor_nll` is known."""
        return True

    def floor_nll_untold(self, windows: Int[np.ndarray, "m w"]) -> Float[np.ndarray, "m t"] | None:
        """`floor_nll` where the first token of a window is not told, and 0 stands in its place.

        The same, since a window of a source begins with its token 0, unless a source overrides this.
        """
        return self.floor_nll(windows)

    def floor(self, windows: Int[np.ndarray, "m w"]) -> Float[np.ndarray, " m"] | None:
        """The exact Bayes loss of each window in nats per token that counts, or None where it is not known."""
        each = self.floor_nll(windows)
        return None if each is None else window_means(each, windows, self.spec.left_out)

    def strata(self, context: int) -> tuple[Stratum, ...]:
        """The kinds of items that every evaluation is also measured on, one by one: none, unless a corpus has some."""
        del context
        return ()
