"""The scheduling part of `make bench`: what plans, stores and packs cost besides training, where there are many."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from here import HERE, ROOT, commit, machine, version

SWEEP = """
import dataclasses
from simlaw.formats import PerChannel, PerGroup
from simlaw.sweep import Grid, PTQGrid, load_sweep

TOKENS = tuple(20 * 128 * k for k in range(1, {rungs} + 1))
SWEEP = dataclasses.replace(
    load_sweep("smoke").sweep,
    grids=(Grid(widths={widths}, tokens=TOKENS, seeds=tuple(range({seeds}))),),
    ptq=(
        PTQGrid(bits=(2, 3, 4, 5, 6, 7, 8), granularities=(PerChannel(),)),
        PTQGrid(bits=(3, 4), granularities=(PerGroup(size=8),)),
    ),
    unidentified="nothing is trained",
)
"""
#: What is measured, with the most seconds that it should take.
LINES = {
    "plan": (5.0, "`simlaw plan` of 10,000 cells, none of them done"),
    "status": (2.0, "`simlaw status` of 10,000 cells, all done in the store"),
    "table": (5.0, "`simlaw table --out` of their 100,000 rows"),
}
#: GB that the table should take at the most.
GIGABYTES = 1.0
#: Milliseconds that a pack should cost besides its training, and how many there are.
PACK, PACKS = 20.0, 1000


def measured(options: argparse.Namespace) -> str:
    """The scheduling section of the results."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "many.py").write_text(SWEEP.format(widths="(8, 16, 24, 32, 40)", rungs=20, seeds=100))
        (place / "packs.py").write_text(SWEEP.format(widths="(8,)", rungs=1, seeds=PACKS))
        print("filling a store with the rows of 10,000 cells", file=sys.stderr, flush=True)
        ask("fill", place / "many.py", place / "many")
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in LINES}
        each: list[float] = []
        for i in range(options.rounds):
            for name in LINES:
                out = ["--out", str(place / "rows.csv")] if name == "table" else []
                store = place / ("empty" if name == "plan" else "many")
                found[name].append(timed([name, str(place / "many.py"), *out], store))
            each.append(1e3 * ask("packs", place / "packs.py", place / f"packs-{i}")["seconds"])
    return text(found, each, options)


def ask(task: str, sweep: Path, store: Path) -> dict[str, float]:
    """What `simlaw_scheduling.py` prints of a task."""
    command = [sys.executable, str(HERE / "simlaw_scheduling.py"), task, str(sweep)]
    done = subprocess.run(command, cwd=ROOT, env=environment(store), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def timed(arguments: list[str], store: Path) -> tuple[float, float, float]:
    """Seconds of wall time and of processors, and GB of memory at the most, of a command in a fresh process."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "simlaw", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(store), stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    took = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"simlaw {' '.join(arguments)} failed"
    return took, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e9


def environment(store: Path) -> dict[str, str]:
    """The environment of a process on a store."""
    return {**os.environ, "SIMLAW_STORE": str(store), "JAX_PLATFORMS": "cpu"}


def text(found: dict[str, list[tuple[float, float, float]]], packs: list[float], options: argparse.Namespace) -> str:
    """The section as Markdown."""
    lines = [
        "# Scheduling",
        "",
        f"{machine()}; {commit()}. jax {version(sys.executable, 'jax')}. Whole commands, each in a fresh process that "
        f"imports JAX first, on a store of rows that were never trained; median of {options.rounds} rounds (least to "
        "most).",
        "",
        "| what | aim, seconds | seconds | of processors | GB at the most |",
        "|---|---|---|---|---|",
    ]
    for name, (aim, what) in LINES.items():
        wall, processors, memory = (spread(list(values)) for values in zip(*found[name], strict=True))
        lines.append(f"| {what} | {aim:g} | {wall} | {processors} | {memory} |")
    lines += [
        "",
        f"- The table should take at most {GIGABYTES:g} GB",
        f"- Each of {PACKS:,} packs that want no training takes a worker of the local engine {spread(packs)} ms: "
        f"claimed, ten rows made and stored, told; the aim is {PACK:g}",
        "",
    ]
    return "\n".join(lines)


def spread(each: list[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(each):.3g} ({min(each):.3g} to {max(each):.3g})"
