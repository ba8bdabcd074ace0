"""A person's own table of runs as observations: CSV, Parquet, a data frame, or arrays by name.

Columns are mapped, never guessed; what is wrong is named by its row.
"""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simlaw.errors import SimlawError
from simlaw.observations import Observations

#: Statuses of rows that count; everything else is a run that failed.
_DONE = ("done", "finished", "completed", "ok", "success", "")


def load_table(
    source: Any,
    *,
    loss: str | None = None,
    delta: str | None = None,
    sigma: str | None = None,
    trunk: str | None = None,
    status: str | None = None,
    unit: str = "nats",
    counts: str = "as the table counts",
    **variables: str,
) -> Observations:
    """The rows of a table as observations of the loss (or of delta_PTQ), in nats per token.

    `source` is the path of a CSV or Parquet file, a pandas or polars frame, or arrays by name. `loss` (or `delta`) and
    the variables of a law (`N="params"`, `D="tokens"`, `P_w="w_bits"` …) name its columns; an empty cell of a precision
    means unquantized. `sigma` names the standard deviations; without it they come from rows that repeat a cell, and are
    NaN where no cell is repeated. `trunk` names what rows share that move together (a run and its checkpoints), and
    without it every row stands alone. Rows whose `status` is not done, and rows without a loss, are left out and
    counted. `unit` is "nats" or "bits" per token. `counts` says what N counts ("non-embedding"), in the fit and its file.

    Raises `SimlawError` for a column that is missing, a cell that is no number, sizes or tokens that are not above 0,
    more than 32 bits, and rows that are given twice.
    """
    if (loss is None) == (delta is None):
        raise SimlawError("name the column of the loss, loss=…, or that of the penalty, delta=…: one of the two")
    if unit not in ("nats", "bits"):
        raise SimlawError(f"unit={unit!r}: losses are in 'nats' or 'bits' per token")
    response = loss or delta
    assert response is not None
    columns, what = _columns(source)
    named = {**variables, "loss" if loss else "delta": response}
    named |= {key: name for key, name in (("sigma", sigma), ("trunk", trunk), ("status", status)) if name}
    for key, name in named.items():
        if name not in columns:
            raise SimlawError(f"{what} has no column {name!r} for {key}: its columns are {', '.join(columns)}")
    count = len(columns[response])
    left_out = Counter[str]()
    keep = np.ones(count, bool)
    if status:
        failed = np.array([str(cell).strip().lower() not in _DONE for cell in columns[status]])
        keep &= ~failed
        left_out["failed"] = int(failed.sum())
    y = _numbers(columns[response], response, what, keep, empty=np.nan)
    missing = keep & ~np.isfinite(y)
    left_out["without a loss"] = int(missing.sum())
    keep &= ~missing
    x = {}
    for key, name in variables.items():
        x[key] = _numbers(columns[name], name, what, keep, empty=np.inf if key.startswith("P_") else np.nan)
        _check(key, name, x[key], keep, what)
    if loss:
        low = keep & (y <= 0)
        if low.any():
            raise SimlawError(f"{what}, row {_row(low)}: {response} is {y[low][0]:g}, and a loss is above 0")
    clusters = [str(cell) for cell in columns[trunk]] if trunk else [str(i) for i in range(count)]
    _twice(x, y, clusters if trunk else None, keep, what)
    scale = np.log(2) if unit == "bits" else 1.0
    y = y[keep] * scale
    x = {key: values[keep] for key, values in x.items()}
    if sigma:
        spread = _numbers(columns[sigma], sigma, what, keep, empty=np.nan)[keep] * scale
    else:
        spread = _spread(x, y, relative=loss is not None)
    return Observations(
        x=x,
        y=y,
        sigma=spread,
        trunk=tuple(name for name, kept in zip(clusters, keep, strict=True) if kept),
        left_out=left_out,
        counts=counts,
    )


def _columns(source: Any) -> tuple[dict[str, Sequence[Any]], str]:
    """The cells of every column, and what to call the table in errors."""
    if isinstance(source, str | Path):
        path = Path(source)
        if not path.is_file():
            raise SimlawError(f"there is no table at {path}: give the path of a CSV or Parquet file")
        return (_parquet(path) if path.suffix in (".parquet", ".pq") else _csv(path)), str(path)
    if isinstance(source, Mapping) or hasattr(source, "columns"):
        names = list(source) if isinstance(source, Mapping) else list(source.columns)
        cells: dict[str, Sequence[Any]] = {str(name): np.asarray(source[name]).tolist() for name in names}
        lengths = {name: len(values) for name, values in cells.items()}
        if len(set(lengths.values())) != 1:
            raise SimlawError(f"the columns differ in length ({lengths}): give every column one cell for each run")
        return cells, "the table"
    raise SimlawError(f"{type(source).__name__} is no table: give a path, a data frame, or arrays by name")


def _csv(path: Path) -> dict[str, Sequence[Any]]:
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    for i, row in enumerate(rows):
        if None in row or None in row.values():
            raise SimlawError(f"{path}, line {i + 2} is cut off or too long: mend the line")
    if not rows:
        raise SimlawError(f"{path} holds no row")
    return {name: [row[name] for row in rows] for name in reader.fieldnames or ()}


def _parquet(path: Path) -> dict[str, Sequence[Any]]:
    try:
        import pyarrow.parquet  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise SimlawError(
            f"{path} is Parquet, which needs pyarrow: `pip install pyarrow`, or save it as CSV"
        ) from error
    table = pyarrow.parquet.read_table(path)
    return {name: table[name].to_pylist() for name in table.column_names}


def _numbers(cells: Sequence[Any], name: str, what: str, keep: np.ndarray, empty: float) -> np.ndarray:
    found = np.full(len(cells), empty)
    for i, cell in enumerate(cells):
        if not keep[i] or cell is None or (isinstance(cell, str) and not cell.strip()):
            continue
        try:
            number = float(cell)
        except (TypeError, ValueError) as error:
            raise SimlawError(f"{what}, row {i + 1}: {name} is {cell!r}, not a number; mend the cell") from error
        found[i] = empty if np.isnan(number) else number
    return found


def _check(key: str, name: str, values: np.ndarray, keep: np.ndarray, what: str) -> None:
    wrong = keep & ~(values > 0)
    if wrong.any():
        raise SimlawError(
            f"{what}, row {_row(wrong)}: {name} is {values[wrong][0]:g}, and {key} is above 0; mend or drop the row"
        )
    wide = keep & np.isfinite(values) & (values > 32)
    if key.startswith("P_") and wide.any():
        raise SimlawError(
            f"{what}, row {_row(wide)}: {name} is {values[wide][0]:g} bits: give at most 32, or an empty cell for an "
            "unquantized tensor"
        )


def _twice(
    x: Mapping[str, np.ndarray], y: np.ndarray, trunk: Sequence[str] | None, keep: np.ndarray, what: str
) -> None:
    """Refuse rows that are equal in all variables, in the loss and in the trunk: a run that was exported twice."""
    seen: dict[tuple[object, ...], int] = {}
    for i in np.flatnonzero(keep):
        key = (*(float(values[i]) for values in x.values()), float(y[i]), trunk[int(i)] if trunk else "")
        if key in seen:
            raise SimlawError(f"{what}: row {i + 1} repeats row {seen[key] + 1} to the last digit; drop one of them")
        seen[key] = int(i)


def _spread(x: Mapping[str, np.ndarray], y: np.ndarray, relative: bool) -> np.ndarray:
    """The standard deviation between rows of equal variables, pooled: in proportion to the loss, or one for all."""
    if not x:
        return np.full_like(y, np.nan)
    cells = np.unique(np.stack(list(x.values())), axis=1, return_inverse=True)[1].ravel()
    value = np.log(y) if relative else y
    count = np.bincount(cells)
    mean = np.bincount(cells, value) / count
    freedom = len(y) - len(count)
    if freedom < 1:
        return np.full_like(y, np.nan)
    spread = np.sqrt(np.sum((value - mean[cells]) ** 2) / freedom)
    return spread * (y if relative else np.ones_like(y))


def _row(mask: np.ndarray) -> int:
    return int(np.flatnonzero(mask)[0]) + 1
