"""What a worker knows of the scheduler that started it: which entry of which job it is, and where its words go."""

import os
import stat
from pathlib import Path


def entry() -> int | None:
    """The entry of the manifest that a scheduler's array gives this process, or None where it gives none."""
    for name in ("SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX"):
        if (text := os.environ.get(name, "")).isdecimal():
            return int(text)
    return None


def job() -> str | None:
    """The name of this entry of a job, the same whenever a scheduler starts it again; None where there is no such.

    `SIMLAW_JOB` is what an engine calls its job.
    """
    read = os.environ.get
    if own := read("SIMLAW_JOB"):
        return own if entry() is None else f"{own}_{entry()}"
    if array := read("SLURM_ARRAY_JOB_ID"):
        return f"slurm {array}_{read('SLURM_ARRAY_TASK_ID')}.{read('SLURM_PROCID', '0')}"
    return None


def log() -> str | None:
    """The file that this process's standard error goes to, where it is a file and the system tells."""
    try:
        path = os.readlink("/proc/self/fd/2")
        return path if stat.S_ISREG(Path(path).stat().st_mode) else None
    except OSError:
        return None
