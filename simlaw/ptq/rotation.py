"""Hadamard rotation: inputs turned so that no channel stands out (2404.00456)."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def turned(x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """The rows of `x` times an orthogonal, symmetric matrix: applied twice it gives them back.

    Of Hadamard blocks as large as the largest power of two that divides d; its entries are ±1/sqrt(block).
    """
    n, d = x.shape
    block = d & -d
    matrix = jnp.asarray(hadamard(block), jnp.float32)
    return jnp.einsum("nbi,ij->nbj", x.reshape(n, -1, block), matrix, precision="highest").reshape(n, d)


def turned_back(w: Float[Array, "i o"]) -> Float[Array, "i o"]:
    """The matrix of inputs as they are that does what `w` does to turned ones; the same bits in every program."""
    return turned(jax.lax.optimization_barrier(w).T).T  # type: ignore[no-untyped-call]


def hadamard(size: int) -> Float[np.ndarray, "{size} {size}"]:
    """Sylvester's matrix of a power of two, divided by the square root of its size."""
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix / np.sqrt(size)
