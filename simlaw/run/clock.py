"""How long a piece of work took, and whether a program was compiled meanwhile: then it says nothing of its speed."""

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import jax

#: What JAX calls the making of a program, also where the cache on disk has it already.
_COMPILING = "/jax/core/compile/backend_compile_duration"


@dataclass
class Span:
    """Seconds of a piece of work, which are known when it is over; `compiled` where JAX made a program in it."""

    seconds: float = 0.0
    compiled: bool = False


@contextmanager
def timed() -> Iterator[Span]:
    """Around a piece of work whose results are waited for."""
    made = _made()
    span, before, began = Span(), len(made), time.perf_counter()
    yield span
    span.seconds, span.compiled = time.perf_counter() - began, len(made) > before


@functools.cache
def _made() -> list[float]:
    """The seconds that each program of this process took to make, in a list that grows from the first call on."""
    made: list[float] = []

    def hear(event: str, duration_secs: float, **_: str | int) -> None:
        if event == _COMPILING:
            made.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(hear)
    return made
