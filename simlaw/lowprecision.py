"""The arithmetic of a training precision: roles on their formats, with the gradients that an estimator passes on.

Levels are data: one compilation serves every bit-width of a kind. Weights are rounded once for a step, before the batch
is cut into parts; everything else where the model asks.
"""

import functools
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from simlaw.arithmetic import MATRICES, AbstractArithmetic, Place, Plain
from simlaw.config import ROLES, Dtype, Precision, RoleName
from simlaw.formats import Levels, Quantizer, Scaling
from simlaw.model import Params, matrices, with_matrices
from simlaw.product import product
from simlaw.ptq.rotation import turned, turned_back
from simlaw.quantize import estimated, fake_quantize, first_step, learned_step, numbers

#: By how much gradients are raised before they are rounded: those of a mean loss are small.
_RAISED = 2.0**12
#: The group of parameters that learned steps are, beside those of the model.
STEPS = "steps"


class RoleLevels(NamedTuple):
    """The levels of each tensor role, which may be traced; None where it is not quantized."""

    weights: Levels | None = None
    activations: Levels | None = None
    kv: Levels | None = None
    gradients: Levels | None = None


def levels_of(precision: Precision) -> RoleLevels:
    """The levels of a declared precision, as float32."""

    def of(quantizer: Quantizer | None) -> Levels | None:
        return None if quantizer is None else numbers(quantizer.format.levels)

    return RoleLevels(*(of(getattr(precision, role)) for role in ROLES))


def random(kind: Precision) -> bool:
    """Whether any role rounds at random, and needs a key."""
    given = (getattr(kind, role) for role in ROLES)
    return any(quantizer is not None and quantizer.rounding == "stochastic" for quantizer in given)


def certain(kind: Precision) -> Precision:
    """The precision of an evaluation: rounding at random is for training, and gradients there are none."""
    roles = {role: getattr(kind, role) for role in ROLES}
    nearest = {role: replace(q, rounding="nearest") for role, q in roles.items() if q is not None}
    if nearest.keys() <= {"gradients"}:
        return Precision()
    return replace(kind, **{**nearest, "gradients": None})


def changes(kind: Precision) -> bool:
    """Whether weights are multiplied in another form than the one in which they are kept."""
    return kind.weights is not None or _turns(kind)


def arithmetic_of(
    kind: Precision, levels: RoleLevels, dtype: Dtype, key: Key[Array, ""] | None = None
) -> AbstractArithmetic:
    """The arithmetic of a precision; that of a model without one where only weights are on a format."""
    others = (kind.activations, kind.kv, kind.gradients)
    if all(role is None for role in others):
        return Plain(dtype=dtype)
    return LowPrecision(dtype=dtype, kind=kind, levels=levels._replace(weights=None), key=key)


def first_steps(params: Params, kind: Precision, levels: RoleLevels) -> dict[str, Array]:
    """The logarithms of the steps that learned ones start from, by the name of their place.

    Logarithms, so that an optimizer's steps are relative to them and they stay above zero.
    """
    assert kind.weights is not None
    assert levels.weights is not None
    given, granularity = levels.weights, kind.weights.granularity
    return {_name(place): jnp.log(first_step(w, given, granularity)) for place, w in matrices(params).items()}


def on_formats(params: Params, kind: Precision, levels: RoleLevels, key: Key[Array, ""] | None = None) -> Params:
    """The parameters that a model of this precision multiplies with, with gradients; without the learned steps.

    Where inputs are turned, so are these.
    """
    given = {name: group for name, group in params.items() if name != STEPS}
    if kind.weights is None and not _turns(kind):
        return given

    def of(place: Place, w: Float[Array, "d e"]) -> Float[Array, "d e"]:
        if kind.weights is None:
            return turned(w.T).T
        assert levels.weights is not None
        if kind.learned_steps:
            return learned_step(w, jnp.exp(params[STEPS][_name(place)]), levels.weights, kind.weights.granularity)
        w = turned(w.T).T if kind.rotate else w
        draws = None
        if kind.weights.rounding == "stochastic":
            assert key is not None
            draws = jax.random.fold_in(key, _number(place))
        found = estimated(w, levels.weights, kind.weights.scaling, kind.estimator, draws)
        return turned_back(found) if kind.rotate and not _turns(kind) else found

    return with_matrices(given, {place: of(place, w) for place, w in matrices(given).items()})


def as_inputs_are(kind: Precision, matrix: Float[Array, "*k d e"]) -> Float[Array, "*k d e"]:
    """Matrices, stacked, of inputs as they are, as this arithmetic multiplies them."""
    if not _turns(kind):
        return matrix
    *_, inputs, outputs = matrix.shape
    rows = jnp.swapaxes(matrix, -1, -2).reshape(-1, inputs)
    return jnp.swapaxes(turned(rows).reshape(*matrix.shape[:-2], outputs, inputs), -1, -2)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class LowPrecision(AbstractArithmetic):
    """Inputs, keys, values and gradients on their formats; matrices are given on theirs, by `on_formats`."""

    kind: Precision = field(metadata={"static": True})
    levels: RoleLevels
    key: Key[Array, ""] | None = None

    def inputs(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """Inputs on their format, turned back where they were turned."""
        if self.kind.activations is None:
            return x
        return (
            turned(self._on(turned(x), "activations", None)) if self.kind.rotate else self._on(x, "activations", None)
        )

    def linear(self, place: Place, x: Float[Array, "n d"], w: Float[Array, "d e"]) -> Float[Array, "n e"]:
        """The product of inputs on their format, and turned where the precision has it, with a matrix on its own."""
        if self.kind.activations is not None:
            x = self._on(turned(x) if self.kind.rotate else x, "activations", _number(place))
        y = product("nd,de->ne", x, w, self.dtype)
        if self.kind.gradients is None:
            return y
        assert self.levels.gradients is not None
        key = self._key(self.kind.gradients, "gradients", _number(place))
        return _gradients_on(self.kind.gradients.scaling, y, self.levels.gradients, key)

    def cache(
        self, layer: int, k: Float[Array, "b g t d"], v: Float[Array, "b g t d"]
    ) -> tuple[Float[Array, "b g t d"], Float[Array, "b g t d"]]:
        """Keys and values on their format."""
        if self.kind.kv is None:
            return k, v
        flat = ((x.reshape(-1, x.shape[3]), _EACH * layer + len(MATRICES) + i) for i, x in enumerate((k, v)))
        k_on, v_on = (self._on(x, "kv", number) for x, number in flat)
        return k_on.reshape(k.shape), v_on.reshape(v.shape)

    def _on(self, x: Float[Array, "n d"], role: RoleName, number: int | None) -> Float[Array, "n d"]:
        quantizer, levels = getattr(self.kind, role), getattr(self.levels, role)
        key = self._key(quantizer, role, number)
        return estimated(x, levels, quantizer.scaling, self.kind.estimator, key, of_tokens=True)

    def _key(self, quantizer: Quantizer, role: RoleName, number: int | None) -> Key[Array, ""] | None:
        if quantizer.rounding == "nearest" or number is None:
            return None
        assert self.key is not None
        return jax.random.fold_in(jax.random.fold_in(self.key, number), ROLES.index(role))


#: Numbers of what is drawn for in one layer: its matrices, keys, values.
_EACH = 8


def _number(place: Place) -> int:
    return _EACH * place.layer + MATRICES.index(place.matrix)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _gradients_on(scaling: Scaling, y: Array, levels: Levels, key: Key[Array, ""] | None) -> Array:
    """`y` as it is; its gradient is put on the levels before anything else is made of it."""
    del scaling, levels, key
    return y


def _gradients_forward(scaling: Scaling, y: Array, levels: Levels, key: Any) -> tuple[Array, tuple[Levels, Any]]:
    del scaling
    return y, (levels, key)


def _gradients_backward(scaling: Scaling, kept: tuple[Levels, Any], pull: Array) -> tuple[Array, Any, Any]:
    levels, key = kept
    # float16 scales of gradients would be subnormal: raised by a power of two and lowered again, which is exact
    on = fake_quantize(pull * _RAISED, levels, scaling, key, of_tokens=True) / _RAISED
    return on, jax.tree.map(jnp.zeros_like, levels), None if key is None else np.zeros(key.shape, jax.dtypes.float0)


_gradients_on.defvjp(_gradients_forward, _gradients_backward)


def _turns(kind: Precision) -> bool:
    """Whether products are those of turned inputs."""
    return kind.rotate and kind.activations is not None


def _name(place: Place) -> str:
    return f"{place.layer}.{place.matrix}"
