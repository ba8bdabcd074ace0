"""Runs as other tools log them: exports of Weights & Biases, and the CSVs of OLMo's model ladder.

A run counts by the end of its schedule alone: the checkpoints of a run whose learning rate falls are no runs of their
own (Hoffmann et al. 2203.15556). Nothing is read out of the name of a run or a file.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from simlaw.columns import Columns, number, read_columns
from simlaw.errors import SimlawError
from simlaw.external import load_table
from simlaw.observations import Observations

_STATE = ("State", "state")
_ID = ("ID", "id", "run_id")
_NAME = ("Name", "name", "run_name")

_TOKENS, _STEP, _BATCH = "throughput/total_tokens", "_step", "batch_size_in_tokens"
_RATE, _PEAK = "optim/learning_rate_group0", "learning_rate_peak"


def load_wandb(source: Any, *, N: str, D: str, loss: str, trunk: str | None = None, **named: Any) -> Observations:
    """The finished runs of a Weights & Biases project as observations, in nats per token.

    `source` is the CSV that the runs table downloads, or the runs of its API as JSON lines, a frame or a list of
    `{"id": run.id, "state": run.state, "config": run.config, "summary": dict(run.summary)}`, whose columns are
    addressed as `N="config.n_params"`, `loss="summary.eval/loss"`. Runs that are not finished are left out and
    counted. Where an id has several rows with a `_step` (a history), the last that has the loss counts. The trunk is
    the run's id, or its name where there is none. `named` is what else `load_table` takes.

    Raises `SimlawError` where `load_table` does, for the export of a chart, and where no column says how a run ended.
    """
    table = read_columns(source)
    state = _first(table, _STATE)
    charted = [column for column in table.cells if " - " in column]
    if state is None and charted:
        raise SimlawError(
            f"{table.name} is the export of a chart, with a column for each run ({charted[0]!r}), and nothing is read "
            "out of names: export the runs table instead, with the columns of size, tokens, loss and State shown"
        )
    if state is None:
        raise SimlawError(
            f"{table.name} has no column State, so runs that crashed would count: add it to the export, or map the "
            "columns by load_table"
        )
    for column in ("config", "summary"):
        if any(isinstance(cell, str) and cell.startswith("{") for cell in table.cells.get(column, ())):
            raise SimlawError(
                f"{table.name}: {column} holds dictionaries as text, which CSV cannot nest: save the frame by "
                "to_json(path, orient='records', lines=True), with the suffix .jsonl"
            )
    trunk = trunk or _first(table, _ID + _NAME)
    if trunk is None:
        raise SimlawError(f"{table.name} has no column ID or Name: name what tells runs apart, trunk=…")
    one = _first(table, _ID)
    if one is None or _STEP not in table.cells:
        return load_table(table, N=N, D=D, loss=loss, trunk=trunk, status=state, **named)
    ends = _ends(table.cells[one], _numbers(table, _STEP, "the step"), _numbers(table, loss, "loss"))
    early = int((~ends).sum())
    # marked and not dropped, so that errors name the rows of the file
    marks = [cell if end else "early" for cell, end in zip(table.cells[state], ends, strict=True)]
    marked = Columns(cells={**table.cells, state: marks}, name=table.name)
    seen = load_table(marked, N=N, D=D, loss=loss, trunk=trunk, status=state, **named)
    failed = seen.left_out["failed"] - early
    return replace(seen, left_out={**seen.left_out, "failed": failed, "before the end of their run": early})


def load_olmo(
    runs: Mapping[float, str | Path | Sequence[str | Path]],
    *,
    loss: str,
    decayed_to: float = 0.11,
    unit: str = "nats",
    bytes_per_token: float | None = None,
    counts: str = "as the table counts",
) -> Observations:
    """The runs of an OLMo ladder as observations, in nats per token: one for each CSV, the end of its schedule.

    `runs` gives the CSVs of every size by its number of parameters, `{190_354_176: ["190M-1xC.csv", …], …}`: the files
    do not hold it. `loss` is a column such as "eval/c4_en-validation/CrossEntropyLoss" (nats per token; of a "_bpb"
    column say so by `unit` and `bytes_per_token`). D is `throughput/total_tokens`, or `_step` times
    `batch_size_in_tokens`. Earlier rows are left out and counted, and so are runs whose last learning rate is above
    `decayed_to` times the peak, where the file has both: they were cut off (the ladder decays to 0.1).

    Raises `SimlawError` for a missing column, a cell that is no number, and where no run reached its end.
    """
    rows = []
    left_out = Counter[str]()
    for size, paths in runs.items():
        for path in [paths] if isinstance(paths, str | Path) else paths:
            table = read_columns(path)
            tokens, losses = _tokens(table), _numbers(table, loss, "loss")
            at = int(np.flatnonzero(_ends([""] * len(tokens), tokens, losses))[0])
            left_out["before the end of the schedule"] += len(tokens) - 1
            if _RATE in table.cells and _PEAK in table.cells:
                rate, peak = (_numbers(table, name, "the learning rate")[at] for name in (_RATE, _PEAK))
                if rate > decayed_to * peak:
                    left_out["cut off before the end of the schedule"] += 1
                    continue
            rows.append({"N": size, "D": tokens[at], "loss": losses[at], "run": str(path)})
    if not rows:
        raise SimlawError(
            f"no run is left: the last learning rate of each is above {decayed_to:g} of its peak, so it was cut off; "
            "give runs that ended, or raise decayed_to"
        )
    seen = load_table(
        Columns(cells={name: [row[name] for row in rows] for name in rows[0]}, name="the ends of the runs"),
        N="N",
        D="D",
        loss="loss",
        trunk="run",
        unit=unit,
        bytes_per_token=bytes_per_token,
        counts=counts,
    )
    return replace(seen, left_out={**seen.left_out, **left_out})


def _first(table: Columns, names: Sequence[str]) -> str | None:
    return next((name for name in names if name in table.cells), None)


def _numbers(table: Columns, column: str, purpose: str) -> Float[np.ndarray, " n"]:
    cells = table.cell(column, purpose)
    return np.array([number(cell, f"{table.name}, row {i}: {column!r}") for i, cell in enumerate(cells, start=1)])


def _tokens(table: Columns) -> Float[np.ndarray, " n"]:
    if _TOKENS in table.cells:
        return _numbers(table, _TOKENS, "D")
    if _STEP in table.cells and _BATCH in table.cells:
        return _numbers(table, _STEP, "D") * _numbers(table, _BATCH, "D")
    raise SimlawError(
        f"{table.name} has neither {_TOKENS} nor {_STEP} with {_BATCH}, so nobody knows its tokens: download them too"
    )


def _ends(
    runs: Sequence[Any], progress: Float[np.ndarray, " n"], losses: Float[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Which row of every run is its last that has a loss; where none has, its last."""
    order = np.lexsort((np.nan_to_num(progress, nan=-1.0), np.isfinite(losses)))
    last = {runs[int(i)]: int(i) for i in order}
    mask = np.zeros(len(losses), bool)
    mask[list(last.values())] = True
    return mask
