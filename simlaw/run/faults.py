"""What went wrong in a store and was mended: workers that died, claims taken over, artefacts set aside, a full disk."""

import shutil
from collections import Counter

from simlaw.report import size
from simlaw.store import AbstractStore

#: A disk with less room is as good as full: one state of a model may want more.
_ROOM = 64 * 2**20
_WORDS = {
    "died": "ends of workers without a word, which were started again",
    "hung": "workers ended that hung",
    "taken over": "claims taken over from workers that were gone",
    "set aside": "artefacts set aside as damaged, to be made again",
}


def faults(store: AbstractStore) -> list[str]:
    """A line for each kind of fault of the store, with how often and the last of it."""
    seen: Counter[str] = Counter()
    last: dict[str, str] = {}
    for record in store.faults():
        event = str(record.get("event"))
        seen[event] += 1
        what = record.get("note") or f"{record.get('kind')} {record.get('key')}, now {record.get('path')}"
        last[event] = f"{record.get('host')}: {what}"
    lines = [f"{n} {_WORDS.get(event, event)}; the last on {last[event]}" for event, n in seen.items()]
    if store.root.is_dir() and (room := shutil.disk_usage(store.root).free) < _ROOM:
        lines.append(f"the disk of {store.root} has {size(room)} left: free some, or set SIMLAW_STORE to another place")
    return lines


def tail(path: str | None, lines: int) -> list[str]:
    """The last lines of a log, where this machine sees it."""
    if not path or not lines:
        return []
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 65_536))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []
