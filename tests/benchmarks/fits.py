"""The fits' part of `make bench`: simlaw against SciPy, variable projection and the package `chinchilla`.

All fit the same rows, drawn from a published law with seeded noise; everyone has one core.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from here import HERE, ROOT, commit, machine, version

import simlaw as sl
from simlaw.external import load_table
from simlaw.fitting.fit import fit
from simlaw.fitting.objective import HUBER_DELTA
from simlaw.fitting.uncertainty import bootstrap

DRAWS, RESAMPLES = 4000, 40
#: A start has arrived where its objective is this close to the best of all contenders, relatively.
ARRIVED = 1e-4
#: Our tasks with their aims in seconds, and what they are.
OURS = {
    "cold": (0.3, "first fit of a fresh process, imports and certificate included"),
    "warm": (0.05, "the same fit again"),
    "draws": (2.0, f"fit with {DRAWS:,} bootstrap resamples"),
    "joint": (30.0, "joint precision law of 12 parameters, 465 rows, 200 starts, 1,000 resamples"),
    "map": (0.1, "decision map: the best of five precisions, 10⁶ losses"),
    "load": (0.3, "`import simlaw` and `load_law` in a fresh process"),
    "plan": (2.0, "`simlaw plan` of a sweep of 1,000 cells"),
}
PEERS = ("lbfgs", "chinchilla", "varpro", "bfgs", "differences")
SWEEP = """
import dataclasses
from pathlib import Path
from simlaw.sweep import Grid, load_sweep

TOKENS = tuple(2048 * 160 * k for k in range(1, 21))
SWEEP = dataclasses.replace(
    load_sweep("quickstart").sweep, grids=(Grid(widths=(16, 32, 48, 64, 80), tokens=TOKENS, seeds=tuple(range(10))),)
)
"""


def losses(count: int, *, seed: int = 0, noise: float = 0.005) -> dict[str, list[float]]:
    """Runs along compute budgets from 6e18 to 3e21 FLOPs, drawn from the law of Besiroglu et al.; some are outliers."""
    rng = np.random.default_rng(seed)
    n = np.exp(rng.uniform(np.log(44e6), np.log(16e9), count))
    d = np.exp(rng.uniform(np.log(6e18), np.log(3e21), count)) / (6 * n)
    loss = sl.published.besiroglu2024.loss(N=n, D=d) * np.exp(noise * rng.standard_t(3, count))
    return {"N": n.tolist(), "D": d.tolist(), "loss": loss.tolist()}


def precisions(count: int, *, seed: int = 0, noise: float = 0.002) -> dict[str, list[float]]:
    """Runs at the sizes, data and precisions of Kumar et al., drawn from their law."""
    rng = np.random.default_rng(seed)
    x = {"N": rng.choice([30e6, 60e6, 110e6, 220e6], count), "D": rng.choice([1.5e9, 3e9, 6e9, 13e9, 26e9], count)}
    for role, lowest in (("P_w", 3), ("P_a", 4), ("P_kv", 4), ("P_post", 3)):
        x[role] = rng.choice([*range(lowest, 9), 12, math.inf], count)
    loss = sl.published.kumar2024.loss(**x) * np.exp(noise * rng.normal(size=count))
    return {**{name: values.tolist() for name, values in x.items()}, "loss": loss.tolist()}


def measured(options: argparse.Namespace) -> str:
    """The fits' section of the results."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        rows = losses(245)
        seen = load_table(rows, N="N", D="D", loss="loss")
        weights = bootstrap(seen.trunk, None, draws=DRAWS)
        found = fit(sl.laws.Chinchilla, seen, bootstrap(seen.trunk, None, draws=1000))
        found.save(place / "law.json")
        resampled = weights.rows(seen.trunk)[:RESAMPLES]
        law = found.law
        optimum = [*np.log([law.E, law.A, law.B]), law.alpha, law.beta]
        (place / "losses.json").write_text(
            json.dumps({**rows, "weights": resampled.tolist(), "optimum": [float(value) for value in optimum]})
        )
        (place / "precisions.json").write_text(json.dumps(precisions(465)))
        (place / "sweep.py").write_text(SWEEP)
        files = {"joint": "precisions.json", "load": "law.json"}
        commands = {
            task: [sys.executable, str(HERE / "simlaw_fits.py"), task, str(place / files.get(task, "losses.json"))]
            for task in (*OURS, "squares")
        }
        commands["plan"] = [sys.executable, "-m", "simlaw", "plan", str(place / "sweep.py")]
        for task in PEERS:
            commands[task] = [options.peer, str(HERE / "peers_fits.py"), task, str(place / "losses.json")]
        answers: dict[str, list[dict]] = {task: [] for task in commands}
        for round_ in range(options.rounds):
            for at, (task, command) in enumerate(commands.items()):
                answers[task].append(answer(command, place))
                took = answers[task][-1]["seconds"]
                print(
                    f"[{round_ * len(commands) + at + 1}/{options.rounds * len(commands)}] round {round_ + 1}: "
                    f"{task}: {took:.3g} s",
                    file=sys.stderr,
                    flush=True,
                )
    ends = answers["draws"][-1]["ends"]
    drawn = [huber_sum(rows, end, each) for end, each in zip(ends, resampled, strict=True)]
    return text(answers, np.array(drawn), options)


def answer(command: list[str], store: Path) -> dict:
    """What a contender prints, in one core's worth of threads; `simlaw plan` is timed from outside."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {**os.environ, **one, "SIMLAW_STORE": str(store / "store"), "JAX_PLATFORMS": "cpu"}
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1]) if done.stdout.startswith("{") else {"seconds": took}


def huber_sum(rows: dict[str, list[float]], end: list[float], weights: np.ndarray) -> float:
    """The objective of some weights at log E, log A, log B, alpha, beta."""
    e, a, b, alpha, beta = end
    law = sl.laws.Chinchilla(E=np.exp(e), A=np.exp(a), B=np.exp(b), alpha=alpha, beta=beta)
    size = np.abs(np.log(law.loss(N=rows["N"], D=rows["D"]) / np.array(rows["loss"])))
    return float(weights @ np.where(size <= HUBER_DELTA, size**2 / 2, HUBER_DELTA * (size - HUBER_DELTA / 2)))


def text(answers: dict[str, list[dict]], drawn: np.ndarray, options: argparse.Namespace) -> str:
    """The section as Markdown."""
    last = {task: each[-1] for task, each in answers.items()}
    middle = {task: statistics.median(one["seconds"] for one in each) for task, each in answers.items()}
    resampled = {"draws": drawn, **{task: np.array(last[task]["objectives"]) for task in ("bfgs", "differences")}}
    lowest = np.min(list(resampled.values()), axis=0)
    there = {task: f"{(each <= lowest * (1 + ARRIVED)).mean():.0%}" for task, each in resampled.items()}
    whole = {task: DRAWS * middle[task] for task in ("bfgs", "differences")}
    packages = ", ".join(
        [f"numpy {version(sys.executable, 'numpy')}"]
        + [f"{name} {version(options.peer, name)}" for name in ("scipy", "chinchilla")]
    )

    def ends(*tasks: str) -> dict[str, list[float]]:
        return {task: last[task]["objectives"] for task in tasks}

    huber, squares = ends("warm", "lbfgs", "chinchilla"), ends("squares", "varpro")
    lines = [
        "# Fit speed",
        "",
        f"{machine()}; {commit()}. {packages}. 245 rows drawn from the law of Besiroglu et al. with noise and "
        f"outliers; one BLAS thread for everyone (OMP_NUM_THREADS=1); median of {options.rounds} interleaved rounds "
        f"(least to most), each in a fresh process. A start arrives where its objective is within {ARRIVED:g}, "
        "relatively, of the lowest that any contender reached.",
        "",
        "| the sum of Huber terms of log residuals | seconds | starts that arrive | lowest objective |",
        "|---|---|---|---|",
        f"| simlaw, first call, imports and certificate included | {_seconds(answers['cold'])} | "
        f"{_arrived(huber, 'warm')} |",
        f"| simlaw, warm, with certificate | {_seconds(answers['warm'])} | {_arrived(huber, 'warm')} |",
        f"| SciPy L-BFGS-B, 4,500 starts (ten times the seconds of 450) | {_seconds(answers['lbfgs'])} | "
        f"{_arrived(huber, 'lbfgs')} |",
        f"| chinchilla, 32 starts, log-Huber | {_seconds(answers['chinchilla'])} | {_arrived(huber, 'chinchilla')} |",
        "",
        "| least squares in nats | seconds | starts that arrive | lowest objective |",
        "|---|---|---|---|",
        f"| simlaw, warm, with certificate | {_seconds(answers['squares'])} | {_arrived(squares, 'squares')} |",
        f"| variable projection, grid and Nelder-Mead | {_seconds(answers['varpro'])} | "
        f"{_arrived(squares, 'varpro')} |",
        "",
        f"| {DRAWS:,} bootstrap resamples | seconds | those that arrive, of {RESAMPLES} |",
        "|---|---|---|",
        f"| simlaw, with the fit, on both cores | {_seconds(answers['draws'])} | {there['draws']} |",
        f"| SciPy BFGS from the optimum, analytic gradient ({RESAMPLES} measured) | {whole['bfgs']:.3g} | "
        f"{there['bfgs']} |",
        f"| SciPy BFGS from the optimum, its own differences ({RESAMPLES} measured) | {whole['differences']:.3g} | "
        f"{there['differences']} |",
        "",
        "| simlaw | aim, seconds | seconds |",
        "|---|---|---|",
        *(f"| {what} | {aim:g} | {_seconds(answers[task])} |" for task, (aim, what) in OURS.items()),
        "",
        f"- {middle['lbfgs'] / middle['warm']:.0f} × SciPy L-BFGS-B, {middle['chinchilla'] / middle['warm']:.0f} × "
        f"chinchilla, {middle['varpro'] / middle['squares']:.1f} × variable projection, warm",
        f"- {whole['bfgs'] / middle['draws']:.0f} × SciPy BFGS for each resample, "
        f"{whole['differences'] / middle['draws']:.0f} × where it has no gradient; the aim is 100 ×",
        f"- The certificate: {last['warm']['health']}, {last['warm']['sentence']}. The joint law "
        f"({last['joint']['parameters']} parameters): {last['joint']['health']}, {last['joint']['sentence']}.",
        "",
    ]
    return "\n".join(lines)


def _arrived(ends: dict[str, list[float]], task: str) -> str:
    """The share of a contender's starts that arrive, and how far its lowest objective is above the lowest of all."""
    lowest, mine = min(min(each) for each in ends.values()), np.array(ends[task])
    above = mine.min() / lowest - 1
    share = f"{(mine <= lowest * (1 + ARRIVED)).mean():.0%} of {len(mine)}"
    return f"{share} | {'the lowest' if above < 1e-9 else f'{above:.1e} above the lowest'}"


def _seconds(found: list[dict]) -> str:
    took = [one["seconds"] for one in found]
    return f"{statistics.median(took):.3g} ({min(took):.3g} to {max(took):.3g})"
