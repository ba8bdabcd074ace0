"""What every engine is: workers of some kind, and a way to get a manifest done by them.

All engines launch the same command, `simlaw work --manifest M`, which does whatever entry is free, or with `--index I`
entry I alone. It is idempotent and the store has all results, so an engine may lose a job, or launch one twice.
"""

import abc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import ClassVar

from simlaw.run.cores import cores
from simlaw.run.job import OF_AN_ENTRY
from simlaw.run.message import Message
from simlaw.run.rules import Rules
from simlaw.store import AbstractStore

#: Gets the number of a worker and what it says.
Listener = Callable[[int, Message], None]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a submission ended: whether it was stopped by Ctrl-C, and the sentences of what failed.

    `submitted` is what a batch system says that has taken the work and returned at once; None where the work is over.
    """

    stopped: bool = False
    failures: tuple[str, ...] = ()
    submitted: str | None = None


@dataclass(frozen=True, kw_only=True)
class Queue:
    """What a batch system has not ended yet: the place of each run by id, and what hindered the look at it, if any.

    A place reads "slurm 123_4, pending (Resources)". `gone` has the task that each other run was last submitted as.
    The queue is never the truth, only why not to submit something twice.
    """

    places: Mapping[str, str] = field(default_factory=dict)
    gone: Mapping[str, str] = field(default_factory=dict)
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class AbstractEngine(abc.ABC):
    """Workers of one kind. On a CPU each has a core of its own; an accelerator, or a mesh, has one worker.

    `mesh` is how many devices divide packs, batches and models; with `remat` blocks are computed again for gradients.
    `layout` chooses fewer workers where memory binds, and, unless they were `asked` for, where fewer are as fast.
    """

    #: Whether workers share this machine's memory and cores, and whether `run` stays until they have ended.
    here: ClassVar[bool] = True
    attended: ClassVar[bool] = True
    #: What gives a worker more memory, as a clause.
    more: ClassVar[str] = "--memory says how much there is, where this machine was misread"

    workers: int = 2
    asked: bool = False
    device: str = "cpu"
    mesh: tuple[int, int, int] | None = None
    remat: bool = False
    rules: Rules = Rules()

    @property
    def one_by_one(self) -> bool:
        """Whether there are several workers, whose members follow one another: on a CPU without a mesh."""
        return self.device == "cpu" and self.mesh is None

    @property
    def cores(self) -> list[int]:
        """The cores that this process may use, one of each physical core first; empty where the system cannot pin."""
        return cores()

    @property
    def memory(self) -> float | None:
        """The bytes of its host that a worker elsewhere is given, where that is known; not those of an accelerator."""
        return None

    @abc.abstractmethod
    def run(
        self, store: AbstractStore, manifest: str, packs: int, tell: Listener, profile: Path | None = None
    ) -> Outcome:
        """Get so many packs of a manifest done, or have a batch system take them; how that ended.

        `tell` gets the number of each worker, from 0, and what it says. Workers leave a trace of a few dispatches in a
        folder of their own below `profile`. Raises `SimlawError` where nothing could be launched.
        """

    def queued(self, store: AbstractStore) -> Queue:  # noqa: ARG002  # batch systems look into it
        """The runs that were submitted before and that the engine still has, waiting or at work."""
        return Queue()

    def settings(self, store: AbstractStore) -> dict[str, str]:
        """The environment variables that a worker on this store has besides those of whoever launches it.

        On a CPU they keep it to one thread, as its numbers want it. `JAX_PLATFORMS` is to be unset where it is not
        among them: the process that launches may have it for itself.
        """
        shared = {"SIMLAW_STORE": store.address}
        if self.device == "cpu":
            shared |= {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        return shared

    def environment(self, store: AbstractStore) -> dict[str, str]:
        """The whole environment of a worker that this process starts on this store."""
        # should this process be an entry of a scheduler's job, its workers are not
        mine = {"JAX_PLATFORMS", *OF_AN_ENTRY}
        return {name: value for name, value in os.environ.items() if name not in mine} | self.settings(store)


def command(
    engine: AbstractEngine,
    manifest: str,
    *more: str,
    program: Sequence[str] = (sys.executable, "-m", "simlaw"),
) -> list[str]:
    """The arguments of a worker's process, program first: what every engine launches, with `more` options at the end.

    `manifest` is a path, or the address of one in a bucket; `program` is how simlaw is called where the worker runs.
    """
    arguments = [*program, "work", "--manifest", manifest, "--device", engine.device]
    if engine.mesh is not None:
        arguments += ["--mesh", *map(str, engine.mesh)]
    if engine.remat:
        arguments += ["--remat"]
    for each in fields(Rules):  # but for what a worker does by itself
        if (value := getattr(engine.rules, each.name)) != each.default:
            arguments += [f"--{each.name.replace('_', '-')}", f"{value:g}"]
    return [*arguments, *more]
