"""Controls that are no methods: noise like that of rounding, and the noise of an ideal code."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from simlaw.formats import Levels, Scaling
from simlaw.quantize import fake_quantize
from simlaw.quantize.scales import TINY


def like_rounding(w: Float[Array, "i o"], key: Key[Array, ""], levels: Levels, scaling: Scaling) -> Float[Array, "i o"]:
    """A matrix with normal noise of the mean squared error that rounding it to nearest has."""
    off = fake_quantize(w, levels, scaling) - w
    return w + jax.random.normal(key, w.shape) * jnp.sqrt(jnp.mean(off**2))


def ideal(w: Float[Array, "i o"], moments: Float[Array, "i i"], key: Key[Array, ""], bits: Any) -> Float[Array, "i o"]:
    """A matrix behind an ideal code of `bits` per weight: reverse water-filling over the eigenvectors of the moments.

    A direction k of the inputs has weights of variance v_k and matters by its eigenvalue l_k: its distortion is
    d_k = min(v_k, theta / l_k), its rate log2(v_k / d_k) / 2, and theta such that rates are `bits` in the mean (Cover
    and Thomas, section 10.3.3). What is left is the forward channel's (1 - d/v)·w plus noise of variance d·(1 - d/v).
    Weights are taken as normal with one variance for each direction: where output channels differ much, a code with a
    scale for each of them may do better.
    """
    values, directions = jnp.linalg.eigh(moments / jnp.maximum(jnp.trace(moments), TINY))
    values = jnp.maximum(values, 1e-12)
    seen = jnp.matmul(directions.T, w, precision="highest")
    variance = jnp.maximum(jnp.mean(seen**2, axis=1), TINY)
    weight = jnp.log2(values * variance)

    # the level theta, in log2, by halving: the mean rate falls from too many bits to none
    def rate(level: Array) -> Array:
        return jnp.mean(jnp.maximum(weight - level, 0.0)) / 2

    def halve(_: Int[Array, ""], bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) / 2
        more = rate(middle) > bits
        return jnp.where(more, middle, low), jnp.where(more, high, middle)

    low, high = jax.lax.fori_loop(0, 60, halve, (weight.min() - 2 * bits - 2, weight.max()))
    lost = 2.0 ** jnp.minimum(0.0, (low + high) / 2 - weight)[:, None]  # d/v, of any smallness
    kept = 1 - lost
    noise = jax.random.normal(key, w.shape) * jnp.sqrt(lost * variance[:, None] * kept)
    return jnp.matmul(directions, seen * kept + noise, precision="highest")
