"""A sweep at work: on a terminal a bar and a line for each worker, elsewhere a line of text now and then."""

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import click
from rich.console import Console, ConsoleOptions
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from simlaw.report import count, duration, size
from simlaw.run.local import Listener
from simlaw.run.message import Message, Task

#: Seconds between lines where output is not a terminal.
_QUIET_SECONDS = 15
#: How often a terminal is drawn anew in a second.
_DRAWN = 4
#: What is said of a worker, and what of it gives way where a terminal is narrower than so many columns.
_COLUMNS = ("width", "N", "weights", "seed", "step", "loss", "grad", "tok/s", "of peak", "memory")
_LESS, _WIDE = ("weights", "grad", "of peak", "memory"), 80


@dataclass
class Board:
    """What is known of a sweep at work: FLOPs done of all, runs settled, and what each worker is at.

    `seconds` is the estimate from before the start; `done` of the `runs` are settled from the beginning; `first` is
    when FLOPs were told of for the first time, and how many.
    """

    what: str
    flops: float
    seconds: float
    runs: int
    done: int = 0
    worked: float = 0.0
    first: tuple[float, float] | None = None
    tasks: dict[int, Task | None] = field(default_factory=dict)
    settled: dict[str, str] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def hear(self, worker: int, message: Message) -> None:
        """Take in what a worker says."""
        self.worked += message.flops
        if message.flops and self.first is None:
            self.first = time.monotonic(), self.worked
        if message.ended:
            self.tasks[worker] = None
        elif message.task is not None:
            before = self.tasks.get(worker)
            # a word alone, such as that it stops, keeps what it speaks of on the screen
            alone = message.task == Task(doing=message.task.doing) and before is not None
            self.tasks[worker] = replace(before, doing=message.task.doing) if alone and before else message.task
        condition = "failed" if message.failed is not None else message.settled
        if condition is not None:
            self.settled |= dict.fromkeys(message.runs, condition)

    @property
    def share(self) -> float:
        """The share of the FLOPs that is done."""
        return min(1.0, self.worked / self.flops) if self.flops else 1.0

    @property
    def left(self) -> float:
        """Seconds left: by the estimate at first, and from a tenth of the work on by the pace since it began.

        The pace leaves out what comes before the first FLOPs: the start of the workers, and the first compilation.
        """
        by_estimate = self.seconds * (1 - self.share)
        if self.first is None or self.worked <= self.first[1]:
            return by_estimate
        since, worked = time.monotonic() - self.first[0], self.worked - self.first[1]
        by_pace = since / worked * max(0.0, self.flops - self.worked)
        trust = min(1.0, 10 * self.share)
        return trust * by_pace + (1 - trust) * by_estimate

    @property
    def tokens_per_s(self) -> float:
        """Training tokens in a second, of all workers that train now."""
        tasks = [task for task in self.tasks.values() if task is not None]
        return sum(task.tokens_per_s or 0.0 for task in tasks if task.doing in ("training", "stopping"))

    @property
    def counts(self) -> str:
        """How many runs are done, diverged and failed."""
        said = list(self.settled.values())
        parts = [f"{self.done + said.count('done')} of {self.runs} runs done"]
        parts += [f"{n} {what}" for what in ("diverged", "failed") if (n := said.count(what))]
        return ", ".join(parts)

    @property
    def line(self) -> str:
        """Everything in one line of text."""
        parts = [f"{self.what}: {self.share:.0%}, about {duration(self.left)} left", self.counts]
        if self.tokens_per_s:
            parts.append(f"{count(self.tokens_per_s)} tokens/s")
        last = [task for task in self.tasks.values() if task is not None and task.loss is not None]
        parts += [
            f"loss {task.loss:.3f} at step {task.step} of {task.steps} of {count(task.params or 0)} parameters"
            for task in last[:1]
        ]
        return "; ".join(parts)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table | Text]:
        """The board for a terminal of any width."""
        del console
        head = Table.grid(padding=(0, 1), expand=True)
        for ratio in (None, 1, None, None):
            head.add_column(ratio=ratio, no_wrap=True)
        elapsed = duration(time.monotonic() - self.began)
        bar = ProgressBar(total=1.0, completed=self.share)
        head.add_row(self.what, bar, f"{self.share:.0%}", f"{elapsed}, about {duration(self.left)} left")
        speed = f"; {count(self.tokens_per_s)} tokens/s" if self.tokens_per_s else ""
        yield head
        yield Text(f"{self.counts}{speed}", overflow="ellipsis", no_wrap=True)
        if any(self.tasks.values()):
            yield self._workers(narrow=options.max_width < _WIDE)

    def _workers(self, narrow: bool) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("")
        names = [name for name in _COLUMNS if not (narrow and name in _LESS)]
        for name in names:
            table.add_column(name, justify="right", no_wrap=True)
        for worker, task in sorted(self.tasks.items()):
            cells = {"step": "ended"} if task is None else _cells(task)
            table.add_row(str(worker), *(cells.get(name, "") for name in names))
        return table


@contextlib.contextmanager
def shown(board: Board) -> Iterator[Listener]:
    """A function for what workers say; meanwhile the board is shown on standard error."""
    console = Console(stderr=True)
    if sys.stderr.isatty() and console.is_terminal:
        with Live(board, console=console, refresh_per_second=_DRAWN, transient=False):
            yield board.hear
        return
    said = time.monotonic()

    def hear(worker: int, message: Message) -> None:
        nonlocal said
        board.hear(worker, message)
        now = time.monotonic()
        if now - said >= _QUIET_SECONDS and board.worked:
            said = now
            click.echo(board.line, err=True)

    yield hear


def _cells(task: Task) -> dict[str, str]:
    """The cells of a worker's line by column; what it does stands in place of the step unless it trains."""
    if task.width is None:
        return {"step": task.doing}
    cells = {
        "width": str(task.width),
        "N": count(task.params or 0),
        "weights": "full" if task.bits is None else f"int{task.bits}",
        "seed": str(task.seed) + (f" +{task.members - 1}" if task.members > 1 else ""),
        "step": f"{task.step}/{task.steps}" if task.doing == "training" else task.doing,
    }
    numbers = {
        "loss": (task.loss, "{:.3f}".format),
        "grad": (task.gradient_norm, "{:.2g}".format),
        "tok/s": (task.tokens_per_s, count),
        "of peak": (task.utilisation, "{:.0%}".format),
        "memory": (task.memory, size),
    }
    return cells | {name: write(value) for name, (value, write) in numbers.items() if value is not None}
