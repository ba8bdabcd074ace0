"""The local engine: a few worker processes on this machine, each pinned to one core (or one for an accelerator).

Two pinned one-core processes train small models 1.3 to 1.6 times faster than one process on two cores.
"""

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from simlaw.run.engine import AbstractEngine, Listener, Outcome, command
from simlaw.run.message import Message, Task, read_message
from simlaw.store import Store

#: How long workers get to reach a boundary after the first Ctrl-C.
PATIENCE_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Local(AbstractEngine):
    """Worker processes on this machine, attended until all have ended."""

    def run(self, store: Store, manifest: str, packs: int, tell: Listener, profile: Path | None = None) -> Outcome:
        """Work through a manifest; Ctrl-C stops at the next boundary, a second one now."""
        count = max(1, min(self.workers, packs)) if self.one_by_one else 1
        cores = self.cores if self.one_by_one else []
        logs = store.root / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            workers = []
            for i in range(count):
                log = logs / f"worker-{i}.log"
                more = ["--parent", str(os.getpid())]
                if cores:
                    more += ["--core", str(cores[i % len(cores)])]
                if profile is not None:
                    more += ["--profile", str((profile / f"worker-{i}").resolve())]
                process = subprocess.Popen(
                    command(self, manifest, *more),
                    stdout=subprocess.PIPE,
                    stderr=stack.enter_context(log.open("wb")),
                    env=self.environment(store),
                    text=True,
                    start_new_session=True,  # Ctrl-C reaches the parent alone, which passes it on once
                )
                workers.append((stack.enter_context(process), log))
                tell(i, Message(task=Task(doing="starting")))
            return _attend(workers, tell)


def _attend(workers: list[tuple[subprocess.Popen[str], Path]], tell: Listener) -> Outcome:
    """Read what the workers say until all have ended."""
    said: queue.Queue[tuple[int, str | None]] = queue.Queue()
    threads = [
        threading.Thread(target=_listen, args=(i, process, said), daemon=True) for i, (process, _) in enumerate(workers)
    ]
    for thread in threads:
        thread.start()
    failures, open_pipes, stopping, ended = [], len(workers), 0.0, 0
    with _interrupts() as asked:
        while open_pipes:
            for process, _ in workers:
                process.poll()  # whoever died is buried, so that the others see it and take over what it held
            if asked and not stopping:
                stopping = time.monotonic()
                _signal(workers, signal.SIGTERM)
                for i in range(len(workers)):
                    tell(i, Message(task=Task(doing="stopping")))
            if len(asked) > 1 or (stopping and time.monotonic() - stopping > PATIENCE_SECONDS):
                _signal(workers, signal.SIGKILL)
            try:
                worker, line = said.get(timeout=0.2)
            except queue.Empty:
                continue
            if line is None:
                open_pipes -= 1
                tell(worker, Message(ended=True))
                continue
            message = read_message(line)
            if message is None:
                continue
            if stopping and message.task is not None:
                message = replace(message, task=replace(message.task, doing="stopping"))
            tell(worker, message)
            ended += message.ended
            if message.failed is not None:
                failures.append(message.failed)
    for process, log in workers:
        # 0: all done; 1 after saying that it ended: something is left, and said already
        if process.wait() and not (process.returncode == 1 and ended == len(workers)) and not stopping:
            last = (log.read_text().strip().splitlines() or ["it left no message"])[-1]
            failures.append(f"a worker ended with status {process.returncode}: {last} (whole log: {log})")
    return Outcome(stopped=bool(stopping), failures=tuple(dict.fromkeys(failures)))


def _listen(worker: int, process: subprocess.Popen[str], said: "queue.Queue[tuple[int, str | None]]") -> None:
    assert process.stdout is not None
    for line in process.stdout:
        said.put((worker, line))
    said.put((worker, None))


def _signal(workers: list[tuple[subprocess.Popen[str], Path]], number: signal.Signals) -> None:
    for process, _ in workers:
        if process.poll() is None:
            process.send_signal(number)


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM as a list that grows, while the workers are attended."""
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
