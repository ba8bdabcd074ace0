"""How long work will take on this machine: from what the store's telemetry measured, else from one matrix product."""

import socket
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from simlaw.accounting import flops_forward_per_token, parameters
from simlaw.config import Corpus, eval_id, run_id, trunk_id
from simlaw.declared import canonical
from simlaw.plan import Pack, shapes_of, steps_left
from simlaw.report import duration
from simlaw.run.engine import AbstractEngine
from simlaw.run.found import Listing, statuses
from simlaw.run.kept import once
from simlaw.store import AbstractStore

#: Of the speed of a small matrix product in cache, the share that training small models reaches: 0.3 to 0.6.
_EFFICIENCY = 0.4
#: Seconds to start a worker, and to compile one program that was never compiled here.
_START_SECONDS, COMPILE_SECONDS = 3.0, {"trained": 4.0, "evaluated": 3.0}


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Seconds of wall time, FLOPs, and what the estimate rests on.

    `fixed` of the seconds go by before and beside the FLOPs: workers start, programs are compiled. The seconds are None
    where nothing is known of the device's speed.
    """

    seconds: float | None
    fixed: float
    flops: float
    basis: str

    def __str__(self) -> str:
        if self.seconds is None:
            return f"time unknown yet ({self.basis})"
        return f"about {duration(self.seconds)} here ({self.basis})"


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What telemetry tells of this machine, by event and model: FLOPs per second of a worker, seconds to compile.

    The latter are the fewest there were: what was compiled once is kept on disk.
    """

    speeds: dict[tuple[str, str], float]
    compiling: dict[tuple[str, str], float]


def estimate(
    packs: Iterable[Pack], fingerprints: Mapping[Corpus, str], engine: AbstractEngine, store: AbstractStore
) -> Estimate:
    """The time that the packs take with an engine's workers.

    A model whose speed was not measured here is taken to reach a share of what a core does in matrix products; of an
    accelerator, or a mesh, that says nothing, and the time is not known.
    """
    known = _known(store, engine)
    probe = None
    total, measured, unknown = 0.0, 0, False
    load = [_START_SECONDS] * (engine.workers if engine.one_by_one else 1)
    fixed = list(load)
    shapes: list[set[object]] = [set() for _ in load]
    todo, listing = list(packs), Listing(store)
    for pack in todo:
        model, fingerprint = pack.members[0][0].model, fingerprints[pack.corpus]
        forward = flops_forward_per_token(model, parameters(shapes_of(model)))
        steps = evaluations = 0
        for runs in pack.members:
            ids = {spec: run_id(spec, fingerprint) for spec in runs}
            untrained = [spec for spec in runs if not listing.has("run", ids[spec])]
            begun = {spec: max((step for step, _ in listing.steps(ids[spec])), default=0) for spec in untrained}
            trunk = trunk_id(runs[0].trunk, fingerprint)
            steps += steps_left(untrained, (at for at, _ in listing.steps(trunk)), begun)
            for i, run in enumerate(ids.values()):
                there = {e for text, _ in listing.texts(run) for e in statuses(text, run)}
                evaluations += sum(e.tokens for e in pack.measured(i) if not there or eval_id(run, e) not in there)
        train = 3 * forward * steps * pack.members[0][0].batch_tokens
        evaluate = forward * evaluations
        # the packs are taken in this order by whoever is free
        at = load.index(min(load))
        for event, flops in (("trained", train), ("evaluated", evaluate)):
            if not flops:
                measured += 1
                continue
            key = event, canonical(model)
            speed = known.speeds.get(key)
            measured += speed is not None
            if speed is None and not (engine.one_by_one and engine.here):
                unknown, speed = True, np.inf
            elif speed is None:
                speed = probe = probe or assumed_speed(store)
            load[at] += flops / speed
            if key not in shapes[at]:
                compiling = known.compiling.get(key, COMPILE_SECONDS[event])
                load[at] += compiling
                fixed[at] += compiling
                shapes[at].add(key)
        total += train + evaluate
    if unknown:
        return Estimate(seconds=None, fixed=0.0, flops=total, basis=f"nothing like it has run on {_place(engine)} here")
    everything = measured == 2 * len(todo)
    basis = "measured here" if everything else "partly measured here" if measured else "estimated from a matrix product"
    last = load.index(max(load))
    return Estimate(seconds=load[last] if todo else 0.0, fixed=fixed[last] if todo else 0.0, flops=total, basis=basis)


def assumed_speed(store: AbstractStore) -> float:
    """FLOP/s that a core is taken to train a small model with, where none was trained here."""
    return _EFFICIENCY * once(store, "FLOP/s of a small product", _probe)


def _place(engine: AbstractEngine) -> str:
    return f"the {engine.device}" if engine.mesh is None else "such a mesh"


def _known(store: AbstractStore, engine: AbstractEngine) -> _Known:
    """What the store's telemetry says of this host, device and mesh.

    Speeds are the medians of what compiled no program; records of older versions do not say so of evaluations.
    """
    speeds: dict[tuple[str, str], list[float]] = {}
    compiling: dict[tuple[str, str], list[float]] = {}
    here = socket.gethostname(), engine.device, None if engine.mesh is None else list(engine.mesh)
    for record in store.telemetry():
        event = str(record.get("event"))
        if (record.get("host"), record.get("device"), record.get("mesh")) != here or event not in COMPILE_SECONDS:
            continue
        seconds = max(1e-6, float(record["seconds"]))  # type: ignore[arg-type]
        key = event, str(record["model"])
        if record.get("compiled", event == "trained" and record.get("tokens_per_s") is None):
            compiling.setdefault(key, []).append(seconds)
        else:
            speeds.setdefault(key, []).append(float(record["flops"]) / seconds)  # type: ignore[arg-type]
    return _Known(
        speeds={key: statistics.median(values) for key, values in speeds.items()},
        compiling={key: min(values) for key, values in compiling.items()},
    )


def _probe() -> float:
    """FLOPs per second of one core on a matrix product too small to be spread over several: the best of many."""
    a = np.ones((64, 64), np.float32)
    best, began = np.inf, time.perf_counter()
    while time.perf_counter() - began < 0.1:
        start = time.perf_counter()
        for _ in range(100):
            a @ a
        best = min(best, (time.perf_counter() - start) / 100)
    return 2 * 64**3 / best
