"""Averages of the weights, kept beside them in the training state: exponential, or of the latest snapshots."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from simlaw.config import EMA, Average
from simlaw.model import Params


def no_average(average: Average, params: Params) -> Params:
    """The state of an average before the first step; an EMA's is the average itself, a LAWA's a ring of snapshots.

    The ring has one slot more than the mean needs: the weights of each step are written to the slot of the snapshot to
    come, which needs no condition, and the oldest snapshot is only overwritten when it counts no more.
    """
    if isinstance(average, EMA):
        return jax.tree.map(jnp.zeros_like, params)
    return jax.tree.map(lambda w: jnp.zeros((average.count + 1, *w.shape), w.dtype), params)


def averaged(average: Average, state: Params, params: Params, step: Int[Array, ""], batch_tokens: int) -> Params:
    """The state of an average after step `step` (from 0), which left these parameters.

    The weights after step s of t count exp(-(t - s)·batch_tokens/tokens) in an EMA, and all counts are divided by their
    sum: from the first step on it is an average of weights that were there, without the zeros that it starts from.
    """
    # what the weights are must not depend on who else reads them
    params = jax.lax.optimization_barrier(params)  # type: ignore[no-untyped-call]
    if isinstance(average, EMA):
        decay = jnp.float32(batch_tokens / average.tokens)
        share = jnp.expm1(-decay) / jnp.expm1(-decay * (step + 1).astype(jnp.float32))
        return jax.tree.map(lambda mean, w: mean + share * (w - mean), state, params)
    slot = step // (average.every_tokens // batch_tokens) % (average.count + 1)
    return jax.tree.map(lambda ring, w: ring.at[slot].set(w), state, params)


def average_of(average: Average, state: Params, step: int, batch_tokens: int) -> Any:
    """The averaged weights after `step` steps; where a LAWA has fewer snapshots than its count yet, the mean of those.

    Its snapshots are those after every whole `every_tokens`: the latest of them may be older than the last weights.
    """
    if isinstance(average, EMA):
        return state
    taken = step // (average.every_tokens // batch_tokens)
    slots = jnp.asarray([i % (average.count + 1) for i in range(max(0, taken - average.count), taken)])
    return jax.tree.map(lambda ring: ring[slots].mean(axis=0), state)
