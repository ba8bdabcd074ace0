"""What figures show of a grid of quantizations: methods against plain rounding, formats by their stored bits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float

from simlaw.claims.paired import Ratio, ratio
from simlaw.errors import SimlawError
from simlaw.quantizations import ANY, quantized_as
from simlaw.table import Row, Table

#: Ways to quantize weights, by how they differ from plain rounding.
WAYS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "GPTQ": {"ptq_method": "gptq", "calibration_seed": 0},
        "AWQ": {"ptq_method": "awq"},
        "MSE clip": {"ptq_calibration": "mse"},
        "Hadamard": {"ptq_rotate": 1},
        "stochastic": {"ptq_rounding": "stochastic"},
        "equal noise": {"ptq_method": "noise", "ptq_settings": ANY},
        "rate-distortion": {"ptq_method": "ratedistortion", "ptq_settings": ANY},
    }
)
#: Ways to quantize weights and inputs alike, against scales for each token.
OF_INPUTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "GPTQ": {"ptq_method": "gptq"},
        "Hadamard": {"ptq_rotate": 1},
        "SmoothQuant": {"ptq_method": "smoothquant"},
        "Tender": {"ptq_method": "tender"},
    }
)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The penalty of a way to quantize over that of plain rounding at the same bits."""

    way: str
    bits: int
    ratio: Ratio


def comparisons(table: Table, ways: Mapping[str, Mapping[str, Any]] = WAYS, **columns: Any) -> tuple[Comparison, ...]:
    """Every way at every bit-width at which both were measured; `columns` are those that both share."""
    shared = {"ptq_granularity": "channel", **columns}
    found = []
    for way, own in ways.items():
        rows = quantized_as(table, **{**shared, **own})
        for bits in sorted({row["ptq_bits"] for row in rows}):
            at = {"ptq_bits": bits}
            try:
                one = ratio(quantized_as(rows, **{**shared, **own, **at}), quantized_as(table, **{**shared, **at}))
            except SimlawError:
                continue  # a mean penalty that is not positive has no ratio
            found.append(Comparison(way=way, bits=bits, ratio=one))
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The penalty of a format at its stored bits per weight: the mean over seeds and its standard error."""

    family: str
    name: str
    bits: float
    delta: float
    error: float


def stored(table: Table, params: int, tokens: int) -> tuple[Stored, ...]:
    """Every quantization of weights alone by rounding or GPTQ, and the ideal code, of one size and token count."""
    cells: dict[tuple[str, str, float], list[Row]] = {}
    for row in quantized_as(table, **dict.fromkeys(_FREE, ANY)):
        here = row["params_blocks"] == params and row["tokens"] == tokens
        if here and row["ptq_method"] in ("rtn", "gptq") and row["calibration_seed"] in (None, 0):
            cells.setdefault((row["ptq_method"], _name(row), row["bits_stored"]), []).append(row)
    found = [
        Stored(family=method, name=name, bits=bits, delta=_mean(rows), error=_error(rows))
        for (method, name, bits), rows in cells.items()
    ]
    ideal: dict[int, list[Row]] = {}
    for row in quantized_as(table, ptq_method="ratedistortion", ptq_settings=ANY):
        if row["params_blocks"] == params and row["tokens"] == tokens:
            ideal.setdefault(row["ptq_bits"], []).append(row)
    found += [
        Stored(family="limit", name=f"{bits} bits", bits=float(bits), delta=_mean(rows), error=_error(rows))
        for bits, rows in sorted(ideal.items())
    ]
    return tuple(sorted(found, key=lambda one: (one.family, one.bits, one.name)))


#: Columns in which formats differ.
_FREE = ("ptq_method", "ptq_format", "ptq_grid", "ptq_scale", "calibration_sequences", "calibration_seed")
#: What the formats that ship are called, by format, scale and group.
_SHIPPING = MappingProxyType(
    {
        ("nf4", "float16"): "NF4",
        ("e2m1", "float8"): "NVFP4",
        ("e2m1", "poweroftwo"): "MXFP4",
        ("e2m3", "poweroftwo"): "MXFP6 e2m3",
        ("e3m2", "poweroftwo"): "MXFP6 e3m2",
        ("e4m3_nan", "poweroftwo"): "MXFP8 e4m3",
        ("e5m2_ieee", "poweroftwo"): "MXFP8 e5m2",
        ("e4m3_nan", "float16"): "fp8 e4m3",
        ("e5m2_ieee", "float16"): "fp8 e5m2",
    }
)


def _name(row: Row) -> str:
    if row["ptq_format"] != "int":
        return _SHIPPING.get((row["ptq_format"], row["ptq_scale"]), row["ptq_format"])
    grid = "" if row["ptq_grid"] == "symmetric" else f" {row['ptq_grid']}"
    return f"int{row['ptq_bits']}{grid} per {row['ptq_granularity']}"


def _mean(rows: Sequence[Row]) -> float:
    return float(np.mean([row["delta"] for row in rows]))


def _error(rows: Sequence[Row]) -> float:
    values: Float[np.ndarray, " n"] = np.array([row["delta"] for row in rows])
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
