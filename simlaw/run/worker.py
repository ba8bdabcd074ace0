"""A worker process: takes the packs of a manifest, one at a time under a lease, until none is left.

The contract of every engine: `simlaw work --manifest M` does whatever entry is free, `--index I` does entry I alone,
as a process does to which a scheduler gives the index. Both exit with 0 when that is done, and with 1 where something
is left. A manifest is frozen when the work is submitted; the sweep may grow meanwhile.
"""

import gc
import math
import os
import sys
import threading
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import jax
from jax.sharding import Mesh

from simlaw.config import Corpus, run_id, trunk_id
from simlaw.corpora import AbstractCorpus, open_corpus
from simlaw.declared import Json, digest
from simlaw.devices import DeviceMesh
from simlaw.errors import SimlawError
from simlaw.plan import Pack
from simlaw.run.attempt import Attempts, Before, passing, settled, wait
from simlaw.run.batch import requeue, stop_signal
from simlaw.run.found import stored_rows
from simlaw.run.job import job, log
from simlaw.run.machine import machine, processor
from simlaw.run.manifest import Manifest, read_manifest
from simlaw.run.message import Message, Task, said
from simlaw.run.pulse import Pulse
from simlaw.run.rules import Rules
from simlaw.run.team import AnyStore, TeamStore, anybody, leads, led, together
from simlaw.run.trace import Trace
from simlaw.run.work import Desk, Stopped
from simlaw.store import AbstractStore, Leases
from simlaw.train import Program

#: Seconds between looks at packs that other workers hold, at first and at most.
_PAUSES = (0.5, 8.0)
#: Signs of life in the time after which a claim is void.
_BEATS = 10
#: What a worker has begun is told in its claims at once, but not more often than every so many seconds.
_SOON_SECONDS = 1.0
_RULES = Rules()
#: What keeps lines of several threads apart.
_SPEAKING = threading.Lock()


def prepare(store: AbstractStore, device: str | None) -> None:
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
    own: AbstractStore,
    where: str,
    index: int | None,
    parent: int | None,
    devices: DeviceMesh | None = None,
    remat: bool = False,
    profile: Path | None = None,
    rules: Rules = _RULES,
) -> bool:
    """Work through a manifest (or its entry `index`); whether everything was done.

    With `devices` on a mesh of all devices there are, those of the other processes of a team included.

    Progress goes to standard output, one `Message` a line, and a trace of a few dispatches to the folder `profile`. A
    failing pack becomes a failure record of its runs, and the next pack is taken. SIGINT, SIGTERM and SIGUSR1 stop at
    the next boundary, and a task of a SLURM array then goes back into its queue (`requeue`); so does the death of the
    process `parent`, which stops alone.
    """
    asked = stop_signal(parent)
    team = jax.process_count() > 1
    store: AnyStore = TeamStore(store=own) if team else own
    leases = Leases(own, patience=rules.lease_seconds, job=job(), log=log())
    programs: dict[object, Program] = {}
    doing: list[dict[str, Json]] = [{}]
    told = [-math.inf]

    def renew() -> None:
        told[0] = time.monotonic()
        leases.renew(doing[0])

    def beat() -> None:
        renew()
        _say(Message())

    with Pulse(beat, max(0.1, rules.lease_seconds / _BEATS)) as pulse:

        def tell(message: Message) -> None:
            pulse.alive()
            if message.task is not None:
                before, doing[0] = doing[0].get("doing"), said(message.task)
                if message.task.doing != before and time.monotonic() - told[0] >= _SOON_SECONDS:
                    renew()  # `status` knows at once what a worker has begun
            _say(message)

        manifest, corpora, mesh = together(lambda: _ready(where, own, index, devices))
        tell(Message(task=Task(doing="starting")))  # from here on silence says that it hangs
        trace = None if profile is None else Trace(folder=profile)
        against = machine(own, 1 if mesh is None else mesh.size)
        desks = {
            spec: Desk(
                store=store,
                corpus=corpus,
                tell=tell,
                stop=lambda: anybody(asked()),
                due=lambda since: anybody(time.monotonic() - since >= rules.save_seconds),
                kept=leases.progress,
                batch_flops=against.flops_in(rules.save_seconds),
                mesh=mesh,
                remat=remat,
                machine=against,
                trace=trace,
            )
            for spec, corpus in corpora.items()
        }
        attempts = Attempts(rules=rules, tell=tell, programs=programs)
        good = _work_through(list(manifest.packs), desks, attempts, leases, again=index is not None)
    if trace:
        trace.close()
    _say(Message(ended=True))
    if parent is None and leads() and asked():
        requeue(os.environ)
    return good and not anybody(asked())


def _work_through(
    left: list[Pack], desks: dict[Corpus, Desk], attempts: Attempts, leases: Leases, *, again: bool
) -> bool:
    """Whether all packs were done; ends early where the worker is to stop."""
    good, pause, misses, rules = True, _PAUSES[0], 0, attempts.rules
    while left:
        # what another worker holds is looked at again: should it die, this one takes over
        busy = []
        for pack in left:
            desk = desks[pack.corpus]
            if desk.stop():
                return False
            try:
                if settled(pack, desk):
                    _settle(pack, desk)
                    continue
                before = _claim(pack, desk, leases)
                if before is None:
                    busy.append(pack)
                else:
                    good = attempts.at(pack, desk, before, again=again) and good
            except Stopped:
                return False
            except (SimlawError, OSError) as error:
                if not passing(error) or misses == rules.retries:
                    raise
                misses += 1
                print(f"{error}; it is tried again", file=sys.stderr, flush=True)
                busy.append(pack)
            finally:
                for lease in leases.mine:
                    leases.release(lease)
        if busy == left:
            attempts.tell(Message(task=Task(doing="waiting")))
            try:
                wait(pause, desks[left[0].corpus], attempts.tell)
            except Stopped:
                return False
        pause = min(2 * pause, _PAUSES[1]) if busy == left else _PAUSES[0]
        left = busy
    return good


def _claim(pack: Pack, desk: Desk, leases: Leases) -> Before | None:
    """What was before this process held the leases on all trunks of a pack, or None where another has one."""
    before = Before()
    for runs in pack.members:
        key = trunk_id(runs[0].trunk, desk.corpus.fingerprint)

        def taken(key: str = key) -> Json:
            lease = leases.claim(key)
            return None if lease is None else [lease.deaths, lease.before]

        # up to the first that another has: two workers that hold a part of one pack each would both go without
        found = led(taken)
        if found is None:
            return None
        if found[0]:
            note = f"the claim on {key} was taken over from a worker on {found[1] or 'an unknown host'}"
            desk.store.fault({"event": "taken over", "note": note})
        if found[0] > before.deaths:
            before = Before(deaths=found[0], where=found[1])
    return before


def _settle(pack: Pack, desk: Desk) -> None:
    """Tell that the runs of a pack have all their rows."""
    for spec in (spec for member in pack.members for spec in member):
        run = run_id(spec, desk.corpus.fingerprint)
        desk.watch.settled(run, list(stored_rows(desk.store, run).values()))


def _ready(
    where: str, store: AbstractStore, index: int | None, devices: DeviceMesh | None
) -> tuple[Manifest, dict[Corpus, AbstractCorpus], Mesh | None]:
    """The manifest, or an entry of it, its corpora and the mesh; raises `SimlawError` where one is not as declared."""
    manifest = read_manifest(where, store, index)
    corpora = {spec: open_corpus(spec) for spec in dict.fromkeys(pack.corpus for pack in manifest.packs)}
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


def mesh_of(sizes: tuple[int, int, int] | None) -> DeviceMesh | None:
    """The mesh of these sizes along pack, data and model."""
    return None if sizes is None else DeviceMesh(pack=sizes[0], data=sizes[1], model=sizes[2])


def fit_packs(devices: DeviceMesh, packs: Iterable[Pack]) -> None:
    """Raise `SimlawError` where the mesh does not divide a batch or a model of some pack."""
    for pack in packs:
        first = pack.members[0][0]
        devices.fit(first.model, first.batch)


def _say(message: Message) -> None:
    if not leads():
        return
    try:
        with _SPEAKING:
            print(message.line(), flush=True)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # nobody listens any more; the store has everything
    except OSError:
        return  # a file on a full disk: what is said is no result
