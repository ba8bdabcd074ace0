"""Lessons: windows sampled from a trained model, with the model, as a folder that is made once.

The folder needs no store: it holds the weights (safetensors), the windows to train on and those held out (.npy), and
`teacher.json`, which says what they are and hashes everything, itself included.
"""

import functools
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from simlaw.checkpoint import from_bytes, to_bytes
from simlaw.config import NUMERICS, Average, Corpus, ModelSpec, RunSpec
from simlaw.corpora.array import NOT_NPY, small
from simlaw.declared import decode, digest, encode, mismatch, parsed
from simlaw.errors import SimlawError
from simlaw.files import sync, write
from simlaw.model import shapes
from simlaw.teacher import Teacher
from simlaw.version import __version__

#: Raised by hand when the same names come to mean something else.
FORM = 1
ABOUT, WEIGHTS, TRAIN, HELD_OUT = "teacher.json", "teacher.safetensors", "train.npy", "held_out.npy"
#: Streams of a seed that are drawn apart.
_STREAMS = {TRAIN: 0, HELD_OUT: 1}


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """A teacher with the windows that were sampled from it, of its context + 1 tokens each."""

    folder: Path
    teacher: Teacher = field(repr=False)
    train: Integer[np.ndarray, "n w"] = field(repr=False)
    held_out: Integer[np.ndarray, "m w"] = field(repr=False)
    about: dict[str, Any] = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """The hash of what decides the windows and their floor; not of where the teacher's own text lay."""
        return digest(
            "teach", self.teacher.spec, self.teacher.start, sorted(self.about["sha256"].items()), self.about["numerics"]
        )

    @functools.cached_property
    def repeated(self) -> Callable[[int], float]:
        """The share of held-out windows that also occur in training, by the context to which both are cut."""
        return functools.cache(functools.partial(_repeated, self.train, self.held_out))


def make_lessons(
    teacher: Teacher,
    folder: Path,
    tokens: int,
    held_out: int,
    seed: int,
    average: Average | None = None,
    tell: Callable[[float], None] = lambda _: None,
) -> Lessons:
    """Sample windows of at least so many predicted tokens into a new folder, whole or not at all.

    `tell` hears of the tokens that are done. Raises `SimlawError` where the folder is there, or cannot be written.
    """
    if folder.exists():
        raise SimlawError(f"{folder} is there already, and lessons are made once: remove it, or choose another folder")
    context = teacher.model.context
    kind = small(teacher.model.vocab)
    files = {WEIGHTS: to_bytes(teacher.weights, teacher.run_id)}
    counts = {}
    for name, wanted in ((TRAIN, tokens), (HELD_OUT, held_out)):
        parts = []
        for windows in teacher.draw(seed, _STREAMS[name], -(-wanted // context)):
            parts.append(windows.astype(kind))
            tell(len(windows) * context)
        made = np.concatenate(parts)
        files[name], counts[name] = _npy(made), len(made)
    about: dict[str, Any] = {
        "form": FORM,
        "simlaw": __version__,
        "numerics": NUMERICS,
        "run": teacher.run_id,
        "spec": encode(teacher.spec),
        "average": None if average is None else str(average),
        "start": teacher.start,
        "seed": seed,
        "windows": counts,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    about["sum"] = _sum(about)
    _write(folder, {**files, ABOUT: (json.dumps(about, indent=1) + "\n").encode()})
    return read_lessons(folder)


def read_lessons(folder: Path) -> Lessons:
    """The lessons in a folder, every file checked against its hash.

    Raises `SimlawError` where one is missing, damaged, or was made by another version under other numerics.
    """
    about = _about(folder)
    for name, hint in _HOLDS.items():
        if wrong := mismatch(about.get(name), hint):
            raise SimlawError(f"{folder / ABOUT} has {name}={about.get(name)!r:.60}, and {wrong}: {_AGAIN}")
    files = {name: _read(folder, name) for name in (WEIGHTS, TRAIN, HELD_OUT)}
    for name, data in files.items():
        if hashlib.sha256(data).hexdigest() != about["sha256"].get(name):
            raise SimlawError(f"{folder / name} is not what {ABOUT} says, it was damaged or changed: {_AGAIN}")
    if about["numerics"] != NUMERICS:
        raise SimlawError(
            f"the teacher in {folder} computed under numerics {about['numerics']}, and this version computes under "
            f"{NUMERICS}, so its floor would be of another model: {_AGAIN}"
        )
    spec: RunSpec = decode(RunSpec, about["spec"])
    weights = from_bytes(files[WEIGHTS], shapes(spec.model), about["run"])
    train, held_out = (_windows(folder / name, files[name], spec.model) for name in (TRAIN, HELD_OUT))
    teacher = Teacher(run_id=about["run"], spec=spec, start=about["start"], weights=weights)
    return Lessons(folder=folder, teacher=teacher, train=train, held_out=held_out, about=about)


def taught(folder: Path) -> Corpus | None:
    """The corpus that the teacher in a folder was trained on, as declared; None where the folder cannot be read."""
    try:
        spec: RunSpec = decode(RunSpec, _about(folder)["spec"])
    except SimlawError:
        return None
    return spec.corpus


#: What `teacher.json` must say; the rest of it is for people.
_HOLDS: dict[str, Any] = {
    "numerics": int,
    "run": str,
    "spec": dict,
    "start": int,
    "average": str | None,
    "sha256": dict,
}
_AGAIN = "make it again with `simlaw teach`"


def _windows(path: Path, data: bytes, model: ModelSpec) -> Integer[np.ndarray, "n w"]:
    """The windows in a file; raises `SimlawError` where they are none of tokens that the teacher has."""
    try:
        found = np.load(io.BytesIO(data), allow_pickle=False)
    except NOT_NPY as error:
        raise SimlawError(f"{path} is no array of numbers ({str(error).partition('. ')[0]}): {_AGAIN}") from error
    wanted = model.context + 1
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "iu" or found.ndim != 2 or found.shape[1] != wanted:
        what = f"{found.dtype}{list(found.shape)}" if isinstance(found, np.ndarray) else "several arrays"
        raise SimlawError(f"{path} holds {what}, and windows are rows of {wanted} whole numbers: {_AGAIN}")
    if not len(found) or found.min() < 0 or found.max() >= model.vocab:
        what = f"the token {found.max() if found.min() >= 0 else found.min()}" if len(found) else "no window"
        raise SimlawError(f"{path} holds {what}, and the teacher's tokens are 0 to {model.vocab - 1}: {_AGAIN}")
    return found


def _about(folder: Path) -> dict[str, Any]:
    """What `teacher.json` says, checked against its own hash."""
    data = _read(folder, ABOUT)
    try:
        about = parsed(data)
    except SimlawError as error:
        raise SimlawError(f"{folder / ABOUT} is damaged, {error}: {_AGAIN}") from error
    if not isinstance(about, dict) or about.pop("sum", None) != _sum(about):
        raise SimlawError(f"{folder / ABOUT} is damaged or changed: {_AGAIN}")
    if about.get("form") != FORM:
        raise SimlawError(f"{folder / ABOUT} has form {about.get('form')}, and this version reads {FORM}: {_AGAIN}")
    return about


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise SimlawError(
            f"cannot read {folder / name} ({error.strerror}): give Teach(folder=…) what `simlaw teach` made"
        ) from error


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """Write a new folder of files whole: beside it first, and then by one renaming."""
    draft = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        draft.mkdir(parents=True)
        try:
            for name, data in files.items():
                write(draft / name, data)
            sync(draft)
            os.rename(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        sync(folder.parent)
    except OSError as error:
        raise SimlawError(f"cannot write {folder}: {error.strerror}; choose another place") from error


def _npy(windows: Integer[np.ndarray, "n w"]) -> bytes:
    out = io.BytesIO()
    np.save(out, windows, allow_pickle=False)
    return out.getvalue()


def _sum(about: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _repeated(train: Integer[np.ndarray, "n w"], held_out: Integer[np.ndarray, "m w"], context: int) -> float:
    there = {row.tobytes() for row in train[:, : context + 1]}
    return sum(row.tobytes() in there for row in held_out[:, : context + 1]) / len(held_out)
