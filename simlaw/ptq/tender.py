"""Tender: channels of inputs in groups whose scales are powers of two apart (2406.12930).

From each channel the middle of its range, as a float16, is taken, and its product with the weights is added again. A
channel whose largest magnitude lies in (t/2^k, t/2^(k-1)], t the largest of all, has the scale t/2^(k-1) / q: partial
sums of a group are doubled by a shift when the next smaller scale is added, and nothing is dequantized in between. One
decomposition serves all tokens: the paper's chunks of 256 tokens are longer than the contexts here.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from simlaw.config import Tender
from simlaw.formats import IntLevels, Levels, Scaling
from simlaw.ptq.site import Channels, Role, Site
from simlaw.quantize import half
from simlaw.quantize.fake import with_scales
from simlaw.quantize.scales import TINY


def tender(
    w: Float[Array, "i o"], x: Float[Array, "n i"], levels: Levels, scaling: Scaling, role: Role, how: Tender
) -> Site:
    """A matrix on an integer grid, and how its inputs are put on integers by groups of channels."""
    assert isinstance(role.levels, IntLevels)
    bias = half((x.max(axis=0) + x.min(axis=0)) / 2)
    group, top = groups_of(jnp.abs(x - bias[None]).max(axis=0), how.groups)
    found, scales = with_scales(w, levels, scaling)
    added = jnp.matmul(bias[None], w, precision="highest")[0]
    # at least a normal number, whatever is shifted out of it
    unit = jnp.maximum(top * 2.0 ** (1 - how.groups) / role.levels.high, TINY)
    scale = channel_scales(group, unit)
    return Site(found, channels=Channels(bias=bias, scale=scale, added=added, group=group, unit=unit), scales=scales)


def channel_scales(group: Float[Array, " i"], unit: Float[Array, ""]) -> Float[Array, " i"]:
    """The scale of each channel of inputs."""
    return unit * jnp.ldexp(jnp.ones_like(group), group.astype(jnp.int32))


def groups_of(largest: Float[Array, " i"], groups: int) -> tuple[Float[Array, " i"], Float[Array, ""]]:
    """The group of each channel, from 0 (the smallest scale) to groups - 1, and the largest magnitude of all."""
    top = largest.max()
    # channels at most half as large as the largest go one group down, and so on; exact, by exponents
    share, exponent = jnp.frexp(jnp.where(top > 0, largest / jnp.where(top > 0, top, 1.0), 0.0))
    down = jnp.where(share == 0.5, 1 - exponent, -exponent)
    down = jnp.where(largest > 0, jnp.clip(down, 0, groups - 1), groups - 1)
    return (groups - 1 - down).astype(jnp.float32), top  # a whole number, as the exponent of a scale


def shift_accumulate(
    x: Int[Array, "n i"], w: Int[Array, "i o"], group: Int[Array, " i"], groups: int
) -> Int[Array, "n o"]:
    """The sum over groups g of 2^g times the integer product of its channels, by doubling alone, in int32."""
    total = jnp.zeros((x.shape[0], w.shape[1]), jnp.int32)
    for g in range(groups - 1, -1, -1):
        own = jnp.where(group[None] == g, x, 0)
        total = (total << 1) + jax.lax.dot(own, w, preferred_element_type=jnp.int32)
    return total
