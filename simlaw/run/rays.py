"""The Ray engine: a task for each pack, which starts the command of every engine as a process of its own on some node.

So JAX starts fresh for each pack, and numbers are those of the local engine. Ray itself says only where and when; what
was computed goes through the store, which all nodes must see under the same address. A task that loses its node, or its
process of Ray, is begun again elsewhere and goes on from the last state that was stored.
"""

import contextlib
import fcntl
import importlib
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, ClassVar

from simlaw.errors import SimlawError
from simlaw.files import private_folder
from simlaw.run.cores import cores
from simlaw.run.engine import AbstractEngine, Listener, Outcome, command
from simlaw.run.job import OF_AN_ENTRY
from simlaw.run.message import Message, Task, read_message
from simlaw.run.rules import Rules
from simlaw.run.supervisor import PATIENCE_SECONDS, STARTING_SECONDS, interrupts
from simlaw.store import AbstractStore

#: How often a task is begun again whose node or process died: often, for a preempted node is no failure.
_DEATHS = 20
#: How long a cluster may take to be there at all.
_ANSWER_SECONDS = 5
#: Seconds between looks at what tasks said, and at what has ended.
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Ray(AbstractEngine):
    """Tasks of a Ray cluster, attended until all have ended. A worker that crashes is started again.

    `address` is that of the cluster, HOST:PORT, or "auto" for the one that this machine belongs to. `gpus` and `cpus`
    are what Ray sets aside for each pack.
    """

    here: ClassVar[bool] = False

    address: str = "auto"
    gpus: int = 0
    cpus: int = 1

    def __post_init__(self) -> None:
        if self.address != "auto" and not re.fullmatch(r"[A-Za-z0-9.-]+:[0-9]{1,5}", self.address):
            raise SimlawError(
                f"--address {self.address!r}: a Ray cluster is at HOST:PORT, or auto where this machine belongs to it: "
                "write it so"
            )

    def run(
        self, store: AbstractStore, manifest: str, packs: int, tell: Listener, profile: Path | None = None
    ) -> Outcome:
        """Get the packs done; Ctrl-C has workers store their state at the next boundary, a second one ends them now."""
        ray = _library()
        with _connected(ray, self.address):
            context = ray.get_runtime_context()
            node, job = context.get_node_id(), context.get_job_id()
            near = importlib.import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy(
                node, soft=False
            )
            # on this machine, for another may fall
            mail = ray.remote(num_cpus=0, scheduling_strategy=near)(_Mail).remote()
            task = ray.remote(max_retries=_DEATHS, num_cpus=self.cpus, num_gpus=self.gpus)(_work)
            pinned = self.one_by_one and self.gpus == 0

            def launch(index: int) -> Any:
                more = ["--index", str(index)]
                if profile is not None:
                    more += ["--profile", str((profile / f"worker-{index}").resolve())]
                arguments = command(self, manifest, *more, program=())
                settings = self.settings(store) | {"SIMLAW_JOB": f"ray {job}_{index}"}
                return task.remote(index, arguments, settings, os.getcwd(), pinned, self.rules.lease_seconds, mail)

            attended = _Attended(ray=ray, tell=tell, logs=store.root / "logs", rules=self.rules)
            with interrupts() as asked, _answering(ray, self.address):
                attended.tasks = {launch(index): index for index in range(packs)}
                while attended.tasks:
                    attended.heed(asked)
                    attended.hear(ray.get(mail.take.remote()))
                    for index in attended.ended():
                        attended.tasks[launch(index)] = index
                attended.hear(ray.get(mail.take.remote()))
        return Outcome(stopped=bool(asked), failures=tuple(dict.fromkeys(attended.failures)))


@dataclass
class _Attended:
    """The tasks that are not done by what Ray knows them as, the number of each that works, and what went wrong."""

    ray: Any
    tell: Listener
    logs: Path
    rules: Rules
    tasks: dict[Any, int] = field(default_factory=dict)
    slots: dict[int, int] = field(default_factory=dict)
    crashed: Counter[int] = field(default_factory=Counter)
    known: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    stopping: float = 0.0

    def heed(self, asked: list[int]) -> None:
        """Stop all tasks where that was asked for: first by a signal to their workers, then at once."""
        if asked and not self.stopping:
            self.stopping = time.monotonic()
            for task in self.tasks:
                self.ray.cancel(task, force=False)
            for slot in self.slots.values():
                self.tell(slot, Message(task=Task(doing="stopping")))
        if len(asked) > 1 or (self.stopping and time.monotonic() - self.stopping > PATIENCE_SECONDS):
            for task in self.tasks:
                self.ray.cancel(task, force=True)

    def hear(self, letters: list[tuple[int, str]]) -> None:
        """Pass on what workers said, each under the lowest number that was free when it began."""
        for index, line in letters:
            message = read_message(line)
            if message is None or message.ended:
                continue  # the end of a task says that too, and of those that died as well
            if index not in self.slots:
                self.slots[index] = min(set(range(len(self.slots) + 1)) - set(self.slots.values()))
            if self.stopping and message.task is not None:
                message = replace(message, task=replace(message.task, doing="stopping"))
            self.tell(self.slots[index], message)
            # who starts again tells of what was settled before: that is no result
            new = set(message.runs) - self.known
            if new and (message.settled or message.failed is not None):
                self.known |= new
                self.crashed[index] = 0
            if message.failed is not None:
                self.failures.append(message.failed)

    def ended(self) -> list[int]:
        """The packs to be tried again, after a look at which tasks have ended."""
        again = []
        done, _ = self.ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=_LOOK_SECONDS)
        for task in done:
            index = self.tasks.pop(task)
            if index in self.slots:
                self.tell(self.slots.pop(index), Message(ended=True))
            status, over, said = self._result(task)
            self.crashed[index] += 1
            follows = self.rules.after(status, over, self.crashed[index])
            if self.stopping or follows == "done":
                continue
            if follows == "again":
                again.append(index)
                continue
            self.logs.mkdir(parents=True, exist_ok=True)
            log = self.logs / f"pack-{index}.log"
            log.write_text(said)
            last = (said.strip().splitlines() or ["it left no message"])[-1]
            self.failures.append(f"the worker of pack {index} ended with status {status}: {last} (whole log: {log})")
        return again

    def _result(self, task: Any) -> tuple[int | None, bool, str]:
        """As `_work`, with no status where Ray gave the task up, or it was cancelled."""
        try:
            status, over, said = self.ray.get(task)
        except self.ray.exceptions.RayError as error:
            return None, False, str(error)
        return status, over, said


class _Mail:
    """An actor that keeps what workers say until somebody asks."""

    def __init__(self) -> None:
        self.letters: list[tuple[int, str]] = []

    def put(self, index: int, lines: list[str]) -> None:
        """Keep what the worker of a pack said."""
        self.letters += [(index, line) for line in lines]

    def take(self) -> list[tuple[int, str]]:
        """Everything since the last time."""
        letters, self.letters = self.letters, []
        return letters


def _work(
    index: int, arguments: list[str], settings: dict[str, str], folder: str, pinned: bool, patience: float, mail: Any
) -> tuple[int, bool, str]:
    """How a worker's process ended on this node: its status, whether it said so, the end of its standard error.

    A cancelled task is a `KeyboardInterrupt`, which the worker gets as SIGTERM. One without a sign of life for so many
    seconds of `patience` is ended.
    """
    lines: queue.Queue[str] = queue.Queue()
    not_its = ("JAX_PLATFORMS", *OF_AN_ENTRY)  # but of whoever started Ray here
    environment = {name: value for name, value in os.environ.items() if name not in not_its} | settings
    program = [sys.executable, "-m", "simlaw", *arguments, "--parent", str(os.getpid())]
    with contextlib.ExitStack() as stack:
        try:
            core = stack.enter_context(_core(index)) if pinned else None
        except SimlawError as error:
            return 2, False, f"simlaw: {error}"  # as a worker says what a person must mend
        if core is not None:
            program += ["--core", str(core)]
        errors: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
        process = stack.enter_context(
            subprocess.Popen(
                program,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                cwd=folder if os.path.isdir(folder) else None,
                text=True,
                start_new_session=True,
            )
        )
        # main thread: short waits only, for Ray's cancelling does not interrupt a system call
        reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
        reader.start()
        over, ends = False, time.monotonic() + max(STARTING_SECONDS, patience)
        while True:
            try:  # around all of a look: the task may be cancelled anywhere in it
                if process.poll() is not None:
                    break
                if time.monotonic() > ends:
                    process.kill()
                time.sleep(_LOOK_SECONDS)
                if said := _post(index, lines, mail):
                    over |= any(_ends(line) for line in said)
                    ends = time.monotonic() + patience
            except KeyboardInterrupt:
                process.send_signal(signal.SIGTERM)
                ends, patience = time.monotonic() + PATIENCE_SECONDS, PATIENCE_SECONDS
        reader.join(timeout=1)
        over |= any(_ends(line) for line in _post(index, lines, mail))
        errors.seek(0)
        return process.returncode, over, errors.read().decode(errors="replace")[-10_000:]


def _ends(line: str) -> bool:
    message = read_message(line)
    return message is not None and message.ended


def _read(process: "subprocess.Popen[str]", said: "queue.Queue[str]") -> None:
    assert process.stdout is not None
    for line in process.stdout:
        said.put(line)


def _post(index: int, lines: "queue.Queue[str]", mail: Any) -> list[str]:
    """What the worker said since the last time, which is in the post now."""
    said = [lines.get() for _ in range(lines.qsize())]
    if said:
        mail.put.remote(index, said)
    return said


@contextlib.contextmanager
def _core(index: int) -> Iterator[int | None]:
    """A core of this node that no other task has meanwhile; None where the system cannot pin.

    Ray counts cores and assigns none. A lock on a file is gone with the process that had it.
    """
    usable = cores()
    if not usable:
        yield None
        return
    folder = private_folder(
        Path(tempfile.gettempdir()) / f"simlaw-cores-{os.getuid()}",
        "start Ray on this node with TMPDIR set to a folder of your own",
    )
    with contextlib.ExitStack() as stack:
        for core in usable:
            lock = stack.enter_context((folder / str(core)).open("a"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue  # another task has it
            yield core
            return
        yield usable[index % len(usable)]  # Ray was told of more cores than there are


def _library() -> Any:
    """The library, which only this engine needs; raises `SimlawError` without it."""
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise SimlawError(
            "--engine ray needs the library ray: pip install 'simlaw[ray]' here and on all nodes"
        ) from error


@contextlib.contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    """A connection to the cluster while the work is done; raises `SimlawError` where none answers."""
    try:
        if address != "auto":  # Ray itself would try for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (OSError, RuntimeError, ValueError, OverflowError) as error:
        why = " ".join(str(error).split())[:200]
        raise SimlawError(
            f"--address {address}: no Ray cluster answers ({why}): start one with `ray start --head`, or give HOST:PORT"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _answering(ray: Any, address: str) -> Iterator[None]:
    """The time in which tasks are attended; raises `SimlawError` where the cluster no longer answers meanwhile."""
    try:
        yield
    except (ray.exceptions.RayError, ConnectionError) as error:
        why = " ".join(str(error).split())[:200]
        raise SimlawError(
            f"--address {address}: the Ray cluster answers no more ({why}): what was stored is kept, and the same "
            "command goes on from there once it is back"
        ) from error
