"""A run as the store holds it, found by the first digits of its id."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from simlaw.config import NUMERICS, RunSpec, Text, run_id
from simlaw.declared import decode, parsed
from simlaw.errors import SimlawError
from simlaw.history import History, unpack_history
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
    spec = spec_of(run, files)
    numerics = {row["numerics"] for row in rows} - {NUMERICS}
    if numerics:
        raise SimlawError(
            f"run {run} was computed under numerics {min(numerics)}, and this version computes under {NUMERICS}: "
            "read it with the version that made it, or run its sweep again"
        )
    note = note_of(run, files)
    return StoredRun(
        run_id=run,
        spec=spec,
        files=files,
        rows=rows,
        note=note,
    )


def spec_of(run: str, files: Mapping[str, bytes]) -> RunSpec:
    """What a stored run says it is; raises `SimlawError` where it says nothing that this version understands."""
    try:
        spec: RunSpec = decode(RunSpec, parsed(_file(run, files, "spec.json")))
    except SimlawError as error:
        raise SimlawError(
            f"run {run} was stored by another version of simlaw ({error}): read it with that one, or run its sweep "
            "again"
        ) from error
    return spec


def history_of(run: str, files: Mapping[str, bytes], steps: int) -> History:
    """What every step of a stored run left behind; raises `SimlawError` where that is not there, or damaged."""
    return unpack_history(_file(run, files, "history.safetensors"), steps)


def note_of(run: str, files: Mapping[str, bytes]) -> str | None:
    """The sentence of a stored run that diverged, and so has no weights; None of one that has.

    Raises `SimlawError` where there are neither weights nor a sentence.
    """
    if "params.safetensors" in files:
        return None
    status = parsed(_file(run, files, "status.json"))
    note = status.get("note") if isinstance(status, dict) else None
    if not isinstance(note, str):
        raise SimlawError(
            f"run {run} has no weights, and its status {status!r:.60} does not say why: run its sweep again"
        )
    return note


def _file(run: str, files: Mapping[str, bytes], name: str) -> bytes:
    if name not in files:
        raise SimlawError(f"the artefact of run {run} lacks {name}: remove it, it is made again")
    return files[name]
