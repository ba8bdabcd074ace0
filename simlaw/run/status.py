"""What of a plan is done, running, failed or missing: the plan joined with the store and the committed table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from simlaw.config import trunk_id
from simlaw.plan import Cell, Plan
from simlaw.run.found import stored_rows, stored_steps
from simlaw.store import AbstractStore, Lease, held
from simlaw.table import Row, Table, make_table, parse_table

Condition = Literal["done", "diverged", "running", "failed", "missing"]


@dataclass(frozen=True, kw_only=True)
class CellStatus:
    """The condition of one cell, and the sentence that goes with it."""

    cell: Cell
    condition: Condition
    note: str


@dataclass(frozen=True, kw_only=True)
class Status:
    """The condition of every cell of a plan, and the rows that are already there.

    `from_committed` cells are done by rows of the committed table; `trained` ones have a checkpoint and lack rows.
    """

    cells: tuple[CellStatus, ...]
    rows: Table
    from_committed: int
    trained: int

    @property
    def todo(self) -> tuple[Cell, ...]:
        """The cells with something left to compute."""
        return tuple(cell.cell for cell in self.cells if cell.condition not in ("done", "diverged"))

    @property
    def remark(self) -> str:
        """A clause on what the counts do not show, or nothing."""
        parts = []
        if self.from_committed:
            parts.append(f"{self.from_committed} done by the committed table; --own counts what is made here alone")
        if self.trained:
            parts.append(f"{self.trained} trained already, with evaluations missing")
        return f" ({'; '.join(parts)})" if parts else ""

    def count(self, condition: Condition) -> int:
        """How many cells are in this condition."""
        return sum(cell.condition == condition for cell in self.cells)


def status_of(plan: Plan, store: AbstractStore, committed: Table | None) -> Status:
    """The status of a plan; rows of the committed table whose ids match count as done."""
    # what failed elsewhere is not done
    known = {row["eval_id"]: row for row in committed if row["status"] != "failed"} if committed else {}
    running = held(store)
    cells: list[CellStatus] = []
    rows: list[Row] = []
    from_committed = trained = 0
    for cell in plan.cells:
        mine = {e: known[e] for e in cell.eval_ids if e in known}
        from_committed += len(mine) == len(cell.eval_ids)
        if len(mine) < len(cell.eval_ids):
            there = stored_rows(store, cell.run_id)
            mine |= {e: there[e] for e in cell.eval_ids if e in there and e not in mine}
        rows += mine.values()
        trained += len(mine) < len(cell.eval_ids) and store.has("run", cell.run_id)
        cells.append(_condition(cell, list(mine.values()), store, running))
        if cells[-1].condition == "failed":
            rows += (row for row in _failed_rows(store, cell) if row["eval_id"] not in mine)
    return Status(cells=tuple(cells), rows=make_table(rows), from_committed=from_committed, trained=trained)


def _condition(cell: Cell, rows: Sequence[Row], store: AbstractStore, running: Mapping[str, Lease]) -> CellStatus:
    if len(rows) == len(cell.eval_ids):
        notes = [str(row["note"]) for row in rows if row["status"] == "diverged"]
        if len(notes) == len(rows):
            return CellStatus(cell=cell, condition="diverged", note=notes[0])
        return CellStatus(cell=cell, condition="done", note="")
    if lease := running.get(trunk_id(cell.spec.trunk, cell.fingerprint)):
        return CellStatus(cell=cell, condition="running", note=_where(lease))
    failure = store.get("failure", cell.run_id)
    if failure is not None:
        return CellStatus(cell=cell, condition="failed", note=json.loads(failure["failure.json"])["note"])
    note = f"{len(rows)} of {len(cell.eval_ids)} evaluations are there" if rows else ""
    if states := stored_steps(store, [cell.run_id]):
        note = f"step {states[-1][0]} of {cell.spec.steps} is stored"
    return CellStatus(cell=cell, condition="missing", note=note)


def _failed_rows(store: AbstractStore, cell: Cell) -> Sequence[Row]:
    """The rows that say of a failed cell's evaluations why they are not there."""
    text = (store.get("failure", cell.run_id) or {}).get("rows.csv", b"").decode()
    rows = parse_table(text, f"the failure of {cell.run_id}").rows if text else ()
    return [row for row in rows if row["eval_id"] in cell.eval_ids]


def _where(lease: Lease) -> str:
    """Where a worker that holds a lease runs, and what it said last."""
    on = f"{lease.host}, {lease.job}" if lease.job else lease.host
    step, steps = lease.doing.get("step"), lease.doing.get("steps")
    at = f", step {step} of {steps}" if step is not None and steps is not None else ""
    return f"on {on}: {lease.doing.get('doing', 'starting')}{at}" + (f"; log: {lease.log}" if lease.log else "")
