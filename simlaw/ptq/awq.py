"""AWQ: inputs that matter scaled up before rounding, then less reach where that helps (2306.00978).

What multiplies a row again after rounding, and would multiply its input in use, may go into the norm or matrix before,
which rounds it; here it stays apart, as a float16, and counts as stored. The matrix is the one that inputs see without.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from simlaw.config import AWQ
from simlaw.formats import Levels, Scaling, SignLevels
from simlaw.ptq.site import Rounded
from simlaw.quantize import fake_quantize, half
from simlaw.quantize.fake import Cut, with_scales
from simlaw.quantize.scales import Scales, best_scales, on_groups

#: A group's reach is lowered to this share of its largest magnitude at most, in so many steps of a whole.
_LEAST, _STEPS = 0.5, 20


def awq(
    w: Float[Array, "i o"],
    moments: Float[Array, "i i"],
    magnitude: Float[Array, " i"],
    levels: Levels,
    scaling: Scaling,
    how: AWQ,
) -> Rounded:
    """A matrix on the levels of a format, with the error of its outputs searched over scales of inputs, then reaches.

    `moments` is any multiple of the second moments of the inputs, `magnitude` the mean of theirs.
    """

    def shares(power: Array) -> Float[Array, " i"]:
        each = jnp.maximum(magnitude, 1e-8) ** power
        return half(jnp.maximum(jnp.sqrt(each.max() * each.min()) / each, 2.0**-14))

    def error(power: Array) -> Array:
        rows = shares(power)[:, None]
        off = fake_quantize(w / rows, levels, scaling) * rows - w
        return jnp.sum(off * jnp.matmul(moments, off, precision="highest"))

    powers = jnp.arange(how.steps, dtype=jnp.float32) / how.steps
    rows = shares(powers[jnp.argmin(jax.lax.map(error, powers))])
    scaled = w / rows[:, None]
    if how.clip and not isinstance(levels, SignLevels):
        made, groups = _clipped(scaled, moments * (rows[:, None] * rows[None, :]), levels, scaling)
    else:
        made, groups = with_scales(scaled, levels, scaling)
    return Rounded(made * rows[:, None], groups, rows)


def _clipped(
    w: Float[Array, "i o"], moments: Float[Array, "i i"], levels: Levels, scaling: Scaling
) -> tuple[Float[Array, "i o"], Scales]:
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
    return cut.matrix(on_groups(blocks, scales, levels) * scales.scale), scales
