"""The store: atomic, checksummed artefacts by hash, in a folder that git ignores.

An artefact is a folder of files that appears whole or not at all, with their checksums in the form that
`sha256sum --check SHA256SUMS` reads. A truncated or altered one is set aside and counts as missing, so that it is
computed again. Leases keep two workers from computing the same thing; telemetry (times, hosts) never enters a table.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from simlaw.declared import Json
from simlaw.errors import SimlawError
from simlaw.files import sync, write

SUMS = "SHA256SUMS"
#: A lease expires after this many seconds without a sign of life; at once where its holder is seen to be dead.
LEASE_SECONDS = 600
#: An empty lease is being written this moment; an older one was cut off.
_WRITING_SECONDS = 5


def default_root() -> Path:
    """`SIMLAW_STORE` where it is set, else `.simlaw` in the working folder."""
    return Path(os.environ.get("SIMLAW_STORE") or ".simlaw")


@dataclass(frozen=True, kw_only=True)
class Store:
    """Artefacts below `root`, addressed by kind and key; a key may hold slashes."""

    root: Path

    def put(self, kind: str, key: str, files: Mapping[str, bytes]) -> None:
        """Write an artefact; where it is already there, nothing changes (equal keys have equal contents)."""
        with self._writing(kind, key):
            draft = self.draft()
            try:
                for name, data in files.items():
                    write(draft / name, data)
                sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
                self._publish(kind, key, draft, sums)
            finally:
                shutil.rmtree(draft, ignore_errors=True)

    def draft(self) -> Path:
        """A new empty folder, to be filled and then adopted."""
        draft = self.root / "tmp" / secrets.token_hex(8)
        with self._writing("tmp", draft.name):
            draft.mkdir(parents=True)
        return draft

    def adopt(self, kind: str, key: str, draft: Path) -> None:
        """Make an artefact of everything in a folder of `draft`, as whole as one of `put`; the folder is then gone."""
        with self._writing(kind, key):
            try:
                for path in sorted(draft.rglob("*")):
                    sync(path)
                files = sorted(path for path in draft.rglob("*") if path.is_file())
                self._publish(kind, key, draft, {path.relative_to(draft).as_posix(): _sum(path) for path in files})
            finally:
                shutil.rmtree(draft, ignore_errors=True)

    def get(self, kind: str, key: str) -> dict[str, bytes] | None:
        """The files of an artefact, or None where it is missing or damaged; a damaged one is set aside."""
        path = self._path(kind, key)
        if not path.is_dir():
            return None
        try:
            sums = _sums(path)
            files = {name: (path / name).read_bytes() for _, name in sums}
            if files and all(hashlib.sha256(files[name]).hexdigest() == wanted for wanted, name in sums):
                return files
        except (OSError, ValueError):
            pass  # incomplete or unreadable: damaged all the same
        self.set_aside(kind, key)
        return None

    def locate(self, kind: str, key: str) -> Path | None:
        """The folder of an artefact, for whoever reads its files in parts; None and set aside as with `get`."""
        path = self._path(kind, key)
        if not path.is_dir():
            return None
        try:
            sums = _sums(path)
            if sums and all(_sum(path / name) == wanted for wanted, name in sums):
                return path
        except (OSError, ValueError):
            pass  # incomplete or unreadable: damaged all the same
        self.set_aside(kind, key)
        return None

    def has(self, kind: str, key: str) -> bool:
        """Whether an artefact is there; it may yet turn out damaged when read."""
        return self._path(kind, key).is_dir()

    def keys(self, kind: str, below: str = "") -> list[str]:
        """The keys of the artefacts of a kind (below a key), sorted."""
        root = self._path(kind, below) if below else self.root / kind
        return sorted(path.parent.relative_to(self.root / kind).as_posix() for path in root.rglob(SUMS))

    def remove(self, kind: str, key: str) -> None:
        """Take an artefact away; no error where there is none."""
        shutil.rmtree(self._path(kind, key), ignore_errors=True)

    def set_aside(self, kind: str, key: str, why: str = "damaged") -> None:
        """Move an artefact that cannot be used to `aside`, where a person can look at it; it now counts as missing."""
        target = self.root / "aside" / f"{kind}-{key.replace('/', '-')}-{secrets.token_hex(4)}"
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._path(kind, key).rename(target)
        except FileNotFoundError:
            return  # somebody else took it away
        self.log({"event": "set aside", "kind": kind, "key": key, "why": why, "path": str(target)})

    def claim(self, key: str) -> bool:
        """Whether this process now holds the lease on `key`; leases of dead or silent holders are taken over."""
        path = self.root / "leases" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):
            try:
                with path.open("x") as lease:
                    lease.write(f"{socket.gethostname()} {os.getpid()}\n")
                return True
            except FileExistsError:
                if _alive(path):
                    return False
                # two takers at once may both win: that costs work done twice, never a wrong artefact
                path.unlink(missing_ok=True)
        return False

    def renew(self, key: str) -> None:
        """A sign of life for a lease that this process holds, if it still does."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.root / "leases" / key)

    def release(self, key: str) -> None:
        """Give a lease back."""
        (self.root / "leases" / key).unlink(missing_ok=True)

    def held(self) -> list[str]:
        """The keys under a live lease."""
        folder = self.root / "leases"
        return sorted(path.name for path in folder.glob("*") if _alive(path)) if folder.is_dir() else []

    def log(self, record: Mapping[str, Json]) -> None:
        """Append a record to the telemetry file, with the time and the host."""
        line = json.dumps({"time": round(time.time(), 3), "host": socket.gethostname(), **record}) + "\n"
        self.root.mkdir(parents=True, exist_ok=True)
        # one write of one line in append mode: concurrent writers do not mix
        descriptor = os.open(self.root / "telemetry.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def telemetry(self) -> Iterator[dict[str, Json]]:
        """The telemetry records in the order written; an incomplete last line is passed over."""
        path = self.root / "telemetry.jsonl"
        if path.is_file():
            for line in path.read_text().splitlines():
                try:
                    yield json.loads(line)
                except json.JSONDecodeError:
                    continue

    def _path(self, kind: str, key: str) -> Path:
        return self.root / kind / key

    def _publish(self, kind: str, key: str, draft: Path, sums: Mapping[str, str]) -> None:
        final = self._path(kind, key)
        write(draft / SUMS, "".join(f"{total}  {name}\n" for name, total in sorted(sums.items())).encode())
        sync(draft)
        final.parent.mkdir(parents=True, exist_ok=True)
        if not final.exists():
            draft.rename(final)
            sync(final.parent)

    @contextlib.contextmanager
    def _writing(self, kind: str, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return  # another worker was first, with the same content
            final = self._path(kind, key)
            raise SimlawError(f"cannot write {final}: {error.strerror}; free space or set SIMLAW_STORE") from error


def _sums(folder: Path) -> list[list[str]]:
    """The checksum and the name of each file of an artefact."""
    return [line.split("  ", 1) for line in (folder / SUMS).read_text().splitlines()]


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _alive(lease: Path) -> bool:
    """Whether a lease's holder lives: a recent sign of life and, on this host, a process of that number."""
    try:
        age = time.time() - lease.stat().st_mtime
        written = lease.read_text().split()
        if len(written) != 2:
            return age < _WRITING_SECONDS
        host, pid = written
        if age < LEASE_SECONDS and host == socket.gethostname():
            os.kill(int(pid), 0)
    except PermissionError:
        return True  # somebody else's process
    except (OSError, ValueError):
        return False
    return age < LEASE_SECONDS
