"""What was submitted to SLURM from a store, and what of it is still in the queue. No JAX."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from simlaw.declared import Declared, decode, digest, encode
from simlaw.errors import SimlawError
from simlaw.run.engine import Queue
from simlaw.store import AbstractStore

#: Where the store keeps what was submitted.
_FOLDER = "submissions"
#: How long SLURM's commands may take; a busy controller answers within its own timeout of ten seconds or says why not.
_PATIENCE_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Submission(Declared):
    """One array: the job's id, the address of its manifest, and the ids of the runs of each task.

    Task I does the entry `offset` + I. `mark` is the job's comment, by which it is known, for a new cluster counts its
    jobs from 1 again.
    """

    job: str
    manifest: str
    offset: int
    mark: str
    time: float
    runs: tuple[tuple[str, ...], ...]


def record(store: AbstractStore, made: Submission) -> None:
    """Keep a submission in the store; raises `SimlawError` where that cannot be written."""
    store.write(f"{_FOLDER}/{digest(made)}.json", json.dumps(encode(made)).encode())


def queued(store: AbstractStore) -> Queue:
    """The runs that SLURM has of what was submitted from this store; empty, with a note, where it does not answer."""
    submissions = sorted(_submissions(store), key=lambda made: made.time)
    if not submissions:
        return Queue()
    there = {(made.job, made.mark): made for made in submissions}
    last = {run: f"{made.job}_{i}" for made in submissions for i, runs in enumerate(made.runs) for run in runs}
    try:
        said = ask(
            "squeue",
            "--noheader",
            "--array",
            "--format=%F|%K|%T|%r|%k",
            f"--jobs={','.join(sorted({job for job, _ in there}))}",
        )
    except SimlawError as error:
        if "Invalid job id" in str(error):  # what SLURM says of a single job that it has forgotten
            return Queue(gone=last)
        return Queue(note=f"what is in the queue is not known ({error})")
    places: dict[str, str] = {}
    for line in said.splitlines():
        job, task, state, reason, mark = (line.split("|", 4) + [""] * 4)[:5]
        made = there.get((job, mark))
        if made is None or not task.isdigit() or int(task) >= len(made.runs):
            continue
        why = f" ({reason})" if reason not in ("", "None") else ""
        places |= dict.fromkeys(made.runs[int(task)], f"slurm {job}_{task}, {state.lower()}{why}")
    return Queue(places=places, gone={run: task for run, task in last.items() if run not in places})


def ask(*call: str, seconds: float = _PATIENCE_SECONDS) -> str:
    """What a command of SLURM prints; raises `SimlawError` with its own words where it fails, or takes longer."""
    name = call[0]
    try:
        done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=seconds)
    except OSError as error:
        raise SimlawError(
            f"cannot call {name} here ({error.strerror}): call simlaw on a login node of the cluster"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SimlawError(f"{name} did not answer within {seconds:g} seconds: try again later") from error
    if done.returncode:
        words = "; ".join(line.removeprefix(f"{name}: ").removeprefix("error: ") for line in done.stderr.splitlines())
        raise SimlawError(f"{name}: {words or f'exit status {done.returncode}'}")
    return done.stdout


def _submissions(store: AbstractStore) -> Iterator[Submission]:
    """What was submitted to SLURM; a record that cannot be read only means that something may be submitted twice."""
    for name in store.names(_FOLDER):
        try:
            made = decode(Submission, json.loads(store.read(name) or b""))
        except (OSError, ValueError, SimlawError):
            continue
        if made.job.isdigit():
            yield made
