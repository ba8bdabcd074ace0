"""Mirrors: the journals of a sweep's runs as TensorBoard event files, or as offline runs of Weights & Biases.

They are made from the store, during a sweep or after it, and hold nothing that the store does not. A run's folder is
written anew each time, so that nothing is doubled.
"""

import importlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from simlaw.config import RunSpec
from simlaw.declared import encode
from simlaw.errors import SimlawError
from simlaw.run.journal import Line, journal_path, read_journal
from simlaw.store import AbstractStore

#: What is drawn over steps, by the name that it has in a mirror.
_DRAWN = {
    "train/loss": "loss",
    "train/gradient_norm": "gradient_norm",
    "train/rate": "rate",
    "speed/step_ms": "step_ms",
    "speed/tokens_per_s": "tokens_per_s",
    "speed/utilisation": "utilisation",
    "memory/state_bytes": "state_bytes",
}

#: Writes the journal of one run: a folder, the run's id, its spec, its lines.
Writer = Callable[[Path, str, RunSpec, Sequence[Line]], None]


def mirror(store: AbstractStore, runs: Sequence[tuple[str, RunSpec]], folder: Path, write: Writer) -> int:
    """How many of the runs have a journal, and are now mirrored below the folder."""
    made = 0
    for run, spec in runs:
        lines = read_journal(journal_path(store, run))
        if lines:
            write(folder, run, spec, lines)
            made += 1
    return made


def tensorboard(folder: Path, run: str, spec: RunSpec, lines: Sequence[Line]) -> None:
    """Write a run as a folder of event files, by tensorboardX; raises `SimlawError` where that is not installed."""
    library = _library("tensorboardX", "tensorboard")
    shutil.rmtree(folder / run, ignore_errors=True)
    with library.SummaryWriter(str(folder / run)) as writer:
        writer.add_text("spec", f"```\n{json.dumps(encode(spec), indent=1)}\n```", 0)
        for line in lines:
            for name, value in _values(line).items():
                writer.add_scalar(name, value, line["step"])


def wandb(folder: Path, run: str, spec: RunSpec, lines: Sequence[Line]) -> None:
    """Write a run as an offline run of W&B, for `wandb sync`; raises `SimlawError` where wandb is not installed.

    No account is asked for, and nothing leaves this machine.
    """
    library = _library("wandb", "wandb")
    for old in (folder / "wandb").glob(f"offline-run-*-{run}"):
        shutil.rmtree(old)
    folder.mkdir(parents=True, exist_ok=True)
    settings = library.Settings(silent=True, console="off", x_disable_stats=True)
    os.environ["WANDB_MODE"] = "offline"  # also for the process that wandb starts
    config = encode(spec)
    with library.init(
        mode="offline", project="simlaw", id=run, dir=str(folder), config=config, settings=settings
    ) as one:
        for line in lines:
            one.log({**_values(line), "tokens": line["tokens"]}, step=line["step"])


def _values(line: Line) -> dict[str, float]:
    """The numbers of a line that are there; older stores lack some."""
    return {name: line[key] for name, key in _DRAWN.items() if line.get(key) is not None}


def _library(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise SimlawError(f"{name} is not installed: pip install 'simlaw[{extra}]', or pip install {name}") from error
