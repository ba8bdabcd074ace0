"""How fast packs train here: the seconds of a step, a fixed time and one for each member, and of workers together.

Measured: by the telemetry that this store has of this host, the median dispatch of each size of pack, without those
that compiled, and how fast a worker is while others are at work. Where packs of one size alone have run, two sizes may
be tried once (`trial`); the store keeps what they took.

Assumed: where nothing ran, a member's time, by its FLOPs; the fixed time lies between two bounds. An evaluation goes as
fast as training, and every program takes as long to compile as one that the store does not have.
"""

import json
import math
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simlaw.accounting import flops_forward_per_token, parameters
from simlaw.config import RunSpec
from simlaw.corpora import open_corpus
from simlaw.declared import canonical, decode, digest, encode
from simlaw.plan import Pack, shapes_of, steps_left
from simlaw.run.engine import AbstractEngine
from simlaw.run.estimate import COMPILE_SECONDS, assumed_speed
from simlaw.run.kept import once
from simlaw.store import AbstractStore, open_store
from simlaw.train import DISPATCH_STEPS, compile_shape, members, shape_of, start

#: Seconds that a dispatch adds to each of its steps, at the least and at the most: of a CPU Python's part in it; of an
#: accelerator its kernels, of which a step has some hundred whatever their size.
_FIXED = {"cpu": (0.0, 5e-5), "other": (2e-4, 5e-3)}
#: FLOP/s of float32 products of small models on an accelerator on which none was trained: a fifth of a data sheet's.
_ACCELERATOR = 1e13
#: Seconds of steps that a trial takes, beside a process's start and compilations that workers find in the store.
_TRIAL_SECONDS, _TRIAL_PATIENCE = 2.0, 300.0
#: Dispatches of each number of workers that say whether fewer are as fast.
_FEW = 16

#: What the time of a step depends on: the model, the batch, the arithmetic.
Kind = tuple[str, int, str]


def kind_of(spec: RunSpec) -> Kind:
    """What the time of a run's step depends on."""
    return canonical(spec.model), spec.batch, spec.dtype


@dataclass(frozen=True, kw_only=True)
class Step:
    """Seconds of one step of a pack: `fixed`, and `each` of its members."""

    fixed: float
    each: float
    measured: bool

    def pack(self, pack: Pack, unit: int = 1) -> float:
        """Seconds of a pack's training and evaluations, its members filled up to a multiple of `unit`."""
        runs, count = pack.members[0], -(-len(pack.members) // unit) * unit
        # an evaluation has the forward pass alone
        measured = sum(e.tokens for i in range(len(runs)) for e in pack.measured(i))
        evaluations = measured / (3 * runs[0].batch_tokens)
        return steps_left(runs, ()) * (self.fixed + self.each * count) + evaluations * self.each * len(pack.members)


@dataclass(frozen=True, kw_only=True)
class Dispatch:
    """A dispatch that telemetry has: its kind, how many members it had and workers were at work, seconds of a step."""

    kind: Kind
    members: int
    working: int
    seconds: float


def dispatches(store: AbstractStore, device: str, mesh: tuple[int, int, int] | None = None) -> list[Dispatch]:
    """The dispatches on this host, device and mesh that this store knows of, without those that compiled."""
    here = [
        record
        for record in store.telemetry()
        if (record.get("host"), record.get("device")) == (socket.gethostname(), device)
        and record.get("event") in ("trained", "evaluated")
    ]
    ends = np.array([record["time"] for record in here], np.float64)
    seconds = np.array([record["seconds"] for record in here], np.float64)
    middles = ends - seconds / 2
    # whoever was at work in the middle of it, this one included
    working = np.searchsorted(np.sort(ends - seconds), middles, "right") - np.searchsorted(np.sort(ends), middles)
    found = []
    for record, took, together in zip(here, seconds, working, strict=True):
        same = record.get("mesh") == (None if mesh is None else list(mesh))
        if same and record["event"] == "trained" and "batch" in record and not record["compiled"]:
            kind = (str(record["model"]), int(record["batch"]), str(record["dtype"]))  # type: ignore[arg-type]
            unit = 1 if mesh is None else mesh[0]
            # a mesh's axis is filled up, and takes as long as a full one
            count, steps = -(-len(record["runs"]) // unit) * unit, int(record["steps"])  # type: ignore[arg-type]
            found.append(Dispatch(kind=kind, members=count, working=int(together), seconds=float(took) / steps))
    return found


def learned(sizes: Sequence[int], seconds: Sequence[float]) -> Step | None:
    """The step that packs of these sizes took; None where all had one size."""
    times = {m: float(np.median([s for n, s in zip(sizes, seconds, strict=True) if n == m])) for m in set(sizes)}
    if len(times) < 2:
        return None
    each, fixed = np.polyfit(list(times), list(times.values()), 1)
    if each <= 0:  # within noise a step takes as long whatever its size
        return Step(fixed=max(times.values()), each=0.0, measured=True)
    if fixed < 0:
        return Step(fixed=0.0, each=float(np.mean([t / m for m, t in times.items()])), measured=True)
    return Step(fixed=float(fixed), each=float(each), measured=True)


def bounds(spec: RunSpec, seen: Sequence[Dispatch], store: AbstractStore, device: str) -> tuple[Step, Step]:
    """The step of a run's packs with the least fixed time and with the most; the same where it was measured."""
    mine = [one for one in seen if one.kind == kind_of(spec)]
    known = learned([one.members for one in mine], [one.seconds for one in mine])
    if known is not None:
        return known, known
    least, most = _FIXED["cpu" if device == "cpu" else "other"]
    if mine:
        total = float(np.median([one.seconds for one in mine]))
        each = [max(0.0, total - fixed) / mine[0].members for fixed in (least, most)]
        return (
            Step(fixed=min(least, total), each=each[0], measured=False),
            Step(fixed=min(most, total), each=each[1], measured=False),
        )
    flops = 3 * flops_forward_per_token(spec.model, parameters(shapes_of(spec.model))) * spec.batch_tokens
    alone = flops / (assumed_speed(store) if device == "cpu" else _ACCELERATOR)
    return Step(fixed=least, each=alone, measured=False), Step(fixed=most, each=alone, measured=False)


def makespan(packs: Sequence[Pack], step: Mapping[Kind, Step], workers: int, unit: int = 1) -> float:
    """Seconds until the last worker ends, each taking the next pack when it is free, and compiling what it has not."""
    load, compiled = [0.0] * workers, [set[object]() for _ in range(workers)]
    for pack in packs:
        first, at = pack.members[0][0], load.index(min(load))
        shape = shape_of(first)
        programs = {"trained": (shape, -(-len(pack.members) // unit)), "evaluated": shape}
        compiling = sum(COMPILE_SECONDS[event] for event, key in programs.items() if key not in compiled[at])
        load[at] += step[kind_of(first)].pack(pack, unit) + compiling
        compiled[at] |= set(programs.values())
    return max(load, default=0.0)


def worth(seen: Sequence[Dispatch], wanted: int) -> int:
    """The fewest workers that were seen to train as fast together as `wanted` do; these where that was not seen.

    By the lower quartile of kinds and sizes that both numbers of workers trained, for what disturbs only slows down.
    """
    times: dict[int, dict[tuple[Kind, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in seen:
        times[one.working][one.kind, one.members].append(one.seconds)
    for fewer in range(1, wanted):
        few, many = times[fewer], times[wanted]
        both = [key for key in few if min(len(few[key]), len(many.get(key, ()))) >= _FEW]
        alone, together = (sum(float(np.quantile(of[key], 0.25)) for key in both) for of in (few, many))
        if both and alone / fewer <= together / wanted:
            return fewer
    return wanted


def trial(spec: RunSpec, sizes: tuple[int, int], store: AbstractStore, engine: AbstractEngine) -> Step | None:
    """The step of packs of two sizes, tried once in a process of its own, as a worker; None where the process fails.

    Not in this process: whoever opens an accelerator takes most of its memory from the workers to come.
    """
    asked = {"spec": encode(spec), "sizes": sizes, "device": engine.device, "remat": engine.remat}
    pinned = f"from simlaw.run.cores import pin; pin({engine.cores[0]}); " if engine.one_by_one and engine.cores else ""
    command = [sys.executable, "-c", f"{pinned}from simlaw.run.throughput import answer; answer()"]

    def ask() -> list[float]:
        said = f"trying packs of {sizes[0]} and {sizes[1]} trunks, once for this machine: up to half a minute"
        print(said, file=sys.stderr, flush=True)
        done = subprocess.run(
            command,
            input=json.dumps(asked),
            env=engine.environment(store),
            capture_output=True,
            text=True,
            check=True,
            timeout=_TRIAL_PATIENCE,
        )
        seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
        return seconds

    try:
        kind = digest((*kind_of(spec), engine.remat))
        what = f"{engine.device} seconds of a step of packs of {sizes[0]} and {sizes[1]} of {kind}"
        return learned(sizes, once(store, what, ask))
    except (subprocess.SubprocessError, ValueError, IndexError):
        return None  # to be tried again: the device may be busy, or not installed yet


def answer() -> None:
    """Print what a step of the packs asked for on standard input takes, in seconds: the process of a `trial`."""
    from simlaw.run.worker import prepare  # which imports much that a plan does not need

    asked = json.load(sys.stdin)
    prepare(open_store(), asked["device"])
    spec = decode(RunSpec, asked["spec"])
    side_by_side = asked["device"] != "cpu"
    program = compile_shape(shape_of(spec), open_corpus(spec.corpus), None, side_by_side, asked["remat"])

    def seconds(size: int) -> float:
        state, data = start([spec] * size), members(program, [spec] * size, cool=True)
        state, _ = program.advance(state, data, 1)
        steps, best, ends = 1, math.inf, time.perf_counter() + _TRIAL_SECONDS / 2
        while time.perf_counter() < ends:
            began = time.perf_counter()
            state, _ = program.advance(state, data, steps)
            taken = (time.perf_counter() - began) / steps
            best = taken if steps == 1 else min(best, taken)
            steps = max(steps, min(DISPATCH_STEPS, int(_TRIAL_SECONDS / 8 / taken)))
        return best

    print(json.dumps([seconds(size) for size in asked["sizes"]]))
