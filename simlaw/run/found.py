"""What the store already holds of runs: rows, details of evaluations, and the steps of stored states. No JAX."""

from collections.abc import Sequence
from typing import Protocol, TypeVar, runtime_checkable

from simlaw.details import AbstractDetails, Detail
from simlaw.schema import KINDS
from simlaw.table import Row, Table, parse_table

_Details = TypeVar("_Details", bound=AbstractDetails)


@runtime_checkable
class Shelf(Protocol):
    """What is read here of a store, or of that of a team."""

    def get(self, kind: str, key: str) -> dict[str, bytes] | None:
        """As `Store.get`."""

    def keys(self, kind: str, below: str = "") -> list[str]:
        """As `Store.keys`."""


def stored_rows(store: Shelf, run: str) -> dict[str, Row]:
    """The rows of a run in the store, by eval_id.

    Rows with the columns of another version count as not there: the checkpoint is, and is measured again.
    """
    found: dict[str, Row] = {}
    for key in store.keys("rows", run):
        files = store.get("rows", key)
        text = "" if files is None else files["rows.csv"].decode()
        if text.partition("\n")[0].split(",") == list(KINDS):
            found |= {row["eval_id"]: row for row in parse_table(text, f"the stored rows {key}")}
    return found


def stored_details(store: Shelf, table: Table, kind: type[_Details]) -> _Details:
    """What the store holds of one kind of detail of the evaluations in a table."""
    found: list[Detail] = []
    for run in dict.fromkeys(row["run_id"] for row in table):
        for key in store.keys("rows", run):
            files = store.get("rows", key) or {}
            if (name := f"{kind.KIND}.csv") in files:
                found += kind.parse(files[name].decode()).rows
    return kind(rows=tuple(found)).of(row["eval_id"] for row in table)


def stored_steps(store: Shelf, ids: Sequence[str]) -> list[tuple[int, str]]:
    """The steps at which states of all these trunks or runs are stored, ascending, with the kind of their artefacts."""
    found = []
    for kind in ("trunk", "partial"):
        each = [{int(key.split("/")[1]) for key in store.keys(kind, one)} for one in ids]
        found += [(step, kind) for step in set.intersection(*each)]
    return sorted(found)
