"""The quantizers' part of `make bench`: GPTQ of one layer against loops in NumPy and PyTorch and qwix, and a grid."""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from here import HERE, ROOT, commit, machine, version
from simlaw_quantizers import layer

OWN = ("layer", "small", "qwix", "numpy", "grid")
#: What is measured, of which task, with the aim in seconds where there is one.
LINES = (
    ("GPTQ of a 256 × 256 layer, warm, the slowest of 2 to 8 bits", "layer", "warm", 0.010),
    ("the same, the first call, with compilation", "layer", "first", 2.0),
    ("the same, all seven bit-widths in one call, warm", "layer", "all", 0.050),
    ("a NumPy loop, 4 bits", "numpy", "warm", None),
    ("a PyTorch loop, 4 bits", "torch", "warm", None),
    ("GPTQ of a 64 × 64 layer, warm", "small", "warm", None),
    ("qwix, int4, the same layer, warm", "qwix", "warm", None),
    ("qwix, int4, the same layer, the first call", "qwix", "first", None),
    ("five methods at seven bit-widths, 1.06M block parameters, 128 calibration sequences", "grid", "first", 60.0),
)
#: How much faster than the loops a layer should be, and the bytes that the grid may take.
RATIO, BYTES = 3.0, 2e9


def measured(options: argparse.Namespace) -> str:
    """The quantizers' section of the results."""
    found: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "layer.npz"
        w, hessian = layer(256)
        np.savez(given, w=w, hessian=hessian)
        commands = {task: [sys.executable, str(HERE / "simlaw_quantizers.py"), task] for task in OWN}
        commands["torch"] = [options.peer, str(HERE / "torch_quantizers.py"), str(given)]
        for round_ in range(options.rounds):
            for task, command in commands.items():
                found.setdefault(task, []).append(answer(command))
                print(f"round {round_ + 1}: {task}: {found[task][-1]}", file=sys.stderr, flush=True)
    return text(found, options)


def answer(command: Sequence[str]) -> dict[str, float]:
    """What a task's process prints."""
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if said.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{said.stderr}")
    return json.loads(said.stdout.splitlines()[-1])


def text(found: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> str:
    """The results as Markdown."""

    def middle(task: str, what: str) -> float:
        return statistics.median(one[what] for one in found[task])

    lines = [
        "# Quantizer speed",
        "",
        f"{machine()}; {commit()}. jax {version(sys.executable, 'jax')}, qwix {version(sys.executable, 'qwix')}, torch "
        f"{version(options.peer, 'torch')}. Both cores for everyone; median of {options.rounds} interleaved rounds "
        "(least to most), each in a fresh process, warm ones the median of 20 calls there (qwix: 3). The grid is one "
        "call with its compilations, evaluated on 2,048 tokens.",
        "",
        "| what | aim, seconds | seconds |",
        "|---|---|---|",
    ]
    for what, task, key, aim in LINES:
        each = [one[key] for one in found[task]]
        aimed = "" if aim is None else f"{aim:g}"
        lines.append(f"| {what} | {aimed} | {statistics.median(each):.3g} ({min(each):.3g} to {max(each):.3g}) |")
    own, peak = middle("layer", "warm"), max(one["peak_bytes"] for one in found["grid"])
    return "\n".join(
        [
            *lines,
            "",
            f"- {middle('numpy', 'warm') / own:.1f} × the NumPy loop, {middle('torch', 'warm') / own:.1f} × the one in "
            f"PyTorch, {7 * middle('numpy', 'warm') / middle('layer', 'all'):.1f} × and "
            f"{7 * middle('torch', 'warm') / middle('layer', 'all'):.1f} × for seven bit-widths; the aim is "
            f"{RATIO:g} ×",
            f"- {middle('qwix', 'warm') / middle('small', 'warm'):.0f} × qwix, warm",
            f"- The grid takes {peak / 1e9:.2f} GB; the aim is {BYTES / 1e9:g} GB",
            "",
        ]
    )
