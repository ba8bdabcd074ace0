"""SmoothQuant: part of the range of inputs moved into the weights (2211.10438)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from simlaw.config import SmoothQuant
from simlaw.formats import Levels, Scaling
from simlaw.ptq.site import Role, Site, on_role
from simlaw.quantize import half
from simlaw.quantize.fake import with_scales

#: The powers that are tried where none is given.
_ALPHAS = 19


def smoothquant(
    w: Float[Array, "i o"], x: Float[Array, "n i"], levels: Levels, scaling: Scaling, role: Role, how: SmoothQuant
) -> Site:
    """A matrix on a format, and what divides its inputs: s = max|x|^alpha / max|w|^(1 - alpha), at least 1e-5.

    It is a float16. An input that was never active on the calibration text is left as it is.
    """
    of_inputs, of_weights = jnp.abs(x).max(axis=0), jnp.abs(w).max(axis=1)

    def smooth(alpha: Array) -> Float[Array, " i"]:
        s = of_inputs**alpha / jnp.maximum(of_weights, 1e-5) ** (1 - alpha)
        return half(jnp.where(of_inputs > 0, jnp.maximum(s, 1e-5), 1.0))

    def made(alpha: Array) -> Site:
        s = smooth(alpha)
        found, scales = with_scales(w * s[:, None], levels, scaling)
        return Site(found, smooth=s, reach=jnp.abs(x / s[None]).max(), scales=scales)

    if how.alpha is not None:
        return made(jnp.float32(how.alpha))
    wanted = jnp.matmul(x, w, precision="highest")

    def error(alpha: Array) -> Array:
        site = made(alpha)
        found = jnp.matmul(on_role(x / smooth(alpha)[None], role, site.reach), site.w, precision="highest")
        return jnp.sum((found - wanted) ** 2)

    alphas = jnp.arange(1, _ALPHAS + 1, dtype=jnp.float32) / (_ALPHAS + 1)
    return made(alphas[jnp.argmin(jax.lax.map(error, alphas))])
