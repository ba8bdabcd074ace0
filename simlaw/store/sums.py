"""The checksums of an artefact's files, in the form that `sha256sum --check SHA256SUMS` reads."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

SUMS = "SHA256SUMS"


def stays(name: str) -> bool:
    """Whether a name leads to a place below where it starts, and has one spelling."""
    return not any(part in ("", ".", "..") for part in name.split("/")) and "\0" not in name and "\\" not in name


def sum_of(data: bytes) -> str:
    """The checksum of a file's content."""
    return hashlib.sha256(data).hexdigest()


def sum_of_file(path: Path) -> str:
    """The checksum of a file, read in parts."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def written(sums: Mapping[str, str]) -> bytes:
    """The checksums by name as the content of `SHA256SUMS`."""
    return "".join(f"{total}  {name}\n" for name, total in sorted(sums.items())).encode()


def parsed(data: bytes) -> dict[str, str]:
    """The checksums by name; raises `ValueError` where there is none, or a name leads out of the artefact."""
    sums: dict[str, str] = {}
    for line in data.decode().splitlines():
        total, _, name = line.partition("  ")
        if not stays(name):  # what a file says is a path is not trusted to be one of this artefact
            raise ValueError(f"{name!r} is no file of the artefact")
        sums[name] = total
    if not sums:
        raise ValueError("the artefact names no file")
    return sums
