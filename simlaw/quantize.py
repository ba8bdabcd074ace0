"""Putting a tensor on a number format: granularity, scale, rounding, and the straight-through gradient.

Bits are traced: one compiled program serves every bit-width of a grid and granularity. A scale is stored as float16
and is rounded up to it, so that no value saturates and the error is at most half a step at every width.

Inside compiled code a non-finite input makes its whole scale group non-finite and so reaches the loss; the host
functions `quantize` and `dequantize` refuse it.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int16, Num

from simlaw.errors import SimlawError
from simlaw.formats import Granularity, Grid, PerTensor, Quantizer, codes, scale_groups


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """A quantised matrix as it is stored; `dequantize` gives back codes times scales."""

    codes: Int16[np.ndarray, "g k o"]
    scales: Float[np.ndarray, "g 1 #o"]


def fake_quantize(w: Float[Array, "i o"], bits: Num[Any, ""] | float, grid: Grid, granularity: Granularity) -> Array:
    """The values of `w` (inputs × outputs) on the grid of `bits` bits, with the shape and dtype of `w`.

    `bits` may be traced; `grid` and `granularity` are static. With the grid "sign" the bits are not used.
    """
    blocks = w.reshape(scale_groups(w.shape[0], granularity), -1, w.shape[1])
    code, scale = _code(blocks, bits, grid, granularity)
    return (code * scale).reshape(w.shape)


@jax.custom_jvp
def straight_through(x: Array, quantized: Array) -> Array:
    """`quantized`, with the gradient of `x`: rounding is treated as the identity in the backward pass."""
    del x
    return quantized


@straight_through.defjvp
def _straight_through_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return primals[1], tangents[0]


def quantize(w: Float[Any, "i o"], quantizer: Quantizer) -> Quantized:
    """The stored codes and float16 scales of a finite matrix; the host's twin of `fake_quantize`.

    Raises `SimlawError` for a non-finite value, or where the group size does not divide the inputs.
    """
    if not np.isfinite(w).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(w))[0])
        raise SimlawError(f"the matrix holds {np.asarray(w)[at]} at {at}: only finite values have codes; mask it first")
    blocks = jnp.asarray(w).reshape(scale_groups(w.shape[0], quantizer.granularity), -1, w.shape[1])
    code, scale = _code(blocks, quantizer.format.bits, quantizer.format.grid, quantizer.granularity)
    return Quantized(codes=np.asarray(code, np.int16), scales=np.asarray(scale, np.float16))


def dequantize(stored: Quantized) -> Float[np.ndarray, "i o"]:
    """The float32 matrix that a deployed model computes with."""
    values = stored.codes.astype(np.float32) * stored.scales.astype(np.float32)
    return values.reshape(-1, values.shape[-1])


def _code(
    blocks: Float[Array, "g k o"], bits: Any, grid: Grid, granularity: Granularity
) -> tuple[Float[Array, "g k o"], Float[Array, "g 1 #o"]]:
    axes = (0, 1, 2) if isinstance(granularity, PerTensor) else (1,)
    magnitude = jnp.abs(blocks)
    if grid == "sign":
        scale = _up_to_float16(jnp.mean(magnitude, axis=axes, keepdims=True))
        return jnp.where(blocks >= 0, 1.0, -1.0), scale
    level = codes(bits, grid)
    scale = _up_to_float16(jnp.max(magnitude, axis=axes, keepdims=True) / level.divisor)
    # An all-zero group has scale 0; any finite divisor gives its codes, 0.
    code = jnp.round(blocks / jnp.where(scale == 0, 1.0, scale))
    return jnp.clip(code, level.low, level.high), scale


def _up_to_float16(scale: Float[Array, "..."]) -> Float[Array, "..."]:
    """The smallest float16 value not below `scale`, in float32; infinite above 65504.

    Done by arithmetic: a compiler may delete a cast to float16 and back. A thousandth of a unit in the last place is
    forgiven, so that a value which is on the grid already stays there whatever a division rounds to.
    """
    _, exponent = jnp.frexp(scale)  # scale = m · 2^exponent with 1/2 <= m < 1: 11 significant bits
    ulp = jnp.ldexp(jnp.ones_like(scale), jnp.maximum(exponent - 11, -24))
    up = jnp.ceil(scale / ulp - 2.0**-10) * ulp
    return jnp.where(up > 65504.0, jnp.inf, up)
