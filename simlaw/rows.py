"""Rows: what one evaluation of one run adds to the results table."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import jax

from simlaw.accounting import (
    Parameters,
    bytes_blocks,
    bytes_total,
    flops_6nd,
    flops_forward_per_token,
    leaves,
    parameters,
)
from simlaw.config import (
    LAWA,
    NUMERICS,
    PTQ,
    ROLES,
    WSD,
    Average,
    EvalSpec,
    ModelSpec,
    Precision,
    RunSpec,
    eval_id,
    run_id,
    trunk_id,
)
from simlaw.corpora import Stratum
from simlaw.declared import canonical
from simlaw.diagnosed import diagnosed, of_matrices
from simlaw.evaluate import Measurement
from simlaw.formats import Granularity, Int, PerBlock, PerGroup, PerToken, Quantizer, effective
from simlaw.matrices import Matrices
from simlaw.model import matrices
from simlaw.plan import shapes_of
from simlaw.schema import QUANTIZATION
from simlaw.strata import Strata
from simlaw.table import Row
from simlaw.train import last_rate
from simlaw.version import __version__


def done_rows(
    spec: RunSpec,
    fingerprint: str,
    epoch_tokens: int | None,
    evals: Sequence[EvalSpec],
    found: Sequence[Measurement],
) -> list[Row]:
    """One row for each evaluation; a measurement that is not finite becomes a row without numbers."""
    return [
        _row(spec, fingerprint, epoch_tokens, e, m, "done", None)
        if m.finite
        else _row(spec, fingerprint, epoch_tokens, e, None, "diverged", "the held-out loss is not finite")
        for e, m in zip(evals, found, strict=True)
    ]


def matrix_rows(spec: RunSpec, fingerprint: str, evals: Sequence[EvalSpec], found: Sequence[Measurement]) -> Matrices:
    """What each evaluation says of each matrix."""
    run, shapes = run_id(spec, fingerprint), matrices(shapes_of(spec.model))
    each = (of_matrices(run, eval_id(run, e), m, shapes) for e, m in zip(evals, found, strict=True) if m.finite)
    return Matrices(rows=tuple(row for rows in each for row in rows))


def stratum_rows(
    spec: RunSpec, fingerprint: str, evals: Sequence[EvalSpec], found: Sequence[Measurement], strata: Sequence[Stratum]
) -> Strata:
    """What each evaluation's loss is on the items of each stratum."""
    run = run_id(spec, fingerprint)
    return Strata(
        rows=tuple(
            {
                "run_id": run,
                "eval_id": eval_id(run, evaluation),
                **{name: getattr(stratum, name) for name in ("axis", "low", "high", "items")},
                "tokens": part.tokens,
                "loss": part.loss,
                "loss_se": part.loss_se if part.tokens > 1 else None,
                "floor": stratum.floor,
            }
            for evaluation, measured in zip(evals, found, strict=True)
            if measured.finite
            for stratum, part in zip(strata, measured.parts, strict=True)
        )
    )


def diverged_rows(
    spec: RunSpec, fingerprint: str, epoch_tokens: int | None, evals: Sequence[EvalSpec], note: str
) -> list[Row]:
    """The rows of a run that diverged: a status and a sentence, and no number."""
    return [_row(spec, fingerprint, epoch_tokens, e, None, "diverged", note) for e in evals]


def failed_rows(
    spec: RunSpec, fingerprint: str, epoch_tokens: int | None, evals: Sequence[EvalSpec], note: str
) -> list[Row]:
    """The rows of a run that could not be done here: a status and a sentence, and no number."""
    return [_row(spec, fingerprint, epoch_tokens, e, None, "failed", note) for e in evals]


@functools.cache
def _counts(model: ModelSpec) -> Parameters:
    """The parameters of a model, by group."""
    return parameters(shapes_of(model))


def _row(
    spec: RunSpec,
    fingerprint: str,
    epoch_tokens: int | None,
    evaluation: EvalSpec,
    numbers: Measurement | None,
    status: Literal["done", "diverged", "failed"],
    note: str | None,
) -> Row:
    tree = shapes_of(spec.model)
    counts = _counts(spec.model)
    run = run_id(spec, fingerprint)
    forward = flops_forward_per_token(spec.model, counts)
    weights, ptq = spec.precision.weights, evaluation.ptq
    stored = ptq or weights
    floor = numbers.floor if numbers else None
    return {
        "run_id": run,
        "eval_id": eval_id(run, evaluation),
        "trunk_id": trunk_id(spec.trunk, fingerprint),
        "status": status,
        "note": note,
        "corpus": type(spec.corpus).__name__.lower(),
        "corpus_fingerprint": fingerprint,
        "vocab": spec.model.vocab,
        "epochs": 0.0 if epoch_tokens is None else spec.tokens / epoch_tokens,
        "width": spec.model.width,
        "layers": spec.model.layers,
        "heads": spec.model.heads,
        "hidden": spec.model.hidden,
        "head_dim": spec.model.head_width,
        "kv_heads": spec.model.kv,
        "context": spec.model.context,
        **_architecture(spec.model),
        "params_embedding": counts.embedding,
        "params_blocks": counts.blocks,
        "params_norms": counts.norms,
        "params_head": counts.head,
        "tokens": spec.tokens,
        "batch_tokens": spec.batch_tokens,
        "seed": spec.seed,
        "optimizer": type(spec.optimizer).__name__.lower(),
        "schedule": type(spec.schedule).__name__.lower(),
        "warmup_tokens": spec.schedule.warmup_tokens,
        "cooldown": spec.schedule.cooldown if isinstance(spec.schedule, WSD) else None,
        "peak_rate": spec.optimizer.peak_rate,
        "rate_multiple": spec.optimizer.rate_multiple,
        "final_rate": last_rate(spec),
        "weight_decay": spec.optimizer.weight_decay,
        "z_loss": spec.z_loss,
        **training_cells(spec),
        "flops_train_6nd": flops_6nd(counts.blocks, spec.tokens),
        "flops_train_matmul": 3 * forward * spec.tokens,
        **_average(evaluation.average),
        **_quantization(ptq, [leaf.shape for leaf in leaves(tree["blocks"])]),
        **diagnosed(evaluation, numbers, matrices(tree), bytes_blocks(tree, stored)),
        "eval_tokens": evaluation.tokens,
        "flops_eval": forward * evaluation.tokens,
        "bytes_blocks": bytes_blocks(tree, stored),
        "bytes_total": bytes_total(tree, stored),
        "loss": numbers.loss if numbers else None,
        "loss_se": numbers.loss_se if numbers else None,
        "delta": numbers.delta if numbers else None,
        "delta_se": numbers.delta_se if numbers else None,
        "floor": floor,
        "excess": numbers.loss - floor if numbers and floor is not None else None,
        "device": jax.default_backend(),
        "dtype": spec.dtype,
        "numerics": NUMERICS,
        "code_version": __version__,
        "jax_version": jax.__version__,
    }


def _architecture(model: ModelSpec) -> Row:
    parts = model.architecture
    return {
        "positions": parts.positions,
        "norm": parts.norm,
        "feed": parts.feed,
        "tied": int(parts.tied),
        "qk_norm": int(parts.qk_norm),
        "output_norms": int(parts.output_norms),
        "bound": parts.bound,
        "mup_base_width": model.mup.base_width if model.mup else None,
    }


def training_cells(spec: RunSpec) -> Row:
    """The cells of `schema.TRAINING_PRECISION`."""
    precision = spec.precision
    weights, inputs, kv, gradients = (getattr(precision, role) for role in ROLES)
    return {
        "train_weights_bits": _bits(weights),
        "train_weights_grid": _grid(weights),
        "train_weights_granularity": _granularity(weights),
        "train_weights_group": _group(weights),
        "train_weights_format": _format(weights),
        "train_activations_bits": _bits(inputs),
        "train_activations_format": _named_format(inputs),
        "train_activations_granularity": _granularity(inputs),
        "train_kv_bits": _bits(kv),
        "train_kv_format": _named_format(kv),
        "train_gradients_bits": _bits(gradients),
        "train_gradients_format": _named_format(gradients),
        "train_settings": _training_settings(precision),
        "train_begins": None if precision.begins is None else spec.begin_step / spec.steps,
    }


def _training_settings(precision: Precision) -> str | None:
    """All of a precision but formats and its begin, where anything of it is not as it is by default.

    The granularities of keys, values and gradients have no column of their own.
    """
    quantizers = [(role, q) for role in ROLES if (q := getattr(precision, role)) is not None]
    plain = Precision(
        weights=_by_default(precision.weights),
        activations=_by_default(precision.activations),
        kv=_by_default(precision.kv, PerToken()),
        gradients=_by_default(precision.gradients, PerToken()),
        begins=precision.begins,
    )
    if precision == plain:
        return None
    how = (precision.estimator, precision.rotate, precision.learned_steps)
    return canonical((*how, *((role, q.scaling) for role, q in quantizers)))


def _by_default(quantizer: Quantizer | None, granularity: Granularity | None = None) -> Quantizer | None:
    """A quantizer of the same format, and granularity unless one is given, with every other setting as by default."""
    if quantizer is None:
        return None
    return Quantizer(format=quantizer.format, granularity=granularity or quantizer.granularity)


def _bits(quantizer: Quantizer | None) -> int | None:
    return quantizer.format.bits if quantizer else None


def _named_format(quantizer: Quantizer | None) -> str | None:
    """The format, with the grid of an integer one where it is not symmetric."""
    if quantizer and isinstance(quantizer.format, Int) and quantizer.format.grid != "symmetric":
        return f"int {quantizer.format.grid}"
    return _format(quantizer)


def _quantization(ptq: PTQ | None, shapes: Sequence[tuple[int, int]]) -> Row:
    """The cells of `schema.QUANTIZATION`; a group as wide as every matrix's inputs is called a channel."""
    if ptq is None:
        return dict.fromkeys(QUANTIZATION)
    quantizer, seen = ptq.quantizer, ptq.looks_at
    named = {effective(shape, quantizer.granularity) for shape in shapes}
    of = replace(quantizer, granularity=named.pop()) if len(named) == 1 else quantizer
    return {
        "ptq_method": type(ptq.method).__name__.lower(),
        "ptq_bits": quantizer.format.bits,
        "ptq_grid": _grid(quantizer),
        "ptq_granularity": _granularity(of),
        "ptq_group": _group(of),
        "ptq_format": _format(quantizer),
        "ptq_scale": type(quantizer.scale).__name__.lower(),
        "ptq_calibration": type(quantizer.calibration).__name__.lower(),
        "ptq_rounding": quantizer.rounding,
        "ptq_settings": _settings(ptq),
        "ptq_rotate": int(ptq.rotate),
        "ptq_activations_bits": ptq.activations.format.bits if ptq.activations else None,
        "ptq_activations_format": _format(ptq.activations),
        "ptq_activations_granularity": _granularity(ptq.activations),
        "ptq_kv_bits": ptq.kv.format.bits if ptq.kv else None,
        "ptq_kv_format": _format(ptq.kv),
        "calibration_sequences": seen.sequences if seen else None,
        "calibration_seed": seen.seed if seen else None,
        "ptq_outliers": canonical(ptq.outliers) if ptq.outliers else None,
    }


def _settings(ptq: PTQ) -> str | None:
    """The method and the quantizers without their formats, where anything of it is not as it is by default."""
    quantizers = [q for q in (ptq.quantizer, ptq.activations, ptq.kv) if q]
    parts = [ptq.method, *(part for q in quantizers for part in (q.scale, q.calibration))]
    if all(part == type(part)() for part in parts):
        return None
    return canonical((ptq.method, *(q.scaling for q in quantizers)))


def _format(quantizer: Quantizer | None) -> str | None:
    if quantizer is None:
        return None
    return "int" if isinstance(quantizer.format, Int) else quantizer.format.name


def _average(average: Average | None) -> Row:
    if isinstance(average, LAWA):
        return {"average": "lawa", "average_tokens": average.every_tokens, "average_count": average.count}
    return {"average": "ema" if average else None, "average_tokens": average and average.tokens, "average_count": None}


def _grid(quantizer: Quantizer | None) -> str | None:
    return quantizer.format.grid if quantizer and isinstance(quantizer.format, Int) else None


def _granularity(quantizer: Quantizer | None) -> str | None:
    return type(quantizer.granularity).__name__.removeprefix("Per").lower() if quantizer else None


def _group(quantizer: Quantizer | None) -> int | None:
    if quantizer and isinstance(quantizer.granularity, PerBlock):
        return quantizer.granularity.inputs
    return quantizer.granularity.size if quantizer and isinstance(quantizer.granularity, PerGroup) else None
