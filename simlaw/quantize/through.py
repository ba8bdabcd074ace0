"""Gradients through a quantizer: to what is rounded, and to the step that it is rounded with."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from simlaw.config.precision import Estimator
from simlaw.errors import SimlawError
from simlaw.formats import AffineLevels, FloatLevels, Granularity, IntLevels, Levels, Scaling, SignLevels
from simlaw.quantize.fake import Cut, with_scales
from simlaw.quantize.rounding import on_levels
from simlaw.quantize.scales import Scales

#: How far beyond the levels a value still counts as on them: scales are rounded up, and forgiven as much.
_FORGIVEN = 1 + 2.0**-16


@jax.custom_jvp
def straight_through(x: Array, quantized: Array) -> Array:
    """`quantized`, with the gradient of `x`: rounding is treated as the identity in the backward pass."""
    del x
    return quantized


@straight_through.defjvp
def _straight_through_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return primals[1], tangents[0]


def estimated(
    x: Float[Array, "i o"],
    levels: Levels,
    scaling: Scaling,
    estimator: Estimator = "straight_through",
    key: Key[Array, ""] | None = None,
    of_tokens: bool = False,
) -> Float[Array, "i o"]:
    """What `fake_quantize` gives, with the gradient that an estimator passes on to `x`; scales have none."""
    inputs, outputs = x.shape
    still = jax.lax.stop_gradient(x)
    quantized, scales = with_scales(still, levels, scaling, key, of_tokens)
    if estimator == "straight_through":
        return straight_through(x, quantized)
    cut = Cut((inputs, outputs), scaling.granularity, of_tokens)
    passes = _passes(cut.blocks(still), cut.blocks(quantized), levels, scales, estimator)
    blocks = cut.blocks(x)
    return straight_through(cut.matrix(jnp.where(passes, blocks, jax.lax.stop_gradient(blocks))), quantized)


def _passes(x: Array, quantized: Array, levels: Levels, scales: Scales, estimator: Estimator) -> Bool[Array, "g r h c"]:
    """Where an estimator passes a gradient on."""
    if estimator == "trust":
        return jnp.abs(quantized - x) <= scales.scale * (_FORGIVEN / 2) * _widest(levels)
    if isinstance(levels, AffineLevels):
        assert scales.low is not None
        low, high = scales.low, scales.low + levels.steps
    else:
        low, high = _ends(levels)
    # both ends are on the right side of zero
    return (x >= low * scales.scale * _FORGIVEN) & (x <= high * scales.scale * _FORGIVEN)


def _widest(levels: Levels) -> Any:
    """The widest step between two levels."""
    if isinstance(levels, IntLevels | AffineLevels):
        return 1.0
    if isinstance(levels, SignLevels):
        return 2.0
    if isinstance(levels, FloatLevels):
        share, exponent = jnp.frexp(jnp.float32(levels.largest))  # largest = share · 2^exponent with 1/2 <= share < 1
        # a largest number that is a power of two lies a step of the powers below it above the next
        below = exponent.astype(jnp.float32) - jnp.where(share == 0.5, 2.0, 1.0)
        return jnp.exp2(below - levels.mantissa)
    return jnp.diff(jnp.asarray(levels.values)).max()


def first_step(w: Float[Array, "i o"], levels: Levels, granularity: Granularity) -> Float[Array, "g 1 h 1"]:
    """The step that a learned one starts from: twice the mean magnitude of a group / sqrt(largest level).

    Learned step size quantization (Esser et al. 1902.08153, section 2). Raises `SimlawError` as `learned_step`.
    """
    cut = Cut((w.shape[0], w.shape[1]), granularity)
    blocks = jnp.abs(cut.blocks(w))
    mean = jnp.mean(blocks, axis=(1, 3), keepdims=True, where=cut.held)
    return 2 * mean / jnp.sqrt(_learnable(levels)[1])


def learned_step(
    w: Float[Array, "i o"], step: Float[Array, "g 1 h 1"], levels: Levels, granularity: Granularity
) -> Float[Array, "i o"]:
    """A matrix (inputs × outputs) on levels under steps that are parameters, with the gradients of both.

    Within the levels the gradient of a value goes through, beyond them it is zero; that of a step is, summed over its
    group, the level less the value in steps, beyond the levels the last one (1902.08153, Eq. 3 and 5), divided by the
    root of the group's values times the largest level. Raises `SimlawError` for levels without a zero of their own.
    """
    cut = Cut((w.shape[0], w.shape[1]), granularity)
    low, high = _learnable(levels)
    share = 1 / jnp.sqrt(math.prod(cut.block) * high)
    # the same number, with a share of its gradient
    scaled = step * share + jax.lax.stop_gradient(step * (1 - share))
    scaled = scaled + jax.lax.stop_gradient(step - scaled)
    inside = jnp.clip(cut.blocks(w) / scaled, low, high)
    return cut.matrix(straight_through(inside, on_levels(inside, levels)) * scaled)


def _learnable(levels: Levels) -> tuple[Array, Array]:
    """The least and the largest level, of levels that have a step to learn."""
    if not isinstance(levels, IntLevels | FloatLevels):
        raise SimlawError(
            f"{type(levels).__name__} have no step to learn: take integers that are symmetric, or a float such as e2m1"
        )
    return _ends(levels)


def _ends(levels: Levels) -> tuple[Array, Array]:
    """The least and the largest level."""
    if isinstance(levels, IntLevels):
        return jnp.float32(levels.low), jnp.float32(levels.high)
    if isinstance(levels, FloatLevels):
        return -jnp.float32(levels.largest), jnp.float32(levels.largest)
    return jnp.float32(-1), jnp.float32(1)
