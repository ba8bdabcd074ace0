"""Matrix products in a declared arithmetic.

"float32" is float32 throughout, on accelerators too, whose default may be coarser. "bfloat16" rounds both factors of
every product to bfloat16 and sums in float32, forwards and backwards; whatever lies between products is float32.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from simlaw.config import Dtype


def product(pattern: str, a: Float[Array, "..."], b: Float[Array, "..."], dtype: Dtype) -> Float[Array, "..."]:
    """The float32 einsum of two float32 arrays; every letter of `pattern` stands in two of its three places."""
    if dtype == "bfloat16":
        return _rounded(pattern, a, b)
    return jnp.einsum(pattern, a, b, precision="highest")


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _rounded(pattern: str, a: Array, b: Array) -> Array:
    return jnp.einsum(pattern, _round(a), _round(b), preferred_element_type=jnp.float32)


def _forward(pattern: str, a: Array, b: Array) -> tuple[Array, tuple[Array, Array]]:
    a, b = _round(a), _round(b)
    return jnp.einsum(pattern, a, b, preferred_element_type=jnp.float32), (a, b)


def _backward(pattern: str, factors: tuple[Array, Array], pull: Array) -> tuple[Array, Array]:
    # JAX's own rule would multiply a float32 cotangent with a bfloat16 factor, and round the gradient of the weights
    inputs, out = pattern.split("->")
    left, right = inputs.split(",")
    a, b = factors
    pull = _round(pull)
    return (
        jnp.einsum(f"{out},{right}->{left}", pull, b, preferred_element_type=jnp.float32),
        jnp.einsum(f"{out},{left}->{right}", pull, a, preferred_element_type=jnp.float32),
    )


_rounded.defvjp(_forward, _backward)


def _round(x: Array) -> Array:
    # the cast: factors of a product are bfloat16; reduced first, since a compiler may delete a cast and its inverse
    return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7).astype(jnp.bfloat16)
