"""What of a plan is done, running, failed or missing: the plan joined with the store and the committed table."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from simlaw.config import trunk_id
from simlaw.lines import read_written
from simlaw.plan import Cell, Plan
from simlaw.report import duration
from simlaw.run.found import Listing, statuses
from simlaw.store import AbstractStore, Lease, held
from simlaw.table import Row, Table, make_table, parse_table

Condition = Literal["done", "diverged", "running", "failed", "missing"]


@dataclass(frozen=True, kw_only=True)
class CellStatus:
    """The condition of one cell, and the sentence that goes with it.

    `log` are the last lines of what failed, `log_path` is where whoever works on it writes. What is `trained` has a
    checkpoint, and lacks rows.
    """

    cell: Cell
    condition: Condition
    note: str
    log: tuple[str, ...] = ()
    log_path: str | None = None
    trained: bool = False


@dataclass(frozen=True, kw_only=True)
class Status:
    """The condition of every cell of a plan, and the rows that are already there.

    `from_committed` cells are done by rows of the committed table.
    """

    cells: tuple[CellStatus, ...]
    committed: tuple[Row, ...] = field(repr=False)
    """The rows of the committed table that count, and those that say why a cell failed."""
    stored: tuple[tuple[str, str], ...] = field(repr=False)
    """The other rows as the store has them, each text with its source; it may hold more than the plan asks for."""
    from_committed: int

    @functools.cached_property
    def rows(self) -> Table:
        """The rows of the plan that are there; read when they are asked for, since counting needs no number of them."""
        wanted = {e for cell in self.cells for e in cell.cell.eval_ids} - {row["eval_id"] for row in self.committed}
        found = {row["eval_id"]: row for row in read_written(self.stored) if row["eval_id"] in wanted}
        return make_table([*self.committed, *found.values()])

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
        if trained := sum(cell.trained for cell in self.cells):
            parts.append(f"{trained} trained already, with evaluations missing")
        return f" ({'; '.join(parts)})" if parts else ""

    def count(self, condition: Condition) -> int:
        """How many cells are in this condition."""
        return sum(cell.condition == condition for cell in self.cells)


def status_of(plan: Plan, store: AbstractStore, committed: Table | None) -> Status:
    """The status of a plan; rows of the committed table whose ids match count as done."""
    # what failed elsewhere is not done
    known = {row["eval_id"]: row for row in committed if row["status"] != "failed"} if committed else {}
    listing, running = Listing(store), held(store)
    cells: list[CellStatus] = []
    rows: list[Row] = []
    stored: list[tuple[str, str]] = []
    from_committed = 0
    for cell in plan.cells:
        mine = [known[e] for e in cell.eval_ids if e in known] if known else []
        rows += mine
        there = {row["eval_id"]: row["status"] for row in mine}
        texts: list[tuple[str, str]] = []
        if len(mine) == len(cell.eval_ids):
            from_committed += 1
        elif texts := listing.texts(cell.run_id):
            stored += texts
            found = {e: status for text, _ in texts for e, status in statuses(text, cell.run_id).items()}
            there |= {e: found[e] for e in cell.eval_ids if e in found and e not in there}
        done = len(there) == len(cell.eval_ids)
        if not done:
            undone = _undone(cell, len(there), listing, running)
            cells.append(replace(undone, trained=listing.has("run", cell.run_id)))
            if cells[-1].condition == "failed":
                rows += (row for row in _failed_rows(store, cell) if row["eval_id"] not in there)
        elif set(there.values()) == {"diverged"}:
            notes = [row["note"] for row in (*mine, *read_written(texts)) if row["eval_id"] in there]
            cells.append(CellStatus(cell=cell, condition="diverged", note=str(notes[0])))
        else:
            cells.append(CellStatus(cell=cell, condition="done", note=""))
    return Status(
        cells=tuple(cells),
        committed=tuple(rows),
        stored=tuple(stored),
        from_committed=from_committed,
    )


def _undone(cell: Cell, rows: int, listing: Listing, running: Mapping[str, Lease]) -> CellStatus:
    """The condition of a cell of whose evaluations only so many have rows."""
    lease = running.get(trunk_id(cell.spec.trunk, cell.fingerprint)) if running else None
    if lease and not lease.gone:
        return CellStatus(cell=cell, condition="running", note=_where(lease), log_path=lease.log)
    if listing.has("failure", cell.run_id):
        failure = listing.store.get("failure", cell.run_id)
        if failure is not None:
            said = json.loads(failure["failure.json"])
            return CellStatus(cell=cell, condition="failed", note=said["note"], log=tuple(said.get("log", ())))
    note = f"{rows} of {len(cell.eval_ids)} evaluations are there" if rows else ""
    if states := listing.steps(cell.run_id):
        note = f"step {states[-1][0]} of {cell.spec.steps} is stored"
    if lease:
        note = f"a worker gave no sign of life for {duration(lease.silent)}, {_where(lease)}; who works next takes over"
    return CellStatus(cell=cell, condition="missing", note=note, log_path=lease.log if lease else None)


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
    ago = "" if lease.gone else f", {duration(lease.silent)} ago"
    return f"on {on}: {lease.doing.get('doing', 'starting')}{at}{ago}" + (f"; log: {lease.log}" if lease.log else "")
