"""The results table: columns of equal length, read from and written to CSV. No JAX; both halves of simlaw share it."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simlaw.errors import SimlawError
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
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(KINDS)
        for row in self.rows:
            writer.writerow("" if row[name] is None else _show(row[name]) for name in KINDS)
        return out.getvalue()


def make_table(rows: Iterable[Row]) -> Table:
    """A table of rows in canonical order: by size, tokens, seed, rate, then method, granularity and bits."""
    return Table(rows=tuple(sorted(rows, key=_order)))


def read_table(path: str | Path) -> Table:
    """The table in a CSV file written by `to_csv`.

    Raises `SimlawError` where the file is missing, lacks a column, or holds a cell of the wrong kind.
    """
    try:
        with Path(path).open(newline="") as file:
            return _read(file, str(path))
    except FileNotFoundError as error:
        raise SimlawError(f"there is no table at {path}: run `simlaw run` and `simlaw table` first") from error


def parse_table(text: str, source: str) -> Table:
    """The table in CSV text; `source` names it in errors."""
    return _read(io.StringIO(text), source)


def _read(file: Iterable[str], source: str) -> Table:
    reader = csv.DictReader(file)
    missing = [column.name for column in COLUMNS if column.name not in (reader.fieldnames or ())]
    if missing:
        raise SimlawError(f"{source} lacks the column {missing[0]!r}: it is no table of this version; make it again")
    rows = []
    for line, cells in enumerate(reader, start=2):
        row = {}
        if None in cells or None in cells.values():
            raise SimlawError(f"{source}, line {line} is cut off or too long: make the table again, or mend the line")
        for name, kind in KINDS.items():
            cell = cells[name]
            try:
                row[name] = _PARSE[kind](cell) if cell else None
            except (TypeError, ValueError) as error:
                wanted = _KIND_NAMES[kind]
                raise SimlawError(f"{source}, line {line}: {name} is {cell!r}, not {wanted}; mend the cell") from error
        rows.append(row)
    return make_table(rows)


def _show(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def _order(row: Row) -> tuple[Any, ...]:
    names = ("params_blocks", "tokens", "seed", "rate_multiple", "ptq_method", "ptq_granularity", "ptq_bits", "eval_id")
    # empty cells first
    return tuple((row[name] is not None, row[name] if row[name] is not None else 0) for name in names)
