"""Diagnosed: what the diagnoses of matrices come to in one row of the table, and as rows of their own."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from simlaw.arithmetic import Place
from simlaw.config import EvalSpec, RateDistortion
from simlaw.details import Detail
from simlaw.evaluate import Measurement
from simlaw.matrices import COLUMNS
from simlaw.table import Row


def diagnosed(evaluation: EvalSpec, found: Measurement | None, shapes: Mapping[Place, Any], stored: float) -> Row:
    """The cells of a row that say what quantization did to the matrices; `stored` is the bytes of all of them."""
    sizes = {place: int(np.prod(leaf.shape)) for place, leaf in shapes.items()}
    total = sum(sizes.values())

    def mean(name: str) -> float | None:
        """The mean of a number over the matrices, weighed by their parameters; None where one has none."""
        if found is None or not found.matrices:
            return None
        each = {place: getattr(one, name) for place, one in found.matrices.items()}
        if None in each.values():
            return None
        return sum(sizes[place] * number for place, number in each.items()) / total

    ptq, entropy = evaluation.ptq, mean("entropy")
    bits = 8 * stored / total
    # an ideal code of so many bits has no scales
    ideal = ptq is not None and isinstance(ptq.method, RateDistortion)
    overhead = bits - ptq.quantizer.format.bits if ptq else 0.0
    return {
        "weight_kurtosis": mean("kurtosis"),
        "weight_peak": mean("peak"),
        "weight_error": mean("relative"),
        "weight_step": mean("step"),
        "output_error": mean("output"),
        "bits_stored": bits if ptq else None,
        "bits_entropy": None if entropy is None or ptq is None else entropy + (0 if ideal else overhead),
        "delta_limit": None,
        **_curvature(evaluation, found),
    }


def of_matrices(run: str, evaluation: str, found: Measurement, shapes: Mapping[Place, Any]) -> list[Detail]:
    """The rows of the matrices of one evaluation, named by its run and itself; none where nothing is known of them."""
    rows: list[Detail] = []
    for place, leaf in shapes.items():
        one, trace = found.matrices.get(place), found.traces.get(place)
        if one is None and trace is None:
            continue
        names = ("kurtosis", "peak", "relative", "step", "output", "entropy")
        cells = [None if one is None else getattr(one, name) for name in names]
        spread = None if trace is None else trace.std(ddof=1) / np.sqrt(trace.size)
        numbers = [_digits(number) for number in (*cells, None if trace is None else trace.mean(), spread)]
        whole = (run, evaluation, place.layer, place.matrix, int(np.prod(leaf.shape)))
        rows.append(dict(zip((column.name for column in COLUMNS), (*whole, *numbers), strict=True)))
    return rows


def _digits(number: Any) -> float | None:
    """Six of them."""
    return None if number is None else float(f"{float(number):.6g}")


def _curvature(evaluation: EvalSpec, found: Measurement | None) -> Row:
    names = ("hessian_windows", "hessian_probes", "hessian_trace", "hessian_trace_se", "delta_quadratic")
    how, ptq = evaluation.curvature, evaluation.ptq
    if how is None or found is None:
        return dict.fromkeys(names)
    total = np.sum(list(found.traces.values()), axis=0)
    quadratic = None
    if ptq is not None and ptq.activations is None and ptq.kv is None:
        quadratic = sum(float(found.traces[place].mean()) * one.error / 2 for place, one in found.matrices.items())
    windows = min(how.windows, found.windows)
    cells = (windows, how.probes, float(total.mean()), float(total.std(ddof=1) / np.sqrt(total.size)), quadratic)
    return dict(zip(names, cells, strict=True))
