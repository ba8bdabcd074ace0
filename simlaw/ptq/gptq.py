"""GPTQ: inputs rounded one after the other, later ones making up for the error (2210.17323).

With H the second moments of the inputs, and U upper triangular with H^-1 = U^T U, rounding input i by an error e moves
every later input j by -e·U_ij / U_ii. The code of the paper's authors sets weights of inputs that were never active to
zero; here they are rounded to nearest like any other, since a calibration text is short.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from simlaw.config import GPTQ
from simlaw.formats import Levels, PerGroup, Scaling
from simlaw.ptq.site import Rounded
from simlaw.quantize.field import field_of, on_field
from simlaw.quantize.scales import Scales

#: Inputs whose corrections of all later blocks wait for the end of the block.
BLOCK = 64
#: How much the damping grows where a factorisation fails, and how often: 10^8 times the first.
_GROWTH, _TRIES = 10.0, 9


def gptq(w: Float[Array, "i o"], hessian: Float[Array, "i i"], levels: Levels, scaling: Scaling, how: GPTQ) -> Rounded:
    """A matrix on the levels of a format, with the least error of its outputs that GPTQ finds.

    `hessian` is any multiple of the second moments of the inputs; it may be singular, or zero.
    """
    inputs = w.shape[0]
    dead = jnp.diagonal(hessian) <= 0
    hessian = hessian + jnp.diag(jnp.where(dead, 1.0, 0.0))
    order = None
    if how.order == "activations":
        order = jnp.argsort(jnp.where(dead, 0.0, jnp.diagonal(hessian)), descending=True, stable=True)
        hessian = hessian[order][:, order]
    refreshed = how.groups == "refreshed" and isinstance(scaling.granularity, PerGroup)
    size = min(inputs, scaling.granularity.size if refreshed and isinstance(scaling.granularity, PerGroup) else BLOCK)
    field, scales = field_of(w, levels, scaling)
    if order is not None:
        w, field = w[order], jax.tree.map(lambda each: each[order], field)
    # whole blocks: what fills the last one up is zero and moves nothing
    more = -inputs % size
    w = jnp.pad(w, ((0, more), (0, 0)))
    field = jax.tree.map(lambda each: jnp.pad(each, ((0, more), (0, 0)), mode="edge"), field)
    factor = jax.scipy.linalg.block_diag(_factor(hessian, how.damping), jnp.eye(more, dtype=w.dtype))

    def block(
        carry: Float[Array, "p o"], start: Int[Array, ""]
    ) -> tuple[Float[Array, "p o"], tuple[Float[Array, "s o"], Scales | None]]:
        rows = jax.lax.dynamic_slice_in_dim(carry, start, size)
        upper = jax.lax.dynamic_slice_in_dim(factor, start, size)
        within = jax.lax.dynamic_slice_in_dim(upper, start, size, axis=1)
        if refreshed:
            own, new = field_of(rows, levels, scaling)
        else:
            new = None
            own = jax.tree.map(lambda each: jax.lax.dynamic_slice_in_dim(each, start, size), field)

        def one(i: Int[Array, ""], state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            rows, rounded, errors = state
            row = jax.lax.dynamic_slice_in_dim(rows, i, 1)
            value = on_field(row, jax.tree.map(lambda each: each[i][None], own), levels)
            error = (row - value) / within[i, i]
            rows = rows - within[i][:, None] * error  # zero for the inputs before
            return rows, rounded.at[i].set(value[0]), errors.at[i].set(error[0])

        blank = jnp.zeros_like(rows)
        _, rounded, errors = jax.lax.fori_loop(0, size, one, (rows, blank, blank))
        return carry - jnp.matmul(upper.T, errors, precision="highest"), (rounded, new)

    _, (found, fresh) = jax.lax.scan(block, w, jnp.arange(0, w.shape[0], size))
    rounded = found.reshape(w.shape)[:inputs]
    if fresh is not None:  # each block is a group, with scales of (1, 1, outputs, 1)
        scales = jax.tree.map(lambda each: each[:, 0], fresh)
    return Rounded(rounded if order is None else jnp.zeros_like(rounded).at[order].set(rounded), scales)


def _factor(hessian: Float[Array, "i i"], damping: float) -> Float[Array, "i i"]:
    """U, upper triangular with (H + damping)^-1 = U^T U: the inverse of the factor R in H = R R^T, R upper too.

    The damping is a share of the mean diagonal and grows until the factorisation succeeds; should none, U is the
    identity, which rounds to nearest.
    """
    eye = jnp.eye(hessian.shape[0], dtype=hessian.dtype)
    mean = jnp.mean(jnp.diagonal(hessian))

    def attempt(share: Array) -> Array:
        # the factor of the matrix turned about, turned about: upper
        return jnp.linalg.cholesky((hessian + share * mean * eye)[::-1, ::-1])[::-1, ::-1]

    def failed(state: tuple[Array, Array, Array]) -> Array:
        tries, _, factor = state
        return ~jnp.isfinite(factor).all() & (tries < _TRIES)

    def again(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        tries, share, _ = state
        return tries + 1, share * _GROWTH, attempt(share * _GROWTH)

    first = jnp.asarray(damping, hessian.dtype)
    _, _, factor = jax.lax.while_loop(failed, again, (jnp.int32(1), first, attempt(first)))
    upper = jax.scipy.linalg.solve_triangular(factor, eye, lower=False)
    return jnp.where(jnp.isfinite(upper).all(), upper, eye)
