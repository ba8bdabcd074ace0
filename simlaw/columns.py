"""A table of any kind as cells by column: CSV, Parquet, JSON lines, a data frame, arrays by name, mappings by row.

Cells that are mappings themselves (the config and the summary of a logged run) become columns of their own, whose names
are joined by a dot: `config.n_params`. They are made from the keys, so a key may hold dots and slashes.
"""

import csv
import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from simlaw.errors import SimlawError

#: The suffixes of a Parquet file.
PARQUET = (".parquet", ".pq")
#: Columns that an error lists; tables of logged runs have hundreds.
_LISTED = 12


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The cells of every column, all of one length, and what to call the table in errors; an empty cell is None."""

    cells: Mapping[str, Sequence[Any]]
    name: str

    def cell(self, column: str, purpose: str) -> Sequence[Any]:
        """The cells of one column; raises `SimlawError`, naming the `purpose`, where there is no such column."""
        if column in self.cells:
            return self.cells[column]
        names = list(self.cells)
        if len(names) > _LISTED:
            near = get_close_matches(column, names, _LISTED, cutoff=0.0)
            raise SimlawError(
                f"{self.name} has no column {column!r} for {purpose}: the nearest of its {len(names)} are "
                f"{', '.join(map(repr, near))}"
            )
        known = ", ".join(map(repr, names))
        raise SimlawError(f"{self.name} has no column {column!r} for {purpose}: its columns are {known}")


def read_columns(source: Any) -> Columns:
    """The cells of a table by column.

    `source` is the path of a CSV, Parquet or JSON-lines file, a pandas or polars frame, arrays by name, or a list of
    rows, each a mapping. Raises `SimlawError` where it is none of these, and for rows and columns that do not fit.
    """
    if isinstance(source, Columns):
        return source
    name = "the table"
    if isinstance(source, str | Path):
        path, name = Path(source), str(source)
        if path.suffix.lower() not in _READ:
            raise SimlawError(f"{path} ends in {path.suffix!r}: give a table as {', '.join(_READ)}")
        if not path.is_file():
            raise SimlawError(f"there is no table at {path}: give the path of a CSV, Parquet or JSON-lines file")
        cells = _READ[path.suffix.lower()](path)
    elif isinstance(source, Mapping) or hasattr(source, "columns"):
        cells = _frame(source.to_pydict() if hasattr(source, "to_pydict") else source)
    elif isinstance(source, list | tuple) and all(isinstance(row, Mapping) for row in source):
        cells = _by_column(source)
    else:
        raise SimlawError(f"{type(source).__name__} is no table: give a path, a data frame, or arrays by name")
    flat = _flat(cells, name)
    if not any(len(values) for values in flat.values()):
        raise SimlawError(f"{name} holds no row")
    return Columns(cells=flat, name=name)


def number(cell: Any, place: str) -> float:
    """The number in a cell, NaN where it is empty; raises `SimlawError`, naming the `place`, where it is none."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return float("nan")
    try:
        return float(cell)
    except OverflowError as error:
        raise SimlawError(f"{place} is {str(cell)[:9]}…, a number of more than 308 digits; mend the cell") from error
    except (TypeError, ValueError) as error:
        raise SimlawError(f"{place} is {cell!r}, not a number; mend the cell") from error


def optional(module: str, what: str, instead: str) -> Any:
    """A module that simlaw does not depend on; raises `SimlawError`, saying `what` needs it, where it is missing."""
    try:
        return import_module(module)
    except ImportError as error:
        package, _, _ = module.partition(".")
        raise SimlawError(f"{what} needs {package}: `pip install {package}`, or {instead}") from error


def read_parquet(path: Path) -> dict[str, Sequence[Any]]:
    """The cells of a Parquet file by column; raises `SimlawError` where pyarrow is missing, or cannot read it."""
    pyarrow = optional("pyarrow", f"{path} is Parquet, which", "save it as CSV")
    parquet = optional("pyarrow.parquet", f"{path} is Parquet, which", "save it as CSV")
    try:
        table = parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise SimlawError(f"{path} is no Parquet file: {str(error).splitlines()[0]}") from error
    once(table.column_names, str(path))
    return {name: table[name].to_pylist() for name in table.column_names}


def _csv(path: Path) -> dict[str, Sequence[Any]]:
    rows = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file)
            header = next(lines, [])
            for row in lines:
                if row and len(row) != len(header):
                    raise SimlawError(f"{path}, line {lines.line_num} is cut off or too long: mend the line")
                rows += [row] * bool(row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise SimlawError(f"{path} is no CSV in UTF-8 ({error}): save it as that") from error
    once(header, str(path))
    return {name: [row[i] for row in rows] for i, name in enumerate(header)}


def _json_lines(path: Path) -> dict[str, Sequence[Any]]:
    rows = []
    # bytes, and lines at their ends alone: a text may hold other breaks
    for i, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SimlawError(f"{path}, line {i} is no JSON: mend the line") from error
        if not isinstance(row, Mapping):
            raise SimlawError(f"{path}, line {i} holds no object: give one for each run, with columns as its keys")
        rows.append(row)
    return _by_column(rows)


#: How a file of each suffix is read.
_READ: dict[str, Callable[[Path], dict[str, Sequence[Any]]]] = {
    ".csv": _csv,
    **dict.fromkeys(PARQUET, read_parquet),
    ".jsonl": _json_lines,
}


def _frame(source: Any) -> dict[str, Sequence[Any]]:
    names = [str(name) for name in (source if isinstance(source, Mapping) else source.columns)]
    once(names, "the table")
    cells = {str(name): _list(source[name]) for name in (source if isinstance(source, Mapping) else source.columns)}
    lengths = {name: len(values) for name, values in cells.items()}
    if len(set(lengths.values())) > 1:
        raise SimlawError(f"the columns differ in length ({lengths}): give every column one cell for each run")
    return cells


def _list(column: Any) -> Sequence[Any]:
    """The cells of a column of a frame, or of an array."""
    cells: list[Any] = column.to_list() if hasattr(column, "to_list") else np.asarray(column).tolist()
    if hasattr(column, "isna"):  # pandas has three kinds of nothing, and one of them refuses to be compared
        return [None if gone else cell for cell, gone in zip(cells, column.isna(), strict=True)]
    return cells


def _by_column(rows: Sequence[Mapping[str, Any]]) -> dict[str, Sequence[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _flat(cells: Mapping[str, Sequence[Any]], table: str) -> dict[str, Sequence[Any]]:
    """Columns whose cells are mappings, as a column for each key."""
    flat: dict[str, Sequence[Any]] = {}
    for name, values in cells.items():
        nested = [value if isinstance(value, Mapping) else {} for value in values]
        plain = [None if isinstance(value, Mapping) else value for value in values]
        inner = _flat({f"{name}.{key}": column for key, column in _by_column(nested).items()}, table)
        if not inner or any(value is not None for value in plain):
            inner = {name: plain, **inner}
        for one, column in inner.items():
            if one in flat:
                raise SimlawError(f"{table} has two columns {one!r}, one of them nested: rename one")
            flat[one] = column
    return flat


def once(names: Collection[str], table: str) -> None:
    """Nothing; raises `SimlawError` where a table has two columns of one name."""
    twice = next((name for name, times in Counter(list(names)).items() if times > 1), None)
    if twice is not None:
        raise SimlawError(f"{table} has two columns {twice!r}: rename one")
