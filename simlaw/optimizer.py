"""The optimizer and its schedule: optax's pieces, with a learning rate that is data.

optax's own schedules branch in Python on their arguments and so cannot be traced; the one below is a line.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from simlaw.config import AdamW, Optimizer
from simlaw.errors import SimlawError


def transform_of(spec: Optimizer) -> optax.GradientTransformation:
    """The optimizer without its learning rate."""
    if not isinstance(spec, AdamW):
        raise SimlawError(f"{type(spec).__name__} cannot train yet: take AdamW")
    return adamw(spec)


def adamw(spec: AdamW) -> optax.GradientTransformation:
    """Clipping, Adam and decoupled weight decay of every matrix, without the learning rate.

    The update is to be multiplied by minus the rate of `wsd` (1711.05101; decay is scaled by the rate, as in PyTorch).
    """
    return optax.chain(
        optax.clip_by_global_norm(spec.clip),
        optax.scale_by_adam(b1=spec.b1, b2=spec.b2, eps=spec.eps),
        optax.add_decayed_weights(spec.weight_decay, mask=lambda tree: jax.tree.map(lambda x: x.ndim > 1, tree)),
    )


def direction(transform: optax.GradientTransformation, grads: Any, state: Any, params: Any) -> tuple[Any, Any]:
    """The update before the learning rate, and the optimizer's next state."""
    # optax raises a float to the integer step count, which strict promotion refuses; the rest of the step stays strict
    with jax.numpy_dtype_promotion("standard"):
        return transform.update(grads, state, params)


def wsd(
    step: Int[Array, ""],
    peak: Float[Array, ""],
    warmup: Int[Array, ""],
    branch: Int[Array, ""],
    end: Int[Array, ""],
) -> Float[Array, ""]:
    """The learning rate of step `step` (from 0): linear warm-up, constant, linear cool-down from `branch` to `end`.

    Every argument may be traced. The cool-down's first step is already below the peak and its last still above 0;
    where there is none, `branch` equals `end`.
    """
    done = step.astype(jnp.float32)  # exact below 2^24 steps
    rise = (done + 1) / jnp.maximum(warmup, 1).astype(jnp.float32)
    fall = (end.astype(jnp.float32) - done) / (end - branch + 1).astype(jnp.float32)
    return peak * jnp.clip(jnp.minimum(rise, jnp.where(step < branch, 1.0, fall)), 0.0, 1.0)
