"""Rounding by explicit arithmetic: no cast decides a value.

`lax.reduce_precision` flushes subnormal numbers, casts to narrow types are missing or deleted by some compilers, and a
static type would be compiled anew for each format. Numbers below float32's normal ones count as zero, as in XLA.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from simlaw.formats import FLOATS, AffineLevels, FloatLevels, Levels, SignLevels, TableLevels
from simlaw.formats import Float as FloatFormat

#: The bits of a float32 that are its exponent; all are set in infinities and NaN.
_EXPONENT = np.uint32(0x7F800000)


def on_levels(
    x: Float[Array, "*n"], levels: Levels, low: Array | None = None, key: Key[Array, ""] | None = None
) -> Float[Array, "*n"]:
    """The values of `x`, already divided by their scales, on the levels; what lies beyond them saturates.

    To nearest, ties to even, or with a `key` to one of both neighbours at random, so that the expected value is x.
    Levels that have a zero point take it from `low`, the lowest value of each scale group.
    """
    if isinstance(levels, SignLevels):
        return jnp.where(x >= 0, 1.0, -1.0)
    if isinstance(levels, TableLevels):
        return _on_table(x, jnp.asarray(levels.values, jnp.float32), key)
    if isinstance(levels, FloatLevels):
        return jnp.clip(_on_float(x, levels, key), -levels.largest, levels.largest)
    if isinstance(levels, AffineLevels):
        assert low is not None
        return jnp.clip(_whole(x, key), low, low + levels.steps)
    return jnp.clip(_whole(x, key), levels.low, levels.high)


def cast(x: Float[Array, "*n"], form: FloatFormat) -> Float[Array, "*n"]:
    """What a conversion to the format gives: beyond the largest number its infinity, else its NaN, else that number."""
    rounded = _on_float(x, form.levels, None)
    beyond = {"ieee": jnp.copysign(jnp.inf, x), "finite": jnp.copysign(form.largest, x)}
    over = beyond.get(form.specials, jnp.full_like(x, jnp.nan))
    found = jnp.where(jnp.abs(rounded) > form.largest, over, rounded)
    return jnp.where(jnp.isnan(x), jnp.nan, found)


def _whole(x: Array, key: Array | None) -> Array:
    return jnp.round(x) if key is None else jnp.floor(x + jax.random.uniform(key, x.shape))


def _on_float(x: Array, levels: FloatLevels, key: Array | None) -> Array:
    # the power of two below |x|: its bits of exponent alone, where frexp and ldexp take several times as long
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32) & _EXPONENT
    below = jax.lax.bitcast_convert_type(bits, jnp.float32)
    least = jnp.ldexp(jnp.float32(1), jnp.asarray(levels.exponent, jnp.int32))
    # powers of two: exact, and in two steps, since one unit in the last place may lie below float32's normal numbers
    power = jnp.where(bits == _EXPONENT, 1.0, jnp.maximum(below, least))
    units = jnp.ldexp(jnp.float32(1), jnp.asarray(levels.mantissa, jnp.int32))
    return _whole(x / power * units, key) / units * power


def _on_table(x: Array, values: Float[Array, " k"], key: Array | None) -> Array:
    if key is None:
        return values[jnp.searchsorted((values[1:] + values[:-1]) / 2, x)]
    above = jnp.clip(jnp.searchsorted(values, x), 1, values.shape[0] - 1)
    lower, upper = values[above - 1], values[above]
    share = (x - lower) / (upper - lower)
    return jnp.where(jax.random.uniform(key, x.shape) < share, upper, lower)


def half(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """The nearest float16, at most the largest finite one, as float32."""
    return on_levels(x, FLOATS["float16"].levels)


def numbers(levels: Levels) -> Levels:
    """The levels as float32 arrays: what a compiled program takes as data."""
    return jax.tree.map(lambda value: np.asarray(value, np.float32), levels)
