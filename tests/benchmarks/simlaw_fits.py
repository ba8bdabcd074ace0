"""simlaw's side of the fits' benchmark: one task in a fresh process, timed; prints JSON."""

import time

BEGAN = time.perf_counter()  # before anything is imported: a first call pays for it

import json  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402

import simlaw as sl  # noqa: E402

task, path = sys.argv[1], sys.argv[2]
STARTS = 20
#: Calls that a warm time is the median of.
WARM = 9

if task == "load":
    fit = sl.load_law(path)
    print(json.dumps({"seconds": time.perf_counter() - BEGAN}))
    sys.exit()

import numpy as np  # noqa: E402

from simlaw.fitting.certificate import search  # noqa: E402
from simlaw.fitting.fit import fit  # noqa: E402
from simlaw.fitting.problem import pose  # noqa: E402
from simlaw.fitting.uncertainty import bootstrap  # noqa: E402
from simlaw.fitting.varpro import lifted  # noqa: E402


def rows(table):
    """The rows of a JSON file as observations."""
    with open(table) as file:
        columns = json.load(file)
    names = {name: name for name in columns if name in ("N", "D") or name.startswith("P_")}
    return sl.load_table({name: columns[name] for name in (*names, "loss")}, loss="loss", **names)


def timed(call, times):
    """The median time of some calls, and what the last gave."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        found = call()
        took.append(time.perf_counter() - began)
    return statistics.median(took), found


def cold():
    found = fit(sl.laws.Chinchilla, rows(path), starts=STARTS)
    return {"seconds": time.perf_counter() - BEGAN, "health": found.health}


def warm(objective="huber"):
    seen = rows(path)
    seconds, found = timed(lambda: fit(sl.laws.Chinchilla, seen, objective=objective, starts=STARTS), WARM + 1)
    # the same starts again, for where each of them ended
    problem = pose(sl.laws.Chinchilla, seen, fixed={}, bounds={}, objective=objective, starts=STARTS, seed=0)
    ends = search(lifted(problem)).minima.cost
    return {"seconds": seconds, "objectives": ends.tolist(), "health": found.health, "sentence": found.sentence}


def draws():
    seen = rows(path)
    seconds, found = timed(
        lambda: fit(sl.laws.Chinchilla, seen, bootstrap(seen.trunk, None, draws=4000), starts=STARTS), 1
    )
    law = found.draws
    ends = np.stack([np.log(law.E), np.log(law.A), np.log(law.B), law.alpha, law.beta], axis=1)[:40]
    return {"seconds": seconds, "health": found.health, "ends": ends.tolist()}


def joint():
    seen = rows(path)
    # the form of the paper's main text: without its offsets, which are held at their values
    truth = sl.published.kumar2024.law.values
    held = {name: float(truth[name]) for name in ("n_w", "n_a", "n_kv", "b")}
    weights = bootstrap(seen.trunk, None, draws=1000)
    seconds, found = timed(lambda: fit(sl.laws.PrecisionExponential, seen, weights, fixed=held, starts=200), 1)
    return {
        "seconds": seconds,
        "health": found.health,
        "sentence": found.sentence,
        "parameters": found.estimated,
    }


def grid():
    law = sl.published.kumar2024
    axes = {
        "N": np.geomspace(30e6, 1.7e9, 400)[:, None, None],
        "D": np.geomspace(1.5e9, 26e9, 500)[:, None],
        "P_post": np.array([3, 4, 5, 6, np.inf]),
    }
    seconds, found = timed(lambda: law.loss(**axes).argmin(axis=-1), WARM)
    return {"seconds": seconds, "points": found.size * 5}


TASKS = {
    "cold": cold,
    "warm": warm,
    "squares": lambda: warm("nats"),
    "draws": draws,
    "joint": joint,
    "map": grid,
}
print(json.dumps(TASKS[task]()))
