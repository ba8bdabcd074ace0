"""When a worker is to stop, and how a task of SLURM then goes back into the queue.

A SLURM job that is to end hears of it in three ways: SIGUSR1 before its time is over (`--signal`), SIGTERM when it is
preempted or cancelled, and nothing at all when its node dies. After a signal the worker stores its state; its task
goes back into the queue only where SLURM still holds it for running: what SLURM has preempted is back there
already, and what a person has cancelled must not rise again.
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping

from simlaw.errors import SimlawError
from simlaw.run.submissions import ask

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

    What is done, or why nothing is, goes to standard error.
    """
    array, index = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    if array is None or index is None:
        return
    # not SLURM_JOB_ID: that of the task which starts last is the array's, and means all tasks
    task = f"{array}_{index}"
    try:
        state = ask("squeue", "--noheader", "--format=%T", f"--jobs={task}", seconds=_PATIENCE_SECONDS).strip()
        if state == "RUNNING":
            _say(f"the state is stored, and task {task} goes back into the queue")
            ask("scontrol", "requeue", task, seconds=_PATIENCE_SECONDS)
        else:
            there = (
                f"SLURM says that task {task} is {state.lower()}" if state else f"SLURM knows no task {task} any more"
            )
            _say(f"the state is stored; {there}: cancelled or preempted, so it is not for simlaw to put it back")
    except SimlawError as error:
        _say(f"task {task} stays out of the queue ({error}): submit again")


def _say(words: str) -> None:
    print(f"simlaw: {words}", file=sys.stderr, flush=True)
