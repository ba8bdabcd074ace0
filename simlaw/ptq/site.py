"""What post-training quantization leaves at each matrix of a model, and the arithmetic that computes with it."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from simlaw.arithmetic import FLOAT32, AbstractArithmetic, Place
from simlaw.formats import IntLevels, Levels, PerTensor, Scaling
from simlaw.product import product
from simlaw.ptq.rotation import turned
from simlaw.quantize import fake_quantize
from simlaw.quantize.scales import TINY, Scales, largest_of, on_groups


class Channels(NamedTuple):
    """How Tender puts inputs on integers: what is taken from each channel, its scale, and what is added again.

    The scale is the least one, the `unit`, times 2 to the power of the channel's group.
    """

    bias: Float[Array, " d"]
    scale: Float[Array, " d"]
    added: Float[Array, " e"]
    group: Float[Array, " d"]
    unit: Float[Array, ""]


class Rounded(NamedTuple):
    """A matrix that a method put on levels, and the scales of its groups; what is on no levels has none.

    Its `rows` are multiplied after rounding, where a method divided them before.
    """

    w: Float[Array, "d e"]
    scales: Scales | None = None
    rows: Float[Array, " d"] | None = None


class Site(NamedTuple):
    """A quantized matrix, and what its inputs go through before it.

    The matrix stands for turned and smoothed inputs where inputs are quantized, else for inputs as they are. `smooth`
    divides the inputs; `reach` is the largest magnitude that a scale for all tokens has to hold. `scales` and
    `rows` are those of `Rounded`, from which its codes follow.
    """

    w: Float[Array, "d e"]
    smooth: Float[Array, " d"] | None = None
    reach: Float[Array, ""] | None = None
    channels: Channels | None = None
    scales: Scales | None = None
    rows: Float[Array, " d"] | None = None


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Role:
    """The quantizer of a tensor role: levels, which may be traced, and the static rest."""

    levels: Levels
    scaling: Scaling = field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class OnFormats(AbstractArithmetic):
    """Inputs, keys and values on their formats, and the matrices of the sites in place of the model's own.

    Without `sites` matrices are the model's own. What is quantized here comes in the place of what was so in training,
    and the rest is as `trained`.
    """

    sites: dict[Place, Site] | None = None
    activations: Role | None = None
    kv: Role | None = None
    trained: AbstractArithmetic = FLOAT32
    rotate: bool = field(default=False, metadata={"static": True})

    def linear(self, place: Place, x: Float[Array, "n d"], w: Float[Array, "d e"]) -> Float[Array, "n e"]:
        """The product of quantized inputs with the quantized matrix."""
        site = Site(w) if self.sites is None else self.sites[place]
        x = self.trained.inputs(x) if self.activations is None else x
        return through(site, x, self.activations, self.rotate, self.dtype)

    def cache(
        self, layer: int, k: Float[Array, "b g t d"], v: Float[Array, "b g t d"]
    ) -> tuple[Float[Array, "b g t d"], Float[Array, "b g t d"]]:
        """Keys and values, each head of each token on a scale of its own."""
        if self.kv is None:
            return self.trained.cache(layer, k, v)
        return kept(k, self.kv), kept(v, self.kv)


def through(site: Site, x: Float[Array, "n d"], role: Role | None, rotate: bool, dtype: Any) -> Float[Array, "n e"]:
    """The product of a site's matrix with its inputs; as they are where no `role` quantizes them."""
    if role is None:
        return product("nd,de->ne", x, site.w, dtype)
    x = turned(x) if rotate else x
    if site.channels is not None:
        bias, scale, added, *_ = site.channels
        assert isinstance(role.levels, IntLevels)
        code = jnp.clip(jnp.round((x - bias[None]) / scale[None]), -role.levels.high - 1, role.levels.high)
        return product("nd,de->ne", code * scale[None], site.w, dtype) + added[None]
    x = x if site.smooth is None else x / site.smooth[None]
    return product("nd,de->ne", on_role(x, role, site.reach), site.w, dtype)


def on_role(x: Float[Array, "n d"], role: Role, reach: Float[Array, ""] | None = None) -> Float[Array, "n d"]:
    """Inputs (tokens × inputs) on their format; a scale for all tokens is set by `reach`, whatever is in x."""
    if isinstance(role.scaling.granularity, PerTensor):
        assert reach is not None
        scale = jnp.maximum(reach / largest_of(role.levels), TINY).reshape(1, 1, 1, 1)
        return on_groups(x[None, :, None], Scales(scale, None), role.levels)[0, :, 0] * scale[0, 0]
    return fake_quantize(x, role.levels, role.scaling, of_tokens=True)


def kept(x: Float[Array, "b g t d"], role: Role) -> Float[Array, "b g t d"]:
    """Keys or values on their format."""
    return on_role(x.reshape(-1, x.shape[3]), role).reshape(x.shape)
