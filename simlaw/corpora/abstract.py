"""What every corpus offers: batches as a pure function of (seed, step), held-out windows, and a floor where known."""

import abc
from typing import Any

import numpy as np
from jaxtyping import Array, Float, Int, Integer

#: Whatever `batch` needs of a corpus: a tree of arrays.
Data = Any


class AbstractCorpus(abc.ABC):
    """A source of windows of `context + 1` tokens, of which the last `context` are predicted."""

    fingerprint: str
    """Hash of everything that decides the tokens; part of every run's identity."""
    vocab: int

    @abc.abstractmethod
    def describe(self) -> str:
        """One clause for people: what it holds, how much, and its fingerprint."""

    @abc.abstractmethod
    def listing(self) -> str:
        """What the corpus is made of, as text to keep beside the runs: the fingerprint can be checked against it."""

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

    @abc.abstractmethod
    def floor(self, windows: Int[np.ndarray, "m w"]) -> Float[np.ndarray, " m"] | None:
        """The exact Bayes loss of each window in nats per token, or None where it is not known."""
