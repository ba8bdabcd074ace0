"""The pulse of a worker: a sign of life every few seconds, as long as it computes."""

import contextlib
import threading
import time
from collections.abc import Callable
from types import TracebackType

#: Of the time since the last beat, the share that a process must have computed: one that hangs computes nothing.
_SHARE = 0.005


class Pulse:
    """Calls `beat` every so many seconds from a thread of its own, while the process uses its processor.

    A worker whose main thread hangs gives no sign of life, whatever this thread does: its own share is far smaller.
    `alive` says that it lives although it did not compute, as whoever waits for a lease of another.
    """

    def __init__(self, beat: Callable[[], None], seconds: float) -> None:
        self._beat, self._seconds = beat, seconds
        self._alive, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def alive(self) -> None:
        """Let the next beat come."""
        self._alive.set()

    def __enter__(self) -> "Pulse":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        used = time.process_time()
        while not self._ended.wait(self._seconds):
            now = time.process_time()
            if self._alive.is_set() or now - used > _SHARE * self._seconds:
                with contextlib.suppress(Exception):  # a full disk must not make a worker look dead that computes
                    self._beat()
            self._alive.clear()
            used = now
