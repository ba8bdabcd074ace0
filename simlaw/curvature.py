"""Curvature: the trace of the loss's Hessian in each block matrix, by random probes (Hutchinson 1990).

Of the Hessian itself and not of the Gauss-Newton matrix: half of the trace times the mean squared error of the weights
is what the penalty would be if errors were independent and small.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from simlaw.arithmetic import Place, Plain
from simlaw.config import Dtype, ModelSpec
from simlaw.counted import window_means
from simlaw.model import Params, losses, matrices, with_matrices

#: Tokens of one step: a second derivative keeps several times what a loss does.
_PART_TOKENS = 1024


@functools.partial(jax.jit, static_argnums=(0, 1, 5, 6))
def traces(
    model: ModelSpec,
    dtype: Dtype,
    params: Params,
    windows: Int[Array, "m w"],
    key: Key[Array, ""],
    probes: int,
    left_out: tuple[int, ...] = (),
) -> dict[Place, Float[Array, " k"]]:
    """The estimates of each probe for every block matrix, of the mean loss of the windows in nats per token.

    Predictions of the tokens `left_out` are not counted.
    """
    each = next(n for n in range(max(1, _PART_TOKENS // model.context), 0, -1) if windows.shape[0] % n == 0)
    parts = windows.reshape(-1, each, windows.shape[1])

    def loss(given: dict[Place, Array], part: Int[Array, "b w"]) -> Float[Array, ""]:
        each = losses(model, with_matrices(params, given), part, Plain(dtype=dtype))
        # the mean of all is another sum than that of windows, and traces of before are of it
        return window_means(each, part, left_out).mean() if left_out else each.mean()

    def of_part(part: Int[Array, "b w"]) -> dict[Place, Float[Array, " k"]]:
        found: dict[Place, Array] = hutchinson(lambda given: loss(given, part), matrices(params), key, probes)
        return found

    return jax.tree.map(lambda x: x.mean(axis=0), jax.lax.map(of_part, parts))


def hutchinson(loss: Callable[[Any], Float[Array, ""]], at: Any, key: Key[Array, ""], probes: int) -> Any:
    """For each leaf of `at` and each probe v, of signs drawn for all leaves together, the leaf's part of v·Hv (k).

    Its expected value is the trace of the leaf's own block of the Hessian H; where that is diagonal and alone, every
    probe gives it exactly.
    """
    leaves, tree = jax.tree.flatten(at)

    def one(key: Key[Array, ""]) -> Any:
        keys = jax.random.split(key, len(leaves))
        signs = [jax.random.rademacher(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
        probe = jax.tree.unflatten(tree, signs)
        _, turned = jax.jvp(jax.grad(loss), (at,), (probe,))
        return jax.tree.map(lambda v, hv: jnp.sum(v * hv), probe, turned)

    return jax.lax.map(one, jax.random.split(key, probes))
