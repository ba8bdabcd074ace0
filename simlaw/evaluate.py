"""Evaluation: held-out loss of one checkpoint, as trained and under every quantization, on the same tokens."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from simlaw.arithmetic import FLOAT32, AbstractArithmetic, Place
from simlaw.config import PTQ, CalibrationText, Curvature, Dtype, EvalSpec, ModelSpec, Outliers, Precision, RunSpec
from simlaw.corpora import Stratum
from simlaw.counted import window_means
from simlaw.curvature import traces
from simlaw.lowprecision import STEPS, arithmetic_of, as_inputs_are, certain, levels_of, on_formats
from simlaw.model import Params, losses, matrices, with_matrices
from simlaw.ptq import Diagnosis, Numbers, OnFormats, examined, numbers_of, planted

#: Tokens of one step of the evaluation loop: activations of more do not stay in a CPU's cache.
PART_TOKENS = 2048
#: Kinds of quantization whose programs are kept: a process crashes at more than 65,530 pieces of memory on Linux.
_KINDS = 64


@dataclass(frozen=True, kw_only=True)
class Part:
    """The mean loss of the tokens of a stratum in nats per token, with its standard error over items."""

    tokens: int
    loss: float
    loss_se: float


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A loss in nats per token with its standard error; delta against the same checkpoint as trained, paired."""

    loss: float
    loss_se: float
    delta: float
    delta_se: float
    floor: float | None
    windows: int = 0
    """How many windows it was measured on."""
    matrices: Mapping[Place, Diagnosis] = field(default_factory=dict)
    """The diagnosis of each block matrix, as plain numbers, where it was quantized."""
    traces: Mapping[Place, Float[np.ndarray, " k"]] = field(default_factory=dict)
    """The probes of the Hessian's trace in each block matrix, where its curvature was wanted."""
    parts: tuple[Part, ...] = ()
    """The losses of the corpus's strata."""

    @property
    def finite(self) -> bool:
        """Whether the loss is a number at all."""
        return bool(np.isfinite(self.loss))


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a run's checkpoint computes with: weights on their format, and the arithmetic of its precision.

    Gradients are not there, and what was rounded at random is rounded to nearest. `windows` is how many are computed
    together: the run's batch, where a scale is that of all of it.
    """

    params: Params
    arithmetic: AbstractArithmetic
    kind: Precision
    windows: int | None


def arithmetic_as_trained(run: RunSpec) -> AbstractArithmetic:
    """The arithmetic of a run's precision, whatever its weights are."""
    precision = certain(run.precision)
    return arithmetic_of(precision.kind, levels_of(precision), run.dtype)


def as_trained(run: RunSpec, params: Params) -> Trained:
    """A run's checkpoint as it was trained."""
    precision = certain(run.precision)
    kind, levels = precision.kind, levels_of(precision)
    return Trained(
        params=on_formats(params, kind, levels),
        arithmetic=arithmetic_as_trained(run),
        kind=kind,
        windows=run.batch if kind.of_batch else None,
    )


def measure(
    run: RunSpec,
    params: Params,
    windows: Int[np.ndarray, "m w"],
    evals: Sequence[EvalSpec],
    floor: Float[np.ndarray, " m"] | None,
    calibration: Callable[[CalibrationText], Int[np.ndarray, "b t"]] | None = None,
    strata: Sequence[Stratum] = (),
) -> tuple[Measurement, ...]:
    """The measurement of each evaluation; each kind is made in one dispatch.

    A run that trained in low precision is "as trained" with every role so, and what a quantization does not touch stays
    as it was trained; curvature is that of the weights as trained between inputs as they are. Standard errors are over
    windows, whose tokens are not independent; there are two windows at least. `floor` is the exact Bayes loss of each
    window, `calibration` gives the windows that a method looks at, where any does; the `strata` are measured besides.
    Raises `SimlawError` where outliers
    are to be planted that would change what the model computes.
    """
    kinds: dict[PTQ, list[int]] = {}
    for i, spec in enumerate(evals):
        if spec.ptq is not None:
            kinds.setdefault(spec.ptq.kind, []).append(i)
    trained, stacks, order = as_trained(run, params), [], []
    plain, arithmetic, together = trained.params, trained.arithmetic, trained.windows
    params = {name: group for name, group in params.items() if name != STEPS}
    left_out = run.corpus.left_out
    found: dict[int, Float[np.ndarray, " m"]] = {}
    parts: dict[int, tuple[Part, ...]] = {}
    apart = _Apart.of(strata)
    said: dict[int, Mapping[Place, Diagnosis]] = {}
    for kind, at in kinds.items():
        given: Numbers = jax.tree.map(lambda *each: np.stack(each), *(numbers_of(_ptq(evals[i])) for i in at))
        text, seen = kind.looks_at, None
        if text is not None:
            assert calibration is not None
            seen = jnp.asarray(calibration(text))
        own = params if kind.outliers is None else planted(run.model, params, kind.outliers)
        if _made._cache_size() >= _KINDS:  # type: ignore[attr-defined]
            forget()
        made, about = _made(run.model, run.dtype, kind, own, seen, given, arithmetic)
        about = jax.tree.map(np.asarray, about)
        said |= {i: jax.tree.map(lambda each, n=n: float(each[n]), about) for n, i in enumerate(at)}
        if kind.activations is None and kind.kv is None and kind.outliers is None:
            assert made.sites is not None
            stacks.append({place: as_inputs_are(trained.kind, site.w) for place, site in made.sites.items()})
            order += at
        else:
            each = _on_formats(run.model, own, made, arithmetic, jnp.asarray(windows), together, left_out)
            found |= dict(zip(at, np.asarray(each, np.float64), strict=True))
            if apart is not None:
                every = _on_formats(run.model, own, made, arithmetic, apart.windows, together, None)
                parts |= dict(zip(at, apart.parts(every), strict=True))
    alone = jax.tree.map(lambda w: w[None], matrices(plain))
    # float64 from here on: differences of nearly equal losses
    each = _losses(run.model, arithmetic, params, (alone, *stacks), jnp.asarray(windows), together, left_out)
    losses = np.asarray(each, np.float64)
    base = losses[0]
    found |= dict(zip(order, losses[1:], strict=True))
    of_base: tuple[Part, ...] = ()
    if apart is not None:
        every = _losses(run.model, arithmetic, params, (alone, *stacks), apart.windows, together, None)
        of_base, *others = apart.parts(every)
        parts |= dict(zip(order, others, strict=True))
    weights = with_matrices(plain, {p: as_inputs_are(trained.kind, w) for p, w in matrices(plain).items()})
    curved = _curvatures(run, weights, windows, evals)
    return tuple(
        replace(
            _measurement(found.get(i, base), base, floor),
            matrices=said.get(i, {}),
            traces=curved.get(_curved(spec), {}),
            parts=parts.get(i, of_base),
        )
        for i, spec in enumerate(evals)
    )


@dataclass(frozen=True, kw_only=True)
class _Apart:
    """The windows of all strata together, and where the tokens of each lie."""

    windows: Int[Array, "m w"]
    strata: tuple[tuple[slice, Stratum], ...]

    @classmethod
    def of(cls, strata: Sequence[Stratum]) -> "_Apart | None":
        """None where there are no strata."""
        if not strata:
            return None
        ends = np.cumsum([len(stratum.windows) for stratum in strata]).tolist()
        places = [slice(end - len(stratum.windows), end) for end, stratum in zip(ends, strata, strict=True)]
        return cls(
            windows=jnp.asarray(np.concatenate([stratum.windows for stratum in strata])),
            strata=tuple(zip(places, strata, strict=True)),
        )

    def parts(self, each: Float[Array, "v m t"]) -> list[tuple[Part, ...]]:
        """What each variant's losses are in every stratum."""
        return [
            tuple(_part(variant[place], stratum) for place, stratum in self.strata)
            for variant in np.asarray(each, np.float64)
        ]


def _part(each: Float[np.ndarray, "m t"], stratum: Stratum) -> Part:
    losses = each[stratum.looked_at]
    mean, items = float(losses.mean()), len(each) if stratum.one_item else losses.size
    error = float("nan")
    if items > 1 and stratum.one_item:
        # tokens of an item are not independent: the error of a ratio of sums over items
        off = np.where(stratum.looked_at, each - mean, 0.0).sum(axis=1)
        error = float(np.sqrt((off**2).sum() * items / (items - 1)) / losses.size)
    elif items > 1:
        error = _standard_error(losses)
    return Part(tokens=losses.size, loss=mean, loss_se=error)


def _curved(spec: EvalSpec) -> tuple[Curvature | None, Outliers | None]:
    """What an evaluation's curvature depends on besides the checkpoint."""
    return spec.curvature, spec.ptq.outliers if spec.ptq else None


def _curvatures(
    run: RunSpec, plain: Params, windows: Int[np.ndarray, "m w"], evals: Sequence[EvalSpec]
) -> dict[Any, Mapping[Place, Float[np.ndarray, " k"]]]:
    """The traces that evaluations want, each once."""
    found: dict[Any, Mapping[Place, Float[np.ndarray, " k"]]] = {}
    for how, outliers in dict.fromkeys(map(_curved, evals)):
        if how is not None:
            own = plain if outliers is None else planted(run.model, plain, outliers)
            seen, key = jnp.asarray(windows[: how.windows]), jax.random.key(how.seed)
            each = traces(run.model, run.dtype, own, seen, key, how.probes, run.corpus.left_out)
            found[how, outliers] = {place: np.asarray(trace, np.float64) for place, trace in each.items()}
    return found


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
        windows=loss.size,
    )


def forget() -> None:
    """Nothing; drops the compiled programs of all shapes: each kind has some 30 MB of them, in 500 pieces of memory."""
    for each in (_made, _losses, _on_formats):
        each.clear_cache()  # type: ignore[attr-defined]  # JAX has it, its annotations do not


def _ptq(spec: EvalSpec) -> PTQ:
    assert spec.ptq is not None
    return spec.ptq


def _standard_error(x: Float[np.ndarray, " m"]) -> float:
    return float(x.std(ddof=1) / np.sqrt(x.size))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _made(
    model: ModelSpec,
    dtype: Dtype,
    kind: PTQ,
    params: Params,
    seen: Int[Array, "b t"] | None,
    given: Numbers,
    trained: AbstractArithmetic,
) -> tuple[OnFormats, dict[Place, Diagnosis]]:
    """What a method makes of a checkpoint, for each of the `given` formats in turn."""

    def make(one: Numbers) -> tuple[OnFormats, dict[Place, Diagnosis]]:
        made, about = examined(model, dtype, kind, params, seen, one, trained)
        return replace(made, trained=FLOAT32), about  # which is not one for each format

    return jax.vmap(make)(given) if seen is None else jax.lax.map(make, given)


@functools.partial(jax.jit, static_argnums=(0, 5, 6))
def _losses(
    model: ModelSpec,
    arithmetic: AbstractArithmetic,
    params: Params,
    stacks: tuple[dict[Place, Array], ...],
    windows: Int[Array, "m w"],
    together: int | None,
    left_out: tuple[int, ...] | None,
) -> Float[Array, "v m *t"]:
    """The mean loss of every window with each of the stacked sets of matrices in turn.

    Where `left_out` is None, the loss of each of its tokens.
    """
    every = jax.tree.map(lambda *each: jnp.concatenate(each), *stacks)

    def of(one: dict[Place, Array]) -> Float[Array, "m *t"]:
        return _window_losses(model, with_matrices(params, one), arithmetic, windows, together, left_out)

    return jax.lax.map(of, every)


@functools.partial(jax.jit, static_argnums=(0, 5, 6))
def _on_formats(
    model: ModelSpec,
    params: Params,
    stacked: OnFormats,
    trained: AbstractArithmetic,
    windows: Int[Array, "m w"],
    together: int | None,
    left_out: tuple[int, ...] | None,
) -> Float[Array, "v m *t"]:
    """The mean loss of every window, or of each of its tokens, in each of the stacked arithmetics in turn."""

    def of(made: OnFormats) -> Float[Array, "m *t"]:
        return _window_losses(model, params, replace(made, trained=trained), windows, together, left_out)

    return jax.lax.map(of, stacked)


def _window_losses(
    model: ModelSpec,
    params: Params,
    arithmetic: AbstractArithmetic,
    windows: Int[Array, "m w"],
    together: int | None,
    left_out: tuple[int, ...] | None,
) -> Float[Array, "m *t"]:
    def means(batch: Int[Array, "b w"]) -> Float[Array, "b *t"]:
        each = losses(model, params, batch, arithmetic)
        return each if left_out is None else window_means(each, batch, left_out)

    if together is None:
        return jax.lax.map(
            lambda window: means(window[None])[0],
            windows,
            batch_size=max(1, PART_TOKENS // model.context),
        )
    # the last batch is filled up by the first windows, and what they give there is dropped
    filled = jnp.resize(windows, (-(-windows.shape[0] // together) * together, windows.shape[1]))
    batches = filled.reshape(-1, together, windows.shape[1])
    each = jax.lax.map(means, batches)
    return each.reshape(-1, *each.shape[2:])[: windows.shape[0]]
