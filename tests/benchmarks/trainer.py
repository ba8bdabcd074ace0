"""The trainer's part of `make bench`: simlaw against PyTorch, each side in its best process layout."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass

from here import HERE, ROOT, commit, machine, version

SIZES = {32: "25k", 64: "100k"}
TARGETS = {32: 2.0, 64: 1.5}


@dataclass(frozen=True)
class Contender:
    """One trainer in one process layout: pinned to one core each, or one process on all cores."""

    trainer: str
    command: tuple[str, ...]
    pinned: bool

    @property
    def layout(self) -> str:
        return "a process per core" if self.pinned else "one process"


def measure(contender: Contender, width: int, seconds: float) -> float:
    """Tokens per second of all processes of a contender, started together once all are warm."""
    cores = sorted(os.sched_getaffinity(0)) if contender.pinned else [-1]
    processes = []
    for core in cores:
        command = [part.format(width=width, core=core, seconds=seconds) for part in contender.command]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        if contender.pinned:
            environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        processes.append(
            subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        )
    for process in processes:
        assert process.stdout.readline().strip() == "ready", f"{contender.trainer} did not start"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    return sum(json.loads(process.communicate()[0])["tokens_per_second"] for process in processes)


def measured(options: argparse.Namespace) -> str:
    """The trainer's section of the results."""
    from simlaw.config import Text
    from simlaw.corpora import open_corpus

    with tempfile.NamedTemporaryFile(suffix=".bin") as corpus:
        corpus.write(open_corpus(Text()).train.tobytes())
        corpus.flush()
        contenders = [
            Contender("simlaw", (sys.executable, str(HERE / "simlaw_trainer.py"), "{width}", "{core}", "{seconds}"), p)
            for p in (True, False)
        ] + [
            Contender(
                f"PyTorch {mode}",
                (options.peer, str(HERE / "torch_trainer.py"), "{width}", "{core}", "{seconds}", mode, corpus.name),
                pinned,
            )
            for mode in ("eager", "compile")
            for pinned in (True, False)
        ]
        found: dict[tuple[int, Contender], list[float]] = {}
        total = options.rounds * len(SIZES) * len(contenders)
        for round_ in range(options.rounds):
            for width, size in SIZES.items():
                for contender in contenders:
                    speed = measure(contender, width, options.seconds)
                    found.setdefault((width, contender), []).append(speed)
                    done = sum(map(len, found.values()))
                    print(
                        f"[{done}/{total}] round {round_ + 1}: {size} {contender.trainer}, {contender.layout}: "
                        f"{speed / 1e3:.0f}k tokens/s",
                        file=sys.stderr,
                        flush=True,
                    )
    return text(found, options)


def text(found: dict[tuple[int, Contender], list[float]], options: argparse.Namespace) -> str:
    """The results as Markdown."""
    lines = [
        "# Trainer speed",
        "",
        f"{machine()}; {commit()}. jax {version(sys.executable, 'jax')}, torch {version(options.peer, 'torch')}. "
        f"Context 64, batch 32, float32; median of {options.rounds} interleaved rounds of {options.seconds:g} s "
        "(least to most), thousand tokens per second.",
        "",
        "| block parameters | trainer | layout | k tokens/s |",
        "|---|---|---|---|",
    ]
    ratios = []
    for width, size in SIZES.items():
        best: dict[str, float] = {}
        here = {contender: speeds for (w, contender), speeds in found.items() if w == width}
        for contender, speeds in here.items():
            middle = statistics.median(speeds)
            best[contender.trainer] = max(best.get(contender.trainer, 0.0), middle)
            spread = f"{min(speeds) / 1e3:.0f} to {max(speeds) / 1e3:.0f}"
            lines.append(f"| {size} | {contender.trainer} | {contender.layout} | {middle / 1e3:.0f} ({spread}) |")
        peers = {name: speed for name, speed in best.items() if name != "simlaw"}
        each = ", ".join(f"{best['simlaw'] / speed:.2f} × {name}" for name, speed in peers.items())
        ratios.append(f"- {size}: {each}; against the better one the target is {TARGETS[width]:g} ×")
    return "\n".join([*lines, "", "Each side in its best layout:", "", *ratios, ""])
