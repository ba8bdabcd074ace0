"""What the scheduling part of the benchmark needs of simlaw: `fill SWEEP` and `packs SWEEP`, in a store of its own.

Nothing is trained: `fill` puts rows into the store that the package's own functions make of drawn measurements, and
`packs` works through a manifest of packs that are all done, so that what is left is what each of them costs besides.
"""

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from simlaw.declared import digest
from simlaw.evaluate import Measurement
from simlaw.model import matrices
from simlaw.plan import Cell, packs, shapes_of
from simlaw.ptq import Diagnosis
from simlaw.rows import done_rows, matrix_rows
from simlaw.run.cores import usable_cores
from simlaw.run.local import Local
from simlaw.run.session import Session
from simlaw.schema import KINDS
from simlaw.table import make_table


def fill(session: Session) -> None:
    """Put the rows of every cell into the store, with what each quantization did to each matrix."""
    os.fsync = lambda _: None  # of a store that a benchmark throws away
    draw = np.random.default_rng(0).random
    for cell in session.plan.cells:
        found = measurements(cell, draw)
        rows = done_rows(cell.spec, cell.fingerprint, None, cell.evals, found)
        details = matrix_rows(cell.spec, cell.fingerprint, cell.evals, found)
        key = f"{cell.run_id}/{digest(tuple(KINDS), tuple(row['eval_id'] for row in rows))}"
        files = {"rows.csv": make_table(rows).to_csv().encode(), "matrices.csv": details.to_csv().encode()}
        session.store.put("rows", key, files)


def measurements(cell: Cell, draw: Callable[..., Any]) -> list[Measurement]:
    """A measurement of each evaluation of a cell."""
    places = matrices(shapes_of(cell.spec.model))
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
        for evaluation in cell.evals
    ]


def overhead(session: Session) -> dict[str, float]:
    """Seconds of work for each pack that is done already, without a worker's start, on as many workers as cores."""
    todo = packs(session.plan.cells, 1)
    engine = Local(workers=usable_cores())
    took = []
    for some in (todo[: engine.workers], todo):
        began = time.perf_counter()
        outcome = engine.run(session.store, str(session.submit(some)), len(some), lambda *_: None)
        took.append(time.perf_counter() - began)
        assert not outcome.failures, outcome.failures[0]
    return {"seconds": (took[1] - took[0]) / (len(todo) - engine.workers), "packs": len(todo)}


if __name__ == "__main__":
    task, where = sys.argv[1:]
    session = Session.open(where)
    print(json.dumps(overhead(session) if task == "packs" else fill(session)))
