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
from jaxtyping import UInt, UInt8

from simlaw.config import Text
from simlaw.corpora.array import AbstractArrayCorpus
from simlaw.corpora.bpe import tokenized
from simlaw.declared import digest
from simlaw.errors import SimlawError

#: Parts of a Python installation that are not the standard library, or that differ between builds of one version.
_NOT_LIBRARY = ("site-packages", "dist-packages", "__pycache__")
_BUILD_FILES = ("_sysconfigdata", "sitecustomize", "usercustomize")
#: Equal files of both parts are worth a word where they are larger than so many bytes.
_LARGE = 1024
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
    """Text files as bytes, or merges of them; the held-out part is whole files, chosen by the hash of their paths."""

    spec: Text
    folder: str
    files: tuple[TextFile, ...]
    skipped: tuple[tuple[str, str], ...]
    train: UInt[np.ndarray, " n"]
    test: UInt[np.ndarray, " m"]
    fingerprint: str
    tokenizer: str | None = None
    kept: tuple[str, ...] = ()

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
            sha256 = hashlib.sha256(content).hexdigest()
            files.append(TextFile(path=name, size=len(content), sha256=sha256, held_out=held_out))
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
        all_files = hashlib.sha256(hashed.encode()).hexdigest()[:16]
        found = None
        kept: tuple[str, ...] = ()
        if spec.bpe is not None:
            key = digest(spec, all_files)
            kept, found = (key,), tokenized(spec.bpe, key, parts[False], parts[True], _SEPARATOR[0])
        return cls(
            spec=spec,
            folder=str(folder),
            files=tuple(files),
            skipped=tuple(skipped),
            train=_joined(parts[False]) if found is None else found.train,
            test=_joined(parts[True]) if found is None else found.test,
            fingerprint=all_files if found is None else digest(spec, all_files, found.sha256),
            tokenizer=None if found is None else found.tokenizer,
            kept=kept,
        )

    @property
    def unit(self) -> str:
        """Bytes, where they are not merged."""
        return "bytes" if self.spec.bpe is None else "tokens"

    @property
    def more(self) -> tuple[str, str]:
        """More files."""
        return "add text", "add files, raise Text(held_out=…)"

    @property
    def held_out_part(self) -> str:
        """Whole files."""
        return "the held-out part (whole files, chosen by the hash of their paths)"

    @property
    def host_bytes(self) -> int:
        """The files as they are read, and joined."""
        return 2 * self._bytes(held_out=False)

    def _bytes(self, held_out: bool) -> int:
        """The bytes of a part, with a separator after each file."""
        return sum(file.size + len(_SEPARATOR) for file in self.files if file.held_out == held_out)

    def describe(self) -> str:
        """One clause for people: what it holds, how much, and its fingerprint."""
        what = "Python standard library" if self.spec.folder is None else self.folder
        reasons = Counter(why for _, why in self.skipped)
        notes = "".join(f", {n} skipped: {why}" for why, n in reasons.items())
        trained = {file.sha256 for file in self.files if not file.held_out}
        if twins := sum(file.held_out and file.size > _LARGE and file.sha256 in trained for file in self.files):
            notes += f", {twins} held out of which training has an equal one"
        train, test = (self._bytes(held_out=part) for part in (False, True))
        merged = ""
        if self.spec.bpe is not None:
            each = test / self.test.size if self.test.size else train / self.train.size
            merged = f", as {self.vocab} tokens of {each:.2f} bytes (other tokenizers' losses compare only per byte)"
        return (
            f"text, {what}: {len(self.files)} files{notes}, {train / 1e6:.1f} MB to train on and {test / 1e6:.2f} MB "
            f"held out{merged}, fingerprint {self.fingerprint}"
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
