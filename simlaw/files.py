"""Files written whole or not at all, and a folder that nobody else has a hand in."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from simlaw.errors import SimlawError


def write_file(path: Path, data: bytes) -> None:
    """Write one file atomically: temporary file, flush to disk, rename; raises `SimlawError` where it cannot."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(draft, data)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        sync(path.parent)
    except OSError as error:
        raise SimlawError(f"cannot write {path}: {error.strerror}; choose another place") from error


def private_folder(path: Path, instead: str) -> Path:
    """The folder at a path that is of this user alone, made where there is none.

    Raises `SimlawError`, with what to do `instead`, where it is anything else: where all may write, another user may
    have made it before, or a link that leads to files of this one.
    """
    try:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = path.lstat()
    except OSError as error:
        raise SimlawError(f"cannot make the folder {path}: {error.strerror}; {instead}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise SimlawError(
            f"{path} is no folder of yours that nobody else may enter (mode 0700): take it away, or {instead}"
        )
    return path


def write(path: Path, data: bytes) -> None:
    """Write one file and flush it to disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Flush a folder's list of names to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
