"""What a worker knows of the scheduler that started it: which entry of which job it is, and where its words go."""

import os
import stat
from pathlib import Path

from simlaw.errors import SimlawError

#: The variables that make a process an entry of a job; its children are none, and two of them not the same one.
OF_AN_ENTRY = ("SIMLAW_JOB", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX")


def entry() -> int | None:
    """The entry of the manifest that a scheduler's array gives this process, or None where it gives none.

    Raises `SimlawError` where what it gives is no index: without one, this process would do every entry.
    """
    for name in ("SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX"):
        if (text := os.environ.get(name)) is not None:
            if not (text.isascii() and text.isdigit()):
                raise SimlawError(f"{name}={text}: an index is a whole number from 0; give --index, or unset {name}")
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
        process = read("SLURM_PROCID", "0")  # of several that one task starts by srun
        return f"slurm {array}_{read('SLURM_ARRAY_TASK_ID')}" + f".{process}" * (process != "0")
    return None


def log() -> str | None:
    """The file that this process's standard error goes to, where it is a file and the system tells."""
    try:
        path = os.readlink("/proc/self/fd/2")
        return path if stat.S_ISREG(Path(path).stat().st_mode) else None
    except OSError:
        return None
