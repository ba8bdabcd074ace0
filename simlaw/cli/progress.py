"""Progress: on a terminal a bar with an estimate of the time left, elsewhere a line now and then."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from simlaw.report import duration

#: Seconds between lines where output is not a terminal.
_QUIET_SECONDS = 15


@contextlib.contextmanager
def progress(what: str, total: float) -> Iterator[Callable[[float], None]]:
    """A function to call with the amount of work done since its last call; shows the share of `total` and the rest."""
    if sys.stderr.isatty():
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        with bar:
            task = bar.add_task(what, total=total)
            yield lambda amount: bar.advance(task, amount)
        return
    began = said = time.monotonic()
    done = 0.0

    def tell(amount: float) -> None:
        nonlocal done, said
        done += amount
        now = time.monotonic()
        if now - said >= _QUIET_SECONDS and done > 0:
            said = now
            left = (now - began) * max(0.0, total - done) / done
            click.echo(f"{what}: {min(1.0, done / total):.0%}, about {duration(left)} left", err=True)

    yield tell
