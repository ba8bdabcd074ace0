"""A supervisor: attends worker processes until all have ended, and starts again those that died or hang."""

import contextlib
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from simlaw.run.engine import Listener, Outcome
from simlaw.run.message import Message, Task, read_message
from simlaw.run.rules import Rules

#: How long workers get to reach a boundary after the first Ctrl-C.
PATIENCE_SECONDS = 60
#: A worker that starts says nothing for a while, whatever the rules: it imports libraries, and reads its corpus.
STARTING_SECONDS = 120
#: With fewer bytes left a disk is full.
_ROOM = 2**16
#: Looks are five a second; after such a pause nothing is said of workers.
_ASLEEP_SECONDS = 10


@dataclass(kw_only=True)
class Attended:
    """A worker: how it is started with its standard error in a log, and what is known of its process.

    `ends` are those without a word since a run of it was settled.
    """

    start: Callable[[], subprocess.Popen[str]]
    log: Path
    process: subprocess.Popen[str] = field(init=False)
    heard: float = 0.0
    spoke: bool = False
    ended: bool = False
    ends: int = 0


class Supervisor:
    """Attends workers; `tell` gets the number of each and what it says, `report` the kind and sentence of a fault."""

    def __init__(
        self, workers: list[Attended], rules: Rules, tell: Listener, report: Callable[[str, str], None]
    ) -> None:
        self._workers, self._rules, self._tell, self._report = workers, rules, tell, report
        self._said: queue.Queue[tuple[int, str | None]] = queue.Queue()
        self._failures: list[str] = []
        self._known: set[str] = set()
        self._looked = time.monotonic()
        self._stopping = 0.0

    def attend(self) -> Outcome:
        """How it went once all workers have ended; Ctrl-C stops them at their next boundary, a second one now."""
        left = set(range(len(self._workers)))
        with interrupts() as asked:
            try:
                for i in left:
                    self._start(i)
                while left:
                    self._look(len(asked))
                    try:
                        i, line = self._said.get(timeout=0.2)
                    except queue.Empty:
                        continue
                    if line is not None:
                        self._hear(i, line)
                    elif not self._again(i):
                        left.discard(i)
                        self._tell(i, Message(ended=True))
            finally:
                self._signal(signal.SIGKILL)
        return Outcome(stopped=bool(self._stopping), failures=tuple(dict.fromkeys(self._failures)))

    def _start(self, i: int) -> None:
        worker = self._workers[i]
        worker.process, worker.heard, worker.spoke, worker.ended = worker.start(), time.monotonic(), False, False
        threading.Thread(target=_listen, args=(i, worker.process, self._said), daemon=True).start()
        self._tell(i, Message(task=Task(doing="starting")))

    def _look(self, asked: int) -> None:
        """Pass on what the person asks for, bury who died, and kill who hangs."""
        now = time.monotonic()
        if now - self._looked > _ASLEEP_SECONDS:  # this process was stopped itself, and heard nobody
            for worker in self._workers:
                worker.heard = now
        self._looked = now
        if asked and not self._stopping:
            self._stopping = now
            self._signal(signal.SIGTERM)
            for i in range(len(self._workers)):
                self._tell(i, Message(task=Task(doing="stopping")))
        if asked > 1 or (self._stopping and now - self._stopping > PATIENCE_SECONDS):
            self._signal(signal.SIGKILL)
        for worker in self._workers:
            # buried at once, so that the others see it and take over what it held
            gone = worker.process.poll() is not None
            patience = self._rules.lease_seconds if worker.spoke else max(STARTING_SECONDS, self._rules.lease_seconds)
            if not gone and now - worker.heard > patience:
                self._report("hung", f"a worker gave no sign of life for {patience:g} seconds and was ended")
                worker.process.kill()
                worker.heard = now

    def _hear(self, i: int, line: str) -> None:
        message, worker = read_message(line), self._workers[i]
        if message is None:
            return
        worker.heard, worker.spoke = time.monotonic(), True
        worker.ended |= message.ended
        # who starts again tells of what was settled before: that is no result
        new = set(message.runs) - self._known
        if new and (message.settled or message.failed is not None):
            self._known |= new
            worker.ends = 0
        if message.failed is not None:
            self._failures.append(message.failed)
        if self._stopping and message.task is not None:
            message = replace(message, task=replace(message.task, doing="stopping"))
        if not message.ended:
            self._tell(i, message)

    def _again(self, i: int) -> bool:
        """Whether a worker that has ended was started again."""
        worker = self._workers[i]
        status = worker.process.wait()
        worker.ends += 1
        follows = self._rules.after(status, worker.ended, worker.ends)
        if self._stopping or follows == "done":
            return False
        lines = worker.log.read_text(errors="replace").strip().splitlines() or [_why_not(worker.log)]
        said = f"a worker ended with status {status}: {lines[-1]} (whole log: {worker.log})"
        if follows == "failed":
            self._failures.append(said)
            return False
        self._report("died", said)
        self._start(i)
        return True

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if hasattr(worker, "process") and worker.process.poll() is None:
                worker.process.send_signal(number)


def _why_not(log: Path) -> str:
    """Why a worker left no message in its log."""
    full = shutil.disk_usage(log.parent).free < _ROOM
    return "its disk is full: free space or set SIMLAW_STORE" if full else "it left no message"


def _listen(i: int, process: subprocess.Popen[str], said: "queue.Queue[tuple[int, str | None]]") -> None:
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            said.put((i, line))
    said.put((i, None))


@contextlib.contextmanager
def interrupts() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM as a list that grows, while workers are attended."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.signal(number, lambda n, _: asked.append(n)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
