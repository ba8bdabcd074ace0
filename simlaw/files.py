"""Files written whole or not at all."""

import os
import secrets
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
