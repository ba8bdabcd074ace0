"""Journals: a run's training as JSON lines in the store, written while it trains.

One object for every `JOURNAL_STEPS` steps and one for the last, below `history/`: a trunk has a journal of its own,
with which those of its branches begin. Loss and gradient norm are means over the steps since the line before. Times
are of this machine, and null in lines that were made again from a stored state: `seconds` since the line before,
`step_ms` of one step of the pack (in which each of its members makes one), `tokens_per_s` of this run alone,
`utilisation` of the machine by the whole pack. A dispatch in which a program was compiled has its seconds and no speed.
`state_bytes` are those that this run keeps between steps.
"""

import contextlib
import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from simlaw.config import RunSpec, run_id, trunk_id
from simlaw.declared import mismatch, parsed
from simlaw.errors import SimlawError
from simlaw.files import write_file
from simlaw.history import History
from simlaw.run.team import AnyStore
from simlaw.train import rates, start

#: Steps between two lines.
JOURNAL_STEPS = 16

#: What a line says of this machine's speed.
TIMED = ("step_ms", "tokens_per_s", "utilisation", "seconds")

#: What a line must hold to be one.
_HOLDS: dict[str, Any] = {"step": int, "loss": float | None, "gradient_norm": float | None}

#: One line: step, tokens, loss, gradient_norm, rate, step_ms, tokens_per_s, utilisation, seconds, state_bytes.
Line = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast a dispatch went, for each of its steps; only the seconds where it compiled a program."""

    seconds: float
    step_ms: float | None = None
    tokens_per_s: float | None = None
    utilisation: float | None = None


@dataclass(frozen=True, kw_only=True)
class Journal:
    """The journal of a run, or, not `cool`, of the trunk that it leaves; `before` is the trunk's."""

    path: Path
    spec: RunSpec
    cool: bool
    before: "Journal | None" = None

    def begin(self, history: History, step: int) -> None:
        """Let the journal end at a step, whatever it held: later lines go, missing ones are made from the history."""
        trunk = [line for line in self.before.lines() if line["step"] <= self.spec.branch_step] if self.before else []
        there = {line["step"]: line for line in (*trunk, *self.lines())}
        wanted = self._steps(0, step)
        if not set(wanted) <= set(there):
            there = {**{line["step"]: line for line in self.made(history, 0, step)}, **there}
        text = "".join(json.dumps(there[s]) + "\n" for s in wanted).encode()
        if not self.path.is_file() or self.path.read_bytes() != text:
            write_file(self.path, text)

    def add(self, history: History, start: int, end: int, pace: Pace) -> None:
        """Append the lines of steps `start` to `end` of a history that begins at step 0."""
        lines = self.made(history, start, end, pace)
        if not lines:
            return
        # one write in append mode: whoever reads meanwhile, or after a kill, sees whole lines and at most one cut off
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, "".join(json.dumps(line) + "\n" for line in lines).encode())
        finally:
            os.close(descriptor)

    def lines(self) -> list[Line]:
        """The lines so far."""
        return read_journal(self.path)

    def _steps(self, start: int, end: int) -> list[int]:
        last = [end] if self.cool and start < end == self.spec.steps and end % JOURNAL_STEPS else []
        return [*range((start // JOURNAL_STEPS + 1) * JOURNAL_STEPS, end + 1, JOURNAL_STEPS), *last]

    def made(self, history: History, start: int, end: int, pace: Pace | None = None) -> list[Line]:
        """The lines of steps `start` to `end` of a history that begins at step 0."""
        made, steps = [], self._steps(start, end)
        for step, rate in zip(steps, rates(self.spec, [s - 1 for s in steps], self.cool), strict=True):
            since = (step - 1) // JOURNAL_STEPS * JOURNAL_STEPS
            loss, norm = (_number(values[since:step].astype(np.float64).mean()) for values in history)
            line = {"step": step, "tokens": step * self.spec.batch_tokens, "loss": loss, "gradient_norm": norm}
            line |= {"rate": float(f"{rate:.6g}"), **dict.fromkeys(TIMED)}
            if pace is not None:
                line |= {name: _digits(getattr(pace, name)) for name in TIMED}
                line |= {"seconds": _digits(pace.seconds * (step - since))}
            made.append(line | {"state_bytes": state_bytes(self.spec)})
        return made


@functools.lru_cache(maxsize=4096)
def state_bytes(spec: RunSpec) -> int:
    """Bytes that a run keeps from step to step: its parameters, the optimizer's moments, averages of the weights.

    By the shapes of its state, over all devices that share it. What the inside of a step takes comes on top, and is
    shared by the members of a pack or not, as the worker lays it out.
    """
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(lambda: start([spec]))))


def trunk_journal(store: AnyStore, spec: RunSpec, fingerprint: str) -> Journal:
    """The journal of the trunk of a run."""
    path = store.root / "history" / "trunk" / f"{trunk_id(spec.trunk, fingerprint)}.jsonl"
    return Journal(path=path, spec=spec, cool=False)


def run_journal(store: AnyStore, spec: RunSpec, fingerprint: str) -> Journal:
    """The journal of a run from its first step to its last."""
    path = journal_path(store, run_id(spec, fingerprint))
    return Journal(path=path, spec=spec, cool=True, before=trunk_journal(store, spec, fingerprint))


def journal_path(store: AnyStore, run: str) -> Path:
    """Where the journal of a run is."""
    return store.root / "history" / f"{run}.jsonl"


def read_journal(path: Path) -> list[Line]:
    """The lines of a journal, each step once; none where there is none, and a line that was cut off is passed over."""
    lines: dict[int, Line] = {}
    for text in path.read_bytes().splitlines() if path.is_file() else ():
        with contextlib.suppress(SimlawError):
            line = parsed(text)
            if isinstance(line, dict) and all(
                mismatch(line.get(name, ...), hint) is None for name, hint in _HOLDS.items()
            ):
                lines[line["step"]] = line
    return list(lines.values())


def _number(value: float) -> float | None:
    """A number for JSON, which has no infinities."""
    return round(float(value), 6) if np.isfinite(value) else None


def _digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
