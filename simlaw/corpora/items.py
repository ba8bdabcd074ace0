"""Problems one behind the other in windows, and back; no example that is held out is ever trained on.

Every problem has one number that is drawn last, in training from p - k of its p residues and in examples from the k
others; which, a hash of all the rest says. Windows that a loss is measured on are drawn as those of training are, from
a stream of their own, so that floors are of one source: all residues that are left cost ln(p - k), once a problem. An
example costs as much as a problem of training that is put the same way; only its answer, which has no entropy, is
looked at.
"""

import abc
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key, Shaped, UInt32, UInt64

from simlaw.corpora.abstract import Data, Stratum
from simlaw.corpora.fresh import HELD_OUT, AbstractFresh, impossible, whole_windows
from simlaw.corpora.order import GOLDEN, mix
from simlaw.errors import SimlawError

#: The first token of every problem, and the one that fills a window up.
QUESTION, PAD = 0, 1
#: Problems of each kind that every checkpoint is measured on, and windows of training in which they are looked for.
_EXAMPLES, _TRAINED = 16, 64


class AbstractProblems(AbstractFresh):
    """A source of problems of several lengths, split into those of training and those held out."""

    @property
    @abc.abstractmethod
    def mean_length(self) -> float:
        """The mean number of tokens of a problem."""

    @abc.abstractmethod
    def problems(self, shared: Data, key: Key[Array, ""], count: int) -> tuple[Int[Array, "l n"], Int[Array, " n"]]:
        """So many problems, one in each column, and their lengths; what lies below a length is arbitrary."""

    @abc.abstractmethod
    def split(self, held_out: bool) -> Int[np.ndarray, " 2"]:
        """From which residue of the number drawn last on, and how many of them, are of training or held out."""

    @property
    def best(self) -> str:
        """To what a context that is too short is best raised: problems have many lengths, and most are shorter."""
        return f" to that or more; a mean problem has {self.mean_length:.0f}, and the last of a window is cut off"

    @property
    @abc.abstractmethod
    def axis(self) -> tuple[str, int]:
        """What makes a problem harder, and the most of it that problems of some corpus have."""

    @property
    @abc.abstractmethod
    def answered(self) -> int:
        """The token that an answer begins behind."""

    @abc.abstractmethod
    def canonical(self, windows: Int[np.ndarray, "m w"]) -> UInt64[np.ndarray, " n"]:
        """A hash of each whole problem of the windows, in order: how it is put does not matter to it."""

    @abc.abstractmethod
    def at(self, amount: int) -> "AbstractProblems":
        """The source of problems with exactly so much of the axis, with the same tokens and the same split."""

    @abc.abstractmethod
    def examples(self, amount: int, count: int, seed: int, context: int | None = None) -> Int[np.ndarray, "m w"]:
        """So many held-out problems of exactly so much of the axis, one in each window, filled up."""

    def strata(self, context: int) -> tuple[Stratum, ...]:
        """Answers to held-out problems by how hard they are, also beyond what training has; those that fit."""
        axis, most = self.axis
        found = []
        trained = self.canonical(self._drawn(self._stream(0), _TRAINED, context))
        for amount in range(1, most + 1):
            if self.at(amount).shortest > context:
                break
            windows = self.examples(amount, _EXAMPLES, 0, context)
            disjoint(trained, self.canonical(windows))
            begun = np.cumsum(windows[:, :-1] == self.answered, axis=1) > 0
            place = begun & (windows[:, 1:] != PAD)
            found.append(
                Stratum(
                    axis=axis,
                    low=amount,
                    high=amount,
                    items=None,
                    windows=windows,
                    looked_at=place,
                    floor=0.0,
                    one_item=True,
                )
            )
        return tuple(found)

    def draw(self, shared: Data, key: Key[Array, ""], windows: int, length: int) -> Int[Array, "b w"]:
        """Problems from the start of each window on, the last cut off; filled up where too few were drawn.

        A quarter more are drawn than fill a window on the average, and two, and how many does not depend on them.
        """
        items = int(1.25 * length / self.mean_length) + 2
        tokens, lengths = self.problems(shared, key, windows * items)
        return packed(tokens, lengths.reshape(windows, items), length)

    def held_out(self, tokens: int, context: int) -> Int[np.ndarray, "m w"]:
        """Windows of a stream of their own, drawn as those of training are: short problems come in both."""
        self._whole(context)
        return self._drawn(self._stream(HELD_OUT), whole_windows(tokens, context), context)

    def _drawn(self, stream: Data, windows: int, context: int) -> Int[np.ndarray, "m w"]:
        """The windows of a stream's first step, by one compiled program."""
        made = _once(self.batch, static_argnums=(3, 4))
        return np.asarray(made(self.shared_data(), stream, jnp.int32(0), windows, context))

    def alone(self, count: int, seed: int, context: int | None = None) -> Int[np.ndarray, "m w"]:
        """So many held-out problems of the stream `seed`, each in a window filled up to the context, or the longest."""
        if context is not None:
            self._whole(context)
        length = self.shortest if context is None else context + 1
        key = jax.random.fold_in(jax.random.wrap_key_data(self._stream(HELD_OUT)), 1)
        shared = self.shared_data() | {"split": jnp.asarray(self.split(True))}

        def draw(shared: Data, key: Key[Array, ""]) -> Int[Array, "b w"]:
            tokens, lengths = self.problems(shared, key, count)
            return packed(tokens, lengths[:, None], length)

        return np.asarray(_once(draw)(shared, jax.random.fold_in(key, seed)))


def _once(function: Callable[..., Any], **how: Any) -> Callable[..., Any]:
    """A function of whole numbers that is called once: compiled in less time, and the same to the last bit."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0}, **how)


def packed(tokens: Int[Array, "l n"], lengths: Int[Array, "b i"], length: int) -> Int[Array, "b w"]:
    """Windows of `length` tokens of so many problems each, whose tokens are columns, in order."""
    windows, items = lengths.shape
    ends = jnp.cumsum(lengths, axis=1)
    place = jnp.arange(length, dtype=jnp.int32)
    behind = place[None, :, None] >= ends[:, None, :]
    item = jnp.sum(behind, axis=2, dtype=jnp.int32)
    start = jnp.max(jnp.where(behind, ends[:, None, :], 0), axis=2)
    column = jnp.minimum(item, items - 1) + items * jnp.arange(windows, dtype=jnp.int32)[:, None]
    row = jnp.minimum(place[None] - start, len(tokens) - 1)
    found = tokens.reshape(-1)[row * (windows * items) + column]
    return jnp.where(item < items, found, PAD)


def parts(bits: UInt32[Array, "..."], bound: Int[Array, "..."] | int) -> Int[Array, "..."]:
    """Whole numbers below `bound`, floor(bits * bound / 2^32): each as likely, to one in 2^32 / bound."""
    bound = jnp.asarray(bound).astype(jnp.uint32)
    low, high = bits & 0xFFFF, bits >> 16
    # 32-bit numbers alone: the product by halves of both factors
    middle = high * (bound & 0xFFFF) + ((low * (bound & 0xFFFF)) >> 16)
    other = low * (bound >> 16) + (middle & 0xFFFF)
    return (high * (bound >> 16) + (middle >> 16) + (other >> 16)).astype(jnp.int32)


def mixed(x: Any) -> UInt32[Array, "..."]:
    """A hash of 32 bits each, one to one (Wellons 2018, lowbias32)."""
    x = jnp.asarray(x).astype(jnp.uint32)
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def items(
    windows: Int[np.ndarray, "m w"], longest: int
) -> tuple[Int[np.ndarray, "n l"], Int[np.ndarray, "n 2"], Bool[np.ndarray, " n"]]:
    """The problems of windows, -1 behind their ends; where each begins (window, position); which may be cut off.

    Raises `SimlawError` where a window does not begin with a problem, one is longer than the longest, or anything but
    `<pad>` follows `<pad>`.
    """
    if (wrong := np.argwhere(windows[:, :1] != QUESTION)).size:
        raise impossible(windows, wrong, "every window begins with <q>")
    filled = (windows[:, :-1] == PAD) & (windows[:, 1:] != PAD)
    if (wrong := np.argwhere(filled)).size:
        raise impossible(windows, wrong + np.array([0, 1]), "behind <pad> comes <pad> alone")
    at = np.argwhere(windows == QUESTION)
    window, start = at.T
    used = (windows != PAD).sum(axis=1)
    last = np.append(window[1:] != window[:-1], True)
    end = np.where(last, used[window], np.append(start[1:], 0))
    beyond = end - start > longest
    if beyond.any():
        where = at[beyond][:1] + np.array([0, longest])
        raise impossible(windows, where, f"a problem has at most {longest} tokens")
    place = start[:, None] + np.arange(longest)
    found = windows[window[:, None], np.minimum(place, windows.shape[1] - 1)]
    return np.where(place < end[:, None], found, -1), at, end == windows.shape[1]


def spread(
    each: Shaped[np.ndarray, "n l"], at: Int[np.ndarray, "n 2"], shape: tuple[int, ...]
) -> Shaped[np.ndarray, "m t"]:
    """What each token of the problems that begin at `at` has, where it is predicted in the windows; 0 elsewhere."""
    result = np.zeros(shape)
    window, start = at.T
    row, place = np.nonzero(each)
    result[window[row], start[row] + place] = each[row, place]
    return result[:, 1:]


def refuse(wrong: Bool[np.ndarray, "n l"], at: Int[np.ndarray, "n 2"], windows: Int[np.ndarray, "m w"]) -> None:
    """Nothing; raises `SimlawError` at the first token of a problem that is marked."""
    if wrong.any():
        row, place = map(int, np.argwhere(wrong)[0])
        where = at[row : row + 1] + np.array([0, place])
        raise impossible(windows, where, f"the problem that begins at position {at[row, 1]} cannot go on so")


def hashes(codes: Int[np.ndarray, "n k"]) -> UInt64[np.ndarray, " n"]:
    """A 64-bit hash of each row."""
    result = np.zeros(len(codes), np.uint64)
    for column in codes.T:
        result = mix((result ^ column.astype(np.int64).view(np.uint64)) * GOLDEN + GOLDEN)
    return result


def disjoint(training: UInt64[np.ndarray, " n"], evaluation: UInt64[np.ndarray, " m"]) -> None:
    """Nothing; raises `SimlawError` where problems, as `canonical` has them, are in both sets."""
    both = np.isin(evaluation, training)
    if both.any():
        raise SimlawError(
            f"{int(both.sum())} of {both.size} problems of the evaluation are in training too, the first at place "
            f"{int(np.argmax(both))}: draw them with `examples`, of the same seed of the source"
        )
