"""The results table: columns of equal length, to and from CSV and Parquet. No JAX; both halves of simlaw share it."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simlaw.columns import PARQUET, read_parquet
from simlaw.errors import SimlawError
from simlaw.export import cell_text, csv_text, frame, write_columns
from simlaw.schema import COLUMNS, KINDS, QUANTIZATION

#: One row: a value or None for every column of the schema.
Row = Mapping[str, Any]

_PARSE: dict[str, Callable[[str], Any]] = {"text": str, "int": int, "float": float}
_KIND_NAMES = {"text": "a text", "int": "a whole number", "float": "a number"}


@dataclass(frozen=True, kw_only=True)
class Table:
    """An immutable table; `rows` are in a fixed order, so equal contents give equal files."""

    rows: tuple[Row, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def column(self, name: str) -> np.ndarray:
        """One column as an array: text as objects, numbers as float64 with NaN where the cell is empty."""
        if name not in KINDS:
            raise SimlawError(f"the table has no column {name!r}: its columns are {', '.join(KINDS)}")
        values = [row[name] for row in self.rows]
        if KINDS[name] == "text":
            return np.array(["" if value is None else value for value in values], object)
        return np.array([np.nan if value is None else value for value in values], np.float64)

    def where(self, keep: Callable[[Row], bool]) -> "Table":
        """The rows that `keep` accepts."""
        return Table(rows=tuple(row for row in self.rows if keep(row)))

    def select(self, name: str, text: str) -> "Table":
        """The rows whose cell reads `text`; where that is about quantization, rows as trained stay too.

        Raises `SimlawError` where there is no such column, or no such row.
        """
        if name not in KINDS:
            raise SimlawError(f"the table has no column {name!r}: its columns are {', '.join(KINDS)}")
        try:
            value = _PARSE[KINDS[name]](text) if text else None
        except ValueError as error:
            raise SimlawError(f"{name}={text}: {name} holds {_KIND_NAMES[KINDS[name]]}; give one") from error
        about = [row for row in self.rows if not (name in QUANTIZATION and row["ptq_bits"] is None)]
        if not any(row[name] == value for row in about):
            there = sorted({"empty" if row[name] is None else str(row[name]) for row in about})
            raise SimlawError(f"no row has {name}={text}: the table has {', '.join(there[:8])}")
        aside = {id(row) for row in about if row[name] != value}
        return self.where(lambda row: id(row) not in aside)

    def merged(self, other: "Table") -> "Table":
        """Both tables' rows, each eval_id once; where both have it, this table's row stays."""
        mine = {row["eval_id"] for row in self.rows}
        return make_table([*self.rows, *(row for row in other.rows if row["eval_id"] not in mine)])

    def to_csv(self) -> str:
        """The table as CSV text; numbers in the shortest form that reads back exactly."""
        return csv_text(COLUMNS, self.cells())

    def cells(self) -> dict[str, list[Any]]:
        """The cells of every column, None where one is empty."""
        return {name: [row[name] for row in self.rows] for name in KINDS}

    def frame(self, library: str = "pandas") -> Any:
        """The table as a pandas or polars frame, empty cells missing; raises `SimlawError` without the library."""
        return frame(COLUMNS, self.cells(), library)

    def write(self, path: str | Path) -> None:
        """Nothing; writes the table as CSV or Parquet, by the suffix; `read_table` gives it back exactly.

        Raises `SimlawError` for another suffix, where it cannot write, and for Parquet without pyarrow.
        """
        write_columns(path, COLUMNS, self.cells())


def make_table(rows: Iterable[Row]) -> Table:
    """A table of rows in canonical order: by size, tokens, seed, rate, then method, granularity and bits.

    Where a run's rows have the limit of rate-distortion noise at some bits, each of them gets it.
    """
    return Table(rows=tuple(sorted(_limited(list(rows)), key=_order)))


def read_table(path: str | Path) -> Table:
    """The table in a CSV or Parquet file that `Table.write` made.

    Raises `SimlawError` where the file is missing, lacks a column, or holds a cell of the wrong kind.
    """
    path = Path(path)
    if not path.is_file():
        raise SimlawError(f"there is no table at {path}: run `simlaw run` and `simlaw table` first")
    if path.suffix in PARQUET:
        cells = read_parquet(path)
        plain = {name: [_plain(cell, KINDS.get(name)) for cell in column] for name, column in cells.items()}
        rows = (dict(zip(cells, row, strict=True)) for row in zip(*plain.values(), strict=True))
        return _rows(cells, ((f"{path}, row {i}", row) for i, row in enumerate(rows, start=1)), str(path))
    with path.open(newline="") as file:
        return _read(file, str(path))


def parse_table(text: str, source: str) -> Table:
    """The table in CSV text; `source` names it in errors."""
    return _read(io.StringIO(text), source)


def _read(file: Iterable[str], source: str) -> Table:
    reader = csv.DictReader(file)
    lines = ((f"{source}, line {line}", cells) for line, cells in enumerate(reader, start=2))
    return _rows(reader.fieldnames or (), lines, source)


def _rows(names: Iterable[str], lines: Iterable[tuple[str, Mapping[str, str]]], source: str) -> Table:
    """The table of rows as text, each with its place in the `source`."""
    missing = [column.name for column in COLUMNS if column.name not in names]
    if missing:
        raise SimlawError(
            f"{source} lacks the column {missing[0]!r}: it is no table of this version; make it again, or name the "
            f"columns of a table of your own: `simlaw fit {source} --columns N=… --columns D=… --columns loss=…`"
        )
    rows = []
    for place, cells in lines:
        row = {}
        if None in cells or None in cells.values():
            raise SimlawError(f"{place} is cut off or too long: make the table again, or mend the line")
        for name, kind in KINDS.items():
            cell = cells[name]
            try:
                row[name] = _PARSE[kind](cell) if cell else None
            except (TypeError, ValueError) as error:
                wanted = _KIND_NAMES[kind]
                raise SimlawError(f"{place}: {name} is {cell!r}, not {wanted}; mend the cell") from error
        rows.append(row)
    return make_table(rows)


def _plain(cell: Any, kind: str | None) -> str:
    """A typed cell as text; libraries write whole numbers as floats where a cell is empty, and NaN for that cell."""
    if isinstance(cell, float) and math.isnan(cell):
        return ""
    return cell_text(int(cell) if kind == "int" and isinstance(cell, float) and cell.is_integer() else cell)


def _limited(rows: Sequence[Row]) -> list[Row]:
    """The rows with `delta_limit` where it follows from others; where it does not, what a row says of it stays."""
    limits: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        if row["ptq_method"] == "ratedistortion" and row["delta"] is not None and _alone(row):
            limits.setdefault(_of_limit(row), []).append(row["delta"])
    if not limits:
        return list(rows)
    # sorted, so that the mean does not depend on the order of rows
    means = {key: math.fsum(sorted(each)) / len(each) for key, each in limits.items()}
    return [
        {**row, "delta_limit": means[_of_limit(row)]} if row["delta"] is not None and _of_limit(row) in means else row
        for row in rows
    ]


def _alone(row: Row) -> bool:
    """Whether weights alone were quantized."""
    return row["ptq_activations_bits"] is None and row["ptq_kv_bits"] is None


def _of_limit(row: Row) -> tuple[Any, ...]:
    names = ("run_id", "average", "average_tokens", "average_count", "eval_tokens", "ptq_outliers", "ptq_bits")
    return tuple(row[name] for name in names)


def _order(row: Row) -> tuple[Any, ...]:
    names = ("params_blocks", "tokens", "seed", "rate_multiple", "ptq_method", "ptq_granularity", "ptq_bits", "eval_id")
    # empty cells first
    return tuple((row[name] is not None, row[name] if row[name] is not None else 0) for name in names)
