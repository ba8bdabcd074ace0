"""Text: a person's own UTF-8 files as bytes; by default the Python standard library's source on this machine."""

import csv
import hashlib
import io
import os
import sysconfig
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from simlaw.config import Text
from simlaw.corpora.array import AbstractArrayCorpus
from simlaw.errors import SimlawError

#: Parts of a Python installation that are not the standard library, or that differ between builds of one version.
_NOT_LIBRARY = ("site-packages", "dist-packages", "__pycache__")
_BUILD_FILES = ("_sysconfigdata", "sitecustomize", "usercustomize")
_SEPARATOR = b"\x00"  # no text file holds it, so a model can tell where a file begins
#: JAX takes an array that begins at a multiple of so many bytes for one of the CPU's, and copies any other.
_ALIGNED = 64


@dataclass(frozen=True, kw_only=True)
class TextFile:
    """One file of a corpus: its path below the folder, its size in bytes, its content's hash, and its part."""

    path: str
    size: int
    sha256: str
    held_out: bool


@dataclass(frozen=True, kw_only=True)
class TextCorpus(AbstractArrayCorpus):
    """Bytes of text files; the held-out part is whole files, chosen by the hash of their paths."""

    spec: Text
    folder: str
    files: tuple[TextFile, ...]
    skipped: tuple[tuple[str, str], ...]
    train: UInt8[np.ndarray, " n"]
    test: UInt8[np.ndarray, " m"]
    fingerprint: str

    @classmethod
    def read(cls, spec: Text) -> "TextCorpus":
        """The corpus of all matching files below the folder; those that are no text are skipped, with the reason.

        Raises `SimlawError` where the folder is missing or holds no text for training.
        """
        library = spec.folder is None
        folder = Path(sysconfig.get_path("stdlib") if spec.folder is None else spec.folder).expanduser()
        if folder.is_file():
            raise SimlawError(
                f"the corpus folder {str(folder)!r} is a file: give Text(folder=…) the folder that holds it"
            )
        if not folder.is_dir():
            raise SimlawError(f"the corpus folder {str(folder)!r} does not exist: give Text(folder=…) an existing one")
        files, skipped = [], []
        parts: dict[bool, list[bytes]] = {False: [], True: []}
        for place in _walk(folder, spec.suffixes, library):
            name = "/".join(place)
            try:
                content = Path(folder, *place).read_bytes()
                if not content.isascii():  # which needs no copy, and is UTF-8
                    content.decode("utf-8")
            except OSError as error:
                skipped.append((name, f"unreadable ({error.strerror})"))
                continue
            except UnicodeDecodeError:
                skipped.append((name, "not UTF-8"))
                continue
            if _SEPARATOR in content:
                skipped.append((name, "holds a zero byte"))
                continue
            share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
            held_out = share < spec.held_out
            parts[held_out].append(content)
            digest = hashlib.sha256(content).hexdigest()
            files.append(TextFile(path=name, size=len(content), sha256=digest, held_out=held_out))
        if not parts[False] and files:
            raise SimlawError(
                f"all {len(files)} files of the corpus folder {str(folder)!r} are held out (whole files are, by the "
                "hash of their paths): add files, or lower Text(held_out=…)"
            )
        if not parts[False]:
            reasons = "; ".join(f"{name}: {why}" for name, why in skipped[:3])
            raise SimlawError(
                f"the corpus folder {str(folder)!r} holds no UTF-8 file ending in {' or '.join(spec.suffixes)} "
                f"to train on ({reasons or 'none skipped'}): add files, or set Text(suffixes=…)"
            )
        hashed = "\n".join(f"{file.sha256} {file.path}" for file in files)
        return cls(
            spec=spec,
            folder=str(folder),
            files=tuple(files),
            skipped=tuple(skipped),
            train=_joined(parts[False]),
            test=_joined(parts[True]),
            fingerprint=hashlib.sha256(hashed.encode()).hexdigest()[:16],
        )

    @property
    def unit(self) -> str:
        """Bytes."""
        return "bytes"

    @property
    def more(self) -> tuple[str, str]:
        """More files."""
        return "add text", "add files, raise Text(held_out=…)"

    @property
    def held_out_part(self) -> str:
        """Whole files."""
        return "the held-out part (whole files, chosen by the hash of their paths)"

    def describe(self) -> str:
        """One clause for people: what it holds, how much, and its fingerprint."""
        what = "Python standard library" if self.spec.folder is None else self.folder
        reasons = Counter(why for _, why in self.skipped)
        skipped = "".join(f", {n} skipped: {why}" for why, n in reasons.items())
        return (
            f"text, {what}: {len(self.files)} files{skipped}, {self.train.size / 1e6:.1f} MB to train on and "
            f"{self.test.size / 1e6:.2f} MB held out, fingerprint {self.fingerprint}"
        )

    def listing(self) -> str:
        """The files as CSV: path, bytes, SHA-256, and whether it trains, is held out, or why it was skipped."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("path", "bytes", "sha256", "part"))
        writer.writerows((f.path, f.size, f.sha256, "held out" if f.held_out else "train") for f in self.files)
        writer.writerows((path, "", "", why) for path, why in self.skipped)
        return out.getvalue()


def _walk(folder: Path, suffixes: tuple[str, ...], library: bool) -> list[tuple[str, ...]]:
    """Where the matching files are below the folder, in order, each as the parts of its path."""
    found = []
    for root, folders, names in os.walk(folder):
        if library:
            folders[:] = [name for name in folders if name not in _NOT_LIBRARY and not name.startswith("config-")]
        above = Path(root).relative_to(folder).parts
        kept = [name for name in names if not (library and name.startswith(_BUILD_FILES))]
        found += [(*above, name) for name in kept if name.endswith(suffixes)]
    return sorted(found)


def _joined(texts: list[bytes]) -> UInt8[np.ndarray, " n"]:
    """The texts with a separator after each, for good, where JAX need not copy them."""
    room = np.empty(sum(map(len, texts)) + len(texts) * len(_SEPARATOR) + _ALIGNED, np.uint8)
    at = start = -room.ctypes.data % _ALIGNED
    for text in texts:
        for part in (text, _SEPARATOR):
            room[at : at + len(part)] = np.frombuffer(part, np.uint8)
            at += len(part)
    room.flags.writeable = False
    return room[start:at]
