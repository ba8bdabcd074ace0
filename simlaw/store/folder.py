"""A store in a folder, on a local disk or shared by several hosts: what is whole is renamed into its place.

An artefact is a folder of files that appears whole or not at all, with their checksums. A truncated or altered one is
set aside and counts as missing, so that it is computed again.
"""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from simlaw.errors import SimlawError
from simlaw.files import sync, write
from simlaw.store.abstract import AbstractStore, Listed, checked
from simlaw.store.sums import SUMS, parsed, sum_of, sum_of_file, written

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Store(AbstractStore):
    """Artefacts in folders below `root`."""

    @property
    def address(self) -> str:
        """As `AbstractStore.address`: the folder."""
        return str(self.root.resolve())

    def put(self, kind: str, key: str, files: Mapping[str, bytes]) -> None:
        """As `AbstractStore.put`."""
        with self._writing(kind, key):
            draft = self.draft()
            try:
                for name, data in files.items():
                    write(draft / name, data)
                self._publish(kind, key, draft, {name: sum_of(data) for name, data in files.items()})
            finally:
                shutil.rmtree(draft, ignore_errors=True)

    def draft(self) -> Path:
        """As `AbstractStore.draft`."""
        draft = self.root / "tmp" / secrets.token_hex(8)
        with self._writing("tmp", draft.name):
            draft.mkdir(parents=True)
        return draft

    def adopt(self, kind: str, key: str, draft: Path) -> None:
        """As `AbstractStore.adopt`."""
        with self._writing(kind, key):
            try:
                for path in sorted(draft.rglob("*")):
                    sync(path)
                files = [path for path in draft.rglob("*") if path.is_file()]
                sums = {path.relative_to(draft).as_posix(): sum_of_file(path) for path in files}
                self._publish(kind, key, draft, sums)
            finally:
                shutil.rmtree(draft, ignore_errors=True)

    def get(self, kind: str, key: str) -> dict[str, bytes] | None:
        """As `AbstractStore.get`."""
        return self._sound(kind, key, _content, sum_of)

    def locate(self, kind: str, key: str) -> Path | None:
        """As `AbstractStore.locate`."""
        found = self._sound(kind, key, Path, sum_of_file)
        return None if found is None else self._path(kind, key)

    def has(self, kind: str, key: str) -> bool:
        """As `AbstractStore.has`."""
        return self._path(kind, key).is_dir()

    def keys(self, kind: str, below: str = "") -> list[str]:
        """As `AbstractStore.keys`."""
        root = f"{kind}/{below}" if below else kind
        return [name[len(kind) + 1 : -len(SUMS) - 1] for name in self.names(root) if name.endswith(f"/{SUMS}")]

    def remove(self, kind: str, key: str) -> None:
        """As `AbstractStore.remove`."""
        shutil.rmtree(self._path(kind, key), ignore_errors=True)

    def set_aside(self, kind: str, key: str, why: str = "damaged") -> None:
        """As `AbstractStore.set_aside`."""
        target = self.root / "aside" / f"{kind}-{key.replace('/', '-')}-{secrets.token_hex(4)}"
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._path(kind, key).rename(target)
        except FileNotFoundError:
            return  # somebody else took it away
        self.fault({"event": "set aside", "kind": kind, "key": key, "why": why, "path": str(target)})

    def create(self, name: str, data: bytes) -> bool:
        """As `AbstractStore.create`: a link is made whole or not at all, by one of all who try."""
        path, draft = self.root / name, self.root / "tmp" / secrets.token_hex(8)
        made = False
        with self._writing("", name):
            for folder in (path.parent, draft.parent):
                folder.mkdir(parents=True, exist_ok=True)
            try:
                draft.write_bytes(data)
                made = _linked(draft, path)
            finally:
                draft.unlink(missing_ok=True)
        return made

    def write(self, name: str, data: bytes) -> None:
        """As `AbstractStore.write`."""
        path, draft = self.root / name, self.root / "tmp" / secrets.token_hex(8)
        with self._writing("", name):
            for folder in (path.parent, draft.parent):
                folder.mkdir(parents=True, exist_ok=True)
            try:
                write(draft, data)
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)

    def read(self, name: str) -> bytes | None:
        """As `AbstractStore.read`."""
        try:
            return (self.root / name).read_bytes()
        except OSError:
            return None

    def names(self, folder: str) -> list[str]:
        """As `AbstractStore.names`."""
        return sorted(_below(str(self.root / folder), folder))

    def listing(self, folder: str) -> list[Listed]:
        """As `AbstractStore.listing`."""
        found = []
        for name in self.names(folder):
            with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                status = (self.root / name).lstat()
                found.append(Listed(name=name, size=status.st_size, time=status.st_mtime))
        return found

    def erase(self, name: str) -> None:
        """As `AbstractStore.erase`."""
        (self.root / name).unlink(missing_ok=True)

    def _path(self, kind: str, key: str) -> Path:
        return self.root / kind / checked(key)

    def _sound(self, kind: str, key: str, take: Callable[[str], T], total: Callable[[T], str]) -> dict[str, T] | None:
        """What is taken of each file of an artefact, or None where one is not as its checksum says."""
        path = f"{self.root}/{kind}/{checked(key)}"  # a text, for tables are made of tens of thousands of artefacts
        if not os.path.isdir(path):
            return None
        listed = b""
        try:
            listed = _content(f"{path}/{SUMS}")
            sums = parsed(listed)
            files = {name: take(_own(path, name)) for name in sums}
            if all(total(files[name]) == wanted for name, wanted in sums.items()):
                return files
        except (OSError, ValueError):
            pass  # incomplete or unreadable: damaged all the same
        self._damaged(kind, key, listed)
        return None

    def _damaged(self, kind: str, key: str, listed: bytes) -> None:
        """Set an artefact aside, unless it was made again since its checksums were read."""
        if (self.read(f"{kind}/{key}/{SUMS}") or b"") == listed:
            self.set_aside(kind, key)

    def _publish(self, kind: str, key: str, draft: Path, sums: Mapping[str, str]) -> None:
        final = self._path(kind, key)
        write(draft / SUMS, written(sums))
        sync(draft)
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists() and not (final / SUMS).is_file():
            self.set_aside(kind, key)  # what was left of it counted as missing, and must not stand in the way
        if not final.exists():
            draft.rename(final)
            sync(final.parent)

    @contextlib.contextmanager
    def _writing(self, kind: str, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            final = self._path(kind, key)
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and os.path.lexists(final):
                return  # another worker was first, with the same content
            raise SimlawError(f"cannot write {final}: {error.strerror}; free space or set SIMLAW_STORE") from error


#: What file systems without links say.
_NO_LINKS = (errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def _linked(draft: Path, path: Path) -> bool:
    """Whether the draft is now at its place too, and nothing was there."""
    try:
        os.link(draft, path)
    except FileExistsError:
        # over NFS a link that was made may be answered so when it is asked for again
        return draft.stat().st_nlink > 1
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with path.open("xb") as file:  # then a reader may see it half written
            file.write(draft.read_bytes())
    return True


def _own(artefact: str, name: str) -> str:
    """A file of an artefact; raises `ValueError` where a link leads out of it."""
    at = artefact
    for part in name.split("/"):
        at = f"{at}/{part}"
        if os.path.islink(at) and not os.path.realpath(at).startswith(os.path.realpath(artefact) + os.sep):
            raise ValueError(f"{name} leads out of the artefact")
    return at


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _below(path: str, name: str) -> Iterator[str]:
    """The names of all files below a folder; where it goes away meanwhile, of those seen until then."""
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                own = f"{name}/{entry.name}" if name else entry.name
                if entry.is_dir(follow_symlinks=False):
                    yield from _below(entry.path, own)
                else:
                    yield own
    except (FileNotFoundError, NotADirectoryError):
        return
