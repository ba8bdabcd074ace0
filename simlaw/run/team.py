"""A team: processes on one or several hosts that work on the same pack in step. The first one leads.

Each does the same steps in the same order. What depends on the store, a signal or a clock is decided by the leader, or
by all together, and told to everybody, for processes that decided differently would wait for each other for ever.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from simlaw.declared import Json
from simlaw.errors import SimlawError
from simlaw.store import AbstractStore

T = TypeVar("T")


def join(coordinator: str, processes: int, process: int) -> None:
    """Join the team at HOST:PORT, where process 0 listens; before anything of JAX is used."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # type: ignore[no-untyped-call]
    jax.distributed.initialize(coordinator_address=coordinator, num_processes=processes, process_id=process)


def leads() -> bool:
    """Whether this process is the first of its team, or alone."""
    return jax.process_index() == 0


def anybody(flag: bool) -> bool:
    """Whether the flag is set in any process of the team."""
    return flag if jax.process_count() == 1 else bool(np.any(multihost_utils.process_allgather(np.bool_(flag))))


def together(act: Callable[[], T]) -> T:
    """What `act` returns here, where it succeeds in every process; else its `SimlawError`, or the others' in brief."""
    try:
        found, error = act(), None
    except SimlawError as raised:
        error = raised
    if anybody(error is not None):
        raise error or SimlawError("another process of the team cannot go on: its own message says why")
    return found


def told(value: Json) -> Json:
    """The leader's value, in every process."""
    if jax.process_count() == 1:
        return value
    data = json.dumps(value).encode() if leads() else b""
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    # a program is compiled for each size of a message: few sizes, few programs
    room = np.zeros(max(256, 1 << (size - 1).bit_length()), np.uint8)
    room[: len(data)] = np.frombuffer(data, np.uint8)
    message: Json = json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(room))[:size]))
    return message


def led(act: Callable[[], Any]) -> Any:
    """What `act` returns in the leader, which alone calls it, in every process; its errors are everybody's too."""
    outcome: dict[str, Json] = {}
    if leads():
        try:
            outcome = {"value": act()}
        except (SimlawError, OSError) as error:
            outcome = {"error": str(error)}
    agreed: Any = told(outcome)
    if "error" in agreed:
        raise SimlawError(agreed["error"])
    return agreed["value"]


@dataclass(frozen=True, kw_only=True)
class TeamStore:
    """A store that the leader alone touches; every process of the team gets its answers and its errors.

    Folders of sharded states are the exception: every process writes its share, so all hosts must see the store's root.
    """

    store: AbstractStore

    @property
    def root(self) -> Path:
        """The folder that holds everything."""
        return self.store.root

    @property
    def foldered(self) -> bool:
        """As `Store.foldered`."""
        return self.store.foldered

    def put(self, kind: str, key: str, files: Mapping[str, bytes]) -> None:
        """As `Store.put`."""
        led(lambda: self.store.put(kind, key, files))

    def draft(self) -> Path:
        """As `Store.draft`: one folder for the team."""
        return Path(led(lambda: str(self.store.draft().resolve())))

    def adopt(self, kind: str, key: str, draft: Path) -> None:
        """As `Store.adopt`."""
        led(lambda: self.store.adopt(kind, key, draft))

    def get(self, kind: str, key: str) -> dict[str, bytes] | None:
        """As `Store.get`."""

        def read() -> Json:
            files = self.store.get(kind, key)
            return files and {name: base64.b64encode(data).decode() for name, data in files.items()}

        found = led(read)
        return found and {name: base64.b64decode(text) for name, text in found.items()}

    def locate(self, kind: str, key: str) -> Path | None:
        """As `Store.locate`."""

        def find() -> Json:
            folder = self.store.locate(kind, key)
            return None if folder is None else str(folder.resolve())

        found = led(find)
        return found and Path(found)

    def has(self, kind: str, key: str) -> bool:
        """As `Store.has`."""
        return bool(led(lambda: self.store.has(kind, key)))

    def keys(self, kind: str, below: str = "") -> list[str]:
        """As `Store.keys`."""
        return list(led(lambda: self.store.keys(kind, below)))

    def remove(self, kind: str, key: str) -> None:
        """As `Store.remove`."""
        led(lambda: self.store.remove(kind, key))

    def set_aside(self, kind: str, key: str, why: str = "damaged") -> None:
        """As `Store.set_aside`."""
        led(lambda: self.store.set_aside(kind, key, why))

    def log(self, record: Mapping[str, Json]) -> None:
        """As `Store.log`, by the leader; nobody waits for it."""
        if leads():
            self.store.log(record)

    def fault(self, record: Mapping[str, Json]) -> None:
        """As `Store.fault`, by the leader; nobody waits for it."""
        if leads():
            self.store.fault(record)


#: What a worker stores things in.
AnyStore = AbstractStore | TeamStore
