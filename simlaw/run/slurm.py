"""The SLURM engine: packs as job arrays of `sbatch`, which returns at once.

Nothing that a person writes becomes shell text: the script is constant, and all else are arguments. SLURM is never
asked what is done, for the store says that; it is asked what is still in the queue, so that nothing is submitted twice.
"""

import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from simlaw.config import run_id
from simlaw.declared import digest
from simlaw.errors import SimlawError
from simlaw.run.engine import AbstractEngine, Listener, Outcome, Queue, command
from simlaw.run.manifest import read_manifest
from simlaw.run.submissions import Submission, ask, queued, record
from simlaw.store import AbstractStore

#: What each task runs; it becomes the worker's process, so that signals to the batch script reach the worker.
_SCRIPT = '#!/bin/sh\nexec "$@"\n'
#: Seconds before the end of its time at which a task is told, and the shortest time that leaves room: SLURM's clock
#: ticks by the minute, and may tell a minute early.
_NOTICE_SECONDS, _LEAST_SECONDS = 120, 300
#: How many tasks an array may have where the cluster does not say: SLURM's own default.
_ARRAY = 1001
#: Options of sbatch that are the engine's own, or that would keep it from returning with a job.
_OWN = (
    *("array", "comment", "dependency", "error", "open-mode", "output", "parsable", "quiet", "requeue", "signal"),
    *("help", "no-requeue", "test-only", "usage", "version", "wait", "wrap"),
)

#: Minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes, days-hours:minutes:seconds.
_TIME = re.compile(
    r"(?:(?P<d>\d+)-(?P<dh>\d+)(?::(?P<dm>\d+)(?::(?P<ds>\d+))?)?|(?:(?P<h>\d+):(?=\d+:))?(?P<m>\d+)(?::(?P<s>\d+))?)"
)
_FORMS = {
    "partition": (r"[\w.,+-]+", "gpu"),
    "gres": (r"\w[\w.,:/+-]*", "gpu:1"),
    "account": (r"[\w.@+-]+", "physics"),
    "qos": (r"[\w.@+-]+", "normal"),
    "constraint": (r"[\w.,:&|*()\[\]+-]+", "a100"),
    "mem": (r"\d+[KMGT]?", "16G"),
}
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True, kw_only=True)
class Slurm(AbstractEngine):
    """Tasks of SLURM's job arrays, each of which does one pack; fields that are None are left to the cluster.

    At most `array_limit` run at once. `sbatch` has further options of that command, as NAME=VALUE or NAME.
    Raises `SimlawError` for values that no cluster could take.
    """

    here: ClassVar[bool] = False
    attended: ClassVar[bool] = False
    more: ClassVar[str] = "--mem asks for more"

    partition: str | None = None
    gres: str | None = None
    time: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    cpus_per_task: int | None = None
    mem: str | None = None
    array_limit: int | None = None
    sbatch: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, (form, example) in _FORMS.items():
            value: str | None = getattr(self, name)
            if value is not None and (value.startswith("-") or not re.fullmatch(form, value, re.ASCII)):
                raise SimlawError(f"--{name} {value!r}: SLURM knows no such value; for example --{name} {example}")
        if self.time is not None and (asked := _seconds(self.time)) < _LEAST_SECONDS:
            raise SimlawError(
                f"--time {self.time} is {asked:g} seconds: SLURM tells a task up to three minutes before its end, so "
                "ask for five minutes or more"
            )
        for text in self.sbatch:
            name, sign, value = text.partition("=")
            if not re.fullmatch(r"[a-z][a-z-]*[a-z]", name) or (sign and not value) or not text.isprintable():
                raise SimlawError(f"--sbatch {text!r}: it must read NAME=VALUE, for example --sbatch reservation=maint")
            if any(own.startswith(name) for own in _OWN):  # sbatch takes the beginning of a name for the name
                raise SimlawError(f"--sbatch {text}: simlaw sets {name} itself, or could not go on; leave it out")

    @property
    def memory(self) -> float | None:
        """The bytes of `--mem`; megabytes where it has no unit, as SLURM has it. 0 is all that a node has, so None."""
        if self.mem is None:
            return None
        unit = self.mem[-1]
        return float(self.mem.rstrip("KMGT")) * _UNITS.get(unit, _UNITS["M"]) or None

    def queued(self, store: AbstractStore) -> Queue:
        """The runs of earlier submissions that SLURM still has, with the task that each is in."""
        return queued(store)

    def run(
        self,
        store: AbstractStore,
        manifest: str,
        packs: int,
        tell: Listener,  # noqa: ARG002  # a task says what it says to its log
        profile: Path | None = None,
    ) -> Outcome:
        """Submit the packs as an array, or as several where the cluster allows none so long."""
        known = read_manifest(manifest, store)
        runs = [
            tuple(run_id(spec, known.known[pack.corpus]) for member in pack.members for spec in member)
            for pack in known.packs
        ]
        logs = store.root.resolve() / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        longest, jobs = _longest_array(), list[str]()
        for offset in range(0, packs, longest):
            count = min(longest, packs - offset)
            mark = f"simlaw:{digest(manifest, offset, time.time_ns())[:16]}"
            more = ["--offset", str(offset)] + ([] if profile is None else ["--profile", str(profile.resolve())])
            options = self._options(count, mark, logs, jobs[-1:] if self.array_limit else [])
            try:
                job = _submit([*options, *_task(self, store, manifest, more)])
            except SimlawError as error:
                if not jobs:
                    raise
                there = f"{offset} of {packs} packs were submitted before ({', '.join(jobs)})"
                raise SimlawError(f"{error}; {there}, and the same command submits the others") from error
            made = Submission(
                job=job,
                manifest=manifest,
                offset=offset,
                mark=mark,
                time=time.time(),
                runs=tuple(runs[offset : offset + count]),
            )
            jobs.append(job)
            try:
                record(store, made)
            except SimlawError as error:
                raise SimlawError(
                    f"{error}; SLURM has taken job {job} all the same, of which simlaw keeps no record: "
                    f"`scancel {job}` before you submit again"
                ) from error
        number = f"{packs} pack{'s' * (packs > 1)}"
        what = f"SLURM job array {jobs[0]}" if len(jobs) == 1 else f"SLURM job arrays {', '.join(jobs)}"
        most = "" if self.array_limit is None else f", at most {self.array_limit} at once"
        return Outcome(
            submitted=f"submitted {number} as {what}{most}: `squeue --jobs {','.join(jobs)}` shows what waits, "
            f"`scancel {' '.join(jobs)}` ends it, and task I of job J writes {logs}/J_I.log"
        )

    def _options(self, count: int, mark: str, logs: Path, after: Sequence[str]) -> list[str]:
        """The arguments of sbatch before the task's own; the array starts when the jobs `after` have ended."""
        limit = "" if self.array_limit is None else f"%{self.array_limit}"
        own = {
            "parsable": None,
            "job-name": "simlaw",
            "array": f"0-{count - 1}{limit}",
            "comment": mark,
            "requeue": None,
            "open-mode": "append",
            "signal": f"B:USR1@{_NOTICE_SECONDS}",
            # a percent sign of the path is none of SLURM's patterns
            "output": f"{str(logs).replace('%', '%%')}/%A_%a.log",
        }
        if after:
            own["dependency"] = ",".join(f"afterany:{job}" for job in after)
        for name in ("partition", "gres", "time", "account", "qos", "constraint", "cpus_per_task", "mem"):
            if (value := getattr(self, name)) is not None:
                own[name.replace("_", "-")] = str(value)
        given = [f"--{name}" if value is None else f"--{name}={value}" for name, value in own.items()]
        return [*given, *(f"--{text}" for text in self.sbatch)]


def _task(engine: Slurm, store: AbstractStore, manifest: str, more: Sequence[str]) -> list[str]:
    """The process of a task, which has its settings whatever of this environment the cluster passes on."""
    settings = [f"{name}={value}" for name, value in engine.settings(store).items()]
    return ["env", "--unset=JAX_PLATFORMS", *settings, *command(engine, manifest, *more)]


def _submit(arguments: Sequence[str]) -> str:
    """The id of the job that sbatch makes of its options and a task."""
    at = arguments.index("env")
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
        script.write(_SCRIPT)
        script.flush()
        said = ask("sbatch", *arguments[:at], script.name, *arguments[at:])
    job = said.strip().partition(";")[0]  # after the semicolon it names the cluster
    if not job.isdigit():
        raise SimlawError(f"sbatch said {said.strip()!r} and no job's id: look with `squeue`, and submit again")
    return job


def _longest_array() -> int:
    """How many tasks the cluster allows in an array."""
    try:
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config"), re.MULTILINE)
    except SimlawError:
        found = None  # sbatch will say what is the matter
    return max(1, int(found[1])) if found else _ARRAY


def _seconds(text: str) -> float:
    """The seconds of a time as SLURM writes it; raises `SimlawError` for other texts."""
    found = _TIME.fullmatch(text)
    if found is None or not text.isascii():
        raise SimlawError(f"--time {text!r}: it must read MINUTES, HH:MM:SS or DAYS-HH:MM:SS, for example 02:00:00")
    part = {name: int(value or 0) for name, value in found.groupdict().items()}
    hours, minutes, seconds = part["dh"] + part["h"], part["dm"] + part["m"], part["ds"] + part["s"]
    return 60 * (60 * (24 * part["d"] + hours) + minutes) + seconds
