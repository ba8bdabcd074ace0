"""Round to nearest: the baseline that every other method has to beat."""

from typing import Any

import jax
from jaxtyping import Num

from simlaw.formats import Granularity, Grid
from simlaw.model import Params
from simlaw.quantize import fake_quantize


def round_to_nearest(params: Params, bits: Num[Any, ""] | float, grid: Grid, granularity: Granularity) -> Params:
    """The parameters with every block matrix on the grid of `bits` bits (traced); the other groups are untouched."""
    blocks = jax.tree.map(lambda w: fake_quantize(w, bits, grid, granularity), params["blocks"])
    return {**params, "blocks": blocks}
