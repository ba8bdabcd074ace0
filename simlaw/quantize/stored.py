"""A quantised matrix as it is stored: codes, scales and zero points; the host's twin of `fake_quantize`."""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, Key

from simlaw.errors import SimlawError
from simlaw.formats import NF4, Levels, Quantizer, Scaling
from simlaw.formats import Int as IntFormat
from simlaw.quantize.fake import Cut
from simlaw.quantize.rounding import numbers, on_levels
from simlaw.quantize.scales import Scales, on_groups, scales_of


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """Whole numbers for the values of a matrix, and the scales (g, h) of its groups in float32.

    Of an integer format the codes are the integers, of the grid "sign" 0 for -1 and 1 for +1; of others they count the
    format's bit patterns, in which the sign comes first. `low` is the integer that the code 0 of an asymmetric grid
    stands for.
    """

    quantizer: Quantizer
    shape: tuple[int, int]
    codes: Int32[np.ndarray, "i o"]
    scales: Float[np.ndarray, "g h"]
    low: Int32[np.ndarray, "g h"] | None = None


def quantize(w: Float[np.ndarray, "i o"], quantizer: Quantizer, seed: int = 0) -> Quantized:
    """The stored form of a finite matrix; `seed` decides stochastic rounding.

    Raises `SimlawError` for a non-finite value.
    """
    if not np.isfinite(w).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(w))[0])
        raise SimlawError(f"the matrix holds {w[at]} at {at}: only finite values have codes; mask it first")
    inputs, outputs = w.shape
    cut = Cut((inputs, outputs), quantizer.granularity)
    values, scales = _values(jnp.asarray(w), numbers(quantizer.format.levels), jax.random.key(seed), quantizer.scaling)
    return _coded(np.asarray(values), scales, quantizer, cut)


def coded(w: Float[np.ndarray, "i o"], scales: Scales, quantizer: Quantizer) -> Quantized:
    """The stored form of a matrix that lies on the levels under these scales, or of the nearest one that does."""
    cut = Cut((w.shape[0], w.shape[1]), quantizer.granularity)
    scale = cut.spread(np.asarray(scales.scale)[:, 0, :, 0])
    low = None if scales.low is None else jnp.asarray(cut.spread(np.asarray(scales.low)[:, 0, :, 0]))
    values = on_levels(jnp.asarray(w / np.where(scale == 0, np.float32(1), scale)), quantizer.format.levels, low)
    return _coded(np.asarray(values), scales, quantizer, cut)


@functools.partial(jax.jit, static_argnums=3)
def _values(
    w: Float[Array, "i o"], levels: Levels, key: Key[Array, ""], scaling: Scaling
) -> tuple[Float[Array, "i o"], Scales]:
    """The matrix on the levels, before their scales, and these."""
    cut = Cut((w.shape[0], w.shape[1]), scaling.granularity)
    blocks = cut.blocks(w)
    scales = scales_of(blocks, levels, scaling, cut.held)
    return cut.matrix(on_groups(blocks, scales, levels, key if scaling.rounding == "stochastic" else None)), scales


def _coded(values: Float[np.ndarray, "i o"], scales: Scales, quantizer: Quantizer, cut: Cut) -> Quantized:
    form, low = quantizer.format, None
    if scales.low is not None:
        low = np.asarray(scales.low, np.int32)[:, 0, :, 0]
        codes = np.asarray(values, np.int32) - cut.spread(low)
    elif isinstance(form, IntFormat):
        codes = np.asarray(values > 0 if form.grid == "sign" else values, np.int32)
    elif isinstance(form, NF4):
        codes = np.searchsorted(np.asarray(form.levels.values, np.float32), values).astype(np.int32)
    else:
        codes = np.searchsorted(np.asarray(form.values, np.float32), np.abs(values)).astype(np.int32)
        codes += np.signbit(values) * 2 ** (form.bits - 1)
    return Quantized(
        quantizer=quantizer, shape=cut.shape, codes=codes, scales=np.asarray(scales.scale)[:, 0, :, 0], low=low
    )


def dequantize(stored: Quantized) -> Float[np.ndarray, "i o"]:
    """The float32 matrix that a deployed model computes with."""
    cut, form = Cut(stored.shape, stored.quantizer.granularity), stored.quantizer.format
    if stored.low is not None:
        values = (stored.codes + cut.spread(stored.low)).astype(np.float32)
    elif isinstance(form, IntFormat):
        values = np.asarray(2 * stored.codes - 1 if form.grid == "sign" else stored.codes, np.float32)
    elif isinstance(form, NF4):
        values = np.asarray(form.levels.values, np.float32)[stored.codes]
    else:
        magnitude, negative = stored.codes % 2 ** (form.bits - 1), stored.codes >= 2 ** (form.bits - 1)
        values = np.asarray(form.values, np.float32)[magnitude]
        values = np.where(negative, -values, values)
    return values * cut.spread(stored.scales)
