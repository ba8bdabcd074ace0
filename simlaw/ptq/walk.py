"""The walk: a checkpoint quantized matrix by matrix, each with inputs from what is quantized before it.

The calibration text passes the model once. At each matrix its inputs are there, made by matrices that are quantized
already; the method gives a matrix for it, and the inputs go on through that.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from simlaw.arithmetic import FLOAT32, MATRICES, AbstractArithmetic, Place
from simlaw.config import AWQ, GPTQ, PTQ, RTN, SMOOTHED, Dtype, ModelSpec, Noise, RateDistortion, SmoothQuant, Tender
from simlaw.formats import Levels, PerTensor, Quantizer
from simlaw.model import Params, logits, matrices
from simlaw.product import product
from simlaw.ptq.awq import awq
from simlaw.ptq.diagnosis import Diagnosis, diagnosis, of_outputs
from simlaw.ptq.gptq import gptq
from simlaw.ptq.noise import ideal, like_rounding
from simlaw.ptq.rotation import turned, turned_back
from simlaw.ptq.site import OnFormats, Role, Rounded, Site, kept, through
from simlaw.ptq.smoothquant import smoothquant
from simlaw.ptq.tender import tender
from simlaw.quantize import numbers
from simlaw.quantize.fake import with_scales


class Made(NamedTuple):
    """What a method makes of one matrix, and what is to be said of it."""

    site: Site
    diagnosis: Diagnosis


class Numbers(NamedTuple):
    """What of a quantization may be traced: the levels of weights, of inputs, of keys and values, and the bits."""

    weights: Levels
    activations: Levels | None
    kv: Levels | None
    bits: Any


def numbers_of(ptq: PTQ) -> Numbers:
    """The numbers of a declared quantization, as float32."""

    def of(quantizer: Quantizer | None) -> Levels | None:
        return None if quantizer is None else numbers(quantizer.format.levels)

    bits = np.float32(ptq.quantizer.format.bits)
    return Numbers(numbers(ptq.quantizer.format.levels), of(ptq.activations), of(ptq.kv), bits)


@dataclass(frozen=True, kw_only=True)
class Walk(AbstractArithmetic):
    """An arithmetic that quantizes each matrix when its inputs arrive, and remembers what it made."""

    ptq: PTQ
    numbers: Numbers
    trained: AbstractArithmetic = FLOAT32
    found: dict[Place, Made] = field(default_factory=dict)

    def linear(self, place: Place, x: Float[Array, "n d"], w: Float[Array, "d e"]) -> Float[Array, "n e"]:
        """The product of the quantized matrix with its inputs, quantized where the declaration has it."""
        role = role_of(self.numbers.activations, self.ptq.activations)
        x = self.trained.inputs(x) if role is None else x
        site = site_of(place, x, w, self.ptq, self.numbers, role)
        found = through(site, x, role, self.ptq.rotate, self.dtype)
        error = of_outputs(found, product("nd,de->ne", x, w, self.dtype))
        self.found[place] = Made(site, diagnosis(w, site, self.ptq, self.numbers.weights, error))
        return found

    def cache(
        self, layer: int, k: Float[Array, "b g t d"], v: Float[Array, "b g t d"]
    ) -> tuple[Float[Array, "b g t d"], Float[Array, "b g t d"]]:
        """Keys and values on their format."""
        role = role_of(self.numbers.kv, self.ptq.kv)
        return self.trained.cache(layer, k, v) if role is None else (kept(k, role), kept(v, role))


def walk(
    model: ModelSpec,
    params: Params,
    windows: Int[Array, "b t"],
    ptq: PTQ,
    given: Numbers,
    dtype: Dtype = "float32",
    trained: AbstractArithmetic = FLOAT32,
) -> dict[Place, Made]:
    """The quantized matrices of a checkpoint by place; `windows` are those of the calibration text.

    The formats' numbers are `given` and may be traced; those in `ptq` are not looked at, so that one compilation
    serves every bit-width.
    """
    found = Walk(ptq=ptq, numbers=given, dtype=dtype, trained=trained)
    logits(model, params, windows, found)
    return found.found


def blind(params: Params, ptq: PTQ, given: Numbers) -> dict[Place, Made]:
    """The quantized matrices by a method that looks at no inputs."""
    role, found = role_of(given.activations, ptq.activations), {}
    for place, w in matrices(params).items():
        site = site_of(place, None, w, ptq, given, role)
        found[place] = Made(site, diagnosis(w, site, ptq, given.weights))
    return found


def quantized(
    model: ModelSpec,
    dtype: Dtype,
    kind: PTQ,
    params: Params,
    seen: Int[Array, "b t"] | None,
    given: Numbers,
    trained: AbstractArithmetic = FLOAT32,
) -> OnFormats:
    """The arithmetic of a quantized checkpoint; `seen` are the windows that the method looks at, if it looks at any.

    Outliers are planted already.
    """
    return examined(model, dtype, kind, params, seen, given, trained)[0]


def examined(
    model: ModelSpec,
    dtype: Dtype,
    kind: PTQ,
    params: Params,
    seen: Int[Array, "b t"] | None,
    given: Numbers,
    trained: AbstractArithmetic = FLOAT32,
) -> tuple[OnFormats, dict[Place, Diagnosis]]:
    """What `quantized` gives, and the diagnosis of every matrix."""
    made = blind(params, kind, given) if seen is None else walk(model, params, seen, kind, given, dtype, trained)
    found = {place: one.diagnosis for place, one in made.items()}
    if isinstance(kind.method, RateDistortion):  # an ideal code of so many bits has them for its entropy
        found = {place: one._replace(entropy=given.bits) for place, one in found.items()}
    return arithmetic_of(kind, given, {place: one.site for place, one in made.items()}, dtype, trained), found


def arithmetic_of(
    ptq: PTQ, given: Numbers, sites: dict[Place, Site], dtype: Dtype, trained: AbstractArithmetic = FLOAT32
) -> OnFormats:
    """The arithmetic of a quantized model; what is not quantized is as it was `trained`."""
    return OnFormats(
        dtype=dtype,
        sites=sites,
        activations=role_of(given.activations, ptq.activations),
        kv=role_of(given.kv, ptq.kv),
        trained=trained,
        rotate=ptq.rotate,
    )


def role_of(levels: Levels | None, quantizer: Quantizer | None) -> Role | None:
    """The quantizer of a role with its levels; None where the role has none."""
    return None if quantizer is None or levels is None else Role(levels=levels, scaling=quantizer.scaling)


def site_of(
    place: Place, x: Float[Array, "n d"] | None, w: Float[Array, "d e"], ptq: PTQ, given: Numbers, role: Role | None
) -> Site:
    """What a method makes of one matrix and its inputs (none for a method that looks at none)."""
    scaling = ptq.quantizer.scaling
    if ptq.rotate:
        # turned inputs need turned weights; the matrix is its own inverse
        x, w = None if x is None else turned(x), turned(w.T).T
    if isinstance(ptq.method, SmoothQuant) and place.matrix in SMOOTHED:
        assert x is not None
        assert role is not None
        return smoothquant(w, x, given.weights, scaling, role, ptq.method)
    if isinstance(ptq.method, Tender):
        assert x is not None
        assert role is not None
        return tender(w, x, given.weights, scaling, role, ptq.method)
    rounded = matrix_of(place, x, w, ptq, given)
    if role is None:
        return Site(turned_back(rounded.w) if ptq.rotate else rounded.w, scales=rounded.scales, rows=rounded.rows)
    of_all = isinstance(role.scaling.granularity, PerTensor)
    reach = jnp.abs(x).max() if of_all and x is not None else None
    return Site(rounded.w, reach=reach, scales=rounded.scales, rows=rounded.rows)


def matrix_of(place: Place, x: Float[Array, "n d"] | None, w: Float[Array, "d e"], ptq: PTQ, given: Numbers) -> Rounded:
    """The matrix that a method of weights alone makes."""
    method, scaling = ptq.method, ptq.quantizer.scaling
    if isinstance(method, Noise | RateDistortion):
        key = jax.random.fold_in(jax.random.key(method.seed), _number(place))
    if isinstance(method, Noise):
        return Rounded(like_rounding(w, key, given.weights, scaling))
    if isinstance(method, RTN | SmoothQuant | Tender):
        draws = jax.random.fold_in(jax.random.key(0), _number(place)) if scaling.rounding == "stochastic" else None
        return Rounded(*with_scales(w, given.weights, scaling, draws))
    assert x is not None
    # the mean of a text of any length; products of float32 throughout
    moments = jnp.matmul(x.T, x, precision="highest") / x.shape[0]
    if isinstance(method, GPTQ):
        return gptq(w, moments, given.weights, scaling, method)
    if isinstance(method, AWQ):
        return awq(w, moments, jnp.abs(x).mean(axis=0), given.weights, scaling, method)
    return Rounded(ideal(w, moments, key, given.bits))


def _number(place: Place) -> int:
    return 8 * place.layer + MATRICES.index(place.matrix)
