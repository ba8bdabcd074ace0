"""What the scheduling part of the benchmark needs of simlaw: `fill SWEEP` and `packs SWEEP`, in a store of its own.

Nothing is trained: `fill` puts rows into the store that the package's own functions make of drawn measurements, and
`packs` has the local engine's workers do the same for a manifest of packs, under claims and one after the other, so
that what is measured is what each pack costs besides its training.
"""

import dataclasses
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from simlaw.cli import cli
from simlaw.config import EvalSpec, RunSpec, run_id
from simlaw.declared import digest
from simlaw.evaluate import Measurement
from simlaw.model import matrices
from simlaw.plan import Pack, packs, shapes_of
from simlaw.ptq import Diagnosis
from simlaw.rows import done_rows, matrix_rows
from simlaw.run import attempt, local
from simlaw.run.cores import usable_cores
from simlaw.run.engine import command
from simlaw.run.local import Local
from simlaw.run.session import Session
from simlaw.run.team import AnyStore
from simlaw.run.work import Desk
from simlaw.schema import KINDS
from simlaw.table import make_table
from simlaw.train import Program


def fill(session: Session) -> None:
    """Put the rows of every cell into the store, with what each quantization did to each matrix."""
    os.fsync = lambda _: None  # of a store that a benchmark throws away
    draw = np.random.default_rng(0).random
    for cell in session.plan.cells:
        put(session.store, cell.spec, cell.fingerprint, cell.evals, draw)


def put(store: AnyStore, spec: RunSpec, fingerprint: str, evals: Sequence[EvalSpec], draw: Callable[..., Any]) -> None:
    """Put the rows of a run into the store."""
    found = measurements(spec, evals, draw)
    rows = done_rows(spec, fingerprint, None, evals, found)
    details = matrix_rows(spec, fingerprint, evals, found)
    key = f"{run_id(spec, fingerprint)}/{digest(tuple(KINDS), tuple(row['eval_id'] for row in rows))}"
    files = {"rows.csv": make_table(rows).to_csv().encode(), "matrices.csv": details.to_csv().encode()}
    store.put("rows", key, files)


def measurements(spec: RunSpec, evals: Sequence[EvalSpec], draw: Callable[..., Any]) -> list[Measurement]:
    """A measurement of each evaluation of a run."""
    places = matrices(shapes_of(spec.model))
    loss = 1 + draw()
    plain = Measurement(loss=loss, loss_se=draw() / 100, delta=0.0, delta_se=0.0, floor=0.9)
    return [
        plain
        if evaluation.ptq is None
        else dataclasses.replace(
            plain,
            loss=loss + (delta := draw() / 10),
            delta=delta,
            delta_se=draw() / 1000,
            matrices={place: Diagnosis(*draw(len(Diagnosis._fields)).tolist()) for place in places},
        )
        for evaluation in evals
    ]


def overhead(session: Session) -> dict[str, float]:
    """Seconds of a worker for each pack that takes no training, without its start, on as many workers as cores."""
    todo = packs(session.plan.cells, 1)
    engine = Local(workers=usable_cores())
    local.command = functools.partial(command, program=(sys.executable, __file__))
    took = []
    for some in (todo[: engine.workers], todo[engine.workers :]):
        began = time.perf_counter()
        outcome = engine.run(session.store, session.submit(some), len(some), lambda *_: None)
        took.append(time.perf_counter() - began)
        assert not outcome.failures, outcome.failures[0]
    return {"seconds": engine.workers * (took[1] - took[0]) / (len(todo) - 2 * engine.workers), "packs": len(todo)}


def trivial(pack: Pack, desk: Desk, programs: dict[object, Program]) -> None:
    """As `work`, without training."""
    draw = np.random.default_rng(0).random
    for member in pack.members:
        for rung, spec in enumerate(member):
            put(desk.store, spec, desk.corpus.fingerprint, pack.measured(rung), draw)
    desk.kept()


def worker(arguments: list[str]) -> None:
    """Be a worker whose packs are trivial; it is pinned here, since JAX is imported already."""
    if "--core" in arguments:
        at = arguments.index("--core")
        os.sched_setaffinity(0, {int(arguments[at + 1])})
        del arguments[at : at + 2]
    attempt.work = trivial
    cli(["work", *arguments], prog_name="simlaw")


if __name__ == "__main__":
    if sys.argv[1] == "work":
        worker(sys.argv[2:])
    task, where = sys.argv[1:]
    session = Session.open(where)
    print(json.dumps(overhead(session) if task == "packs" else fill(session)))
