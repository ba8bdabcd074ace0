"""Traces: what JAX does during a few dispatches, for Perfetto or TensorBoard."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jax

#: Dispatches that are traced.
DISPATCHES = 3


@dataclass
class Trace:
    """The trace of a few dispatches of one worker, written below `folder` as soon as it has them."""

    folder: Path
    left: int = DISPATCHES
    running: bool = False

    @contextmanager
    def dispatch(self) -> Iterator[None]:
        """Around a dispatch of a program that is compiled already."""
        if self.left and not self.running:
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0  # every call of Python between two dispatches would bury them
            jax.profiler.start_trace(self.folder, create_perfetto_trace=True, profiler_options=options)
            self.running = True
        yield
        self.left = max(0, self.left - 1)
        if not self.left:
            self.close()

    def close(self) -> None:
        """Write what was traced; nothing where nothing was."""
        if self.running:
            self.running = False
            jax.profiler.stop_trace()  # type: ignore[no-untyped-call]
