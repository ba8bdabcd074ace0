"""A worker process: takes the packs of a manifest, one at a time under a lease, until none is left.

The contract of every engine: `simlaw work --manifest M` does whatever entry is free, `--index I` does entry I alone,
both exit with 0 when that is done. A manifest is frozen when the work is submitted; the sweep may grow meanwhile.
"""

import gc
import itertools
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import jax
from jax.sharding import Mesh

from simlaw.config import Corpus, run_id, trunk_id
from simlaw.corpora import AbstractCorpus, open_corpus
from simlaw.declared import Declared, decode, digest, encode
from simlaw.devices import DeviceMesh
from simlaw.errors import SimlawError
from simlaw.files import write_file
from simlaw.plan import Pack
from simlaw.run.machine import machine, processor
from simlaw.run.message import Message, Task
from simlaw.run.team import AnyStore, TeamStore, anybody, leads, together
from simlaw.run.trace import Trace
from simlaw.run.work import Desk, Stopped, work
from simlaw.store import Store
from simlaw.train import Program

#: Seconds between looks at packs that other workers hold.
_PATIENCE_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Manifest(Declared):
    """The packs of one submission, and the fingerprint of each corpus that they are on."""

    corpora: tuple[Corpus, ...]
    fingerprints: tuple[str, ...]
    packs: tuple[Pack, ...]

    @property
    def known(self) -> dict[Corpus, str]:
        """The fingerprint by corpus."""
        return dict(zip(self.corpora, self.fingerprints, strict=True))


def submit(store: Store, manifest: Manifest) -> Path:
    """The path of the manifest in the store; failures that earlier submissions recorded for its runs are forgotten."""
    for pack in manifest.packs:
        for spec in (spec for member in pack.members for spec in member):
            store.remove("failure", run_id(spec, manifest.known[spec.corpus]))
    path = store.root / "manifests" / f"{digest(manifest)}.json"
    write_file(path, json.dumps(encode(manifest)).encode())
    return path


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file; raises `SimlawError` where it is missing or no manifest."""
    try:
        form = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise SimlawError(f"{path} is no manifest ({error}): submit the sweep again to write one") from error
    manifest: Manifest = decode(Manifest, form)
    return manifest


def prepare(store: Store, device: str | None) -> None:
    """Settle how JAX runs in this process; raises `SimlawError` where it finds another device than the one wanted."""
    # what imports made stays: to look through it at every collection took a sixth of the time to the first step
    gc.freeze()
    found = jax.default_backend()
    if device is not None and found != device:
        raise SimlawError(f"--device {device}: JAX finds {found} here; install its build for {device}, or take {found}")
    if found != "cpu":
        # a precision law must not be drawn from silently shortened products (TF32, bfloat16 passes)
        jax.config.update("jax_default_matmul_precision", "highest")  # type: ignore[no-untyped-call]
    # compiled programs are kept: a second start is three times faster; another processor or jaxlib gets its own folder,
    # for a program that another one made can crash the process that reads it
    kept = Path(os.environ.get("SIMLAW_COMPILED") or store.root / "compiled")
    settings = {
        "jax_compilation_cache_dir": str(kept / digest((version("jaxlib"), processor()))),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in settings.items():
        jax.config.update(name, value)  # type: ignore[no-untyped-call]


def run_worker(
    own: Store,
    path: Path,
    index: int | None,
    parent: int | None,
    devices: DeviceMesh | None = None,
    remat: bool = False,
    profile: Path | None = None,
) -> bool:
    """Work through a manifest (or its entry `index`); whether everything was done.

    With `devices` on a mesh of all devices there are, those of the other processes of a team included.

    Progress goes to standard output, one `Message` a line, and a trace of a few dispatches to the folder `profile`. A
    failing pack becomes a failure record of its runs, and the next pack is taken. SIGINT and SIGTERM stop at the next
    boundary; so does the death of the process `parent`.
    """
    asked = _stop_signal(parent)
    team = jax.process_count() > 1
    store: AnyStore = TeamStore(store=own) if team else own
    manifest, corpora, mesh = together(lambda: _ready(path, index, devices))

    def stop() -> bool:
        return anybody(asked())

    held: list[str] = []

    def tell(message: Message) -> None:
        _say(message)
        for lease in held:
            store.renew(lease)

    trace = None if profile is None else Trace(folder=profile)
    against = machine(own, 1 if mesh is None else mesh.size)
    desks = {
        spec: Desk(
            store=store, corpus=corpus, tell=tell, stop=stop, mesh=mesh, remat=remat, machine=against, trace=trace
        )
        for spec, corpus in corpora.items()
    }
    programs: dict[object, Program] = {}
    left = [pack for i, pack in enumerate(manifest.packs) if index in (None, i)]
    good = True
    while left and not stop():
        # what another worker holds is looked at again: should it die, this one takes over
        busy = []
        for pack in left:
            desk = desks[pack.corpus]
            wanted = [trunk_id(runs[0].trunk, desk.corpus.fingerprint) for runs in pack.members]
            # up to the first that another has: two workers that hold a part of one pack each would both go without
            held[:] = [] if stop() else itertools.takewhile(store.claim, wanted)
            try:
                if held == wanted:
                    good &= _do(pack, desk, programs, again=index is not None)
                else:
                    busy.append(pack)
            except Stopped:
                break
            finally:
                for lease in held:
                    store.release(lease)
                held.clear()
        if busy == left:
            _say(Message(task=Task(doing="waiting")))
            time.sleep(_PATIENCE_SECONDS)
        left = busy
    if trace:
        trace.close()
    _say(Message(ended=True))
    return good and not stop()


def _ready(
    path: Path, index: int | None, devices: DeviceMesh | None
) -> tuple[Manifest, dict[Corpus, AbstractCorpus], Mesh | None]:
    """The manifest, its corpora and the mesh; raises `SimlawError` where they are not as declared."""
    manifest = read_manifest(path)
    if index is not None and not 0 <= index < len(manifest.packs):
        raise SimlawError(f"--index {index}: the manifest has the entries 0 to {len(manifest.packs) - 1}; take one")
    wanted = manifest.packs if index is None else manifest.packs[index : index + 1]
    corpora = {spec: open_corpus(spec) for spec in dict.fromkeys(pack.corpus for pack in wanted)}
    for spec, corpus in corpora.items():
        if corpus.fingerprint != manifest.known[spec]:
            raise SimlawError(
                f"the corpus here has the fingerprint {corpus.fingerprint}, the manifest wants {manifest.known[spec]}: "
                "the files changed; submit the sweep again"
            )
    mesh = devices.open() if devices is not None else None
    if devices is not None:
        fit_packs(devices, manifest.packs)
    return manifest, corpora, mesh


def _do(pack: Pack, desk: Desk, programs: dict[object, Program], again: bool) -> bool:
    """Whether the pack was done; one that failed before, in another worker, is tried only `again`."""
    runs = [run_id(spec, desk.corpus.fingerprint) for member in pack.members for spec in member]
    for run in runs:
        if again:
            desk.store.remove("failure", run)
        elif failure := desk.store.get("failure", run):
            _say(Message(failed=json.loads(failure["failure.json"])["note"], runs=tuple(runs)))
            return False
    try:
        work(pack, desk, programs)
    except Stopped:
        raise
    except Exception as error:  # whatever it is, it must not take the other packs with it
        traceback.print_exc(file=sys.stderr)
        if jax.process_count() > 1 and not isinstance(error, SimlawError):
            # the others may be fine, and waiting for this process: without it they end too, and are started again
            sys.stderr.flush()
            os._exit(1)
        note = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        for run in runs:
            desk.store.put("failure", run, {"failure.json": json.dumps({"note": note}).encode()})
        _say(Message(failed=note, runs=tuple(runs)))
        return False
    return True


def mesh_of(sizes: tuple[int, int, int] | None) -> DeviceMesh | None:
    """The mesh of these sizes along pack, data and model."""
    return None if sizes is None else DeviceMesh(pack=sizes[0], data=sizes[1], model=sizes[2])


def fit_packs(devices: DeviceMesh, packs: Iterable[Pack]) -> None:
    """Raise `SimlawError` where the mesh does not divide a batch or a model of some pack."""
    for pack in packs:
        first = pack.members[0][0]
        devices.fit(first.model, first.batch)


def _stop_signal(parent: int | None) -> Callable[[], bool]:
    """A function that says whether to stop: a signal came, or the parent is gone."""
    asked: list[bool] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.append(True))
    return lambda: bool(asked) or (parent is not None and os.getppid() != parent)


def _say(message: Message) -> None:
    if not leads():
        return
    try:
        print(message.line(), flush=True)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # nobody listens any more; the store has everything
