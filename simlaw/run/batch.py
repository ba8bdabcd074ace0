"""When a worker is to stop, and how a task of SLURM then goes back into the queue.

A SLURM job that is to end hears of it in three ways: SIGUSR1 before its time is over (`--signal`), SIGTERM when it is
preempted or cancelled, and nothing at all when its node dies. After a signal the worker stores its state; its task
goes back into the queue only where SLURM still holds it for running: what SLURM has preempted is back there
already, and what a person has cancelled must not rise again.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping

#: How long SLURM may take to answer a worker that has to end soon.
_PATIENCE_SECONDS = 10


def stop_signal(parent: int | None) -> Callable[[], bool]:
    """A function that says whether to stop: a signal came, or the process `parent` is gone."""
    asked: list[bool] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda *_: asked.append(True))
    return lambda: bool(asked) or (parent is not None and os.getppid() != parent)


def requeue(environment: Mapping[str, str]) -> None:
    """Put this task of a SLURM array back into the queue, if SLURM says that it is running; else nothing happens.

    What is done, and what SLURM says where it does not do it, goes to standard error.
    """
    job, array = environment.get("SLURM_JOB_ID"), environment.get("SLURM_ARRAY_JOB_ID")
    if job is None or array is None:
        return
    task = f"{array}_{environment.get('SLURM_ARRAY_TASK_ID')}"
    try:
        state = _ask("squeue", "--noheader", "--format=%T", f"--jobs={job}")
        if state != "RUNNING":
            return
        print(f"simlaw: the state is stored, and task {task} goes back into the queue", file=sys.stderr, flush=True)
        _ask("scontrol", "requeue", job)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        why = " ".join(said.split())
        print(f"simlaw: task {task} stays out of the queue ({why}): submit again", file=sys.stderr, flush=True)


def _ask(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_PATIENCE_SECONDS)
    return done.stdout.strip()
