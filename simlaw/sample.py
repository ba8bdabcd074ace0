"""Text samples: what a checkpoint writes when it goes on from a prompt."""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from simlaw.arithmetic import FLOAT32, AbstractArithmetic
from simlaw.config import ModelSpec
from simlaw.errors import SimlawError
from simlaw.model import Params, logits

#: Below this temperature a quotient may be more than a float32 holds, and draws had long been the likeliest alone.
_COLD = 1e-30


def sample(
    model: ModelSpec,
    params: Params,
    prompt: Sequence[int],
    length: int,
    seed: int = 0,
    arithmetic: AbstractArithmetic = FLOAT32,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
) -> list[int]:
    """`length` tokens that the model draws after the prompt; the same for the same seed.

    Logits are divided by the temperature, at 0 the likeliest token is taken; with `top_k` only so many of the likeliest
    are drawn from, and those as likely as the last of them. The model sees at most its context of the last tokens.
    Raises `SimlawError` for a temperature below 0, and where `top_k` is not from 1 to the vocabulary.
    """
    if not (temperature >= 0 and math.isfinite(temperature)):
        raise SimlawError(f"temperature={temperature:g}: it is 0, which takes the likeliest token, or a number above 0")
    if top_k is not None and not 1 <= top_k <= model.vocab:
        raise SimlawError(f"top_k={top_k}: the vocabulary has {model.vocab} tokens; give 1 to {model.vocab}, or None")
    seen = list(prompt)[-model.context :]
    window = jnp.zeros(model.context, jnp.int32).at[: len(seen)].set(jnp.asarray(seen, jnp.int32))
    keys = jax.random.split(jax.random.key(seed), length)
    # at temperature 1 nothing is divided, so that its samples never change
    warmth = None if temperature < _COLD or temperature == 1 else jnp.float32(temperature)
    how = model, temperature < _COLD, None if top_k == model.vocab else top_k
    return [int(token) for token in _sample(*how, params, arithmetic, window, jnp.int32(len(seen)), keys, warmth)]


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _sample(
    model: ModelSpec,
    greedy: bool,
    top_k: int | None,
    params: Params,
    arithmetic: AbstractArithmetic,
    window: Int[Array, " t"],
    used: Int[Array, ""],
    keys: Array,
    temperature: Float[Array, ""] | None,
) -> Int[Array, " n"]:
    def choose(key: Array, z: Float[Array, " v"]) -> Int[Array, ""]:
        if greedy:
            return jnp.argmax(z)
        if top_k is not None:
            z = jnp.where(z < jax.lax.top_k(z, top_k)[0][-1], -jnp.inf, z)
        return jax.random.categorical(key, z if temperature is None else z / temperature)

    def draw(carry: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], Array]:
        window, used = carry
        # the window is filled from the left; what lies behind the last token is not seen, being in the future
        token = choose(key, logits(model, params, window[None], arithmetic)[0, used - 1]).astype(jnp.int32)
        full = used == model.context
        window = jnp.where(full, jnp.roll(window, -1), window)
        used = jnp.where(full, used, used + 1)
        return (window.at[used - 1].set(token), used), token

    return jax.lax.scan(draw, (window, used), keys)[1]
