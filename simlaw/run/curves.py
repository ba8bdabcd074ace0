"""Loss curves out of the store: what of a run's history goes beside the table."""

import numpy as np

from simlaw.history import unpack_history
from simlaw.losscurves import LossCurves, curve_of, make_curves
from simlaw.store import AbstractStore
from simlaw.table import Table


def stored_curves(store: AbstractStore, rows: Table, known: LossCurves) -> LossCurves:
    """The curves of the runs of some rows whose history this store holds, and whose curve is not `known` already.

    A run that diverged has none. Raises `SimlawError` where a history is not as long as its run.
    """
    there = known.by_run
    runs = {row["run_id"]: row for row in rows if row["status"] == "done" and row["run_id"] not in there}
    found = []
    for run, row in runs.items():
        files = store.get("run", run)
        if files is not None:
            losses = unpack_history(files["history.safetensors"], row["tokens"] // row["batch_tokens"]).loss
            if np.isfinite(losses).all():
                found.append(curve_of(run, losses, row["batch_tokens"]))
    return make_curves(found)
