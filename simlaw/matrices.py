"""Matrices: what every evaluation's quantization did to every matrix, layer by layer; joined to the table by eval_id.

The table has their means; these rows stay in the store until somebody asks for them. No JAX.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simlaw.export import Cells, csv_text, write_columns
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

#: One row: a value or None for every column.
MatrixRow = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Matrices:
    """Rows of matrices, in the order in which they were measured."""

    rows: tuple[MatrixRow, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, evals: Iterable[str]) -> "Matrices":
        """The rows of some evaluations."""
        wanted = set(evals)
        return Matrices(rows=tuple(row for row in self.rows if row["eval_id"] in wanted))

    def to_csv(self) -> str:
        """The rows as CSV text."""
        return csv_text(COLUMNS, self._cells())

    def write(self, path: str | Path) -> None:
        """Nothing; writes the rows as CSV or Parquet, by the suffix.

        Raises `SimlawError` for another suffix, where it cannot write, and for Parquet without pyarrow.
        """
        write_columns(path, COLUMNS, self._cells())

    def _cells(self) -> Cells:
        return {column.name: [row[column.name] for row in self.rows] for column in COLUMNS}


def parse_matrices(text: str) -> Matrices:
    """The rows in CSV text that `Matrices.to_csv` made."""
    read = {"text": str, "int": int, "float": float}
    kinds = {column.name: read[column.kind] for column in COLUMNS}
    lines = csv.DictReader(io.StringIO(text))
    return Matrices(
        rows=tuple({name: kinds[name](cell) if cell else None for name, cell in line.items()} for line in lines)
    )
