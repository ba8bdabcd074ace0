"""Attempts at a pack: what fails is tried again, in halves where memory failed, and becomes rows with a sentence."""

import gc
import json
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import jax

from simlaw.config import RunSpec, eval_id, run_id
from simlaw.errors import SimlawError
from simlaw.plan import Pack
from simlaw.rows import failed_rows
from simlaw.run.found import stored_rows
from simlaw.run.message import Message
from simlaw.run.rules import Rules
from simlaw.run.work import Desk, Stopped, work
from simlaw.table import make_table
from simlaw.train import Program

#: Seconds before the second try, the third, …: a full disk, or a server that is away, may need a moment.
_WAITS = (1.0, 5.0, 30.0)
#: The last lines of a traceback that a failure keeps.
_LINES = 12


@dataclass(frozen=True, kw_only=True)
class Before:
    """What is known of those who held a pack's leases before: how many died without a word, and where the last ran."""

    deaths: int = 0
    where: str | None = None


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """How one worker tries packs; `tell` gets what is to be said of failures."""

    rules: Rules
    tell: Callable[[Message], None]
    programs: dict[object, Program]

    def at(self, pack: Pack, desk: Desk, before: Before, *, again: bool) -> bool:
        """Whether the pack was done; one that failed before, in another worker, is tried only `again`.

        Raises `Stopped` at the first boundary after the desk says so.
        """
        for run in _runs(pack, desk):
            if again:
                desk.store.remove("failure", run)
            elif files := desk.store.get("failure", run):
                self.tell(Message(failed=json.loads(files["failure.json"])["note"], runs=tuple(_runs(pack, desk))))
                return False
        if before.deaths > self.rules.retries:
            where = f", the last on {before.where}" if before.where else ""
            note = f"{before.deaths} workers in turn ended in it without a word{where}: killed, or out of memory"
            return self._fail(pack, desk, note, ())
        # who died without a word may have been killed for the memory it took
        todo = [pack]
        for _ in range(before.deaths):
            todo = [half for one in todo for half in _halves(one)]
        good = True
        while todo:
            one = todo.pop(0)
            failure = self._tried(one, desk)
            if failure is None:
                continue
            if failure.memory and len(one.members) > 1:
                todo[:0] = _halves(one)
            else:
                good = self._fail(one, desk, failure.note, failure.lines)
        return good

    def _tried(self, pack: Pack, desk: Desk) -> "_Failure | None":
        """How the last try failed, or None where one was good."""
        for tried in range(self.rules.retries + 1):
            try:
                work(pack, desk, self.programs)
                return None
            except Stopped:
                raise
            except Exception as error:  # whatever it is, it must not take the other packs with it
                traceback.print_exc(file=sys.stderr)
                if jax.process_count() > 1 and not isinstance(error, SimlawError):
                    # the others may be fine, and waiting for this process: without it they end, and are started again
                    sys.stderr.flush()
                    os._exit(1)
                failure = _failure(error)
            # out of the clause: the error, and all arrays that it holds, are gone
            self.programs.clear()
            gc.collect()
            if failure.final or tried == self.rules.retries:
                break
            wait(_WAITS[min(tried, len(_WAITS) - 1)], desk, self.tell)
        return failure

    def _fail(self, pack: Pack, desk: Desk, note: str, lines: Iterable[str]) -> bool:
        """False; each run that lacks rows gets a failure with a sentence, and rows that say it."""
        self.tell(Message(failed=note, runs=tuple(_runs(pack, desk))))
        record = {"note": note, "host": socket.gethostname(), "log": list(lines)}
        fingerprint = desk.corpus.fingerprint
        for member in pack.members:
            for rung, spec in enumerate(member):
                run = run_id(spec, fingerprint)
                there = stored_rows(desk.store, run)
                missing = [e for e in pack.measured(rung) if eval_id(run, e) not in there]
                if not missing:
                    continue
                rows = failed_rows(spec, fingerprint, desk.corpus.epoch_tokens(spec.model.context), missing, note)
                files = {"failure.json": json.dumps(record).encode(), "rows.csv": make_table(rows).to_csv().encode()}
                try:
                    desk.store.remove("failure", run)
                    desk.store.put("failure", run, files)
                except SimlawError as error:  # a full disk: it was said, and the run is still missing
                    print(error, file=sys.stderr, flush=True)
        return False


def passing(error: BaseException) -> bool:
    """Whether an error came from a disk, or from the service of a bucket: the next time may be better."""
    causes = (error, error.__cause__)
    return any(isinstance(each, OSError) or type(each).__module__.partition(".")[0] == "obstore" for each in causes)


def settled(pack: Pack, desk: Desk) -> bool:
    """Whether every evaluation of the pack has its row."""
    each = ((spec, rung) for member in pack.members for rung, spec in enumerate(member))
    return all(_measured(spec, pack, rung, desk) for spec, rung in each)


def _measured(spec: RunSpec, pack: Pack, rung: int, desk: Desk) -> bool:
    run = run_id(spec, desk.corpus.fingerprint)
    there = stored_rows(desk.store, run)
    return all(eval_id(run, e) in there for e in pack.measured(rung))


def _runs(pack: Pack, desk: Desk) -> list[str]:
    return [run_id(spec, desk.corpus.fingerprint) for member in pack.members for spec in member]


def _halves(pack: Pack) -> list[Pack]:
    """The members of a pack in two packs, or the pack where it has one."""
    middle = (len(pack.members) + 1) // 2
    return [replace(pack, members=part) for part in (pack.members[:middle], pack.members[middle:]) if part]


@dataclass(frozen=True, kw_only=True)
class _Failure:
    """What is kept of an error; a `final` one is the same the next time."""

    note: str
    lines: tuple[str, ...]
    memory: bool
    final: bool


def _failure(error: Exception) -> _Failure:
    said = " ".join(str(error).split())[:300]
    memory = isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in said
    declared = isinstance(error, SimlawError)
    note = said if declared else f"{type(error).__name__}: {said}"
    return _Failure(
        note=f"out of memory: {said or 'the host had no more'}" if memory else note,
        lines=tuple("".join(traceback.format_exception(error)).strip().splitlines()[-_LINES:]),
        memory=memory,
        # what a declaration says is as wrong the next time; what the disk said, and all else, may be over
        final=memory or (declared and not passing(error)),
    )


def wait(seconds: float, desk: Desk, tell: Callable[[Message], None]) -> None:
    """Wait, with a sign of life every second; raises `Stopped` where the worker is to stop meanwhile."""
    begun = told = time.monotonic()
    while (now := time.monotonic()) < begun + seconds:
        if desk.stop():
            raise Stopped
        if now > told + 1:
            tell(Message())
            told = now
        time.sleep(min(0.2, seconds))
