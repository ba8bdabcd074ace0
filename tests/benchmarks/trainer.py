"""The trainer's part of `make bench`: simlaw against PyTorch, each side in its best process layout."""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from here import HERE, ROOT, commit, machine, version

#: Widths whose first step is timed: the quickstart's.
FIRST = (16, 32, 64)
FIRST_TARGET = 2.0


@dataclass(frozen=True)
class Size:
    """A model of the benchmark and the ratio to the better PyTorch that it should reach."""

    name: str
    width: int
    layers: int
    context: int
    batch: int
    target: float


SIZES = (
    Size("25k", 32, 2, 64, 32, 2.0),
    Size("100k", 64, 2, 64, 32, 1.5),
    Size("200k", 64, 4, 128, 16, 1.0),
    Size("800k", 128, 4, 128, 16, 1.0),
    Size("3M", 256, 4, 128, 16, 1.0),
)


@dataclass(frozen=True)
class Contender:
    """One trainer in one process layout: pinned to one core each, or one process on all cores."""

    trainer: str
    command: tuple[str, ...]
    pinned: bool

    @property
    def layout(self) -> str:
        return "a process per core" if self.pinned else "one process"


@dataclass(frozen=True)
class Result:
    """Tokens per second and peak resident bytes of all processes of a contender together."""

    speed: float
    peak: float


class Team:
    """The processes of a contender on one size: they start once, and train whenever they are told to."""

    def __init__(self, contender: Contender, size: Size, seconds: float) -> None:
        self.contender, self.size = contender, size
        cores = sorted(os.sched_getaffinity(0)) if contender.pinned else [-1]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        if contender.pinned:
            environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        numbers = [size.width, size.layers, size.context, size.batch]
        self.processes = [
            subprocess.Popen(
                [part.format(core=core, seconds=seconds) for part in _spread(contender.command, numbers)],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for core in cores
        ]

    def wait(self) -> None:
        for process in self.processes:
            assert process.stdout.readline().strip() == "ready", f"{self.contender.trainer} did not start"

    def train(self) -> Result:
        for process in self.processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        said = [json.loads(process.stdout.readline()) for process in self.processes]
        return Result(sum(one["tokens_per_second"] for one in said), sum(one["peak_bytes"] for one in said))

    def end(self) -> None:
        for process in self.processes:
            process.stdin.close()
            process.wait()


def _spread(command: Sequence[str], numbers: Sequence[int]) -> list[str]:
    """The command with the four numbers of a size in the place of {sizes}."""
    at = command.index("{sizes}")
    return [*command[:at], *map(str, numbers), *command[at + 1 :]]


def measured(options: argparse.Namespace) -> str:
    """The trainer's section of the results."""
    from simlaw.config import Text
    from simlaw.corpora import open_corpus

    with tempfile.NamedTemporaryFile(suffix=".bin") as corpus:
        corpus.write(open_corpus(Text()).train.tobytes())
        corpus.flush()
        own = (sys.executable, str(HERE / "simlaw_trainer.py"), "{sizes}", "{core}", "{seconds}")
        peer = (options.peer, str(HERE / "torch_trainer.py"), "{sizes}", "{core}", "{seconds}")
        contenders = [Contender("simlaw", own, pinned) for pinned in (True, False)] + [
            Contender(f"PyTorch {mode}", (*peer, mode, corpus.name), pinned)
            for mode in ("eager", "compile")
            for pinned in (True, False)
        ]
        found: dict[tuple[Size, Contender], list[Result]] = {}
        for size in SIZES:
            with contextlib.ExitStack() as stack:
                teams = []
                for contender in contenders:  # one after the other: two that compile at once take longer
                    team = Team(contender, size, options.seconds)
                    stack.callback(team.end)
                    team.wait()
                    teams.append(team)
                for round_ in range(options.rounds):
                    for team in teams:
                        time.sleep(0.5)  # idle threads of the last one spin for a while
                        result = team.train()
                        found.setdefault((size, team.contender), []).append(result)
                        print(
                            f"round {round_ + 1}: {size.name} {team.contender.trainer}, {team.contender.layout}: "
                            f"{result.speed / 1e3:.1f}k tokens/s",
                            file=sys.stderr,
                            flush=True,
                        )
    return text(found, first_steps(options.rounds), options)


def first_steps(rounds: int) -> dict[int, list[float]]:
    """Seconds from a process's start to the end of its first training step, its programs compiled before, by width."""
    found: dict[int, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "SIMLAW_STORE": str(Path(folder))}
        for round_ in range(rounds + 1):
            for width in FIRST:
                command = [sys.executable, str(HERE / "simlaw_trainer.py"), str(width), "2", "64", "32", "0", "0"]
                said = subprocess.run(
                    command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
                ).stdout
                if round_:  # the first one compiles
                    found.setdefault(width, []).append(json.loads(said)["first_step"])
    return found


def text(
    found: dict[tuple[Size, Contender], list[Result]], first: dict[int, list[float]], options: argparse.Namespace
) -> str:
    """The results as Markdown."""
    lines = [
        "# Trainer speed",
        "",
        f"{machine()}; {commit()}. jax {version(sys.executable, 'jax')}, torch {version(options.peer, 'torch')}. "
        "25k and 100k with 2 layers, context 64 and batch 32, the others with 4 layers, context 128 and batch 16; "
        f"float32; median of {options.rounds} interleaved rounds of {options.seconds:g} s (least to most), thousand "
        "tokens per second; peak resident memory of all processes of a layout.",
        "",
        "| block parameters | trainer | layout | k tokens/s | peak MB |",
        "|---|---|---|---|---|",
    ]
    ratios = []
    for size in SIZES:
        best: dict[str, tuple[float, float]] = {}
        for (s, contender), results in found.items():
            if s != size:
                continue
            speeds = [result.speed for result in results]
            middle, peak = statistics.median(speeds), max(result.peak for result in results)
            best[contender.trainer] = max(best.get(contender.trainer, (0.0, 0.0)), (middle, peak))
            spread = f"{min(speeds) / 1e3:.3g} to {max(speeds) / 1e3:.3g}"
            lines.append(
                f"| {size.name} | {contender.trainer} | {contender.layout} | {middle / 1e3:.3g} ({spread}) | "
                f"{peak / 1e6:.0f} |"
            )
        own, own_peak = best["simlaw"]
        each = ", ".join(
            f"{own / speed:.2f} × {name} ({own_peak / peak:.2f} × its memory)"
            for name, (speed, peak) in best.items()
            if name != "simlaw"
        )
        ratios.append(f"- {size.name}: {each}; against the faster one the target is {size.target:g} ×")
    waits = ", ".join(
        f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}) at width {width}"
        for width, seconds in first.items()
    )
    return "\n".join(
        [
            *lines,
            "",
            "Each side in its faster layout:",
            "",
            *ratios,
            f"- From a worker's start to the end of its first step, compiled before: {waits}; the target is "
            f"{FIRST_TARGET:g} s",
            "",
        ]
    )
