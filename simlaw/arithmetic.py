"""A model's arithmetic: how it multiplies, and what is put on a number format before.

The model asks at each of its places; what is quantised there, recorded or smoothed is not its business. Tensor roles
are those of the field: the inputs of block matrices (activations), and keys after their rotation with values (kv).
Queries, softmax weights and whatever lies between products stay as they are.
"""

import abc
import typing
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import jax
from jaxtyping import Array, Float

from simlaw.config import Dtype
from simlaw.product import product

#: The matrices of a block, in the order in which a token passes them; GELU has "up" where SwiGLU has "gate_up".
MatrixName = Literal["qkv", "out", "gate_up", "up", "down"]
MATRICES: tuple[MatrixName, ...] = typing.get_args(MatrixName)


class Place(NamedTuple):
    """A matrix of a model: its layer, counted from 0, and its name."""

    layer: int
    matrix: MatrixName


@dataclass(frozen=True, kw_only=True)
class AbstractArithmetic(abc.ABC):
    """Products in `dtype` (see `product`); subclasses say what becomes of their factors.

    A tree of arrays, which compiled functions take like parameters.
    """

    dtype: Dtype = field(default="float32", metadata={"static": True})

    def product(self, pattern: str, a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
        """A product in which no parameter of a block stands: of attention, and with the head."""
        return product(pattern, a, b, self.dtype)

    def inputs(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """The inputs of a block matrix, as they are or on a format."""
        return x

    @abc.abstractmethod
    def linear(self, place: Place, x: Float[Array, "n d"], w: Float[Array, "d e"]) -> Float[Array, "n e"]:
        """The product of a block matrix with its inputs."""

    @abc.abstractmethod
    def cache(
        self, layer: int, k: Float[Array, "b g t d"], v: Float[Array, "b g t d"]
    ) -> tuple[Float[Array, "b g t d"], Float[Array, "b g t d"]]:
        """Keys and values of a layer as they are kept for later tokens."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Plain(AbstractArithmetic):
    """Nothing is quantised on the way."""

    def linear(self, place: Place, x: Float[Array, "n d"], w: Float[Array, "d e"]) -> Float[Array, "n e"]:
        """The product as it is."""
        del place
        return product("nd,de->ne", x, w, self.dtype)

    def cache(
        self, layer: int, k: Float[Array, "b g t d"], v: Float[Array, "b g t d"]
    ) -> tuple[Float[Array, "b g t d"], Float[Array, "b g t d"]]:
        """Keys and values as they are."""
        del layer
        return k, v


#: Float32, and nothing quantised.
FLOAT32 = Plain()
