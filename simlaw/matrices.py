"""Matrices: what every evaluation's quantization did to every matrix, layer by layer; joined to the table by eval_id.

The table has their means; these rows stay in the store until somebody asks for them. No JAX.
"""

from dataclasses import dataclass
from typing import ClassVar

from simlaw.details import AbstractDetails
from simlaw.schema import Column

COLUMNS = (
    Column("run_id", "text", "the run"),
    Column("eval_id", "text", "the row of the table"),
    Column("layer", "int", "the block, from 0"),
    Column("matrix", "text", "its matrix: qkv, out, gate_up or up, down"),
    Column("params", "int", "parameters of the matrix"),
    Column("kurtosis", "float", "log kurtosis before rounding (normal: 1.0986); numbers have six digits"),
    Column("peak", "float", "largest magnitude / root mean square before rounding"),
    Column("error", "float", "mean squared error / mean square"),
    Column("step", "float", "mean squared step between codes, in weights^2; empty where steps are not equal"),
    Column("output_error", "float", "|x w_q - x w|^2 / |x w|^2 on the calibration text; empty: no text was looked at"),
    Column("entropy", "float", "bits per code by an entropy coder; empty of what has no codes"),
    Column(
        "hessian_trace",
        "float",
        "trace of its block of the Hessian before rounding, nats per token / weights^2",
    ),
    Column("hessian_trace_se", "float", "its standard error over probes"),
)


@dataclass(frozen=True, kw_only=True)
class Matrices(AbstractDetails):
    """Rows of matrices, in the order in which they were measured."""

    COLUMNS: ClassVar[tuple[Column, ...]] = COLUMNS
    KIND: ClassVar[str] = "matrices"
