"""What corpora of a finite number of tokens share: a long array to train on, and one held out."""

import functools
import tokenize

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Integer, UInt

from simlaw.corpora.abstract import AbstractCorpus, Data
from simlaw.corpora.order import order
from simlaw.errors import SimlawError

#: What NumPy raises for a file that is no array: it parses the header as a literal of Python.
NOT_NPY = (ValueError, EOFError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError)
#: Training tokens of more bytes stay on the host and are streamed; below it, 32-bit positions are enough for all.
RESIDENT_BYTES = 2**30


class AbstractArrayCorpus(AbstractCorpus):
    """Windows cut out of an array one after the other, in an order of the seed's; the next epoch repeats the first."""

    train: Integer[np.ndarray, " n"]
    test: Integer[np.ndarray, " m"]

    @property
    def unit(self) -> str:
        """What people call its tokens."""
        return "tokens"

    @property
    def more(self) -> tuple[str, str]:
        """What to do for more tokens to train on, and for more held out."""
        raise NotImplementedError

    @property
    def held_out_part(self) -> str:
        """What the held-out part is, for people."""
        raise NotImplementedError

    @property
    def dtype(self) -> np.dtype:
        """How tokens lie on a device: the smallest unsigned integers that hold the vocabulary."""
        return small(self.vocab)

    def epoch_tokens(self, context: int) -> int:
        """Training tokens before any repeats: whole windows, each token predicted once."""
        return (self.train.size - 1) // context * context

    @property
    def resident_bytes(self) -> int:
        """The training tokens, as they lie on a device."""
        return self.train.size * self.dtype.itemsize

    @property
    def streamed(self) -> bool:
        """Whether the training tokens are too many to lie on a device."""
        return self.resident_bytes > RESIDENT_BYTES

    def shared_data(self) -> Data:
        """The training tokens, one array for all programs; nothing where they are streamed."""
        return () if self.streamed else self._resident

    @functools.cached_property
    def _resident(self) -> UInt[Array, " n"]:
        return jax.device_put(self.train.astype(self.dtype, copy=False))

    def seed_data(self, seed: int, context: int) -> Data:
        """The order in which the seed sees the training windows."""
        windows = self.epoch_tokens(context) // context
        if windows < 1:
            raise SimlawError(
                f"the corpus has {self.train.size} {self.unit} to train on, less than one window of {context + 1}: "
                f"{self.more[0]}"
            )
        return order(seed, windows)

    def batch(self, shared: Data, own: Data, step: Int[Array, ""], batch: int, context: int) -> Int[Array, "b w"]:
        """The windows of one step; an epoch is one pass in the seed's order, and the next repeats it."""
        place = (step * batch + jnp.arange(batch)) % own.shape[0]
        start = own[place] * context
        return shared[start[:, None] + jnp.arange(context + 1)[None, :]].astype(jnp.int32)

    def gather(self, own: Data, step: int, steps: int, batch: int, context: int) -> UInt[np.ndarray, "s b w"]:
        """The tokens of the windows that `batch` gives for so many steps from `step` on."""
        place = (step * batch + np.arange(steps * batch)) % own.shape[0]
        every = np.lib.stride_tricks.sliding_window_view(self.train, context + 1)  # a view: no position is written out
        windows = every[own[place].astype(np.int64) * context].reshape(steps, batch, context + 1)
        return windows.astype(self.dtype, copy=False)

    def held_out(self, tokens: int, context: int) -> Int[np.ndarray, "m w"]:
        """The evaluation windows, spread over the held-out part; the same for every run."""
        wanted, there = tokens // context, max(0, (self.test.size - 1) // context)
        if not 0 < wanted <= there:
            raise SimlawError(
                f"the evaluation wants {tokens} tokens in windows of {context}, and {self.held_out_part} has "
                f"{there * context}: {self.more[1]}, or evaluate on fewer tokens"
            )
        start = order(0, there)[:wanted].astype(np.int64) * context
        return self.test[start[:, None] + np.arange(context + 1)].astype(np.int32)

    @property
    def floor_known(self) -> bool:
        """No: nobody knows the entropy of real text."""
        return False

    def floor_nll(self, windows: Int[np.ndarray, "m w"]) -> None:
        """None: nobody knows the entropy of real text."""
        del windows


def small(vocab: int) -> np.dtype:
    """The smallest unsigned integers that hold a vocabulary."""
    return np.dtype(np.uint8 if vocab <= 2**8 else np.uint16 if vocab <= 2**16 else np.uint32)
