"""Optimizers and schedules: optax's pieces, with a learning rate that is data.

optax's own schedules branch in Python on their arguments and so cannot be traced; the one below serves every schedule
of a pack in one program.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int
from optax import contrib

from simlaw.config import SGD, AdamW, Cosine, ModelSpec, Muon, Optimizer, RunSpec
from simlaw.lowprecision import STEPS

#: On the host until a program takes it.
AnyArray = Array | np.ndarray

#: The root mean square of Muon's updates, about that of AdamW's (2502.16982, section 2.2).
MUON_RMS = 0.2


class Rate(NamedTuple):
    """A schedule as data, in steps: see `rate_at`. `final` is the share of the peak at which a cosine ends."""

    peak: Float[AnyArray, ""]
    warmup: Int[AnyArray, ""]
    branch: Int[AnyArray, ""]
    end: Int[AnyArray, ""]
    cosine: Bool[AnyArray, ""]
    final: Float[AnyArray, ""]


def rate_of(spec: RunSpec, cool: bool = True) -> Rate:
    """The learning rate of a run; without `cool` that of its trunk, which never cools."""
    # NumPy's: JAX would load a program for each conversion
    schedule, never = spec.schedule, 2**30
    cosine = isinstance(schedule, Cosine)
    return Rate(
        peak=np.asarray(spec.optimizer.peak_rate, np.float32),
        warmup=np.asarray(schedule.warmup_tokens // spec.batch_tokens, np.int32),
        branch=np.asarray(spec.cooldown_step if cool else never, np.int32),
        end=np.asarray(spec.steps if cool else never, np.int32),
        cosine=np.asarray(cosine),
        final=np.asarray(schedule.final if isinstance(schedule, Cosine) else 0, np.float32),
    )


def rate_at(step: Int[Array, "*s"], rate: Rate) -> Float[Array, "*s"]:
    """The learning rate of step `step` (from 0): a linear warm-up to the peak, then the schedule.

    Without `cosine` it is constant and cools down linearly from `branch` to `end`; the cool-down's first step is
    already below the peak and its last still above 0; where there is none, `branch` equals `end`. A cosine falls from
    the last step of the warm-up to `final` of the peak at the last step (1608.03983, without restarts).
    """
    done = step.astype(jnp.float32)  # exact below 2^24 steps
    warmup, end = rate.warmup.astype(jnp.float32), rate.end.astype(jnp.float32)
    rise = (done + 1) / jnp.maximum(warmup, 1)
    fall = (end - done) / (rate.end - rate.branch + 1).astype(jnp.float32)
    line = jnp.where(step < rate.branch, 1.0, fall)
    turned = jnp.clip((done + 1 - warmup) / jnp.maximum(end - warmup, 1), 0.0, 1.0)
    curve = rate.final + (1 - rate.final) * (1 + jnp.cos(jnp.pi * turned)) / 2
    return jnp.asarray(rate.peak) * jnp.clip(jnp.minimum(rise, jnp.where(rate.cosine, curve, line)), 0.0, 1.0)


def transform_of(spec: Optimizer, model: ModelSpec) -> optax.GradientTransformation:
    """The optimizer without its learning rate: its update is to be multiplied by minus `rate_at`.

    Gradients are clipped together; the decay of every matrix, norms left out, is scaled by the rate, as in PyTorch.
    With muP the steps of block matrices, not their decay, are multiplied by base_width / width (2203.03466, table 8),
    Muon's by its square root: orthogonal updates of one root mean square have spectral norms that grow with the root
    of the width, and Adam's with the width (2310.17813).
    """
    width = 1.0 if model.mup is None else model.mup.base_width / model.width
    match spec:
        case AdamW():
            step = optax.scale_by_adam(b1=spec.b1, b2=spec.b2, eps=spec.eps)
        case SGD():
            step = optax.trace(decay=spec.momentum)
        case Muon():
            width = width**0.5
            rest = optax.scale_by_adam(b1=spec.b1, b2=spec.b2, eps=spec.eps)
            step = optax.partition(
                {"matrix": _muon(spec), "rest": rest},
                lambda tree: {name: "matrix" if name == "blocks" else "rest" for name in tree},
            )
    decay = optax.add_decayed_weights(spec.weight_decay, mask=_decayed)
    scaled = () if model.mup is None else (optax.stateless(lambda tree, _: _scale_blocks(tree, width)),)
    return optax.chain(optax.clip_by_global_norm(spec.clip), step, *scaled, decay)


def direction(transform: optax.GradientTransformation, grads: Any, state: Any, params: Any) -> tuple[Any, Any]:
    """The update before the learning rate, and the optimizer's next state."""
    # optax raises a float to the integer step count, which strict promotion refuses; the rest of the step stays strict
    with jax.numpy_dtype_promotion("standard"):
        return transform.update(grads, state, params)


def _muon(spec: Muon) -> optax.GradientTransformation:
    """Momentum made orthogonal; queries, keys and values are one matrix here, as are gate and up."""

    def sized(w: Float[Array, "i o"]) -> Float[Array, "i o"]:
        return w * (MUON_RMS * max(w.shape) ** 0.5)

    return optax.chain(
        contrib.scale_by_muon(
            beta=spec.momentum,
            weight_dimension_numbers=lambda tree: jax.tree.map(lambda _: contrib.MuonDimensionNumbers(), tree),
        ),
        optax.stateless(lambda tree, _: jax.tree.map(sized, tree)),
    )


def _decayed(tree: Any) -> Any:
    """Which parameters decay: the matrices, and no learned step."""
    found = jax.tree.map(lambda x: x.ndim > 1, tree)
    return {**found, STEPS: False} if STEPS in found else found


def _scale_blocks(tree: Any, by: float) -> Any:
    return {**tree, "blocks": jax.tree.map(lambda w: w * by, tree["blocks"])}
