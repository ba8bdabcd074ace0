"""The results table: columns of equal length, to and from CSV and Parquet. No JAX; both halves of simlaw share it."""

import io
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simlaw.columns import PARQUET, read_parquet
from simlaw.errors import SimlawError
from simlaw.export import cell_text, csv_lines, frame, write_columns
from simlaw.files import write_file
from simlaw.lines import KIND_NAMES, PARSE, Line, Taken, read_lines
from simlaw.schema import COLUMNS, KINDS, QUANTIZATION

#: One row: a value or None for every column of the schema.
Row = Mapping[str, Any]


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
            value = PARSE[KINDS[name]](text) if text else None
        except ValueError as error:
            raise SimlawError(f"{name}={text}: {name} holds {KIND_NAMES[KINDS[name]]}; give one") from error
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
        texts = [row.text if isinstance(row, Line) else None for row in self.rows]
        # what was read from a table's own text need not be put into text again
        fresh = csv_lines(_cells(row) for row, text in zip(self.rows, texts, strict=True) if text is None)
        return "\n".join([",".join(KINDS), *(next(fresh) if text is None else text for text in texts), ""])

    def cells(self) -> dict[str, list[Any]]:
        """The cells of every column, None where one is empty."""
        if not self.rows:
            return {name: [] for name in KINDS}
        return dict(zip(KINDS, map(list, zip(*map(_cells, self.rows), strict=True)), strict=True))

    def frame(self, library: str = "pandas") -> Any:
        """The table as a pandas or polars frame, empty cells missing; raises `SimlawError` without the library."""
        return frame(COLUMNS, self.cells(), library)

    def write(self, path: str | Path) -> None:
        """Nothing; writes the table as CSV or Parquet, by the suffix; `read_table` gives it back exactly.

        Raises `SimlawError` for another suffix, where it cannot write, and for Parquet without pyarrow.
        """
        if Path(path).suffix == ".csv":
            write_file(Path(path), self.to_csv().encode())
        else:
            write_columns(path, COLUMNS, self.cells())


def make_table(rows: Iterable[Row]) -> Table:
    """A table of rows in canonical order: by size, tokens, seed, rate, then method, granularity and bits.

    Where a run's rows have the limit of rate-distortion noise at some bits, each of them gets it.
    """
    return Table(rows=tuple(_ordered(_limited(list(rows)))))


def read_table(path: str | Path) -> Table:
    """The table in a CSV or Parquet file that `Table.write` made.

    Raises `SimlawError` where the file is missing or no CSV in UTF-8, lacks a column or has one twice, for a cell of
    the wrong kind or out of its bounds, and for an evaluation that is there twice.
    """
    path = Path(path)
    if not path.is_file():
        raise SimlawError(f"there is no table at {path}: run `simlaw run` and `simlaw table` first")
    if path.suffix in PARQUET:
        cells = read_parquet(path)
        if not cells:
            raise SimlawError(f"{path} has no column: it is no table; make it again")
        taken = Taken(tuple(cells), str(path))
        plain = ([_plain(cell, KINDS.get(name)) for cell in column] for name, column in cells.items())
        for number, row in enumerate(zip(*plain, strict=True), start=1):
            taken.add(row, f"{path}, row", number)
        return _table(taken.lines(), str(path))
    with path.open(newline="", encoding="utf-8-sig") as file:
        return _table(read_lines(file, str(path)), str(path))


def parse_table(text: str, source: str) -> Table:
    """The table in CSV text; `source` names it in errors."""
    return _table(read_lines(io.StringIO(text), source), source)


def _table(rows: Sequence[Row], source: str) -> Table:
    """The table of rows that were read; raises `SimlawError` where one evaluation is there twice."""
    twice = [name for name, times in Counter(row["eval_id"] for row in rows).items() if times > 1]
    if twice:
        raise SimlawError(f"{source} has the evaluation {twice[0]} twice: drop one of the rows")
    return make_table(rows)


def _cells(row: Row) -> Sequence[Any]:
    """The cells of a row in the order of the schema."""
    return row.cells if isinstance(row, Line) else [row[name] for name in KINDS]


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


def _ordered(rows: Sequence[Row]) -> list[Row]:
    """The rows in canonical order, empty cells first; column by column, for a row has many and few differ."""
    names = ("params_blocks", "tokens", "seed", "rate_multiple", "ptq_method", "ptq_granularity", "ptq_bits", "eval_id")
    ranks = [_ranks([row[name] for row in rows]) for name in names]
    return [rows[at] for at in np.lexsort(ranks[::-1])]


def _ranks(cells: Sequence[Any]) -> np.ndarray:
    """The place of each cell among those of its column, equal ones sharing it."""
    there = sorted(set(cells), key=lambda cell: (cell is not None, 0 if cell is None else cell))
    rank = {cell: at for at, cell in enumerate(there)}
    return np.array([rank[cell] for cell in cells], np.int64)
