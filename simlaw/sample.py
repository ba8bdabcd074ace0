"""Text samples: what a checkpoint writes when it goes on from a prompt."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from simlaw.config import Dtype, ModelSpec
from simlaw.model import Params, logits


def sample(
    model: ModelSpec, params: Params, prompt: Sequence[int], length: int, seed: int = 0, dtype: Dtype = "float32"
) -> list[int]:
    """`length` tokens that the model draws after the prompt, at temperature 1; the same for the same seed.

    The model sees at most its context of the last tokens.
    """
    seen = list(prompt)[-model.context :]
    window = jnp.zeros(model.context, jnp.int32).at[: len(seen)].set(jnp.asarray(seen, jnp.int32))
    keys = jax.random.split(jax.random.key(seed), length)
    return [int(token) for token in _sample(model, dtype, params, window, jnp.int32(len(seen)), keys)]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _sample(
    model: ModelSpec, dtype: Dtype, params: Params, window: Int[Array, " t"], used: Int[Array, ""], keys: Array
) -> Int[Array, " n"]:
    def draw(carry: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], Array]:
        window, used = carry
        # the window is filled from the left; what lies behind the last token is not seen, being in the future
        token = jax.random.categorical(key, logits(model, params, window[None], dtype)[0, used - 1]).astype(jnp.int32)
        full = used == model.context
        window = jnp.where(full, jnp.roll(window, -1), window)
        used = jnp.where(full, used, used + 1)
        return (window.at[used - 1].set(token), used), token

    return jax.lax.scan(draw, (window, used), keys)[1]
