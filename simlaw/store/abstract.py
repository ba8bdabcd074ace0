"""What every store does: whole artefacts by kind and key, small files by name, and records of this machine."""

import abc
import contextlib
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from simlaw.declared import Json
from simlaw.errors import SimlawError
from simlaw.store.sums import stays


def checked(key: str) -> str:
    """The key; raises `SimlawError` where it leads out of the artefacts of its kind."""
    if not stays(key):
        raise SimlawError(f"{key!r} is no key of an artefact: it must be names with slashes between them")
    return key


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A small file as it is listed: its bytes, and when it was last written, in seconds since 1970."""

    name: str
    size: int
    time: float


@dataclass(frozen=True, kw_only=True)
class AbstractStore(abc.ABC):
    """Artefacts addressed by kind and key; a key may hold slashes.

    `root` is a folder of this machine for what is of this machine alone: logs, journals, telemetry, compiled programs.
    """

    root: Path
    #: Whether a draft is a folder that every host sees; then each process of a team may write its share of a state.
    foldered: ClassVar[bool] = True

    @property
    @abc.abstractmethod
    def address(self) -> str:
        """What `SIMLAW_STORE` must be for a process that is to work on this store."""

    @abc.abstractmethod
    def put(self, kind: str, key: str, files: Mapping[str, bytes]) -> None:
        """Write an artefact; where it is already there, nothing changes (equal keys have equal contents)."""

    @abc.abstractmethod
    def draft(self) -> Path:
        """A new empty folder, to be filled and then adopted."""

    @abc.abstractmethod
    def adopt(self, kind: str, key: str, draft: Path) -> None:
        """Make an artefact of everything in a folder of `draft`, as whole as one of `put`; the folder is then gone."""

    @abc.abstractmethod
    def get(self, kind: str, key: str) -> dict[str, bytes] | None:
        """The files of an artefact, or None where it is missing or damaged; a damaged one is set aside."""

    @abc.abstractmethod
    def locate(self, kind: str, key: str) -> Path | None:
        """A folder with an artefact's files, for whoever reads them in parts; None and set aside as with `get`."""

    @abc.abstractmethod
    def has(self, kind: str, key: str) -> bool:
        """Whether an artefact is there; it may yet turn out damaged when read."""

    @abc.abstractmethod
    def keys(self, kind: str, below: str = "") -> list[str]:
        """The keys of the artefacts of a kind (below a key), sorted."""

    @abc.abstractmethod
    def remove(self, kind: str, key: str) -> None:
        """Take an artefact away; no error where there is none."""

    @abc.abstractmethod
    def set_aside(self, kind: str, key: str, why: str = "damaged") -> None:
        """Move an artefact that cannot be used to `aside`, where a person can look at it; it now counts as missing."""

    @abc.abstractmethod
    def create(self, name: str, data: bytes) -> bool:
        """Whether this call made a small file of this name; False where there was one, which stays as it is."""

    @abc.abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Write a small file whole, over what was there."""

    @abc.abstractmethod
    def read(self, name: str) -> bytes | None:
        """A small file, or None where there is none."""

    @abc.abstractmethod
    def names(self, folder: str) -> list[str]:
        """The names of all small files below a folder, sorted."""

    @abc.abstractmethod
    def listing(self, folder: str) -> list[Listed]:
        """All small files below a folder, those of artefacts too, sorted by name."""

    @abc.abstractmethod
    def erase(self, name: str) -> None:
        """Take a small file away; no error where there is none."""

    def fault(self, record: Mapping[str, Json]) -> None:
        """Keep what went wrong, with the time and the host, where everybody sees it; that it cannot is no error."""
        name = f"faults/{time.time_ns()}-{secrets.token_hex(4)}.json"
        with contextlib.suppress(SimlawError, OSError):
            self.create(name, json.dumps(_stamped(record)).encode())

    def faults(self) -> Iterator[dict[str, Json]]:
        """What went wrong, the first first."""
        for name in self.names("faults"):
            with contextlib.suppress(ValueError):
                record = json.loads(self.read(name) or b"")
                if isinstance(record, dict):
                    yield record

    def log(self, record: Mapping[str, Json]) -> None:
        """Append a record to this machine's telemetry, with the time and the host; that it cannot is no error."""
        line = json.dumps(_stamped(record)) + "\n"
        with contextlib.suppress(OSError):
            self.root.mkdir(parents=True, exist_ok=True)
            # one write of one line in append mode: writers of one machine do not mix
            descriptor = os.open(self.root / "telemetry.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)

    def telemetry(self) -> Iterator[dict[str, Json]]:
        """The telemetry of this machine in the order written; an incomplete last line is passed over."""
        path = self.root / "telemetry.jsonl"
        if path.is_file():
            for line in path.read_text(errors="replace").splitlines():
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                if isinstance(record, dict):
                    yield record


def _stamped(record: Mapping[str, Json]) -> dict[str, Json]:
    return {"time": round(time.time(), 3), "host": socket.gethostname(), **record}
