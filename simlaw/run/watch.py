"""What a worker lets others see of its work: journals, the store's telemetry, and messages to whoever started it."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import Mesh

from simlaw.accounting import Parameters, flops_forward_per_token, parameters
from simlaw.config import RunSpec, run_id, trunk_id
from simlaw.declared import Json, canonical
from simlaw.errors import SimlawError
from simlaw.history import History
from simlaw.plan import shapes_of
from simlaw.run.clock import Span
from simlaw.run.journal import Journal, Pace, run_journal, state_bytes, trunk_journal
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
    mesh: Mesh | None = None

    def begins(self, rung: Sequence[RunSpec], cool: bool, history: History, step: int, known: bool) -> None:
        """Training goes on from a step of the runs, or, not `cool`, of their trunks; a `known` program is compiled."""
        with _unharmed():
            for i, journal in enumerate(self._journals(rung, cool)):
                journal.begin(history.member(i), step)
        loss, norm = (_mean(values[:, -1:].astype(np.float64)) for values in history)
        doing: Doing = "training" if known else "compiling"
        task = _task(doing, rung, step=step, steps=_end(rung, cool), loss=loss, gradient_norm=norm)
        self.tell(Message(task=task))

    def trained(self, rung: Sequence[RunSpec], cool: bool, history: History, start: int, span: Span) -> None:
        """A dispatch led from step `start` to the end of the history, which begins at step 0.

        One in which a program was compiled says nothing of speed.
        """
        first, end = rung[0], history.loss.shape[1]
        flops = 3 * _forward(first) * first.batch_tokens * (end - start) * len(rung)
        each = span.seconds / (end - start)
        pace = Pace(seconds=each)
        if not span.compiled:
            used = self.machine.utilisation(flops, span.seconds, first.dtype)
            pace = Pace(seconds=each, step_ms=1e3 * each, tokens_per_s=first.batch_tokens / each, utilisation=used)
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
            step_ms=pace.step_ms,
            tokens_per_s=None if pace.tokens_per_s is None else len(rung) * pace.tokens_per_s,
            utilisation=pace.utilisation,
            state=state_bytes(first),
            memory=memory(),
        )
        more: dict[str, Json] = {
            "runs": [run_id(s, self.fingerprint) if cool else trunk_id(s.trunk, self.fingerprint) for s in rung],
            "step": end,
            "steps": end - start,
            "step_ms": None if pace.step_ms is None else round(pace.step_ms, 4),
            "tokens_per_s": task.tokens_per_s,
            "loss": [_finite(x) for x in losses],
            "gradient_norm": [_finite(x) for x in norms],
            "state_bytes": task.state,
        }
        self._log("trained", first, flops, span, task, more)

    def evaluates(self, spec: RunSpec) -> None:
        """A run's checkpoint is about to be measured."""
        self.tell(Message(task=_task("evaluating", [spec], step=spec.steps, steps=spec.steps)))

    def evaluated(self, spec: RunSpec, tokens: int, span: Span) -> None:
        """So many tokens were measured."""
        flops = _forward(spec) * tokens
        used = None if span.compiled else self.machine.utilisation(flops, span.seconds, spec.dtype)
        task = _task("evaluating", [spec], step=spec.steps, steps=spec.steps, utilisation=used, memory=memory())
        self._log("evaluated", spec, flops, span, task, {})

    def settled(self, run: str, rows: Sequence[Row]) -> None:
        """A run has all its rows."""
        diverged = all(row["status"] == "diverged" for row in rows)
        self.tell(Message(settled="diverged" if diverged else "done", runs=(run,)))

    def _journals(self, rung: Sequence[RunSpec], cool: bool) -> list[Journal]:
        """The journals that this process writes: of a team, the leader."""
        if not leads():
            return []
        return [(run_journal if cool else trunk_journal)(self.store, spec, self.fingerprint) for spec in rung]

    def _log(self, event: str, spec: RunSpec, flops: float, span: Span, task: Task, more: dict[str, Json]) -> None:
        record: dict[str, Json] = {
            "event": event,
            "model": canonical(spec.model),
            "batch": spec.batch,
            "dtype": spec.dtype,
            "device": jax.default_backend(),
            "mesh": None if self.mesh is None else list(self.mesh.shape.values()),
            "flops": flops,
            "seconds": round(span.seconds, 6),
            "compiled": span.compiled,  # and then the seconds say nothing of speed
            "utilisation": task.utilisation,
            "memory": task.memory,
        }
        self.store.log(record | more)
        self.tell(Message(flops=flops, compiling=span.seconds if span.compiled else 0.0, task=task))


def _unharmed() -> contextlib.AbstractContextManager[None]:
    """Around a journal: what a full disk does to it must not end a run, and in a team no process may end alone."""
    return contextlib.suppress(OSError, SimlawError)


def _task(doing: Doing, rung: Sequence[RunSpec], **how: float | int | None) -> Task:
    first = rung[0]
    return Task(
        doing=doing,
        members=len(rung),
        width=first.model.width,
        params=_counts(first).blocks,
        precision=first.precision.name,
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
