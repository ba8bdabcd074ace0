"""The training precision's part of `make bench`: what a step of simulated low precision takes beside a plain one."""

import argparse
import json
import statistics
import subprocess
import sys

from here import HERE, ROOT, commit, machine, version

#: What is measured, with the most times a step at full precision that it should take.
LINES = (
    ("W4", None),
    ("A4 per token", None),
    ("KV4", None),
    ("W4 A4 KV4", 1.15),
    ("the same in e2m1", None),
    ("A4, one scale for the batch", None),
    ("gradients in MXFP8", None),
    ("W4 A4, rotated", None),
    ("W4, learned steps", None),
)


def measured(options: argparse.Namespace) -> str:
    """The training precision's section of the results."""
    command = [sys.executable, str(HERE / "simlaw_precisions.py"), str(options.rounds)]
    said = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    found: dict[str, list[float]] = json.loads(said.splitlines()[-1])
    plain = found.pop("full")
    lines = [
        "# Training precision",
        "",
        f"{machine()}; {commit()}. jax {version(sys.executable, 'jax')}. A model of 106k block parameters (width 64, 2 "
        "layers, context 64, 32 sequences a step) on one core; steps of all precisions in turn in one process, the "
        f"median ratio of {len(plain)} rounds to the plain step beside it (least to most). At full precision a step "
        f"takes {1e3 * statistics.median(plain):.3g} ms.",
        "",
        "| precision | aim | times a step at full precision |",
        "|---|---|---|",
    ]
    for name, aim in LINES:
        each = [one / full for one, full in zip(found[name], plain, strict=True)]
        aimed = "" if aim is None else f"{aim:g}"
        lines.append(f"| {name} | {aimed} | {statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f}) |")
    return "\n".join([*lines, ""])
