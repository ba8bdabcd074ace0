"""Round to nearest: the baseline that every other method has to beat."""

import jax

from simlaw.formats import Levels, Scaling
from simlaw.model import Params
from simlaw.quantize import fake_quantize


def round_to_nearest(params: Params, levels: Levels, scaling: Scaling) -> Params:
    """The parameters with every block matrix on the levels (traced) of a format; the other groups are untouched."""
    blocks = jax.tree.map(lambda w: fake_quantize(w, levels, scaling), params["blocks"])
    return {**params, "blocks": blocks}
