"""Columns of a table written out: CSV and Parquet by the suffix of a file, and data frames."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from simlaw.columns import PARQUET, optional
from simlaw.errors import SimlawError
from simlaw.files import write_file
from simlaw.schema import Column

#: The columns that a table has, and the cells of each by its name; None is an empty cell.
Cells = Mapping[str, Sequence[Any]]

_PANDAS = {"text": "string", "int": "Int64", "float": "Float64"}
_POLARS = {"text": "String", "int": "Int64", "float": "Float64"}
_ARROW = {"text": "string", "int": "int64", "float": "float64"}


def csv_text(columns: Sequence[Column], cells: Cells) -> str:
    """The cells as CSV text; numbers in the shortest form that reads back exactly."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(column.name for column in columns)
    writer.writerows(map(cell_text, row) for row in zip(*(cells[column.name] for column in columns), strict=True))
    return out.getvalue()


def csv_lines(rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """The lines of CSV of rows of cells, as `csv_text` has them."""
    lines: list[str] = []
    writer = csv.writer(SimpleNamespace(write=lines.append), lineterminator="\n")
    for row in rows:
        writer.writerow(map(cell_text, row))
        yield lines.pop()[:-1]


def cell_text(cell: Any) -> str:
    """One cell as text that reads back exactly; an empty one is the empty text."""
    if cell is None:
        return ""
    return repr(float(cell)) if isinstance(cell, float) else str(cell)


def frame(columns: Sequence[Column], cells: Cells, library: str = "pandas") -> Any:
    """The cells as a frame whose columns are text, whole numbers and numbers, and whose empty cells are missing.

    `library` is "pandas" or "polars". Raises `SimlawError` for another, and where it is not installed.
    """
    if library not in ("pandas", "polars"):
        raise SimlawError(f"library={library!r}: frames are made by 'pandas' or 'polars'")
    module = optional(library, "a frame", "take the arrays or write CSV")
    if library == "pandas":
        return module.DataFrame({c.name: module.array(cells[c.name], dtype=_PANDAS[c.kind]) for c in columns})
    return module.DataFrame(
        [module.Series(c.name, cells[c.name], dtype=getattr(module, _POLARS[c.kind])) for c in columns]
    )


def parquet(columns: Sequence[Column], cells: Cells) -> bytes:
    """The cells as a Parquet file; what each column holds, with its unit, is in the metadata of its field.

    Raises `SimlawError` where pyarrow is not installed.
    """
    pyarrow = optional("pyarrow", "Parquet", "write CSV")
    schema = pyarrow.schema(
        [pyarrow.field(c.name, getattr(pyarrow, _ARROW[c.kind])(), metadata={"holds": c.holds}) for c in columns]
    )
    table = pyarrow.table({c.name: cells[c.name] for c in columns}, schema=schema)
    out = pyarrow.BufferOutputStream()
    optional("pyarrow.parquet", "Parquet", "write CSV").write_table(table, out)
    return out.getvalue().to_pybytes()


def write_columns(path: str | Path, columns: Sequence[Column], cells: Cells) -> None:
    """Nothing; writes the cells to a file, as CSV or Parquet by its suffix.

    Raises `SimlawError` for another suffix, where it cannot write, and for Parquet where pyarrow is not installed.
    """
    path = Path(path)
    if path.suffix == ".csv":
        data = csv_text(columns, cells).encode()
    elif path.suffix in PARQUET:
        data = parquet(columns, cells)
    else:
        raise SimlawError(f"{path} ends in {path.suffix!r}: a table is written as .csv, {', '.join(PARQUET)}")
    write_file(path, data)
