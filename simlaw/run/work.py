"""Work on one pack: advance its trunks, branch at every D, evaluate every checkpoint, and store each result at once.

Idempotent: whatever the store already holds is not done again, and a run that was cut off goes on from its last
stored state, bit for bit as if it had not been cut off.
"""

import contextlib
import functools
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from simlaw.accounting import flops_forward_per_token, parameters
from simlaw.averages import average_of
from simlaw.checkpoint import from_bytes, to_bytes
from simlaw.config import PTQ, Average, CalibrationText, EvalSpec, RunSpec, TrunkSpec, eval_id, run_id, trunk_id
from simlaw.corpora import AbstractCorpus, Stratum
from simlaw.corpora.calibration import calibration_windows
from simlaw.declared import digest, encode
from simlaw.details import AbstractDetails, Detail
from simlaw.errors import SimlawError
from simlaw.evaluate import forget, measure
from simlaw.history import History, divergence, join, no_history, pack_history, unknown
from simlaw.matrices import Matrices
from simlaw.model import Params
from simlaw.plan import Pack, shapes_of
from simlaw.rows import diverged_rows, done_rows, matrix_rows, stratum_rows
from simlaw.run.clock import timed
from simlaw.run.found import stored_rows, stored_steps
from simlaw.run.machine import Machine
from simlaw.run.message import Message
from simlaw.run.states import read_state, save_state
from simlaw.run.team import AnyStore
from simlaw.run.trace import Trace
from simlaw.run.watch import Watch
from simlaw.schema import KINDS
from simlaw.strata import Strata
from simlaw.table import Row, make_table
from simlaw.train import DISPATCH_STEPS, Member, Program, State, compile_shape, kept_shapes, members, shape_of, start


class Stopped(Exception):
    """The work was asked to stop; everything up to the last boundary is stored."""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What a worker works with: the store, the corpus, where to tell progress and whether to stop.

    `due` says whether a state is to be stored that was last stored at a moment of `time.monotonic`; `kept` hears of
    everything stored that need not be made again. Evaluations are stored in batches of so many FLOPs. Without a mesh
    it trains on one device. Rates are measured against the `machine`; `trace` is where JAX's own trace goes.
    """

    store: AnyStore
    corpus: AbstractCorpus
    tell: Callable[[Message], None]
    stop: Callable[[], bool]
    due: Callable[[float], bool] = lambda _: False
    kept: Callable[[], None] = lambda: None
    batch_flops: float = math.inf
    mesh: Mesh | None = None
    remat: bool = False
    machine: Machine = Machine()
    trace: Trace | None = None

    @functools.cached_property
    def strata(self) -> Callable[[int], tuple[Stratum, ...]]:
        """The strata of the corpus by context, made once for all runs."""
        return functools.cache(self.corpus.strata)

    @functools.cached_property
    def held_out(self) -> Callable[[int, int], tuple[Int[np.ndarray, "m w"], Float[np.ndarray, " m"] | None]]:
        """The windows of an evaluation by tokens and context with their floors, made once for all runs."""

        @functools.cache
        def made(tokens: int, context: int) -> tuple[Int[np.ndarray, "m w"], Float[np.ndarray, " m"] | None]:
            windows = self.corpus.held_out(tokens, context)
            return windows, self.corpus.floor(windows)

        return made

    @property
    def watch(self) -> Watch:
        """What tells of the work."""
        of, against = self.corpus.fingerprint, self.machine
        return Watch(store=self.store, fingerprint=of, machine=against, tell=self.tell, mesh=self.mesh)


def weights_of(spec: RunSpec, files: Mapping[str, bytes], average: Average | None, of: str = "") -> Params:
    """The last weights of a stored run, or the average of them that it kept; `of` is the id that they must have.

    Raises `SimlawError` where it kept no such average, or the weights are of another run.
    """
    if average is None:
        last: Params = from_bytes(files["params.safetensors"], kept_shapes(spec), of)
        return last
    if average not in spec.averages:
        kept = ", ".join(map(str, spec.averages)) or "none"
        raise SimlawError(f"the run kept no average {average}, but {kept}: Sweep(averages=…) adds it, to other runs")
    like = tuple(kept_shapes(spec) for _ in spec.averages)
    means: tuple[Params, ...] = from_bytes(files["averages.safetensors"], like, of)
    return means[spec.averages.index(average)]


def work(pack: Pack, desk: Desk, programs: dict[object, Program]) -> None:
    """Do what is missing of a pack; `programs` caches compiled shapes over packs.

    Raises `Stopped` at the first boundary after `desk.stop` says so.
    """
    ladder = [list(rung) for rung in zip(*pack.members, strict=True)]
    job = _Job(desk=desk, programs=programs)
    trunk = _Trunk(state=start(ladder[0]), step=0, history=no_history(len(pack.members)))
    for i, rung in enumerate(ladder):
        # read, not only looked for: a damaged checkpoint is set aside here and trained again
        if any(desk.store.get("run", run_id(spec, desk.corpus.fingerprint)) is None for spec in rung):
            trunk = job.advance(trunk, rung)
            job.branch(trunk, rung)
        for spec in rung:
            job.evaluate(spec, pack.measured(i))


@dataclass(frozen=True, kw_only=True)
class _Trunk:
    """Trunks of a pack at a step, with the history of every step so far; a diverged member's is not finite."""

    state: State
    step: int
    history: History


@dataclass(frozen=True, kw_only=True)
class _Job:
    desk: Desk
    programs: dict[object, Program]

    def program(self, of: RunSpec | TrunkSpec) -> Program:
        """The program of a run, or of a trunk, whose precision may be another."""
        shape, desk = shape_of(of), self.desk
        if shape not in self.programs:
            forget()
            side_by_side = jax.default_backend() != "cpu"
            self.programs[shape] = compile_shape(shape, desk.corpus, desk.mesh, side_by_side, desk.remat)
        return self.programs[shape]

    def _resume(self, trunk: _Trunk, ids: Sequence[str], end: int) -> _Trunk:
        """The trunks, or branches of them, at the last step up to `end` that is stored for all of them."""
        for step, kind in reversed(stored_steps(self.desk.store, ids)):
            if not trunk.step < step <= end:
                continue
            read = [self._read(kind, f"{one}/{step:08d}", trunk.state, step) for one in ids]
            fitting = [one for one in read if one is not None]
            if len(fitting) < len(ids):
                continue  # what does not fit is now set aside: the one before will do
            state, history = jax.tree.map(lambda *leaves: jnp.stack(leaves), *fitting)
            return _Trunk(state=state, step=step, history=History(*map(np.asarray, history)))
        return trunk

    def advance(self, trunk: _Trunk, rung: Sequence[RunSpec]) -> _Trunk:
        """The trunks at this rung's branch, where they are stored for good."""
        ids, end = [self._trunk_id(spec) for spec in rung], rung[0].branch_step
        trunk = self._resume(trunk, ids, end)
        if trunk.step < end:
            trunk = self._toward(end, trunk, rung, ids, self.program(rung[0].trunk), cool=False)
            self._save("trunk", trunk, ids)
            self._drop_partials(ids)
        return trunk

    def branch(self, trunk: _Trunk, rung: Sequence[RunSpec]) -> None:
        """Cool the rung's runs down from its trunks, and store their checkpoints."""
        ids = [run_id(spec, self.desk.corpus.fingerprint) for spec in rung]
        copy = _Trunk(state=jax.tree.map(jnp.copy, trunk.state), step=trunk.step, history=trunk.history)
        at = self._resume(copy, ids, rung[0].steps)
        first = rung[0]
        if at.step < first.begin_step:  # cooling down already, and not in its own precision yet
            at = self._toward(first.begin_step, at, rung, ids, self.program(first.trunk), cool=True)
        done = self._toward(first.steps, at, rung, ids, self.program(first), cool=True)
        for i, spec in enumerate(rung):
            losses = done.history.loss[i]
            files = {
                "spec.json": json.dumps(encode(spec), indent=1).encode(),
                "history.safetensors": pack_history(done.history.member(i)),
            }
            note = divergence(losses, spec.begin_step)
            if note is not None:
                note = f"training loss {note} of {spec.steps} (peak learning rate {spec.optimizer.peak_rate:g})"
                files["status.json"] = json.dumps({"status": "diverged", "note": note}).encode()
            else:
                files["status.json"] = json.dumps({"status": "trained"}).encode()
                state = jax.tree.map(lambda x, i=i: x[i], done.state)
                kept = zip(spec.averages, state.averages, strict=True)
                files["params.safetensors"] = to_bytes(state.params, of=ids[i])
                if spec.averages:
                    means = tuple(average_of(a, one, spec.steps, spec.batch_tokens) for a, one in kept)
                    files["averages.safetensors"] = to_bytes(means, of=ids[i])
            self.desk.store.put("run", ids[i], files)
            self.desk.kept()
        self._drop_partials(ids)

    def evaluate(self, spec: RunSpec, wanted: Sequence[EvalSpec]) -> None:
        """Measure whatever of a run is not measured yet, and store the rows."""
        store, corpus = self.desk.store, self.desk.corpus
        run = run_id(spec, corpus.fingerprint)
        there = stored_rows(store, run)
        missing = tuple(e for e in wanted if eval_id(run, e) not in there)
        if not missing:
            self.desk.watch.settled(run, list(there.values()))
            return
        files = store.get("run", run)
        if files is None:
            raise OSError(
                f"the checkpoint of run {run} was damaged after it was stored; tried again, it is trained again"
            )
        status = json.loads(files["status.json"])
        if status["status"] == "diverged":
            epoch = corpus.epoch_tokens(spec.model.context)
            there |= self._put_rows(run, diverged_rows(spec, corpus.fingerprint, epoch, missing, status["note"]), ())
        else:
            self.desk.watch.evaluates(spec)
            for batch in self._batches(spec, missing):
                if self.desk.stop():
                    raise Stopped
                rows, details = self._measured(spec, files, batch)
                there |= self._put_rows(run, [row for row in rows if row["eval_id"] not in there], details)
        self.desk.watch.settled(run, list(there.values()))
        if self.desk.stop():
            raise Stopped

    def _batches(self, spec: RunSpec, missing: Sequence[EvalSpec]) -> list[list[tuple[EvalSpec, ...]]]:
        """The evaluations to be stored together, by average: all of them, or, where that takes long, kinds.

        The curvature of a checkpoint is probed once for all its evaluations, which therefore stay together.
        """
        each = [
            tuple(e for e in missing if e.average == average) for average in dict.fromkeys(e.average for e in missing)
        ]
        one = flops_forward_per_token(spec.model, parameters(shapes_of(spec.model))) * missing[0].tokens
        most = self.desk.batch_flops / one
        if len(missing) <= most or any(e.curvature for e in missing):
            return [each]
        batches: list[list[tuple[EvalSpec, ...]]] = []
        for these in each:
            kinds: dict[PTQ | None, list[EvalSpec]] = {}
            for e in these:
                kinds.setdefault(e.ptq and e.ptq.kind, []).append(e)
            some: tuple[EvalSpec, ...] = ()
            for kind in kinds.values():
                if some and len(some) + len(kind) > most:
                    batches.append([some])
                    some = ()
                some += tuple(kind)
            batches.append([some])
        return batches

    def _measured(
        self, spec: RunSpec, files: Mapping[str, bytes], batch: Sequence[tuple[EvalSpec, ...]]
    ) -> tuple[list[Row], tuple[AbstractDetails, ...]]:
        """The rows and details of evaluations, those of each average of the weights together."""
        corpus, run = self.desk.corpus, run_id(spec, self.desk.corpus.fingerprint)
        epoch, strata = corpus.epoch_tokens(spec.model.context), self.desk.strata(spec.model.context)
        rows, of_matrices, of_strata = list[Row](), list[Detail](), list[Detail]()
        for these in batch:
            # deltas are against the loss as trained, so that one is measured again even where its row is there
            base = replace(these[0], ptq=None)
            evals = these if base in these else (base, *these)
            windows, floor = self.desk.held_out(base.tokens, spec.model.context)
            with timed() as span:
                weights = weights_of(spec, files, base.average, run)
                found = measure(spec, weights, windows, evals, floor, self._calibration(spec), strata)
            self.desk.watch.evaluated(spec, len(evals) * base.tokens, span)
            rows += done_rows(spec, corpus.fingerprint, epoch, evals, found)
            of_matrices += matrix_rows(spec, corpus.fingerprint, evals, found).rows
            of_strata += stratum_rows(spec, corpus.fingerprint, evals, found, strata).rows
        return rows, (Matrices(rows=tuple(of_matrices)), Strata(rows=tuple(of_strata)))

    def _put_rows(self, run: str, rows: Sequence[Row], details: Sequence[AbstractDetails]) -> dict[str, Row]:
        """The rows by eval_id; they, and their details, are now in the store."""
        own = [row["eval_id"] for row in rows]
        told = {f"{each.KIND}.csv": each.of(own).to_csv().encode() for each in details if len(each.of(own))}
        key = f"{run}/{digest(tuple(KINDS), tuple(own))}"
        self.desk.store.put("rows", key, {"rows.csv": make_table(rows).to_csv().encode(), **told})
        self.desk.kept()
        return {row["eval_id"]: row for row in rows}

    def _calibration(self, spec: RunSpec) -> Callable[[CalibrationText], Int[np.ndarray, "b t"]]:
        """What gives a run the windows that methods look at."""
        return functools.partial(calibration_windows, self.desk.corpus, context=spec.model.context)

    def _toward(
        self, end: int, trunk: _Trunk, rung: Sequence[RunSpec], ids: Sequence[str], program: Program, *, cool: bool
    ) -> _Trunk:
        """The trunks, or, to `cool`, branches of them, at step `end`; states on the way are stored under `ids`."""
        data = members(program, rung, cool=cool)
        while trunk.step < end:
            trunk = self._run(program, trunk, data, end, rung, cool)
            if trunk.step < end:
                self._save("partial", trunk, ids)
                self._drop_partials(ids, before=trunk.step)
                if self.desk.stop():
                    raise Stopped
        return trunk

    def _run(
        self, program: Program, trunk: _Trunk, data: Member, end: int, rung: Sequence[RunSpec], cool: bool
    ) -> _Trunk:
        """Dispatch after dispatch up to step `end`; where a state is due, or it is asked to stop, as far as it came."""
        state, step, seen, watch = trunk.state, trunk.step, trunk.history, self.desk.watch
        begun = time.monotonic()
        watch.begins(rung, cool, seen, step, known=len(rung) in program.sizes)
        while step < end:
            traced = self.desk.trace if len(rung) in program.sizes else None
            with traced.dispatch() if traced else contextlib.nullcontext(), timed() as span:
                state, history = program.advance(state, data, min(DISPATCH_STEPS, end - step))
            seen = join([seen, history])
            watch.trained(rung, cool, seen, step, span)
            step = seen.loss.shape[1]
            if not np.isfinite(history.loss[:, -1]).any():  # all diverged, for good: the rest would be NaN after NaN
                seen = join([seen, unknown(len(rung), end - step)])
                step = end
            if self.desk.stop() or self.desk.due(begun):
                break
        return _Trunk(state=state, step=step, history=seen)

    def _read(self, kind: str, key: str, like: State, step: int) -> tuple[State, History] | None:
        """A stored state of one member with its history, or None where there is none that fits."""
        one = (jax.tree.map(lambda x: x[0], like), unknown(1, step).member(0))
        read: tuple[State, History] | None = read_state(self.desk.store, kind, key, one, self.desk.mesh)
        return read

    def _save(self, kind: str, trunk: _Trunk, ids: Sequence[str]) -> None:
        for i, key in enumerate(ids):
            one = (jax.tree.map(lambda x, i=i: x[i], trunk.state), trunk.history.member(i))
            save_state(self.desk.store, kind, f"{key}/{trunk.step:08d}", one)
        self.desk.kept()

    def _drop_partials(self, ids: Sequence[str], before: int | None = None) -> None:
        for one in ids:
            for key in self.desk.store.keys("partial", one):
                if before is None or int(key.split("/")[1]) < before:
                    self.desk.store.remove("partial", key)

    def _trunk_id(self, spec: RunSpec) -> str:
        return trunk_id(spec.trunk, self.desk.corpus.fingerprint)
