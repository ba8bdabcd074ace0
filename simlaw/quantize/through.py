"""Gradients through a quantizer: to what is rounded, and to the step that it is rounded with."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from simlaw.errors import SimlawError
from simlaw.formats import FloatLevels, Granularity, IntLevels, Levels
from simlaw.quantize.fake import Cut
from simlaw.quantize.rounding import on_levels


@jax.custom_jvp
def straight_through(x: Array, quantized: Array) -> Array:
    """`quantized`, with the gradient of `x`: rounding is treated as the identity in the backward pass."""
    del x
    return quantized


@straight_through.defjvp
def _straight_through_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return primals[1], tangents[0]


def first_step(w: Float[Array, "i o"], levels: Levels, granularity: Granularity) -> Float[Array, "g 1 h 1"]:
    """The step that a learned one starts from: twice the mean magnitude of a group / sqrt(largest level).

    Learned step size quantization (Esser et al. 1902.08153, section 2). Raises `SimlawError` as `learned_step`.
    """
    cut = Cut((w.shape[0], w.shape[1]), granularity)
    blocks = jnp.abs(cut.blocks(w))
    mean = jnp.mean(blocks, axis=(1, 3), keepdims=True, where=cut.held)
    return 2 * mean / jnp.sqrt(_ends(levels)[1])


def learned_step(
    w: Float[Array, "i o"], step: Float[Array, "g 1 h 1"], levels: Levels, granularity: Granularity
) -> Float[Array, "i o"]:
    """A matrix (inputs × outputs) on levels under steps that are parameters, with the gradients of both.

    Within the levels the gradient of a value goes through, beyond them it is zero; that of a step is, summed over its
    group, the level less the value in steps, beyond the levels the last one (1902.08153, Eq. 3 and 5), divided by the
    root of the group's values times the largest level. Raises `SimlawError` for levels without a zero of their own.
    """
    cut = Cut((w.shape[0], w.shape[1]), granularity)
    low, high = _ends(levels)
    share = 1 / jnp.sqrt(math.prod(cut.block) * high)
    # the same number, with a share of its gradient
    scaled = step * share + jax.lax.stop_gradient(step * (1 - share))
    scaled = scaled + jax.lax.stop_gradient(step - scaled)
    inside = jnp.clip(cut.blocks(w) / scaled, low, high)
    return cut.matrix(straight_through(inside, on_levels(inside, levels)) * scaled)


def _ends(levels: Levels) -> tuple[Array, Array]:
    """The least and the largest level."""
    if isinstance(levels, IntLevels):
        return jnp.float32(levels.low), jnp.float32(levels.high)
    if isinstance(levels, FloatLevels):
        return -jnp.float32(levels.largest), jnp.float32(levels.largest)
    raise SimlawError(
        f"{type(levels).__name__} have no step to learn: take integers that are symmetric, or a float such as e2m1"
    )
