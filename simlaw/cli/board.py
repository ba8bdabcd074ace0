"""A sweep at work: on a terminal a bar and a line for each worker, elsewhere a line of text now and then.

Of a worker: what it trains, loss and gradient norm (means over the pack), milliseconds of a step, tokens in a second,
the share of the machine's peak, bytes that each run keeps between steps (state), and the most that the worker held.
"""

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import click
from rich.console import Console, ConsoleOptions
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from simlaw.report import count, duration, size
from simlaw.run.engine import Listener
from simlaw.run.message import Message, Task

#: Seconds between lines where output is not a terminal.
_QUIET_SECONDS = 15
#: Seconds that are called a few: nobody foretells a compilation more exactly.
_FEW = 5
#: How often a terminal is drawn anew in a second.
_DRAWN = 4
#: What is said of a worker, with the room that it has at least, so that nothing moves as numbers change.
_COLUMNS = {
    **{"width": 5, "N": 5, "precision": 9, "seed": 5, "step": 10, "loss": 5, "grad": 4, "ms/step": 7, "tok/s": 5},
    **{"of peak": 7, "state": 7, "memory": 6},
}
#: What of it gives way, the first first, where a terminal is too narrow for all; and what is too narrow for two times.
_LESS = ("state", "precision", "memory", "of peak", "grad", "ms/step", "width", "seed", "N", "tok/s")
_NARROW = 60


@dataclass
class Board:
    """What is known of a sweep at work: FLOPs done of all, runs settled, and what each worker is at.

    `seconds` is the estimate from before the start, if there is one, and `fixed` its part for starts and compilations;
    `done` of the `runs` are settled from the beginning. `first` is when FLOPs were told of for the first time; `paced`
    are those since then beside which nothing was compiled, up to the time `last`, and `compiling` the seconds of all
    workers for those beside which something was.
    """

    what: str
    flops: float
    seconds: float | None
    runs: int
    fixed: float = 0.0
    done: int = 0
    worked: float = 0.0
    first: float | None = None
    paced: float = 0.0
    last: float = 0.0
    compiling: float = 0.0
    tasks: dict[int, Task | None] = field(default_factory=dict)
    settled: dict[str, str] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def hear(self, worker: int, message: Message) -> None:
        """Take in what a worker says."""
        self.worked += message.flops
        if message.flops and self.first is None:
            self.first = time.monotonic()
        elif message.compiling:
            self.compiling += message.compiling
        elif message.flops:
            self.paced += message.flops
            self.last = time.monotonic()
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
    def left(self) -> float | None:
        """Seconds left: by the estimate at first, and from a tenth of the work on by its pace; None while nobody knows.

        The pace leaves out starts and compilations, which short runs mostly are: what the estimate has of them and did
        not go by yet is added, the less the more is done.
        """
        lost = self.compiling / max(1, len(self.tasks))
        # what goes on now may be a compilation: only what is over counts
        since = 0.0 if self.first is None else self.last - self.first - lost
        by_pace = since / self.paced * (self.flops - self.worked) if self.paced and since > 0 else None
        if self.share == 1:
            return 0.0
        if self.seconds is None:
            return by_pace
        gone = time.monotonic() - self.began if self.first is None else self.first - self.began + lost
        fixed = max(0.0, self.fixed - gone) * (1 - self.share)
        by_estimate = (self.seconds - self.fixed) * (1 - self.share)
        if by_pace is None:
            return fixed + by_estimate
        trust = min(1.0, 10 * self.paced / self.flops)
        return fixed + trust * by_pace + (1 - trust) * by_estimate

    @property
    def time_left(self) -> str:
        """The time left in words."""
        left = self.left
        if left is None:
            return "time left unknown yet"
        if self.share == 1:
            return "done"
        return f"about {duration(left)} left" if left >= _FEW else "a few seconds left"

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
        parts = [f"{self.what}: {self.share:.0%}, {self.time_left}", self.counts]
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
        head = Table.grid(padding=(0, 1), expand=True)
        for ratio in (None, 1, None, None):
            head.add_column(ratio=ratio, no_wrap=True)
        elapsed = f"{duration(time.monotonic() - self.began)}, " if options.max_width >= _NARROW else ""
        # colours by their names are those of the terminal's own theme, dark or light
        bar = ProgressBar(1.0, self.share, style="bright_black", complete_style="green", finished_style="green")
        head.add_row(self.what, bar, f"{self.share:.0%}", elapsed + self.time_left)
        speed = f"; {count(self.tokens_per_s)} tokens/s" if self.tokens_per_s else ""
        yield head
        yield Text(f"{self.counts}{speed}", overflow="ellipsis", no_wrap=True)
        if any(self.tasks.values()):
            yield self._workers(console, options)

    def _workers(self, console: Console, options: ConsoleOptions) -> Table:
        """A line for each worker, with as many columns as there is room for."""
        endless = options.update_width(10_000)
        for given_up in range(len(_LESS) + 1):
            table = self._with([name for name in _COLUMNS if name not in _LESS[:given_up]])
            if console.measure(table, options=endless).maximum <= options.max_width:
                break
        return table

    def _with(self, names: Sequence[str]) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("")
        for name in names:
            table.add_column(name, justify="right", no_wrap=True, min_width=_COLUMNS[name])
        for worker, task in sorted(self.tasks.items()):
            cells = {"step": "ended"} if task is None else _cells(task)
            table.add_row(str(worker), *(cells.get(name, "") for name in names))
        return table


@contextlib.contextmanager
def shown(board: Board) -> Iterator[Listener]:
    """A function for what workers say; meanwhile the board is shown on standard error."""
    console = Console(stderr=True)
    if sys.stderr.isatty() and console.is_terminal and not console.is_dumb_terminal:
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
        "precision": task.precision or "full",
        "seed": str(task.seed) + (f" +{task.members - 1}" if task.members > 1 else ""),
        "step": f"{task.step}/{task.steps}" if task.doing == "training" else task.doing,
    }
    numbers = {
        "loss": (task.loss, "{:.3f}".format),
        "grad": (task.gradient_norm, "{:.2g}".format),
        "ms/step": (task.step_ms, "{:.3g}".format),
        "tok/s": (task.tokens_per_s, count),
        "of peak": (task.utilisation, "{:.0%}".format),
        "state": (task.state, size),
        "memory": (task.memory, size),
    }
    return cells | {name: write(value) for name, (value, write) in numbers.items() if value is not None}
