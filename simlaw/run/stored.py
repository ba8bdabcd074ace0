"""A run as the store holds it, found by the first digits of its id."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from simlaw.config import NUMERICS, RunSpec, Text, run_id
from simlaw.declared import decode
from simlaw.errors import SimlawError
from simlaw.run.found import stored_rows
from simlaw.store import AbstractStore
from simlaw.table import Row

#: The trained tokenizer among the files of a corpus in the store.
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """A run's spec, its checkpoint as files, and its rows; `note` is the sentence of one that diverged."""

    run_id: str
    spec: RunSpec
    files: dict[str, bytes]
    rows: tuple[Row, ...]
    note: str | None


def find_run(store: AbstractStore, start: str, others: Iterable[str] = ()) -> str:
    """The one run id in the store, or among `others`, that begins with `start`.

    Raises `SimlawError` where there is none, or more than one.
    """
    found = sorted({key for key in (*store.keys("run"), *others) if key.startswith(start)})
    if len(found) != 1:
        what = f"is the beginning of {len(found)} runs ({', '.join(found[:5])})" if found else "is no run here"
        raise SimlawError(f"{start!r} {what}: `simlaw status SWEEP --json` lists the runs")
    return found[0]


def trained_tokenizer(store: AbstractStore, run: str, spec: RunSpec) -> str | None:
    """The tokenizer that was trained for a run's corpus, as JSON; None where it has none, or the store lacks it."""
    if not isinstance(spec.corpus, Text) or spec.corpus.bpe is None:
        return None
    for fingerprint in store.keys("corpus"):
        if run_id(spec, fingerprint) == run:
            found = (store.get("corpus", fingerprint) or {}).get(TOKENIZER)
            return None if found is None else found.decode()
    return None


def read_run(store: AbstractStore, run: str) -> StoredRun:
    """The run of an id.

    Raises `SimlawError` where its checkpoint is missing or damaged, or was made by another version of simlaw.
    """
    there = store.has("run", run)
    files = store.get("run", run)
    if files is None:
        why = f"was damaged and is set aside in {store.root / 'aside'}" if there else "was made in another store"
        raise SimlawError(f"run {run}: its checkpoint {why}: run its sweep again to make it anew")
    rows = tuple(stored_rows(store, run).values())
    try:
        spec: RunSpec = decode(RunSpec, json.loads(files["spec.json"]))
    except (SimlawError, KeyError, ValueError) as error:
        raise SimlawError(
            f"run {run} was stored by another version of simlaw ({error}): read it with that one, or run its sweep "
            "again"
        ) from error
    numerics = {row["numerics"] for row in rows} - {NUMERICS}
    if numerics:
        raise SimlawError(
            f"run {run} was computed under numerics {min(numerics)}, and this version computes under {NUMERICS}: "
            "read it with the version that made it, or run its sweep again"
        )
    status = json.loads(files["status.json"])
    return StoredRun(
        run_id=run,
        spec=spec,
        files=files,
        rows=rows,
        note=status.get("note") if "params.safetensors" not in files else None,
    )
