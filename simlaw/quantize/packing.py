"""Codes bit behind bit, and scales in the form in which they are stored."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, UInt8

from simlaw.errors import SimlawError
from simlaw.formats import FLOATS, Float8, Float16, Float32, PowerOfTwo, Scale

#: What is added to the exponent of a power of two (E8M0).
_BIAS = 127
#: What the scales of a kind are stored as.
STORED: Mapping[type[Scale], type[np.generic]] = MappingProxyType(
    {Float16: np.float16, Float32: np.float32, PowerOfTwo: np.uint8, Float8: np.uint8}
)


def pack(codes: Integer[np.ndarray, "..."], bits: int) -> UInt8[np.ndarray, " n"]:
    """Whole numbers from 0 to 2^bits - 1 in so many bits each, without gaps: the lowest bit first, in row order."""
    flat = codes.reshape(-1).astype(np.uint32)
    assert bits >= 32 or not (flat >> bits).any()
    each = (flat[:, None] >> np.arange(bits, dtype=np.uint32)) & np.uint32(1)
    return np.packbits(each.astype(np.uint8), bitorder="little")


def unpack(data: UInt8[np.ndarray, " n"], bits: int, shape: tuple[int, ...]) -> Integer[np.ndarray, "..."]:
    """The whole numbers of `pack`, in a shape."""
    count = int(np.prod(shape))
    each = np.unpackbits(data, count=count * bits, bitorder="little").reshape(count, bits).astype(np.int32)
    return (each << np.arange(bits, dtype=np.int32)).sum(axis=1, dtype=np.int32).reshape(shape)


def packed_size(count: int, bits: int) -> int:
    """Bytes of so many packed numbers."""
    return -(-count * bits // 8)


def scale_arrays(scales: Float[np.ndarray, "g h"], kind: Scale) -> dict[str, Any]:
    """Scales as they are stored: "scales", and of a `Float8` the "factor" of the whole matrix.

    Raises `SimlawError` for a scale that has no such form.
    """
    if isinstance(kind, Float16 | Float32):
        arrays = {"scales": scales.astype(STORED[type(kind)])}
    elif isinstance(kind, Float8):
        arrays = _as_float8(scales)
    else:
        _, exponent = np.frexp(np.where(scales == 0, np.float32(2.0**-126), scales))
        arrays = {"scales": (exponent - 1 + _BIAS).astype(np.uint8)}
    # a group of zeros has the scale 0; a power of two stands for it, since its codes are 0
    seen = np.where(scales == 0, np.float32(2.0**-126), scales) if isinstance(kind, PowerOfTwo) else scales
    if not (np.isfinite(scales).all() and np.array_equal(scales_from(arrays, kind), seen)):
        raise SimlawError(f"a scale is not as {type(kind).__name__} stores it: only finite weights have codes")
    return arrays


def scales_from(arrays: dict[str, Any], kind: Scale) -> Float[np.ndarray, "g h"]:
    """The scales in float32 that are stored so."""
    codes = arrays["scales"]
    if isinstance(kind, Float16 | Float32):
        return codes.astype(np.float32)
    if isinstance(kind, Float8):
        values = np.asarray(FLOATS["e4m3fn"].values, np.float32)
        return values[np.minimum(codes, len(values) - 1)] * arrays["factor"]
    return np.ldexp(np.float32(1), codes.astype(np.int32) - _BIAS).astype(np.float32)


def _as_float8(scales: Float[np.ndarray, "g h"]) -> dict[str, Any]:
    form = FLOATS["e4m3fn"]
    values = np.asarray(form.values, np.float32)
    # the largest scale is the largest value times the factor, rounded: the factor is one of a few neighbours
    first = np.float32(scales.max() / np.float32(form.largest))
    tried = [first, *(np.nextafter(first, np.float32(to)) for to in (0, np.inf))]
    for factor in tried:
        share = scales / np.where(factor == 0, np.float32(1), factor)
        codes = np.searchsorted((values[1:] + values[:-1]) / 2, share)
        if np.array_equal(values[codes] * factor, scales):
            break
    return {"scales": codes.astype(np.uint8), "factor": np.asarray(factor, np.float32)}
