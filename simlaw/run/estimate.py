"""How long work will take on this machine: from what the store's telemetry measured, else from one matrix product."""

import socket
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from simlaw.accounting import flops_forward_per_token, parameters
from simlaw.config import eval_id, run_id, trunk_id
from simlaw.declared import canonical
from simlaw.plan import Pack, shapes_of, steps_left
from simlaw.run.kept import once
from simlaw.run.local import Local
from simlaw.run.work import stored_rows, stored_steps
from simlaw.store import Store

#: Of the speed of a small matrix product in cache, the share that training small models reaches: 0.3 to 0.6.
_EFFICIENCY = 0.4
#: Seconds to start a worker, and to compile one shape, training and evaluation together.
_START_SECONDS, _COMPILE_SECONDS = 3.0, 6.0


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Seconds of wall time, FLOPs, and what the estimate rests on."""

    seconds: float
    flops: float
    basis: str


def estimate(packs: Iterable[Pack], fingerprint: str, engine: Local, store: Store) -> Estimate:
    """The time that the packs take with an engine's workers."""
    speeds = _speeds(store, engine.device)
    probe = None
    total, measured = 0.0, 0
    load = [_START_SECONDS] * (engine.workers if engine.one_by_one else 1)
    shapes: list[set[object]] = [set() for _ in load]
    todo = list(packs)
    for pack in todo:
        model = pack.members[0][0].model
        forward = flops_forward_per_token(model, parameters(shapes_of(model)))
        steps = evaluations = 0
        for runs in pack.members:
            untrained = [spec for spec in runs if not store.has("run", run_id(spec, fingerprint))]
            begun = {spec: _last(store, run_id(spec, fingerprint)) for spec in untrained}
            trunk = trunk_id(runs[0].trunk, fingerprint)
            steps += steps_left(untrained, (at for at, _ in stored_steps(store, [trunk])), begun)
            for spec in runs:
                run = run_id(spec, fingerprint)
                there = stored_rows(store, run)
                evaluations += sum(e.tokens for e in pack.evals if eval_id(run, e) not in there)
        train = 3 * forward * steps * pack.members[0][0].batch_tokens
        evaluate = forward * evaluations
        seconds = 0.0
        for event, flops in (("trained", train), ("evaluated", evaluate)):
            speed = speeds.get((event, canonical(model)))
            measured += speed is not None
            if speed is None:
                probe = probe or once(store, "FLOP/s of a small product", _probe)
                speed = probe * _EFFICIENCY
            seconds += flops / speed
        total += train + evaluate
        # the packs are taken in this order by whoever is free
        at = load.index(min(load))
        load[at] += seconds + (0 if model in shapes[at] else _COMPILE_SECONDS)
        shapes[at].add(model)
    everything = measured == 2 * len(todo)
    basis = "measured here" if everything else "partly measured here" if measured else "estimated from a matrix product"
    return Estimate(seconds=max(load) if todo else 0.0, flops=total, basis=basis)


def _speeds(store: Store, device: str) -> dict[tuple[str, str], float]:
    """FLOPs per second of one worker here by event and model: the median, which leaves compilations out."""
    found: dict[tuple[str, str], list[float]] = {}
    for record in store.telemetry():
        here = (record.get("host"), record.get("device")) == (socket.gethostname(), device)
        if here and record.get("event") in ("trained", "evaluated"):
            key = (str(record["event"]), str(record["model"]))
            found.setdefault(key, []).append(float(record["flops"]) / max(1e-6, float(record["seconds"])))  # type: ignore[arg-type]
    return {key: statistics.median(values) for key, values in found.items()}


def _last(store: Store, run: str) -> int:
    """The last step at which a state of a run's branch is stored; 0 where there is none."""
    return max((step for step, _ in stored_steps(store, [run])), default=0)


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
