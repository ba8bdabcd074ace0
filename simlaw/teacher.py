"""A teacher: a trained model as a source of windows, whose probabilities are the truth.

A window begins with one token, and each further one is drawn at temperature 1 from what the model predicts behind those
before it. With Gumbel noise fixed at every place the token drawn is the argmax of logits plus noise, so a window is the
only fixed point of drawing all its places at once. A draft is made token by token with the keys and values kept, and
then whole windows are drawn again until nothing changes, once as a rule: what comes out is exactly what the model says
of whole windows, and does not depend on the draft.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from simlaw.arithmetic import AbstractArithmetic
from simlaw.config import ModelSpec, Precision, RunSpec
from simlaw.errors import SimlawError
from simlaw.lowprecision import arithmetic_of, certain, levels_of, on_formats
from simlaw.model import Params, blank, following, logits, losses

#: Tokens that are computed together: activations of more do not stay in a CPU's cache, and a part of a draw is done
#: when its slowest window is.
PART_TOKENS = 2048
#: Parts of a draw between two reports.
_PARTS = 8


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """What a run's checkpoint computes with, and the token from which its windows set out.

    `weights` are on the formats of the run's precision already, so they are those of a plain model.
    """

    run_id: str
    spec: RunSpec
    start: int
    weights: Params = field(repr=False)

    @classmethod
    def of(cls, run_id: str, spec: RunSpec, params: Params, start: int) -> "Teacher":
        """The teacher of a run's checkpoint; raises `SimlawError` where it is none.

        It is none where its predictions depend on other windows, or where some tokens were in no loss.
        """
        kind = certain(spec.precision)
        if spec.corpus.left_out:
            raise SimlawError(
                f"run {run_id} was trained on {type(spec.corpus).__name__}, and no loss told it where the "
                "markers of its items stand: windows that it writes would have them anywhere; take a run of text, "
                "tokens or a graph"
            )
        if kind.of_batch:
            raise SimlawError(
                f"run {run_id} was trained with one scale for a whole batch, so what it predicts in a window depends "
                "on the others, and on the future: take a run whose inputs have a scale PerToken()"
            )
        return cls(run_id=run_id, spec=spec, start=start, weights=on_formats(params, kind, levels_of(kind)))

    @property
    def model(self) -> ModelSpec:
        """The model, whose context is the longest past that a token has."""
        return self.spec.model

    @functools.cached_property
    def arithmetic(self) -> AbstractArithmetic:
        """The arithmetic as the run was trained, without gradients, rounding to nearest."""
        kind: Precision = certain(self.spec.precision)
        return arithmetic_of(kind, levels_of(kind), self.spec.dtype)

    def losses(self, windows: Int[np.ndarray, "m w"]) -> Float[np.ndarray, "m w-1"]:
        """-log of the probability of each token behind those of its window before it, in nats."""
        return self._each(_losses, windows)

    def entropies(self, windows: Int[np.ndarray, "m w"]) -> Float[np.ndarray, "m w-1"]:
        """The entropy of the prediction at each place, in nats: the mean of `losses` over what could stand there."""
        return self._each(_entropies, windows)

    def draw(self, seed: int, stream: int, count: int) -> Iterator[Int[np.ndarray, "n w"]]:
        """The windows 0 to `count` - 1 of a stream of a seed, some at a time, each of context + 1 tokens.

        A window is a function of the model, the seed, the stream and its number: windows are computed in parts with
        fixed numbers, and those of the last part that nobody wants are dropped.
        """
        part = self._part
        key = jax.random.fold_in(jax.random.key(seed), stream)
        for at in range(0, count, _PARTS * part):
            parts = min(_PARTS, -(-(count - at) // part))
            numbers = jnp.arange(at, at + parts * part, dtype=jnp.int32).reshape(parts, part)
            found = _draw(self.model, self.weights, self.arithmetic, jnp.int32(self.start), key, numbers)
            yield np.asarray(found).reshape(-1, self.model.context + 1)[: count - at]

    @property
    def _part(self) -> int:
        """How many windows are computed together."""
        return max(1, PART_TOKENS // self.model.context)

    def _each(self, what: Callable[..., Array], windows: Int[np.ndarray, "m w"]) -> Float[np.ndarray, "m w-1"]:
        """A number for each predicted token, as float64; a shorter window stands at the beginning of a whole one."""
        length, part = windows.shape[1], self._part
        found = np.empty((len(windows), length - 1))
        for at in range(0, len(windows), part):
            some = windows[at : at + part]
            whole = np.zeros((part, self.model.context + 1), np.int32)  # what fills it up is the future, and not seen
            whole[: len(some), :length] = some
            each = what(self.model, self.weights, self.arithmetic, jnp.asarray(whole))
            found[at : at + part] = np.asarray(each)[: len(some), : length - 1]
        return found


@functools.partial(jax.jit, static_argnums=0)
def _losses(
    model: ModelSpec, weights: Params, arithmetic: AbstractArithmetic, windows: Int[Array, "b w"]
) -> Float[Array, "b w-1"]:
    return losses(model, weights, windows, arithmetic)


@functools.partial(jax.jit, static_argnums=0)
def _entropies(
    model: ModelSpec, weights: Params, arithmetic: AbstractArithmetic, windows: Int[Array, "b w"]
) -> Float[Array, "b w-1"]:
    logs = jax.nn.log_softmax(logits(model, weights, windows[:, :-1], arithmetic), axis=2)
    return -jnp.sum(jnp.exp(logs) * logs, axis=2)


def noise(model: ModelSpec, key: Array, numbers: Int[Array, " b"]) -> Float[Array, "b t v"]:
    """The Gumbel noise of windows, a function of key, window and place."""

    def of(number: Int[Array, ""]) -> Float[Array, "t v"]:
        return jax.random.gumbel(jax.random.fold_in(key, number), (model.context, model.vocab), jnp.float32)

    return jax.vmap(of)(numbers)


@functools.partial(jax.jit, static_argnums=0)
def _draw(
    model: ModelSpec,
    weights: Params,
    arithmetic: AbstractArithmetic,
    start: Int[Array, ""],
    key: Array,
    numbers: Int[Array, "p b"],
) -> Int[Array, "p b w"]:
    """The windows of these numbers, part by part."""

    def of(part: Int[Array, " b"]) -> Int[Array, "b w"]:
        given = noise(model, key, part)

        def again(carry: tuple[Array, Array]) -> tuple[Array, Array]:
            before, _ = carry
            z = logits(model, weights, before[:, :-1], arithmetic)
            after = before.at[:, 1:].set(jnp.argmax(z + given, axis=2).astype(jnp.int32))
            return after, jnp.any(after != before)

        begun = _draft(model, weights, arithmetic, start, given)
        return jax.lax.while_loop(lambda carry: carry[1], again, (begun, jnp.array(True)))[0]

    return jax.lax.map(of, numbers)


def _draft(
    model: ModelSpec,
    weights: Params,
    arithmetic: AbstractArithmetic,
    start: Int[Array, ""],
    given: Float[Array, "b t v"],
) -> Int[Array, "b w"]:
    """Windows drawn token by token with this noise, right but for the rounding of the logits."""

    def draw(carry: tuple[Array, Any], at: Array) -> tuple[tuple[Array, Any], Array]:
        tokens, past = carry
        z, past = following(model, weights, tokens, past, at, arithmetic)
        found = jnp.argmax(z + jax.lax.dynamic_index_in_dim(given, at, 1, keepdims=False), axis=1).astype(jnp.int32)
        return (found, past), found

    first = jnp.full(given.shape[0], start, jnp.int32)
    _, rest = jax.lax.scan(draw, (first, blank(model, given.shape[0])), jnp.arange(model.context))
    return jnp.concatenate([first[None], rest]).T
