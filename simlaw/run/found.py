"""What the store already holds of runs: rows, details of evaluations, and the steps of stored states. No JAX."""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from simlaw.details import AbstractDetails, Detail
from simlaw.lines import read_written
from simlaw.schema import KINDS
from simlaw.table import Row, Table

#: The first line of rows of this version.
_HEAD = ",".join(KINDS) + "\n"

#: The kinds of artefacts that are states of a training.
_STATES = ("trunk", "partial")

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
    lines = read_written(stored_texts(store, store.keys("rows", run)))
    return {row["eval_id"]: row for row in lines}


def stored_texts(store: Shelf, keys: Iterable[str]) -> list[tuple[str, str]]:
    """The rows of these artefacts as text, each with its source in words; those of another version are left out."""
    found = []
    for key in keys:
        files = store.get("rows", key)
        text = "" if files is None else files["rows.csv"].decode()
        if text.startswith(_HEAD):
            found.append((text, f"the stored rows {key}"))
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


class Listing:
    """What a store holds, by one listing of each kind, made when it is first asked for.

    A listing is as old as that: for whoever looks once at thousands of runs, and not for a worker.
    """

    def __init__(self, store: Shelf) -> None:
        self.store = store
        self._listed: dict[str, dict[str, list[str]]] = {}

    def has(self, kind: str, run: str) -> bool:
        """Whether there is an artefact of a kind of the run; it may yet turn out damaged when read."""
        return run in self._keys(kind)

    def texts(self, run: str) -> list[tuple[str, str]]:
        """The rows of a run as text, each with its source in words."""
        return stored_texts(self.store, self._keys("rows").get(run, ()))

    def steps(self, run: str) -> list[tuple[int, str]]:
        """As `stored_steps`, of one trunk or run."""
        steps = [(int(key.split("/")[1]), kind) for kind in _STATES for key in self._keys(kind).get(run, ())]
        return sorted(steps)

    def _keys(self, kind: str) -> dict[str, list[str]]:
        """The keys of a kind, by the run or trunk that they are of."""
        if kind not in self._listed:
            found = self._listed[kind] = {}
            for key in self.store.keys(kind):
                found.setdefault(key.partition("/")[0], []).append(key)
        return self._listed[kind]


def statuses(text: str, run: str) -> dict[str, str]:
    """The status of each evaluation in the text of a run's rows, by eval_id; cheap, for nothing else is read."""
    found = {}
    for line in text.split("\n")[1:-1]:
        cells = line.split(",", 4)
        if len(cells) < 5 or cells[0] != run:  # the rest of a cell that holds a line break
            continue
        found[cells[1]] = cells[3]
    return found


def stored_steps(store: Shelf, ids: Sequence[str]) -> list[tuple[int, str]]:
    """The steps at which states of all these trunks or runs are stored, ascending, with the kind of their artefacts."""
    found = []
    for kind in _STATES:
        each = [{int(key.split("/")[1]) for key in store.keys(kind, one)} for one in ids]
        found += [(step, kind) for step in set.intersection(*each)]
    return sorted(found)
