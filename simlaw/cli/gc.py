"""`simlaw gc`: free the store of what no sweep here uses."""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import click

from simlaw.config import trunk_id
from simlaw.corpora.bpe import KIND
from simlaw.errors import SimlawError
from simlaw.report import size
from simlaw.run.session import Session
from simlaw.run.submissions import queued
from simlaw.store import SUMS, AbstractStore, Store, held, open_store
from simlaw.store.sums import parsed

#: Who wrote a lease longer ago does not work: leases are renewed far more often, and clocks of hosts agree to an hour.
_GONE_SECONDS = 3600
#: A file below an artefact's key that it does not name is of an upload that may still go on, unless it is older.
_UPLOAD_SECONDS = 24 * 3600
#: Jobs that wait elsewhere, as in Kubernetes, find their manifest for so long.
_MANIFEST_SECONDS = 7 * 24 * 3600
#: What goes whole: of the store, and of this machine.
_SHARED = ("aside", "claims", "leases", "submissions")
_NEAR = ("logs", "tmp")


@click.command()
@click.option("--yes", is_flag=True, help="Remove it; without this, only say what would go.")
def command(yes: bool) -> None:
    """Remove runs, rows, states, histories and leftovers that no sweep below sweeps/ uses.

    Manifests of the last seven days stay, for jobs may wait that need them, and files of the last day that belong to no
    artefact, for they may be about to.

    \b
    Example:
      simlaw gc --yes
    """
    store = open_store()
    runs, trunks, corpora, tokenized = set(), set(), set(), set()
    sweeps = sorted(Path("sweeps").glob("*/sweep.py"))
    if not sweeps:
        raise SimlawError(
            "there is no sweep below sweeps/ here, so everything would go: run it from the project's folder"
        )
    for path in sweeps:
        session = Session.open(str(path))
        corpora |= set(session.fingerprints.values())
        tokenized |= {key for corpus in session.corpora.values() for key in corpus.kept}
        runs |= {cell.run_id for cell in session.plan.cells}
        trunks |= {trunk_id(cell.spec.trunk, cell.fingerprint) for cell in session.plan.cells}
    now = time.time()
    if busy := [key for key, lease in held(store).items() if now - lease.time < _GONE_SECONDS]:
        raise SimlawError(
            f"workers are at work here (on {', '.join(sorted(busy)[:3])}): wait for them, or stop them first"
        )
    if places := queued(store).places:
        raise SimlawError(
            f"jobs of this store are in the queue ({next(iter(places.values()))}): wait for them, or cancel them"
        )
    used = {
        "corpus": corpora,
        KIND: tokenized,
        "run": runs,
        "rows": runs,
        "failure": runs,
        "trunk": trunks,
        "partial": trunks | runs,
    }
    near = Store(root=store.root)  # of a folder the same as the store
    doomed = [each for kind in used for each in _artefacts(store, kind, used[kind], now)]
    doomed += [each for folder in _SHARED for each in _files(store, folder, lambda *_: True)]
    doomed += _files(store, "manifests", lambda _, written: now - written > _MANIFEST_SECONDS)
    doomed += [each for folder in _NEAR for each in _files(near, folder, lambda *_: True)]
    doomed += _files(near, "history", lambda at, _: at.stem not in (trunks if at.parent.name == "trunk" else runs))
    doomed += _files(near, "copies", lambda at, _: not used.get(at.parts[1], set()) & set(at.parts[2:3]))
    if yes:
        for each in doomed:
            each.remove()
        for folder in (*used, *_SHARED, *_NEAR, "manifests", "history", "copies"):
            _prune(near.root / folder)
    freed, counts = sum(each.size for each in doomed), Counter(each.what for each in doomed)
    what = f"{size(freed)}: {', '.join(f'{n} {kind}' for kind, n in counts.items())}" if doomed else "nothing"
    click.echo(f"removed {what}" if yes else f"would remove {what}; `simlaw gc --yes` does")


@dataclass(frozen=True, kw_only=True)
class _Doomed:
    """Something that goes: what it is counted as, its bytes, and how it is removed."""

    what: str
    size: int
    remove: Callable[[], None]


def _artefacts(store: AbstractStore, kind: str, used: Collection[str], now: float) -> Iterator[_Doomed]:
    """The artefacts of a kind that are not used, and old files that are of none."""
    listing, ending = store.listing(kind), f"/{SUMS}"
    keys = {each.name[len(kind) + 1 : -len(ending)] for each in listing if each.name.endswith(ending)}
    files: dict[str, dict[str, int]] = {key: {} for key in keys}
    loose = []
    for each in listing:
        name = each.name[len(kind) + 1 :]
        key = next((str(above) for above in PurePosixPath(name).parents if str(above) in keys), None)
        if key is not None:
            files[key][name[len(key) + 1 :]] = each.size
        if now - each.time > _UPLOAD_SECONDS:
            loose.append((key, name, each.size))
    named: dict[str, Collection[str]] = {}
    for key, inside in files.items():
        if key.partition("/")[0] not in used:
            yield _Doomed(what=kind, size=sum(inside.values()), remove=partial(store.remove, kind, key))
        # only where there is more than one folder, or file, can one of them be of another upload
        elif len({name.partition("/")[0] for name in inside}) > 2:
            with contextlib.suppress(ValueError):  # damaged: to be set aside by who reads it
                named[key] = {SUMS, *parsed(store.read(f"{kind}/{key}/{SUMS}") or b"")}
    for key, name, bytes_ in loose:
        if key is None or (key in named and name[len(key) + 1 :] not in named[key]):
            yield _Doomed(what=f"{kind} cut off", size=bytes_, remove=partial(store.erase, f"{kind}/{name}"))


def _files(store: AbstractStore, folder: str, goes: Callable[[PurePosixPath, float], bool]) -> list[_Doomed]:
    """The files below a folder that go by their name and the time they were written."""
    return [
        _Doomed(what=folder, size=each.size, remove=partial(store.erase, each.name))
        for each in store.listing(folder)
        if goes(PurePosixPath(each.name), each.time)
    ]


def _prune(folder: Path) -> None:
    """Remove a folder of this machine and those below it, where they are empty: one without files is no artefact."""
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(path)
