"""Diagnosis: what a quantization does to each matrix, as numbers that are found in the walk itself."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from simlaw.config import PTQ
from simlaw.formats import AffineLevels, FloatLevels, IntLevels, Levels, SignLevels, TableLevels
from simlaw.ptq.rotation import turned
from simlaw.ptq.site import Site
from simlaw.quantize import on_levels
from simlaw.quantize.fake import Cut
from simlaw.quantize.scales import TINY

#: Codes are counted in so many bins: 16 bits.
_BINS = 2**16


class Diagnosis(NamedTuple):
    """Of one matrix: its shape before rounding, the errors of the rounded one, and what its codes say.

    `kurtosis` is the logarithm of the fourth moment about the mean over the squared variance (log 3 of normal weights),
    `peak` the largest magnitude over the root mean square; where inputs are turned, of the turned matrix. `square` and
    `error` are the mean squares of the weights and of what rounding changed, `step` that of the steps between codes
    (None where steps are not all equal), each in the weights that the checkpoint has. `entropy` is in bits per code
    (None of what has no codes). `output` is |x ŵ - x w|² / |x w|² on the calibration text, with inputs x behind what is
    quantized before (None of a method that looks at no text).
    """

    kurtosis: Float[Array, ""]
    peak: Float[Array, ""]
    square: Float[Array, ""]
    error: Float[Array, ""]
    step: Float[Array, ""] | None
    entropy: Float[Array, ""] | None
    output: Float[Array, ""] | None

    @property
    def relative(self) -> Any:
        """The mean squared error over the mean square."""
        return self.error / max(float(self.square), TINY)


def diagnosis(
    w: Float[Array, "d e"], site: Site, ptq: PTQ, levels: Levels, output: Float[Array, ""] | None = None
) -> Diagnosis:
    """The diagnosis of a checkpoint's matrix and what a method made of it."""
    back = ptq.rotate and ptq.activations is not None  # the site's matrix is then for turned inputs
    stands = site.w if site.smooth is None else site.w / site.smooth[:, None]
    seen = turned(w.T).T if ptq.rotate else w
    off = seen - jnp.mean(seen)
    variance = jnp.mean(off**2)
    square = jnp.mean(w**2)
    coded = turned(site.w.T).T if ptq.rotate and not back else site.w
    return Diagnosis(
        kurtosis=jnp.log(jnp.mean(off**4) / jnp.maximum(variance**2, TINY)),
        peak=jnp.max(jnp.abs(seen)) / jnp.maximum(jnp.sqrt(square), TINY),
        square=square,
        error=jnp.mean(((turned(stands.T).T if back else stands) - w) ** 2),
        step=_step(site, ptq, levels),
        entropy=None if site.scales is None else entropy(coded, site, ptq, levels),
        output=output,
    )


def of_outputs(found: Float[Array, "n e"], wanted: Float[Array, "n e"]) -> Float[Array, ""]:
    """The squared error of outputs over their squares."""
    return jnp.sum((found - wanted) ** 2) / jnp.maximum(jnp.sum(wanted**2), TINY)


def entropy(w: Float[Array, "d e"], site: Site, ptq: PTQ, levels: Levels) -> Float[Array, ""]:
    """The entropy of a matrix's codes in bits per code: one distribution for all scale groups, codes independent."""
    assert site.scales is not None
    cut = Cut((w.shape[0], w.shape[1]), ptq.quantizer.granularity)
    blocks = cut.blocks(w if site.rows is None else w / site.rows[:, None])
    scale, low = site.scales
    values = on_levels(blocks / jnp.where(scale == 0, 1.0, scale), levels, low)
    # what fills a block up is counted nowhere
    held = jnp.broadcast_to(jnp.asarray(cut.held), blocks.shape).astype(jnp.int32)
    counts = jnp.zeros(_BINS, jnp.int32).at[_numbered(values, levels, low).reshape(-1)].add(held.reshape(-1))
    share = counts.astype(jnp.float32) / w.size
    return -jnp.sum(jnp.where(counts > 0, share * jnp.log2(jnp.where(counts > 0, share, 1.0)), 0.0))


def _step(site: Site, ptq: PTQ, levels: Levels) -> Float[Array, ""] | None:
    """The mean square of the step of each value, in weights as inputs meet them unscaled."""
    if site.scales is None or not isinstance(levels, IntLevels | AffineLevels):
        return None
    cut = Cut((site.w.shape[0], site.w.shape[1]), ptq.quantizer.granularity)
    (rows, columns), (g, h) = cut.block, cut.groups
    step = cut.matrix(jnp.broadcast_to(site.scales.scale, (g, rows, h, columns)))
    step = step if site.rows is None else step * site.rows[:, None]
    step = step if site.smooth is None else step / site.smooth[:, None]
    return jnp.mean(step**2)


def _numbered(values: Array, levels: Levels, low: Array | None) -> Array:
    """A number from 0 to 2^16 - 1 for each level."""
    if isinstance(levels, SignLevels):
        found = values > 0
    elif isinstance(levels, TableLevels):
        found = jnp.searchsorted(jnp.asarray(levels.values, jnp.float32), values)
    elif isinstance(levels, AffineLevels):
        assert low is not None
        found = jnp.round(values - low)
    elif isinstance(levels, FloatLevels):
        # how many numbers lie between it and zero: numbers of one exponent are equally far apart
        _, exponent = jnp.frexp(values)
        lowest = jnp.asarray(levels.exponent, jnp.int32)
        exponent = jnp.maximum(exponent - 1, lowest)
        units = jnp.ldexp(jnp.float32(1), jnp.asarray(levels.mantissa, jnp.int32))
        of = (exponent - lowest).astype(jnp.float32) + jnp.abs(values) / jnp.ldexp(jnp.ones_like(values), exponent)
        found = jnp.sign(values) * jnp.round(of * units) + _BINS // 2
    else:
        found = jnp.round(values) + _BINS // 2
    return found.astype(jnp.int32)
