"""What a worker lets others see of its work: journals, the store's telemetry, and messages to whoever started it."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from simlaw.accounting import Parameters, flops_forward_per_token, parameters
from simlaw.config import RunSpec, run_id, trunk_id
from simlaw.declared import Json, canonical
from simlaw.errors import SimlawError
from simlaw.history import History
from simlaw.plan import shapes_of
from simlaw.run.journal import Journal, Pace, run_journal, trunk_journal
from simlaw.run.machine import Machine, memory
from simlaw.run.message import Doing, Message, Task
from simlaw.run.team import AnyStore, leads
from simlaw.table import Row


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Tells of one worker's dispatches and evaluations; nothing of it enters a table."""

    store: AnyStore
    fingerprint: str
    machine: Machine
    tell: Callable[[Message], None]

    def begins(self, rung: Sequence[RunSpec], cool: bool, history: History, step: int, compiled: bool) -> None:
        """Training goes on from a step of the runs, or, not `cool`, of their trunks."""
        with _unharmed():
            for i, journal in enumerate(self._journals(rung, cool)):
                journal.begin(history.member(i), step)
        loss, norm = (_mean(values[:, -1:].astype(np.float64)) for values in history)
        doing: Doing = "training" if compiled else "compiling"
        task = _task(doing, rung, step=step, steps=_end(rung, cool), loss=loss, gradient_norm=norm)
        self.tell(Message(task=task))

    def trained(
        self, rung: Sequence[RunSpec], cool: bool, history: History, start: int, seconds: float, compiled: bool
    ) -> None:
        """A dispatch led from step `start` to the end of the history, which begins at step 0.

        The first dispatch of a program mostly compiles it, so it says nothing of speed.
        """
        first, end = rung[0], history.loss.shape[1]
        flops = 3 * _forward(first) * first.batch_tokens * (end - start) * len(rung)
        rate = first.batch_tokens * (end - start) / seconds
        used = self.machine.utilisation(flops, seconds, first.dtype) if compiled else None
        pace = Pace(seconds=seconds / (end - start), tokens_per_s=rate if compiled else None, utilisation=used)
        with _unharmed():
            for i, journal in enumerate(self._journals(rung, cool)):
                journal.add(history.member(i), start, end, pace)
        losses, norms = (values[:, -1].astype(np.float64) for values in history)
        task = _task(
            "training",
            rung,
            step=end,
            steps=_end(rung, cool),
            loss=_mean(losses),
            gradient_norm=_mean(norms),
            tokens_per_s=len(rung) * rate if compiled else None,
            utilisation=used,
            memory=memory(),
        )
        more: dict[str, Json] = {
            "runs": [run_id(s, self.fingerprint) if cool else trunk_id(s.trunk, self.fingerprint) for s in rung],
            "step": end,
            "steps": end - start,
            "tokens_per_s": task.tokens_per_s,
            "loss": [_finite(x) for x in losses],
            "gradient_norm": [_finite(x) for x in norms],
        }
        self._log("trained", first, flops, seconds, task, more)

    def evaluates(self, spec: RunSpec) -> None:
        """A run's checkpoint is about to be measured."""
        self.tell(Message(task=_task("evaluating", [spec], step=spec.steps, steps=spec.steps)))

    def evaluated(self, spec: RunSpec, tokens: int, seconds: float) -> None:
        """So many tokens were measured."""
        flops = _forward(spec) * tokens
        used = self.machine.utilisation(flops, seconds, spec.dtype)
        task = _task("evaluating", [spec], step=spec.steps, steps=spec.steps, utilisation=used, memory=memory())
        self._log("evaluated", spec, flops, seconds, task, {})

    def settled(self, run: str, rows: Sequence[Row]) -> None:
        """A run has all its rows."""
        diverged = all(row["status"] == "diverged" for row in rows)
        self.tell(Message(settled="diverged" if diverged else "done", runs=(run,)))

    def _journals(self, rung: Sequence[RunSpec], cool: bool) -> list[Journal]:
        """The journals that this process writes: of a team, the leader."""
        if not leads():
            return []
        return [(run_journal if cool else trunk_journal)(self.store, spec, self.fingerprint) for spec in rung]

    def _log(self, event: str, spec: RunSpec, flops: float, seconds: float, task: Task, more: dict[str, Json]) -> None:
        record: dict[str, Json] = {
            "event": event,
            "model": canonical(spec.model),
            "device": jax.default_backend(),
            "flops": flops,
            "seconds": round(seconds, 4),
            "utilisation": task.utilisation,
            "memory": task.memory,
        }
        self.store.log(record | more)
        self.tell(Message(flops=flops, task=task))


def _unharmed() -> contextlib.AbstractContextManager[None]:
    """Around a journal: what a full disk does to it must not end a run, and in a team no process may end alone."""
    return contextlib.suppress(OSError, SimlawError)


def _task(doing: Doing, rung: Sequence[RunSpec], **how: float | int | None) -> Task:
    first = rung[0]
    weights = first.precision.weights
    return Task(
        doing=doing,
        members=len(rung),
        width=first.model.width,
        params=_counts(first).blocks,
        bits=None if weights is None else weights.format.bits,
        seed=first.seed,
        **how,  # type: ignore[arg-type]  # each goes to the field of its name
    )


def _end(rung: Sequence[RunSpec], cool: bool) -> int:
    """The last step that a line of the screen counts up to: the run's, or the trunk's at which it branches."""
    return rung[0].steps if cool else rung[0].branch_step


def _counts(spec: RunSpec) -> Parameters:
    return parameters(shapes_of(spec.model))


def _forward(spec: RunSpec) -> float:
    return flops_forward_per_token(spec.model, _counts(spec))


def _mean(values: np.ndarray) -> float | None:
    """The mean of what is finite, or None."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else None


def _finite(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
