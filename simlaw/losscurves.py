"""Loss curves: the training loss at some 64 places of each run, in `curves.csv` beside the table; joined by run_id.

The second part of the waist: histories stay in the store, and what a figure needs of them is committed. No JAX.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Num

from simlaw.errors import SimlawError
from simlaw.export import Cells, csv_text, write_columns
from simlaw.schema import Column
from simlaw.table import Table

COLUMNS = (
    Column("run_id", "text", "the run of the table whose curve it is"),
    Column("step", "int", "optimizer steps taken"),
    Column("tokens", "int", "training tokens seen by then"),
    Column("window", "int", "steps averaged, the last of them this one"),
    Column("loss", "float", "mean training loss of the window, nats per token, to six digits"),
    Column("loss_se", "float", "its standard error, were steps independent, to three digits; empty for one step"),
)

#: The places of a curve as shares of the run's own tokens: half of them at even ratios from a thousandth of the run on,
#: half at even distances, for a cool-down bends the curve at its end.
PLACES: Float[np.ndarray, " n"] = np.unique(
    np.round(np.concatenate([np.geomspace(2**-10, 1.0, 32), np.linspace(1 / 32, 1.0, 32)]), 9)
)
#: The loss at a place is the mean of the steps before it: a 64th of the run, or a quarter of the steps so far where
#: those are fewer. Shares again, so that what averaging does to a curve is the same at equal shares of any run.
WINDOW_OF_RUN = 1 / 64
WINDOW_SO_FAR = 1 / 4


@dataclass(frozen=True, kw_only=True)
class LossCurve:
    """The training loss of one run in nats per token at some of its steps, the last one being its end."""

    run_id: str
    step: Int[np.ndarray, " n"]
    tokens: Int[np.ndarray, " n"]
    window: Int[np.ndarray, " n"]
    loss: Float[np.ndarray, " n"]
    loss_se: Float[np.ndarray, " n"]


@dataclass(frozen=True, kw_only=True)
class LossCurves:
    """The curves of some runs, each run once, in the order of their ids."""

    curves: tuple[LossCurve, ...] = ()

    def __len__(self) -> int:
        return len(self.curves)

    def __iter__(self) -> Iterator[LossCurve]:
        return iter(self.curves)

    @property
    def by_run(self) -> dict[str, LossCurve]:
        """The curves by run_id."""
        return {curve.run_id: curve for curve in self.curves}

    def merged(self, other: "LossCurves") -> "LossCurves":
        """Both curves, each run once; where both have it, this one's stays."""
        return make_curves({**other.by_run, **self.by_run}.values())

    def of(self, table: Table) -> "LossCurves":
        """The curves of the runs in a table."""
        there = {row["run_id"] for row in table}
        return LossCurves(curves=tuple(curve for curve in self.curves if curve.run_id in there))

    def to_csv(self) -> str:
        """The curves as CSV text, one line a place."""
        return csv_text(COLUMNS, self._cells())

    def write(self, path: str | Path) -> None:
        """Nothing; writes the curves as CSV or Parquet, by the suffix; `read_curves` reads the CSV."""
        write_columns(path, COLUMNS, self._cells())

    def _cells(self) -> Cells:
        cells: dict[str, list[object]] = {column.name: [] for column in COLUMNS}
        for curve in self.curves:
            cells["run_id"] += [curve.run_id] * len(curve.step)
            for name in ("step", "tokens", "window", "loss"):
                cells[name] += getattr(curve, name).tolist()
            cells["loss_se"] += [None if np.isnan(error) else error for error in curve.loss_se.tolist()]
        return cells


def make_curves(curves: Iterable[LossCurve]) -> LossCurves:
    """The curves in the order of their ids."""
    return LossCurves(curves=tuple(sorted(curves, key=lambda curve: curve.run_id)))


def curve_of(run_id: str, losses: Num[np.ndarray, " s"], batch_tokens: int) -> LossCurve:
    """The curve of a run from the loss of each of its steps, in nats per token.

    Raises `SimlawError` where a loss is not finite: a run that diverged has no curve.
    """
    bad = np.flatnonzero(~np.isfinite(losses))
    if bad.size:
        raise SimlawError(f"run {run_id} has a loss of {losses[bad[0]]} at step {bad[0]}: leave out what diverged")
    wide = np.asarray(losses, np.float64)  # sums of many float32 losses keep their digits
    steps = np.unique(np.maximum(1, np.round(PLACES * len(wide)).astype(np.int64)))
    most = np.minimum(WINDOW_OF_RUN * len(wide), WINDOW_SO_FAR * steps)
    windows = np.maximum(1, np.round(most).astype(np.int64))
    parts = [wide[step - window : step] for step, window in zip(steps, windows, strict=True)]
    errors = [part.std(ddof=1) / np.sqrt(len(part)) if len(part) > 1 else np.nan for part in parts]
    return LossCurve(
        run_id=run_id,
        step=steps,
        tokens=steps * batch_tokens,
        window=windows,
        loss=np.array([float(f"{part.mean():.6g}") for part in parts]),
        loss_se=np.array([float(f"{error:.3g}") for error in errors]),
    )


def read_curves(path: str | Path) -> LossCurves:
    """The curves in a CSV file that `LossCurves.write` made.

    Raises `SimlawError` where the file is missing, lacks a column, holds a cell that is no number, or a curve whose
    steps do not ascend.
    """
    path = Path(path)
    if not path.is_file():
        raise SimlawError(f"there are no curves at {path}: `simlaw table SWEEP --write` writes them beside the table")
    cells: dict[str, list[tuple[float, ...]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [column.name for column in COLUMNS if column.name not in (reader.fieldnames or ())]
        if missing:
            raise SimlawError(f"{path} lacks the column {missing[0]!r}: write it again, `simlaw table SWEEP --write`")
        for line, row in enumerate(reader, start=2):
            try:
                numbers = (int(row["step"]), int(row["tokens"]), int(row["window"]), float(row["loss"]))
                error = float(row["loss_se"]) if row["loss_se"] else np.nan
            except (TypeError, ValueError) as wrong:
                raise SimlawError(f"{path}, line {line}: {wrong}; mend the line or write the file again") from wrong
            before = cells.setdefault(row["run_id"], [])
            if (before and before[-1][0] >= numbers[0]) or not np.isfinite(numbers[3]):
                raise SimlawError(
                    f"{path}, line {line}: step {numbers[0]} with loss {numbers[3]:g} comes after step "
                    f"{before[-1][0] if before else 0}, and a curve's steps ascend with finite losses; write it again"
                )
            before.append((*numbers, error))
    return make_curves(_curve(run, rows) for run, rows in cells.items())


def _curve(run: str, rows: list[tuple[float, ...]]) -> LossCurve:
    step, tokens, window, loss, error = (np.array(column) for column in zip(*rows, strict=True))
    whole = {"step": step, "tokens": tokens, "window": window}
    return LossCurve(
        run_id=run,
        **{name: column.astype(np.int64) for name, column in whole.items()},
        loss=loss.astype(np.float64),
        loss_se=error.astype(np.float64),
    )
