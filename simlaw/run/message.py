"""What a worker says on its standard output: one JSON object a line, of which fields that say nothing are left out."""

import json
from dataclasses import dataclass, fields
from typing import Any, Literal

Doing = Literal["starting", "compiling", "training", "evaluating", "waiting", "stopping"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a worker is at: the first run of a pack, how many train beside it, and how it goes.

    `params` are N; `precision` is that of the training, None where nothing is quantized. Loss (nats per token) and
    gradient norm are means over the members that have not diverged. `step_ms` is the time of one step of the pack,
    `tokens_per_s` that of all members. `state` are bytes that each member keeps between steps, `memory` the most that
    the whole worker has held so far.
    """

    doing: Doing
    members: int = 1
    width: int | None = None
    params: int | None = None
    precision: str | None = None
    seed: int | None = None
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    gradient_norm: float | None = None
    step_ms: float | None = None
    tokens_per_s: float | None = None
    utilisation: float | None = None
    state: int | None = None
    memory: int | None = None


@dataclass(frozen=True, kw_only=True)
class Message:
    """FLOPs done since the last message, the task, runs that are settled, the sentence of a failure, the end.

    `compiling` is the seconds that those FLOPs took where a program was compiled with them. `runs` are the ids that
    `settled` or `failed` speaks of.
    """

    flops: float = 0.0
    compiling: float = 0.0
    task: Task | None = None
    settled: Literal["done", "diverged"] | None = None
    failed: str | None = None
    runs: tuple[str, ...] = ()
    ended: bool = False

    def line(self) -> str:
        """The message as one line of JSON."""
        told = {name: value for name, value in said(self).items() if name != "task"}
        if self.task is not None:
            told["task"] = said(self.task)
        return json.dumps(told)


def read_message(line: str) -> Message | None:
    """What a worker said, or None for a line that is no message: libraries print too."""
    try:
        found = json.loads(line)
        if not isinstance(found, dict):
            return None
        task = Task(**found["task"]) if "task" in found else None
        return Message(**{**found, "task": task, "runs": tuple(found.get("runs", ()))})
    except (TypeError, ValueError):
        return None


def said(value: Message | Task) -> dict[str, Any]:
    """The fields of a message, or a task, that say something."""
    return {f.name: getattr(value, f.name) for f in fields(value) if getattr(value, f.name) != f.default}
