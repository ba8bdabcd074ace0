"""A field of scales: of every value of a matrix the scale and the zero point that it is rounded with."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from simlaw.formats import Levels, Scaling
from simlaw.quantize.fake import Cut
from simlaw.quantize.rounding import on_levels
from simlaw.quantize.scales import Scales, scales_of


class Field(NamedTuple):
    """The scales of a matrix and, of levels with a zero point, the lowest whole numbers, spread over its values."""

    scale: Float[Array, "i #o"]
    low: Float[Array, "i #o"] | None


def field_of(w: Float[Array, "i o"], levels: Levels, scaling: Scaling) -> tuple[Field, Scales]:
    """The field under which `fake_quantize` rounds the matrix, and the scales that it spreads."""
    cut = Cut((w.shape[0], w.shape[1]), scaling.granularity)
    scales = scales_of(cut.blocks(w), levels, scaling, cut.held)
    (rows, columns), (g, h) = cut.block, cut.groups

    def spread(each: Float[Array, "g 1 h 1"]) -> Float[Array, "i o"]:
        return cut.matrix(jnp.broadcast_to(each, (g, rows, h, columns)))

    return Field(spread(scales.scale), None if scales.low is None else spread(scales.low)), scales


def on_field(w: Float[Array, "i o"], field: Field, levels: Levels) -> Float[Array, "i o"]:
    """The values of a matrix, or of some of its rows, on the levels under their field; to nearest."""
    return on_levels(w / jnp.where(field.scale == 0, 1.0, field.scale), levels, field.low) * field.scale
