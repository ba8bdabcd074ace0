"""AWQ: inputs that matter scaled up before rounding, then less reach where that helps (2306.00978).

The scale of an input goes into the norm or matrix before it, so that it costs nothing; the matrix here is the one that
inputs see without it.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from simlaw.config import AWQ
from simlaw.formats import Levels, Scaling, SignLevels
from simlaw.quantize import fake_quantize
from simlaw.quantize.fake import Cut
from simlaw.quantize.scales import best_scales, on_groups

#: A group's reach is lowered to this share of its largest magnitude at most, in so many steps of a whole.
_LEAST, _STEPS = 0.5, 20


def awq(
    w: Float[Array, "i o"],
    moments: Float[Array, "i i"],
    magnitude: Float[Array, " i"],
    levels: Levels,
    scaling: Scaling,
    how: AWQ,
) -> Float[Array, "i o"]:
    """A matrix on the levels of a format, with the error of its outputs searched over scales of inputs, then reaches.

    `moments` is any multiple of the second moments of the inputs, `magnitude` the mean of theirs.
    """

    def scales(power: Array) -> Float[Array, " i"]:
        each = jnp.maximum(magnitude, 1e-8) ** power
        return each / jnp.sqrt(each.max() * each.min())

    def error(power: Array) -> Array:
        scale = scales(power)[:, None]
        off = fake_quantize(w * scale, levels, scaling) / scale - w
        return jnp.sum(off * jnp.matmul(moments, off, precision="highest"))

    powers = jnp.arange(how.steps, dtype=jnp.float32) / how.steps
    scale = scales(powers[jnp.argmin(jax.lax.map(error, powers))])
    scaled = w * scale[:, None]
    if how.clip and not isinstance(levels, SignLevels):
        return _clipped(scaled, moments / (scale[:, None] * scale[None, :]), levels, scaling) / scale[:, None]
    return fake_quantize(scaled, levels, scaling) / scale[:, None]


def _clipped(
    w: Float[Array, "i o"], moments: Float[Array, "i i"], levels: Levels, scaling: Scaling
) -> Float[Array, "i o"]:
    """The matrix on levels whose reach has, in each scale group, the least error of what the group adds to outputs."""
    cut = Cut((w.shape[0], w.shape[1]), scaling.granularity)
    blocks = cut.blocks(w)
    g, r, _, _ = blocks.shape
    more = g * r - w.shape[0]
    padded = jnp.pad(moments, ((0, more), (0, more))).reshape(g, r, g, r)
    own = padded[jnp.arange(g), :, jnp.arange(g)]

    def error(values: Array) -> Array:
        off = values - blocks
        return jnp.einsum("grhc,grs,gshc->gh", off, own, off, precision="highest")[:, None, :, None]

    shares = 1.0 - jnp.arange(int((1 - _LEAST) * _STEPS), dtype=jnp.float32) / _STEPS
    scales = best_scales(blocks, levels, scaling, cut.held, shares, error)
    return cut.matrix(on_groups(blocks, scales, levels) * scales.scale)
