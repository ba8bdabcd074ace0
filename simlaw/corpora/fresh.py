"""Corpora without an end: every step of every seed draws items of its own, and held-out windows have a stream apart."""

import abc

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from simlaw.config import MOST_EVAL_TOKENS
from simlaw.corpora.abstract import AbstractCorpus, Data
from simlaw.declared import canonical
from simlaw.errors import SimlawError

#: A stream that no training seed below 2^31 - 1 shares.
HELD_OUT = 2**31 - 1


class AbstractFresh(AbstractCorpus):
    """A source that a key draws from; subclasses say how many tokens an item has and what the draws become."""

    @property
    @abc.abstractmethod
    def apart(self) -> int:
        """What keeps the draws of a seed apart from all else that is drawn from it."""

    @property
    @abc.abstractmethod
    def shortest(self) -> int:
        """The fewest tokens that a window predicts: those of one item."""

    @property
    def best(self) -> str:
        """To what a context that is too short is best raised, as the end of a sentence."""
        return ", best to a multiple of them"

    @abc.abstractmethod
    def draw(self, shared: Data, key: Key[Array, ""], windows: int, length: int) -> Int[Array, "b w"]:
        """So many windows of `length` tokens; pure and traceable."""

    def listing(self) -> str:
        """The declaration that decides every token."""
        return canonical(self.spec) + "\n"

    def epoch_tokens(self, context: int) -> None:
        """None: every step draws fresh items."""
        del context

    def seed_data(self, seed: int, context: int) -> Data:
        """The key of the seed's stream."""
        self._whole(context)
        if seed >= HELD_OUT:
            raise SimlawError(f"the seed {seed} is the held-out stream's or above it: take one below {HELD_OUT}")
        return self._stream(seed)

    def batch(self, shared: Data, own: Data, step: Int[Array, ""], batch: int, context: int) -> Int[Array, "b w"]:
        """Fresh windows for one step."""
        return self.draw(shared, jax.random.fold_in(jax.random.wrap_key_data(own), step), batch, context + 1)

    def held_out(self, tokens: int, context: int) -> Int[np.ndarray, "m w"]:
        """Windows of a stream of their own."""
        self._whole(context)
        windows = whole_windows(tokens, context)
        return np.asarray(self.batch(self.shared_data(), self._stream(HELD_OUT), jnp.int32(0), windows, context))

    def _stream(self, seed: int) -> Data:
        return jax.random.key_data(jax.random.fold_in(jax.random.key(seed), self.apart))

    def _whole(self, context: int) -> None:
        if context < self.shortest:
            raise SimlawError(
                f"the context of {context} is shorter than one item of {type(self.spec).__name__}, which has "
                f"{self.shortest} tokens: raise Family.context{self.best}"
            )


def whole_windows(tokens: int, context: int) -> int:
    """How many windows an evaluation of so many tokens has; raises `SimlawError` where that is none, or too many."""
    if tokens < context:
        raise SimlawError(f"the evaluation wants {tokens} tokens, less than one window of {context}: raise it")
    if tokens > MOST_EVAL_TOKENS:
        raise SimlawError(
            f"the evaluation wants {tokens} tokens, which are drawn at once: take {MOST_EVAL_TOKENS} at most"
        )
    return tokens // context


def known(windows: Int[np.ndarray, "m w"], vocab: int) -> None:
    """Nothing; raises `SimlawError` for a token outside the vocabulary, named by its position."""
    wrong = np.argwhere((windows < 0) | (windows >= vocab))
    if wrong.size:
        window, position = map(int, wrong[0])
        raise SimlawError(
            f"the token {windows[window, position]} at position {position} of window {window} is not of this "
            f"vocabulary: give 0 to {vocab - 1}"
        )


class Impossible(SimlawError):
    """A token that a source cannot give, with its window and position, and why."""

    def __init__(self, token: int, at: tuple[int, int], why: str) -> None:
        window, position = at
        super().__init__(
            f"the token {token} at position {position} of window {window} is none that this source gives there: {why}"
        )
        self.at, self.why = at, why


def impossible(windows: Int[np.ndarray, "m w"], wrong: Int[np.ndarray, "k 2"], why: str) -> Impossible:
    """The refusal of the first of these positions (window, position) of tokens that a source cannot give."""
    window, position = map(int, wrong[0])
    return Impossible(int(windows[window, position]), (window, position), why)
