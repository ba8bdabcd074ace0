"""A person's own table of runs as observations.

Columns are mapped, never guessed; what is wrong is named by its row.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simlaw.columns import number, read_columns
from simlaw.errors import SimlawError
from simlaw.laws import ZERO
from simlaw.observations import Observations

#: Statuses of rows that count, in any case; everything else is a run that failed.
_DONE = (
    *("done", "finished", "finish", "complete", "completed", "ok", "success", "successful", "succeeded"),
    *("true", "yes", ""),
)
#: Nats in each unit of loss; bits per byte are those of a byte.
_NATS = {"nats": 1.0, "bits": float(np.log(2)), "bpb": float(np.log(2))}


#: Repeated rows from which their scatter tells a noise.
_LEAST_REPEATS = 3
#: The standard deviation of a normal number over the median of its size.
_NORMAL_MEDIAN = 1.4826


def load_table(
    source: Any,
    *,
    loss: str | None = None,
    delta: str | None = None,
    sigma: str | None = None,
    trunk: str | None = None,
    status: str | None = None,
    floor: str | None = None,
    unit: str = "nats",
    bytes_per_token: float | None = None,
    counts: str = "as the table counts",
    **variables: str,
) -> Observations:
    """The rows of a table as observations of the loss, of delta_PTQ, or of both, in nats per token.

    `source` is the path of a CSV, Parquet or JSON-lines file, a pandas or polars frame, arrays by name, or a list of
    rows. `loss`, `delta` and the variables of a law (`N="params"`, `D="tokens"`, `P_w="config.w_bits"` …) name its
    columns, by a dot where they are nested; an empty cell of a precision means unquantized. `sigma` names the standard
    deviations; without it they come from rows that repeat a cell, and are NaN where no cell is repeated. `trunk` names
    what rows share that move together (a run and its checkpoints), and without it every row stands alone. Left out and
    counted are rows without a loss, and those whose `status` is none of done, finish(ed), complete(d), ok,
    success(ful), succeeded, true, yes or empty (in any case). `floor` names the exact entropy of the evaluation text,
    the same in every row. `unit` is "nats" or "bits" per token, or "bpb", bits per
    byte, with the `bytes_per_token` of the evaluation text. `counts` says what N counts ("non-embedding"); the fit and
    its law file repeat it. Where both `loss` and `delta` are named, a row with bits P_post and a delta is a paired one
    (the loss that quantization added to the checkpoint's), and every other row is a loss.

    Raises `SimlawError` for a column that is missing, a cell that is no number, sizes or tokens that are not above 0
    and finite, more than 32 bits, standard deviations that are not above 0, and rows that are given twice.
    """
    if loss is None and delta is None:
        raise SimlawError("name the column of the loss, loss=…, or that of the penalty, delta=…, or both")
    if loss and delta and "P_post" not in variables:
        raise SimlawError("a table of losses and penalties needs the bits of each penalty: name their column, P_post=…")
    scale = _nats(unit, bytes_per_token)
    table = read_columns(source)
    columns, what = table.cells, table.name
    roles = {"loss": loss, "delta": delta, "sigma": sigma, "trunk": trunk, "status": status, "floor": floor}
    for key, name in {**variables, **{role: name for role, name in roles.items() if name}}.items():
        table.cell(name, key)
    count = len(next(iter(columns.values())))
    left_out = Counter[str]()
    keep = np.ones(count, bool)
    if status:
        failed = np.array([_text(cell).lower() not in _DONE for cell in columns[status]])
        keep &= ~failed
        left_out["failed"] = int(failed.sum())
    y = np.full(count, np.nan)
    paired = np.zeros(count, bool)
    if loss:
        y = _numbers(columns[loss], loss, what, keep, empty=np.nan)
    if delta:
        added = _numbers(columns[delta], delta, what, keep, empty=np.nan)
        paired = np.isfinite(added)
        if loss:
            bits = variables["P_post"]
            paired &= np.isfinite(_numbers(columns[bits], bits, what, keep, empty=np.inf))
        y = np.where(paired, added, y)
    missing = keep & ~np.isfinite(y)
    left_out["without a loss"] = int(missing.sum())
    keep &= ~missing
    if not keep.any():
        why = ", ".join(f"{n} {reason}" for reason, n in left_out.items() if n)
        raise SimlawError(f"{what}: no row is left to fit ({why}); give runs that ended, with their losses")
    x = {}
    for key, name in variables.items():
        x[key] = _numbers(columns[name], name, what, keep, empty=np.inf if key.startswith("P_") else np.nan)
        _check(key, name, x[key], keep, what)
    low = keep & ~paired & (y <= 0)
    if low.any():
        raise SimlawError(f"{what}, row {_row(low)}: {loss!r} is {y[low][0]:g}, and a loss is above 0; mend the cell")
    clusters = _clusters(columns[trunk], trunk, keep, what) if trunk else [str(i) for i in range(count)]
    _twice(x, y, clusters if trunk else None, keep, what)
    y, paired = y[keep] * scale, paired[keep]
    x = {key: values[keep] for key, values in x.items()}
    if sigma:
        spread = _deviations(columns[sigma], sigma, what, keep)[keep] * scale
    else:
        spread = np.empty_like(y)
        for rows in (paired, ~paired):
            spread[rows] = _spread(
                {key: values[rows] for key, values in x.items()}, y[rows], relative=rows is not paired
            )
    return Observations(
        x=x,
        y=y,
        sigma=spread,
        trunk=tuple(name for name, kept in zip(clusters, keep, strict=True) if kept),
        left_out=left_out,
        counts=counts,
        paired=paired if loss and delta else None,
        response="loss" if loss else "delta",
        floor=None if floor is None else _floor(columns[floor], floor, what, keep) * scale,
    )


def _floor(cells: Sequence[Any], name: str, what: str, keep: np.ndarray) -> float:
    """The one floor of the rows that are kept."""
    floors = _numbers(cells, name, what, keep, empty=np.nan)
    if (empty := keep & ~np.isfinite(floors)).any():
        raise SimlawError(f"{what}, row {_row(empty)}: {name!r} is empty, and every row has a floor; fill it in")
    floors = floors[keep]
    if np.ptp(floors) > 1e-9 * abs(floors[0]):
        raise SimlawError(
            f"{what}: {name!r} holds {floors.min():g} to {floors.max():g}, and the rows of one fit were measured on "
            "the same text, which has one floor: fit those of each text apart"
        )
    return float(floors[0])


def _text(cell: Any) -> str:
    """A cell as text; NaN, which arrays hold where nothing is (of texts, as "nan"), is empty."""
    text = "" if cell is None else str(cell).strip()
    return "" if text.lower() == "nan" else text


def _clusters(cells: Sequence[Any], name: str, keep: np.ndarray, what: str) -> list[str]:
    clusters = [_text(cell) for cell in cells]
    nameless = keep & np.array([not cluster for cluster in clusters])
    if nameless.any():
        raise SimlawError(f"{what}, row {_row(nameless)}: {name!r} is empty, and every row has a trunk; name it")
    return clusters


def _nats(unit: str, bytes_per_token: float | None) -> float:
    """Nats per token in one of the unit."""
    if unit not in _NATS:
        raise SimlawError(f"unit={unit!r}: losses are in 'nats' or 'bits' per token, or in bits per byte, 'bpb'")
    if (unit == "bpb") != (bytes_per_token is not None):
        raise SimlawError(
            "unit='bpb': bits per byte become nats per token by the length of a token; give bytes_per_token=…, the "
            "bytes of the evaluation text over its tokens"
            if unit == "bpb"
            else f"bytes_per_token={bytes_per_token:g} goes with unit='bpb' alone: {unit} are per token already"
        )
    if bytes_per_token is None:
        return _NATS[unit]
    if not (bytes_per_token > 0 and np.isfinite(bytes_per_token)):
        raise SimlawError(f"bytes_per_token={bytes_per_token:g}: a token is a number of bytes above 0")
    return _NATS[unit] * bytes_per_token


def _numbers(cells: Sequence[Any], name: str, what: str, keep: np.ndarray, empty: float) -> np.ndarray:
    found = np.full(len(cells), empty)
    for i, cell in enumerate(cells):
        if keep[i]:
            value = number(cell, f"{what}, row {i + 1}: {name!r}")
            found[i] = empty if np.isnan(value) else value
    return found


def _deviations(cells: Sequence[Any], name: str, what: str, keep: np.ndarray) -> np.ndarray:
    found = _numbers(cells, name, what, keep, empty=np.nan)
    wrong = keep & ~(np.isnan(found) | ((found > 0) & np.isfinite(found)))
    if wrong.any():
        raise SimlawError(
            f"{what}, row {_row(wrong)}: {name!r} is {found[wrong][0]:g}, and a standard deviation is above 0 and "
            "finite; mend the cell, or empty it where the noise is not known"
        )
    return found


def _check(key: str, name: str, values: np.ndarray, keep: np.ndarray, what: str) -> None:
    infinite = key.startswith("P_")
    good = (values >= 0 if key in ZERO else values > 0) & (np.isfinite(values) | infinite)
    wrong = keep & ~good
    if wrong.any():
        least, finite = "0 or above" if key in ZERO else "above 0", "" if infinite else " and finite"
        raise SimlawError(
            f"{what}, row {_row(wrong)}: {name!r} is {values[wrong][0]:g}, and {key} is {least}{finite}; mend or drop "
            "the row"
        )
    wide = keep & np.isfinite(values) & (values > 32)
    if key.startswith("P_") and wide.any():
        raise SimlawError(
            f"{what}, row {_row(wide)}: {name!r} is {values[wide][0]:g} bits: give at most 32, or an empty cell for an "
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
    """The standard deviation between rows of equal variables: in proportion to the loss, or one for all.

    By the median of the deviations from the cells' means, which a run that diverged does not move; NaN where fewer
    than three rows repeat a cell.
    """
    if not x:
        return np.full_like(y, np.nan)
    cells = np.unique(np.stack(list(x.values())), axis=1, return_inverse=True)[1].ravel()
    value = np.log(y) if relative else y
    count = np.bincount(cells)
    if len(y) - len(count) < _LEAST_REPEATS:
        return np.full_like(y, np.nan)
    again = count[cells] > 1
    deviation = value - (np.bincount(cells, value) / count)[cells]
    # a deviation from the mean of k rows is too small by a factor of sqrt(1 - 1/k)
    whole = np.abs(deviation[again]) / np.sqrt(1 - 1 / count[cells][again])
    return _NORMAL_MEDIAN * np.median(whole) * (y if relative else np.ones_like(y))


def _row(mask: np.ndarray) -> int:
    return int(np.flatnonzero(mask)[0]) + 1
