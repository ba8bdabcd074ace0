"""Numbers about this machine that are measured once, and kept in the store."""

import contextlib
import json
import socket
from collections.abc import Callable
from typing import TypeVar

from simlaw.files import write_file
from simlaw.store import AbstractStore

#: A number, or a list of them.
T = TypeVar("T", float, list[float])


def once(store: AbstractStore, what: str, measure: Callable[[], T]) -> T:
    """What was measured on this host under this name, by whatever process came first."""
    path, name = store.root / "machine.json", f"{socket.gethostname()} {what}"
    kept: dict[str, T] = {}
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads(path.read_text())
    if name not in kept:
        # two processes may measure at once; the later one's number stays, and is as good
        kept[name] = measure()
        write_file(path, json.dumps(kept, indent=1).encode())
    return kept[name]
