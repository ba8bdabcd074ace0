"""The layout of work on this machine: how many workers, and how many trunks in a pack, so that memory suffices.

Packs are the smallest whose sweep ends within a ninth of the time of the quickest, as `throughput` foresees it. On a
CPU members follow one another and take as long as apart, so that this is mostly one trunk; in any case each worker
has several packs, which keeps all busy to the end. Packing pays on an accelerator, where the step of a small model is
mostly waiting; one worker has all, and each shape its own size.
"""

import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from simlaw.config import PTQ, EvalSpec, ModelSpec, RunSpec
from simlaw.corpora import AbstractCorpus
from simlaw.errors import SimlawError
from simlaw.memory import need_of
from simlaw.plan import Alike, Cell, Pack, alike, divided
from simlaw.recipe import Family
from simlaw.report import size
from simlaw.run.cores import can_pin, usable_cores
from simlaw.run.engine import AbstractEngine
from simlaw.run.kept import once
from simlaw.run.throughput import Dispatch, Kind, Step, bounds, dispatches, kind_of, makespan, trial, worth
from simlaw.run.worker import mesh_of
from simlaw.store import AbstractStore
from simlaw.train import Shape, shape_of

#: Of the memory that there is, what workers may plan with: estimates err, and other processes live.
SHARE = 0.8
#: Bytes of a worker before it trains anything (Python, JAX, its compiler at work), and of every compiled shape that it
#: keeps: workers of two small shapes and no text had 0.66 GB resident here, libraries that they share counted in.
_PROCESS_BYTES, _SHAPE_BYTES = 5.8e8, 4e7
#: Bytes of the programs of every kind of quantization of a shape, beyond rounding of weights: of the 2.6 GB of a worker
#: with 45 of them 1.3 GB are told by nothing else.
_KIND_BYTES = 3e7
#: Trunks in a pack on an accelerator whose throughput nobody has measured yet, and at most.
_PACK, _MOST = 16, 256
#: A pack is large enough where a larger one would bring less than a tenth of throughput.
_QUICK = 0.9
#: Packs for each of several workers at the least: what a pack takes is known too badly to share out fewer.
_EACH = 3
#: A sweep that takes so many seconds may begin with a trial of packs of one and of so many members.
_LONG, _TRIED = 600.0, {"cpu": 4, "other": 16}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Workers as an engine, trunks in a pack of each shape, bytes of one worker at its largest, and for all if known.

    `basis` says in a clause what the sizes of packs rest on.
    """

    engine: AbstractEngine
    sizes: Mapping[Shape, int]
    worker_bytes: float
    memory: float | None
    wanted: int
    fitting: int
    basis: str

    def __str__(self) -> str:
        workers = self.engine.workers
        own = self.engine.one_by_one and can_pin() and workers <= usable_cores()
        where = " on a core of its own" if own else ""
        each = f"{workers} workers, each{where}" if workers > 1 else f"one worker{where}"
        there = "memory unknown" if self.memory is None else f"of {size(self.memory)} for all"
        pack = "one trunk at a time" if self.pack_size == 1 else f"packs of up to {self._trunks}"
        notes = "".join(f"; {note}" for note in self.notes)
        return f"layout: {each} with {pack} ({self.basis}) and at most {size(self.worker_bytes)}, {there}{notes}"

    @property
    def pack_size(self) -> int:
        """Trunks in the largest pack."""
        return max(self.sizes.values(), default=1)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person might not expect of the layout, each in one clause."""
        notes = []
        if self.fitting < self.wanted:
            notes.append(f"{self.wanted} workers would not fit in memory")
        if self.engine.one_by_one and self.engine.workers < self.fitting:
            notes.append(
                f"{self.fitting} workers together were measured no faster; --workers {self.fitting} starts them"
            )
        if self.engine.one_by_one and not can_pin():
            notes.append("this system cannot keep a worker on one core, which costs speed and changes no number")
        return tuple(notes)

    @property
    def _trunks(self) -> str:
        """The sizes of packs, those of every width where they differ."""
        each = {shape.model.width: trunks for shape, trunks in self.sizes.items()}
        if len(set(self.sizes.values())) == 1 or len(each) < len(self.sizes):
            return f"{self.pack_size} trunks"
        return f"{', '.join(str(n) for n in each.values())} trunks (widths {', '.join(str(width) for width in each)})"


@dataclass(frozen=True, kw_only=True)
class _Shared:
    """The bytes that a worker, or an accelerator, has before any training, and whether the corpus is streamed."""

    bytes: float
    streamed: bool


def lay_out(
    cells: Sequence[Cell],
    family: Family,
    corpora: Sequence[AbstractCorpus],
    engine: AbstractEngine,
    store: AbstractStore,
    memory: float | None,
) -> Layout:
    """The layout for these cells, with at most the engine's workers.

    `memory` is the bytes that all workers may take together, or, where they are on other machines, each; None asks the
    machine, or the engine. Raises `SimlawError` where a run does not fit, with the largest width of the family (and
    batch) that does.
    """
    if memory is None and not engine.here:
        given = engine.memory if engine.device == "cpu" else None
        memory = None if given is None else SHARE * given
    elif memory is None:
        memory = SHARE * machine_memory() if engine.device == "cpu" else _device_memory(store, engine.device)
    # nearly all cells of a plan have the very same evaluations, which are long to compare
    seen_once = {(shape_of(cell.spec), id(cell.evals)): cell for cell in cells}
    kinds = {(shape, cell.evals): cell for (shape, _), cell in seen_once.items()}
    shapes = dict.fromkeys(shape for shape, _ in kinds)
    text = sum(corpus.resident_bytes for corpus in corpora if not corpus.streamed)
    streamed = any(corpus.streamed for corpus in corpora)
    # an accelerator has a text once more than the host, a mesh for every shape on each of its devices
    copies = 0 if engine.device == "cpu" else 1
    if engine.mesh:
        copies = len(shapes) * (math.prod(engine.mesh) if engine.device == "cpu" else 1)
    shared = _Shared(bytes=float(copies * text), streamed=streamed)
    if engine.device == "cpu":  # of an accelerator only its own memory is planned
        host = sum(corpus.host_bytes for corpus in corpora)
        shared = replace(shared, bytes=shared.bytes + host + _PROCESS_BYTES + len(shapes) * _SHAPE_BYTES)

    def largest(members: int | Mapping[Shape, int]) -> float:
        return max(
            (
                _bytes(cell.spec, cell.evals, engine, members if isinstance(members, int) else members[shape], shared)
                for (shape, _), cell in kinds.items()
            ),
            default=0.0,
        )

    unit = engine.mesh[0] if engine.mesh else 1
    if memory is not None and largest(unit) > memory:
        cell = max(kinds.values(), key=lambda one: _bytes(one.spec, one.evals, engine, unit, shared))
        raise SimlawError(_refusal(cell, family, engine, unit, shared, memory))
    seen = dispatches(store, engine.device, engine.mesh)
    fitting = engine.workers
    if engine.here and engine.one_by_one and memory is not None and cells:
        fitting = min(fitting, int(memory // largest(1)))
    alone = engine.asked or not engine.one_by_one or not engine.here
    workers = fitting if alone else worth(seen, fitting)
    found = replace(engine, workers=workers if engine.one_by_one else 1)

    def room(shape: Shape) -> int:
        mine = [cell for (one, _), cell in kinds.items() if one == shape]
        each = math.inf if memory is None else memory / (found.workers if engine.here else 1)
        fits = lambda n: all(_bytes(c.spec, c.evals, engine, n * unit, shared) <= each for c in mine)  # noqa: E731
        return max(1, _largest(1, _MOST // unit, fits)) * unit

    sizes, basis = _sizes(cells, found, store, seen, {shape: room(shape) for shape in shapes})
    return Layout(
        engine=found,
        sizes=sizes,
        worker_bytes=largest(sizes),
        memory=memory,
        wanted=engine.workers,
        fitting=fitting,
        basis=basis,
    )


def _divisions(
    trunks: Sequence[Alike], room: Mapping[Shape, int], workers: int, unit: int
) -> dict[int, tuple[Pack, ...]]:
    """The trunks as packs of one trunk (of `unit`), of twice as many and so on, until there would be too few packs."""
    made: dict[int, tuple[Pack, ...]] = {}
    size = unit
    while size < 2 * max(room.values()):
        division = divided(trunks, {shape: min(size, room[shape]) for shape in room})
        few = workers > 1 and len(division) < _EACH * workers
        if made and (few or len(division) == len(made[size // 2])):
            break
        made[size] = division
        size *= 2
    return made


def _enough(
    divisions: Mapping[int, tuple[Pack, ...]], step: Mapping[Kind, Step], workers: int, unit: int
) -> tuple[int, float]:
    """The smallest packs that are quick enough, and the seconds that the sweep then takes."""
    times = {size: makespan(made, step, workers, unit) for size, made in divisions.items()}
    return next((size, took) for size, took in times.items() if took <= min(times.values()) / _QUICK)


def _sizes(
    cells: Sequence[Cell],
    engine: AbstractEngine,
    store: AbstractStore,
    seen: Sequence[Dispatch],
    room: Mapping[Shape, int],
) -> tuple[dict[Shape, int], str]:
    """Trunks in a pack of each shape, and what they rest on. Workers share the shapes: then one number is for all."""
    unit = engine.mesh[0] if engine.mesh else 1
    sizes: dict[Shape, int] = {}
    bases, there = [], alike(cells)
    for shapes in [tuple(room)] * bool(room) if engine.workers > 1 else [(shape,) for shape in room]:
        mine = [cell for cell in cells if shape_of(cell.spec) in shapes]
        specs = {kind_of(cell.spec): cell.spec for cell in mine}
        fits = {shape: room[shape] for shape in shapes}
        least, most = (
            {kind: bounds(spec, seen, store, engine.device)[i] for kind, spec in specs.items()} for i in (0, 1)
        )
        trunks = [one for one in there if one.shape in shapes]
        divisions = _divisions(trunks, fits, engine.workers, unit)
        few, many = (_enough(divisions, step, engine.workers, unit) for step in (least, most))
        basis = "measured here" if all(step.measured for step in least.values()) else "assumed"
        chosen = sorted((few[0], 1 if engine.device == "cpu" else max(1, _PACK // unit) * unit, many[0]))[1]
        # of a sweep's models the one that takes longest is tried
        dearest = max(mine, key=lambda cell: cell.flops_train).spec
        pair = (1, min(fits[shape_of(dearest)], _TRIED.get(engine.device, _TRIED["other"])))
        long = few[0] != many[0] and min(few[1], many[1]) > _LONG
        if long and pair[1] > 1 and engine.mesh is None and engine.here:
            tried = trial(dearest, pair, store, engine)
            if tried is not None:  # of the other models only the members' time is then taken from their FLOPs
                known = {kind: one if one.measured else replace(one, fixed=tried.fixed) for kind, one in least.items()}
                known[kind_of(dearest)] = tried
                chosen, basis = _enough(divisions, known, engine.workers, unit)[0], "tried here"
        bases.append(basis)
        sizes |= {shape: min(chosen, room[shape]) for shape in shapes}
    taken = dict.fromkeys(room, 1)  # no more than there are
    for pack in divided(there, sizes):
        shape = shape_of(pack.members[0][0])
        taken[shape] = max(taken[shape], len(pack.members))
    return taken, " and ".join(dict.fromkeys(bases)) or "assumed"


def machine_memory() -> float:
    """Bytes of memory of this machine, or of the container that it is."""
    found = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            found = min(found, float(Path(limit).read_text()))
        except (OSError, ValueError):
            continue  # no such file, or the word "max"
    return found


def _bytes(
    spec: RunSpec,
    evals: Sequence[EvalSpec],
    engine: AbstractEngine,
    members: int,
    shared: _Shared,
    batch: int | None = None,
) -> float:
    """Bytes of one worker on a CPU, where simulated devices share the memory; else of one device of an accelerator."""
    remat = engine.remat and engine.device != "cpu"  # XLA's CPU compiler hardly frees anything for it
    need = need_of(
        spec,
        evals,
        side_by_side=not engine.one_by_one,
        remat=remat,
        batch=batch,
        streamed=shared.streamed,
        mesh=mesh_of(engine.mesh),
        simulated=engine.device == "cpu",
    )
    quantized = [e.ptq for e in evals if e.ptq is not None] if engine.device == "cpu" else []
    kinds = {ptq.kind for ptq in quantized if ptq != PTQ(quantizer=ptq.quantizer)}
    return shared.bytes + need.pack(members) + len(kinds) * _KIND_BYTES


def _refusal(cell: Cell, family: Family, engine: AbstractEngine, members: int, shared: _Shared, memory: float) -> str:
    """The sentence for a run that does not fit, with the largest width of its family, and batch, that does."""

    def fits(spec: RunSpec, batch: int | None = None) -> bool:
        return _bytes(spec, cell.evals, engine, members, shared, batch) <= memory

    _, data, divided = engine.mesh or (1, 1, 1)  # what the mesh would not divide is no advice
    model, unit = cell.spec.model, family.head_dim * family.queries_per_kv * divided
    width = _largest(
        1, (model.width - 1) // unit, lambda n: fits(replace(cell.spec, model=_of(family, model, n * unit)))
    )
    batch = data * _largest(1, (cell.spec.batch - 1) // data, lambda n: fits(cell.spec, n * data))
    ways = [f"width {width * unit}, the largest of the family that fits"] * bool(width)
    ways += [f"a batch of {batch}"] * bool(batch)
    lean = replace(engine, remat=True)
    if not engine.remat and _bytes(cell.spec, cell.evals, lean, members, shared) <= memory:
        ways.append("--remat")
    nothing = f"a machine with more, since {size(shared.bytes)} go to the process and the corpus before any training"
    needed = size(_bytes(cell.spec, cell.evals, engine, members, shared))
    return (
        f"a run of width {model.width} needs about {needed} of memory, and a worker has {size(memory)}: take "
        f"{', or '.join(ways) or nothing}; {engine.more}"
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


def _device_memory(store: AbstractStore, device: str) -> float | None:
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
