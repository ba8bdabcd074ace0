"""The layout of work on this machine: how many workers, and how many trunks in a pack, so that memory suffices.

On a CPU a pack has one trunk: its members would follow one another, so that they take as long as apart; a worker
compiles a shape once for all of its packs; and small packs keep all workers busy to the end. Packing pays on an
accelerator, where the step of a small model is mostly waiting.
"""

import os
import socket
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from simlaw.config import EvalSpec, ModelSpec, RunSpec
from simlaw.corpora import AbstractCorpus
from simlaw.declared import canonical
from simlaw.errors import SimlawError
from simlaw.memory import need_of
from simlaw.plan import Cell
from simlaw.recipe import Family
from simlaw.report import size
from simlaw.run.kept import once
from simlaw.run.local import Local, can_pin, usable_cores
from simlaw.store import Store
from simlaw.train import shape_of

#: Of the memory that there is, what workers may plan with: estimates err, and other processes live.
_SHARE = 0.8
#: Bytes of a worker before it trains anything (Python, JAX, its compiler at work), and of every compiled shape that it
#: keeps; workers of seven shapes had 1.03 GB resident here, 0.19 GB of it the text.
_PROCESS_BYTES, _SHAPE_BYTES = 4.5e8, 4e7
#: Trunks in a pack on an accelerator whose throughput nobody has measured yet, and at most.
_PACK, _MOST = 16, 256
#: A pack is large enough where a larger one would bring less than a tenth.
_ENOUGH = 0.9


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Workers and pack size as an engine, bytes of one worker at its largest, and bytes for all, where known."""

    engine: Local
    worker_bytes: float
    memory: float | None
    wanted: int

    def __str__(self) -> str:
        workers, trunks = self.engine.workers, self.engine.pack_size
        own = self.engine.one_by_one and can_pin() and workers <= usable_cores()
        where = " on a core of its own" if own else ""
        each = f"{workers} workers, each{where}" if workers > 1 else f"one worker{where}"
        there = "memory unknown" if self.memory is None else f"of {size(self.memory)} for all"
        pack = "one trunk at a time" if trunks == 1 else f"packs of up to {trunks} trunks"
        notes = "".join(f"; {note}" for note in self.notes)
        return f"layout: {each} with {pack} and at most {size(self.worker_bytes)}, {there}{notes}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person might not expect of the layout, each in one clause."""
        notes = []
        if self.engine.one_by_one and self.engine.workers < self.wanted:
            notes.append(f"{self.wanted} workers would not fit in memory")
        if self.engine.one_by_one and not can_pin():
            notes.append("this system cannot keep a worker on one core, which costs speed and changes no number")
        return tuple(notes)


@dataclass(frozen=True, kw_only=True)
class _Shared:
    """The bytes that a worker has before it trains anything, and whether the corpus is streamed from the host."""

    bytes: float
    streamed: bool


def lay_out(
    cells: Sequence[Cell], family: Family, corpus: AbstractCorpus, engine: Local, store: Store, memory: float | None
) -> Layout:
    """The layout for these cells, with at most the engine's workers.

    `memory` is the bytes that all workers may take together; None asks the machine. Raises `SimlawError` where a run
    does not fit, with the largest width of the family (and batch) that does.
    """
    if memory is None:
        memory = _SHARE * machine_memory() if engine.device == "cpu" else _device_memory(store, engine.device)
    # a text is held as files and joined, and every program has it as the array that its steps read, or has it streamed
    kinds = {(shape_of(cell.spec), cell.evals): cell for cell in cells}
    text, shapes = corpus.epoch_tokens(family.context) or 0, len({shape for shape, _ in kinds})
    shared = _Shared(bytes=0.0 if corpus.streamed else float(shapes * text), streamed=corpus.streamed)
    if engine.device == "cpu":  # of an accelerator only its own memory is planned
        shared = replace(shared, bytes=shared.bytes + 2 * text + _PROCESS_BYTES + shapes * _SHAPE_BYTES)

    def largest(members: int) -> float:
        return max((_bytes(cell.spec, cell.evals, engine, members, shared) for cell in kinds.values()), default=0.0)

    unit = engine.mesh[0] if engine.mesh else 1
    if memory is not None and largest(unit) > memory:
        cell = max(kinds.values(), key=lambda one: _bytes(one.spec, one.evals, engine, unit, shared))
        raise SimlawError(_refusal(cell, family, engine, unit, shared, memory))
    pack = 1 if engine.one_by_one else max(1, _pack_size(cells, store, engine.device) // unit) * unit
    while pack > unit and memory is not None and largest(pack) > memory:
        pack = max(1, pack // 2 // unit) * unit
    workers = engine.workers if engine.one_by_one else 1
    if engine.one_by_one and memory is not None and cells:
        workers = min(workers, int(memory // largest(1)))
    return Layout(
        engine=replace(engine, workers=workers, pack_size=pack),
        worker_bytes=largest(pack),
        memory=memory,
        wanted=engine.workers,
    )


def machine_memory() -> float:
    """Bytes of memory of this machine, or of the container that it is."""
    found = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            found = min(found, float(Path(limit).read_text()))
        except (OSError, ValueError):
            continue  # no such file, or the word "max"
    return found


def enough(sizes: Sequence[int], seconds: Sequence[float]) -> int:
    """The smallest power of 2 of members whose throughput is nine tenths of the most, by steps of packs measured.

    A step is modelled as a fixed time and one for each member; of one size alone nothing is known but that it ran.
    """
    times = {m: statistics.median(s for n, s in zip(sizes, seconds, strict=True) if n == m) for m in set(sizes)}
    if len(times) < 2:
        return _PACK
    each, fixed = np.polyfit(list(times), list(times.values()), 1)
    wanted = _MOST if each <= 0 else max(1.0, _ENOUGH / (1 - _ENOUGH) * fixed / each)
    return int(min(_MOST, 2 ** np.ceil(np.log2(wanted))))


def _bytes(
    spec: RunSpec, evals: Sequence[EvalSpec], engine: Local, members: int, shared: _Shared, batch: int | None = None
) -> float:
    """Bytes of one worker on a CPU, of one device of an accelerator: of a mesh the axis of the pack divides members."""
    remat = engine.remat and engine.device != "cpu"  # XLA's CPU compiler hardly frees anything for it
    need = need_of(spec, evals, side_by_side=not engine.one_by_one, remat=remat, batch=batch, streamed=shared.streamed)
    divided = engine.mesh[0] if engine.mesh and engine.device != "cpu" else 1
    return shared.bytes + need.pack(-(-members // divided))


def _pack_size(cells: Sequence[Cell], store: Store, device: str) -> int:
    """The largest pack that any of the models profits from, by this store's telemetry of this host."""
    models = {canonical(cell.spec.model) for cell in cells}
    seen: dict[str, list[tuple[int, float]]] = {}
    for record in store.telemetry():
        here = (record.get("host"), record.get("device")) == (socket.gethostname(), device)
        # dispatches that compiled have no rate
        if here and record.get("event") == "trained" and record.get("model") in models and record.get("tokens_per_s"):
            step = float(record["seconds"]) / int(record["steps"])  # type: ignore[arg-type]
            seen.setdefault(str(record["model"]), []).append((len(record["runs"]), step))  # type: ignore[arg-type]
    return max((enough(*zip(*pairs, strict=True)) for pairs in seen.values()), default=_PACK)


def _refusal(cell: Cell, family: Family, engine: Local, members: int, shared: _Shared, memory: float) -> str:
    """The sentence for a run that does not fit, with the largest width of its family, and batch, that does."""

    def fits(spec: RunSpec, batch: int | None = None) -> bool:
        return _bytes(spec, cell.evals, engine, members, shared, batch) <= memory

    model, unit = cell.spec.model, family.head_dim * family.queries_per_kv
    width = _largest(
        1, (model.width - 1) // unit, lambda n: fits(replace(cell.spec, model=_of(family, model, n * unit)))
    )
    batch = _largest(1, cell.spec.batch - 1, lambda n: fits(cell.spec, n))
    ways = [f"width {width * unit}, the largest of the family that fits"] * bool(width)
    ways += [f"a batch of {batch}"] * bool(batch)
    lean = replace(engine, remat=True)
    if not engine.remat and _bytes(cell.spec, cell.evals, lean, members, shared) <= memory:
        ways.append("--remat")
    nothing = f"a machine with more, since {size(shared.bytes)} go to the process and the corpus before any training"
    needed = size(_bytes(cell.spec, cell.evals, engine, members, shared))
    return (
        f"a run of width {model.width} needs about {needed} of memory, and a worker has {size(memory)}: take "
        f"{', or '.join(ways) or nothing}; --memory says how much there is, where this machine was misread"
    )


def _of(family: Family, model: ModelSpec, width: int) -> ModelSpec:
    return family.model(width, model.vocab, model.architecture, model.mup)


def _largest(low: int, high: int, good: Callable[[int], bool]) -> int:
    """The largest number from `low` to `high` that is good, where smaller ones are if larger ones are; 0: none."""
    found = 0
    while low <= high:
        middle = (low + high) // 2
        found, low, high = (middle, middle + 1, high) if good(middle) else (found, low, middle - 1)
    return found


def _device_memory(store: Store, device: str) -> float | None:
    """Bytes of one accelerator that may be used, asked once of a process of its own; None where JAX does not say.

    Not in this process: whoever opens an accelerator takes most of its memory from the workers to come.
    """
    ask = f"import jax; print((jax.local_devices(backend={device!r})[0].memory_stats() or {{}}).get('bytes_limit', 0))"
    environment = {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"}

    def measure() -> float:
        done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, env=environment, check=True)
        return float(done.stdout.split()[-1])

    try:
        return once(store, f"{device} memory", measure) or None
    except subprocess.CalledProcessError:
        return None  # no such device: to be asked again, for it may be busy or not installed yet
