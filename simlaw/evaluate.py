"""Evaluation: held-out loss of one checkpoint, as trained and under every quantization, on the same tokens."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from simlaw.arithmetic import Plain
from simlaw.config import Dtype, EvalSpec, ModelSpec, RunSpec
from simlaw.formats import Levels, Quantizer, Scaling
from simlaw.model import Params, losses
from simlaw.ptq import round_to_nearest
from simlaw.quantize import numbers

#: Tokens of one step of the evaluation loop: activations of more do not stay in a CPU's cache.
PART_TOKENS = 2048


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A loss in nats per token with its standard error; delta against the same checkpoint as trained, paired."""

    loss: float
    loss_se: float
    delta: float
    delta_se: float
    floor: float | None

    @property
    def finite(self) -> bool:
        """Whether the loss is a number at all."""
        return bool(np.isfinite(self.loss))


def as_trained(run: RunSpec, params: Params) -> Params:
    """The weights that a run's checkpoint computes with: on their grid where it trained with quantized weights."""
    weights = run.precision.weights
    if weights is None:
        return params
    return round_to_nearest(params, numbers(weights.format.levels), weights.scaling)


def measure(
    run: RunSpec,
    params: Params,
    windows: Int[np.ndarray, "m w"],
    evals: Sequence[EvalSpec],
    floor: Float[np.ndarray, " m"] | None,
) -> tuple[Measurement, ...]:
    """The measurement of each evaluation, all in one dispatch.

    A run that trained with quantised weights is "as trained" with them so, and every product is in the arithmetic that
    it trained in. Standard errors are over windows, whose tokens are not independent; there are two windows at least.
    `floor` is the exact Bayes loss of each window.
    """
    trained = as_trained(run, params)
    kinds: dict[tuple[type[Levels], Scaling], list[int]] = {}
    for i, spec in enumerate(evals):
        if spec.ptq is not None:
            quantizer = spec.ptq.quantizer
            kinds.setdefault((type(quantizer.format.levels), quantizer.scaling), []).append(i)
    levels = tuple(
        jax.tree.map(lambda *each: np.stack(each), *(numbers(_quantizer(evals[i]).format.levels) for i in at))
        for at in kinds.values()
    )
    # float64 from here on: differences of nearly equal losses
    found = np.asarray(
        _losses(run.model, run.dtype, tuple(kinds), trained, params, levels, jnp.asarray(windows)), np.float64
    )
    base = found[0]
    of = {i: found[1 + place] for place, i in enumerate(i for at in kinds.values() for i in at)}
    return tuple(_measurement(of.get(i, base), base, floor) for i in range(len(evals)))


def _measurement(
    loss: Float[np.ndarray, " m"], base: Float[np.ndarray, " m"], floor: Float[np.ndarray, " m"] | None
) -> Measurement:
    delta = loss - base
    return Measurement(
        loss=float(loss.mean()),
        loss_se=_standard_error(loss),
        delta=float(delta.mean()),
        delta_se=_standard_error(delta),
        floor=None if floor is None else float(floor.mean()),
    )


def _quantizer(spec: EvalSpec) -> Quantizer:
    assert spec.ptq is not None
    return spec.ptq.quantizer


def _standard_error(x: Float[np.ndarray, " m"]) -> float:
    return float(x.std(ddof=1) / np.sqrt(x.size))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _losses(
    model: ModelSpec,
    dtype: Dtype,
    kinds: tuple[tuple[type[Levels], Scaling], ...],
    trained: Params,
    params: Params,
    levels: tuple[Levels, ...],
    windows: Int[Array, "m w"],
) -> Float[Array, "v m"]:
    """The mean loss of every window: as trained first, then each kind's formats in turn."""

    def loss(tree: Params) -> Float[Array, " m"]:
        return jax.lax.map(
            lambda window: losses(model, tree, window[None], Plain(dtype=dtype))[0].mean(),
            windows,
            batch_size=max(1, PART_TOKENS // model.context),
        )

    def stack(*trees: Any) -> Any:
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *trees)

    variants = [jax.tree.map(lambda leaf: leaf[None], trained)]
    for (_, scaling), each in zip(kinds, levels, strict=True):
        variants.append(jax.vmap(functools.partial(round_to_nearest, params, scaling=scaling))(each))
    return jax.lax.map(loss, stack(*variants))
