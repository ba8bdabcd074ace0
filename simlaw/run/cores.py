"""The cores that this process may use: how many, in which order workers take them, and how one keeps to its own."""

import os
import sys
from pathlib import Path

from simlaw.errors import SimlawError


def usable_cores() -> int:
    """How many cores this process may use; where the system does not say, how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def can_pin() -> bool:
    """Whether this system can keep a process on one core: Linux does, macOS does not."""
    return hasattr(os, "sched_setaffinity")


def cores() -> list[int]:
    """The cores that this process may use, one of each physical core first; empty where the system cannot pin."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return sorted(usable, key=lambda core: (_siblings(core).index(core), core))


def pin(core: int) -> None:
    """Keep this process, and the thread pools that it will start, on one core; before JAX is imported.

    Raises `SimlawError` where it may not use that core, or there is no such.
    """
    if "jax" in sys.modules:
        raise SimlawError("the process imported jax before it was pinned: pin first, or leave --core out")
    if not can_pin():
        return
    try:
        os.sched_setaffinity(0, {core})
    except (OSError, ValueError, OverflowError) as error:
        there = ", ".join(str(one) for one in sorted(os.sched_getaffinity(0)))
        raise SimlawError(f"core {core}: this process may use {there}: name one of them, or none") from error


def _siblings(core: int) -> list[int]:
    """The numbers under which the system lists one physical core, this one among them."""
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text()
        ends = [[int(end) for end in part.split("-")] for part in text.split(",")]
    except (OSError, ValueError):
        return [core]
    listed = [number for end in ends for number in range(end[0], end[-1] + 1)]
    return listed if core in listed else [core]
