"""Scales of scale groups: from what lies in a group to the number that is stored.

Blocks are (g, r, h, c): g × h scale groups of r inputs and c outputs each. A scale is stored by arithmetic: a compiler
may delete a cast to a narrow type and back.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from simlaw.formats import (
    FLOATS,
    MSE,
    AffineLevels,
    Calibration,
    Float8,
    Float16,
    Float32,
    FloatLevels,
    IntLevels,
    Levels,
    Percentile,
    PowerOfTwo,
    Scale,
    Scaling,
    SignLevels,
)
from simlaw.quantize.rounding import on_levels

#: The smallest normal float32: where a scale must not be zero.
TINY = 2.0**-126
#: The axes of a block that share a scale.
WITHIN = (1, 3)


class Scales(NamedTuple):
    """Of each scale group the scale, and, of levels with a zero point, the lowest whole number."""

    scale: Float[Array, "g 1 h 1"]
    low: Float[Array, "g 1 h 1"] | None


def scales_of(blocks: Float[Array, "g r h c"], levels: Levels, scaling: Scaling, held: Any) -> Scales:
    """The scales of blocks; `held` is false where zeros fill a group up.

    A value that is not finite makes the scale of its group infinite or NaN.
    """
    if isinstance(levels, SignLevels):
        mean = jnp.mean(jnp.abs(blocks), axis=WITHIN, keepdims=True, where=held)
        return Scales(stored(mean, scaling.scale), None)
    if not isinstance(scaling.calibration, MSE):
        return _placed(*_reach(blocks, levels, scaling.calibration, held), levels, scaling.scale)
    search = scaling.calibration
    shares = 1.0 - jnp.arange(0, math.ceil((1 - search.least) * search.steps), dtype=jnp.float32) / search.steps

    def error(values: Array) -> Array:
        return jnp.sum(jnp.abs(values - blocks) ** search.norm, axis=WITHIN, keepdims=True)

    return best_scales(blocks, levels, scaling, held, shares, error)


def best_scales(
    blocks: Float[Array, "g r h c"],
    levels: Levels,
    scaling: Scaling,
    held: Any,
    shares: Float[Array, " k"],
    error: Callable[[Array], Array],
) -> Scales:
    """Of the scales that hold these shares of what lies in a group, those whose values have the least `error`.

    `error` takes rounded blocks to a number for each group (g, 1, h, 1); of equal ones the first share is taken.
    """
    least, most = _reach(blocks, levels, scaling.calibration, held)

    def of(share: Array) -> Array:
        scales = _placed(least * share, most * share, levels, scaling.scale)
        return error(on_groups(blocks, scales, levels) * scales.scale)

    def step(best: tuple[Array, Array], share: Array) -> tuple[tuple[Array, Array], None]:
        found = of(share)
        better = found < best[0]
        return (jnp.where(better, found, best[0]), jnp.where(better, share, best[1])), None

    first = jnp.broadcast_to(shares[0], most.shape)
    (_, share), _ = jax.lax.scan(step, (of(first), first), shares[1:])
    return _placed(least * share, most * share, levels, scaling.scale)


def on_groups(blocks: Array, scales: Scales, levels: Levels, key: Array | None = None) -> Array:
    """The values of blocks, divided by their groups' scales, on the levels."""
    # An all-zero group has scale 0; any finite divisor gives it zeros.
    return on_levels(blocks / jnp.where(scales.scale == 0, 1.0, scales.scale), levels, scales.low, key)


def stored(scale: Float[Array, "g 1 h 1"], kind: Scale) -> Float[Array, "g 1 h 1"]:
    """The stored number for each wanted scale; for a `PowerOfTwo` by its rule "up"."""
    if isinstance(kind, Float16):
        return _up_to_float16(scale)
    if isinstance(kind, Float32):
        return scale
    if isinstance(kind, Float8):
        form = FLOATS["e4m3fn"]
        whole = jnp.max(scale) / form.largest
        code = on_levels(scale / jnp.where(whole == 0, 1.0, whole), form.levels)
        return code * whole
    mantissa, exponent = jnp.frexp(scale)
    up = jnp.where(mantissa == 0.5, exponent - 1, exponent)
    return _power(up, scale)


def _reach(blocks: Array, levels: Levels, calibration: Calibration, held: Any) -> tuple[Array, Array]:
    """The least and the largest value of each group that are to have codes, with zero between them."""
    magnitude = jnp.abs(blocks)
    most = jnp.max(magnitude, axis=WITHIN, keepdims=True)
    if isinstance(calibration, Percentile):
        g, r, h, c = blocks.shape
        # what fills a group up sorts before everything else; NaN and infinities reach the largest magnitude
        flat = jnp.where(held, magnitude, -1.0).transpose(0, 2, 1, 3).reshape(g, h, r * c)
        counts = np.broadcast_to(held, blocks.shape).sum(axis=WITHIN)
        place = r * c - counts + np.ceil(calibration.share * counts).astype(np.int32) - 1
        order = jnp.take_along_axis(jnp.sort(flat, axis=2), place[:, :, None], axis=2)
        most = jnp.where(jnp.isfinite(most), order.reshape(g, 1, h, 1), most)
    if isinstance(levels, AffineLevels):
        least = jnp.min(blocks, axis=WITHIN, keepdims=True)
        return jnp.clip(least, -most, 0.0), jnp.clip(jnp.max(blocks, axis=WITHIN, keepdims=True), 0.0, most)
    return -most, most


def _placed(least: Array, most: Array, levels: Levels, kind: Scale) -> Scales:
    """Scales under which the levels reach from `least` to `most`."""
    if isinstance(levels, AffineLevels):
        scale = stored((most - least) / levels.steps, kind)
        return Scales(scale, jnp.round(least / jnp.where(scale == 0, 1.0, scale)))
    largest = largest_of(levels)
    if isinstance(kind, PowerOfTwo) and kind.rule == "floor":
        _, exponent = jnp.frexp(most)
        _, top = jnp.frexp(jnp.asarray(largest, jnp.float32))
        return Scales(_power(exponent - top, most), None)
    return Scales(stored(most / largest, kind), None)


def largest_of(levels: Levels) -> Any:
    """What a scale of 1 reaches, on levels that are as many above zero as below."""
    if isinstance(levels, IntLevels):
        return levels.divisor
    return levels.largest if isinstance(levels, FloatLevels) else 1.0


def _power(exponent: Array, of: Array) -> Array:
    """Powers of two, for groups that are neither zero nor spoilt."""
    power = jnp.ldexp(jnp.ones_like(of), jnp.clip(exponent, -126, 127))
    return jnp.where(of == 0, 0.0, jnp.where(jnp.isfinite(of), power, of))


def _up_to_float16(scale: Float[Array, "..."]) -> Float[Array, "..."]:
    """The smallest float16 value not below `scale`, in float32; infinite above 65504.

    A thousandth of a unit in the last place is forgiven, so that a value which is on the grid already stays there
    whatever a division rounds to.
    """
    _, exponent = jnp.frexp(scale)  # scale = m · 2^exponent with 1/2 <= m < 1: 11 significant bits
    ulp = jnp.ldexp(jnp.ones_like(scale), jnp.maximum(exponent - 11, -24))
    up = jnp.ceil(scale / ulp - 2.0**-10) * ulp
    return jnp.where(up > 65504.0, jnp.inf, up)
