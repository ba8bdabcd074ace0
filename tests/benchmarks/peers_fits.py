"""The peers' side of the fits' benchmark: one fit of the given rows, timed without its imports; prints JSON.

Runs in the peers' environment, without simlaw. Objectives are the sum of Huber terms (1e-3) of log residuals, whatever
the peer minimised, except those of variable projection, which are half the sum of squares in nats.
"""

import itertools
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy import optimize

task, rows = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
N, D, LOSS = (np.array(rows[name]) for name in ("N", "D", "loss"))
LOG_N, LOG_D, LOG_LOSS = np.log(N), np.log(D), np.log(LOSS)
DELTA = 1e-3
#: Starts of the grid of Hoffmann et al. that are tried in a round, of its 4,500.
SAMPLE = 450


def huber(theta, weights=1.0):
    """The objective at log E, log A, log B, alpha, beta, and its gradient."""
    e, a, b, alpha, beta = theta
    terms = np.stack([np.full_like(LOG_N, e), a - alpha * LOG_N, b - beta * LOG_D])
    top = terms.max(axis=0)
    each = np.exp(terms - top)
    whole = each.sum(axis=0)
    r = top + np.log(whole) - LOG_LOSS
    size = np.abs(r)
    value = np.sum(weights * np.where(size <= DELTA, r * r / 2, DELTA * (size - DELTA / 2)))
    pull = weights * np.clip(r, -DELTA, DELTA) * each / whole
    return value, np.array([*pull.sum(axis=1), -pull[1] @ LOG_N, -pull[2] @ LOG_D])


def lbfgs():
    """SciPy's L-BFGS-B with an analytic gradient, from a sample of the grid of Hoffmann et al."""
    axes = (np.arange(-1, 1.1, 0.5), np.arange(0, 26, 5), np.arange(0, 26, 5), *2 * [np.arange(0, 2.1, 0.5)])
    grid = np.array(list(itertools.product(*axes)))
    sample = np.random.default_rng(0).permutation(grid)[:SAMPLE]
    began = time.perf_counter()
    found = [optimize.minimize(huber, start, jac=True, method="L-BFGS-B").fun for start in sample]
    took = time.perf_counter() - began
    return {"seconds": took * len(grid) / SAMPLE, "objectives": found}


def bfgs(differences=False):
    """SciPy's BFGS from the optimum, resample by resample, with an analytic gradient or SciPy's own differences."""
    weights, value = np.array(rows["weights"]), (lambda *at: huber(*at)[0]) if differences else huber
    began = time.perf_counter()
    found = [optimize.minimize(value, rows["optimum"], (w,), "BFGS", jac=not differences).fun for w in weights]
    return {"seconds": (time.perf_counter() - began) / len(weights), "objectives": found}


def varpro():
    """Variable projection: non-negative least squares inside, a grid and Nelder-Mead over the exponents outside."""
    scaled_n, scaled_d = LOG_N - LOG_N.mean(), LOG_D - LOG_D.mean()

    def left(exponents):
        columns = np.stack([np.ones_like(N), np.exp(-exponents[0] * scaled_n), np.exp(-exponents[1] * scaled_d)], 1)
        return optimize.nnls(columns, LOSS)[1]

    began = time.perf_counter()
    axis = np.linspace(0.05, 1.0, 20)
    start = min(itertools.product(axis, axis), key=left)
    options = {"xatol": 1e-8, "fatol": 1e-12}
    found = optimize.minimize(left, start, method="Nelder-Mead", options=options).fun
    return {"seconds": time.perf_counter() - began, "objectives": [found**2 / 2]}


def chinchilla():
    """The package `chinchilla` with its log-Huber function, serially as the others are, its plot left out."""
    import functools

    import chinchilla.core
    import pandas
    from chinchilla._metrics import log_huber

    solve, ends = optimize.minimize, []

    def recorded(*arguments, **options):
        result = solve(*arguments, **options)
        ends.append(result.x)
        return result

    chinchilla.core.sciop.minimize = recorded
    grid = {"e": (0.0, 1.0), "a": (5.0, 10.0), "b": (5.0, 10.0), "alpha": (0.3, 0.6), "beta": (0.3, 0.6)}
    with tempfile.TemporaryDirectory() as folder:
        fitter = chinchilla.core.Chinchilla(
            folder, param_grid=grid, loss_fn=functools.partial(log_huber, delta=DELTA), log_level=40
        )
        fitter.database.df = pandas.DataFrame({"C": 6 * N * D, "N": N, "D": D, "loss": LOSS})
        fitter.visualizer.optim = lambda *_, **__: None
        began = time.perf_counter()
        fitter.fit(parallel=False)
        took = time.perf_counter() - began
        ends = [np.asarray(end * fitter._autoscale_range, np.float64) for end in ends]
    return {"seconds": took, "objectives": [huber(end)[0] for end in ends]}


TASKS = {
    "lbfgs": lbfgs,
    "chinchilla": chinchilla,
    "varpro": varpro,
    "bfgs": bfgs,
    "differences": lambda: bfgs(differences=True),
}
print(json.dumps(TASKS[task]()))
