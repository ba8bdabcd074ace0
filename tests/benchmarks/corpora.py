"""The corpora's part of `make bench`: tokens a second of training windows and of exact floors, on all cores."""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile

from here import HERE, ROOT, commit, machine, version

#: What is measured, with the least million tokens of windows, and thousand tokens of floors, per second.
LINES = {
    "zfact": (5.0, 200),
    "graph": (5.0, 200),
    "zrhm": (5.0, 200),
    "step": (5.0, 200),
    "words": (None, 200),
    "digits": (None, 200),
    "mix": (None, 200),
}
#: The most of a training step that the windows should take, in percent.
SHARE = 5


def measured(options: argparse.Namespace) -> str:
    """The corpora's section of the results."""
    found: dict[str, list[list[dict[str, float]]]] = {name: [] for name in LINES}
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(tempfile.TemporaryDirectory())
        processes = []
        for core in sorted(os.sched_getaffinity(0)):
            process = subprocess.Popen(
                [sys.executable, str(HERE / "simlaw_corpora.py"), str(core)],
                cwd=ROOT,
                env={**os.environ, "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1", "SIMLAW_STORE": store},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(process.wait)
            stack.callback(process.stdin.close)
            processes.append(process)
        # from both ends on, so that each compiles half of the programs and reads the others
        for i, process in enumerate(processes):
            tell(process, list(LINES)[:: 1 - 2 * (i % 2)])
        for process in processes:
            assert all(process.stdout.readline() == "ready\n" for _ in LINES), "a process could not begin"
        for _ in range(options.rounds):
            for name in LINES:
                for process in processes:
                    tell(process, [name])
                found[name].append([json.loads(process.stdout.readline()) for process in processes])
    return text(found, options, len(processes))


def tell(process: subprocess.Popen[str], names: list[str]) -> None:
    """Name corpora to a process."""
    process.stdin.write("".join(f"{name}\n" for name in names))
    process.stdin.flush()


def text(found: dict[str, list[list[dict[str, float]]]], options: argparse.Namespace, processes: int) -> str:
    """The results as Markdown."""
    lines = [
        "# Corpora",
        "",
        f"{machine()}; {commit()}. jax {version(sys.executable, 'jax')}. A process on each core, {processes} together; "
        "windows of 32 sequences at the context of a training run, made in one compiled program, and what they take of "
        "a step of a model of 25k block parameters on them (width 32, 2 layers); median of "
        f"{options.rounds} interleaved rounds (least to most), the share the mean over processes.",
        "",
        "| corpus | aim, M tokens/s | windows, M tokens/s | % of a step | aim, k tokens/s | floors, k tokens/s |",
        "|---|---|---|---|---|---|",
    ]
    for name, (least, floors) in LINES.items():
        windows = spread([sum(one["generated"] for one in each) / 1e6 for each in found[name]])
        exact = spread([sum(one["floors"] for one in each) / 1e3 for each in found[name]])
        share = spread([statistics.mean(100 * one["windows"] / one["step"] for one in each) for each in found[name]])
        aim = "" if least is None else f"{least:g}"
        lines.append(f"| {name} | {aim} | {windows} | {share} | {floors} | {exact} |")
    return "\n".join([*lines, "", f"- Windows should take at most {SHARE} % of a step", ""])


def spread(each: list[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(each):.3g} ({min(each):.3g} to {max(each):.3g})"
