"""Leases: who works on what, so that two workers never do the same; the store alone decides, no clock is compared.

A lease on a key is a row of small files, `claims/KEY/000001.json` and on; the last one counts, and is free where
`000001.free` is beside it. Whoever takes over, or begins, creates the next one, which one of all who try can do. The
holder writes its own again and again with a counter; one whose counter has stood still for so many seconds of the
observer's own clock is taken over, at once where its holder is seen to be dead. At worst a silent holder works on
beside the one that took over, which costs work done twice, and never a wrong artefact.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from simlaw.errors import SimlawError
from simlaw.store.abstract import AbstractStore

#: A lease is taken over after so many seconds without a sign of life.
LEASE_SECONDS = 300.0
_FOLDER = "claims"
#: What is silent for so many times its patience is not called running any more, clocks being what they are.
_GONE = 3


@dataclass(frozen=True, kw_only=True)
class Lease:
    """What a holder says of itself: where it runs, how often it gave a sign, what it is doing.

    `job` is the entry of a scheduler's job that it works on, `deaths` how many before it ended without a word and
    without progress, `before` where the last of those ran; `time` is when it last wrote by its own clock, and
    `patience` how many seconds of silence it wants to be given, which is for people and their `status`.
    """

    holder: str
    host: str
    machine: str
    process: str
    job: str | None = None
    log: str | None = None
    beats: int = 0
    deaths: int = 0
    before: str | None = None
    patience: float = LEASE_SECONDS
    time: float = 0.0
    doing: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dead(self) -> bool:
        """Whether the holder is seen to be dead from here: it ran on this machine, and its process is gone."""
        return self.machine == _machine() and _process(int(self.process.partition(":")[0])) != self.process

    @property
    def silent(self) -> float:
        """Seconds since it last wrote, where the clocks of its host and of this one agree."""
        return max(0.0, time.time() - self.time)

    @property
    def gone(self) -> bool:
        """Whether it has been silent for several times as long as it wanted: who works next takes it over."""
        return self.silent > _GONE * self.patience

    def data(self) -> bytes:
        """The lease as the content of its file."""
        return json.dumps(self.__dict__).encode()


class Leases:
    """The leases that this process holds, and what it has seen of those of others.

    `clock` gives seconds that never go back. `job` and `log` are told to whoever looks.
    """

    def __init__(
        self,
        store: AbstractStore,
        *,
        patience: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        job: str | None = None,
        log: str | None = None,
    ) -> None:
        self._store, self._patience, self._clock = store, patience, clock
        pid = os.getpid()
        self._own = Lease(
            holder=secrets.token_hex(8),
            host=socket.gethostname(),
            machine=_machine(),
            process=_process(pid) or str(pid),
            job=job,
            log=log,
            patience=patience,
        )
        self._mine: dict[str, tuple[int, Lease]] = {}
        self._one = threading.Lock()  # signs of life come from a thread of their own
        self._seen: dict[str, tuple[int, bytes | None, float]] = {}

    def claim(self, key: str) -> Lease | None:
        """The lease on a key that this process now holds, or None where another has it."""
        names = self._store.names(f"{_FOLDER}/{key}")
        number = _last(names)
        deaths, before = 0, ""
        if number and _name(key, number, "free") not in names:
            data = self._store.read(_name(key, number))
            lease = _read(data)
            if not self._over(key, number, data, lease):
                return None
            deaths = lease.deaths + 1 if lease else 1
            before = " ".join(filter(None, (lease.host, lease.job, lease.log))) if lease else ""
        mine = replace(self._own, deaths=deaths, before=before or None, time=time.time())
        if not self._store.create(_name(key, number + 1), mine.data()):
            return None
        # between look and file others may have held it and gone, and taken theirs away: then a later one is there
        if _last(self._store.names(f"{_FOLDER}/{key}")) != number + 1:
            self._store.erase(_name(key, number + 1))
            return None
        with self._one:
            self._mine[key] = (number + 1, mine)
        self._seen.pop(key, None)
        for name in names:  # never the last: somebody may be about to create the next one
            self._store.erase(name)
        return mine

    def renew(self, doing: Mapping[str, Any]) -> None:
        """Give a sign of life for all leases held, and say what is being done.

        What the store does to it is no error: a lease that cannot be renewed is at worst taken over.
        """
        with self._one:
            for key, (number, lease) in self._mine.items():
                self._write(key, number, replace(lease, doing=dict(doing)))

    def progress(self) -> None:
        """Forget earlier deaths in what is held: something was kept that need not be done again."""
        with self._one:
            for key, (number, lease) in self._mine.items():
                if lease.deaths:
                    self._write(key, number, replace(lease, deaths=0))

    def release(self, key: str) -> None:
        """Give a lease back."""
        with self._one:
            number, _ = self._mine.pop(key, (0, None))
        if number:
            with contextlib.suppress(SimlawError, OSError):  # then it is taken over in time
                self._store.create(_name(key, number, "free"), b"")

    @property
    def mine(self) -> tuple[str, ...]:
        """The keys of the leases that this process holds."""
        return tuple(self._mine)

    def _write(self, key: str, number: int, lease: Lease) -> None:
        new = replace(lease, beats=lease.beats + 1, time=time.time())
        self._mine[key] = (number, new)
        with contextlib.suppress(SimlawError, OSError):
            self._store.write(_name(key, number), new.data())

    def _over(self, key: str, number: int, data: bytes | None, lease: Lease | None) -> bool:
        """Whether somebody else's lease may be taken over."""
        if lease and (lease.dead or (lease.job is not None and lease.job == self._own.job)):
            return True  # a scheduler starts an entry again only when what ran before is gone
        now = self._clock()
        seen = self._seen.get(key)
        if seen is None or seen[:2] != (number, data):
            self._seen[key] = (number, data, now)
            return False
        return now - seen[2] >= self._patience


def held(store: AbstractStore) -> dict[str, Lease]:
    """The leases that are neither free nor of holders seen to be dead, by key; a holder may have died elsewhere."""
    return {key: lease for key, (_, lease) in _unfree(store).items() if not lease.dead}


def forgive(store: AbstractStore, keys: Collection[str]) -> None:
    """Forget the deaths of those who held these leases: a person wants the work to be tried again."""
    for key, (name, lease) in _unfree(store).items():
        if key in keys and lease.deaths:
            store.write(name, replace(lease, deaths=0).data())


def _unfree(store: AbstractStore) -> dict[str, tuple[str, Lease]]:
    """The leases that nobody gave back, with the names of their files, by key."""
    each: dict[str, list[str]] = {}
    for name in store.names(_FOLDER):
        each.setdefault(name.split("/")[1], []).append(name)
    found = {}
    for key, names in each.items():
        number = _last(names)
        if number and _name(key, number, "free") not in names:
            name = _name(key, number)
            if lease := _read(store.read(name)):
                found[key] = name, lease
    return found


def _name(key: str, number: int, kind: str = "json") -> str:
    return f"{_FOLDER}/{key}/{number:06d}.{kind}"


def _last(names: Iterable[str]) -> int:
    """The number of the lease that counts, 0 where there is none."""
    stems = (Path(name).stem for name in names if name.endswith(".json"))
    return max((int(stem) for stem in stems if stem.isdecimal()), default=0)


def _read(data: bytes | None) -> Lease | None:
    """The lease in a file, or None where it holds none: then it speaks for nobody, and stands still."""
    try:
        lease = Lease(**json.loads(data or b""))
        int(lease.process.partition(":")[0])
        numbers = isinstance(lease.time, int | float) and isinstance(lease.patience, int | float)
        sound = isinstance(lease.host, str) and isinstance(lease.deaths, int) and isinstance(lease.doing, dict)
        return lease if sound and isinstance(lease.beats, int) and numbers else None
    except (AttributeError, TypeError, ValueError, RecursionError):
        return None


def _machine() -> str:
    """What tells this machine, and the room of process numbers in it, from others."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join(parts)


def _process(pid: int) -> str | None:
    """A process that lives, as its number and, where the system tells it, the moment of its start; None for no such."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if status[0] == "Z" else f"{pid}:{status[19]}"
    except (OSError, IndexError):
        pass
    if Path("/proc/self").exists():
        return None
    try:
        os.kill(pid, 0)
    except PermissionError:
        return str(pid)
    except OSError:
        return None
    return str(pid)
