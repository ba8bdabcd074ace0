"""Tokens: a person's own tokenised text, as files that are mapped into memory and never loaded whole where large."""

import csv
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from simlaw.config import Tokens
from simlaw.corpora.array import NOT_NPY, AbstractArrayCorpus, small
from simlaw.corpora.overlap import overlap
from simlaw.declared import digest
from simlaw.errors import SimlawError

#: Tokens that are checked and hashed at once.
_PART = 2**21
#: llm.c begins its files with so many int32: one of these numbers, a version, the tokens there are, and zeros.
_HEADER = 256
_HEADERS = {20240520: "uint16", 20240801: "uint32"}
#: Of the held-out windows that are looked for in the training tokens, more than this share found is an overlap.
_OVERLAP = 0.01


@dataclass(frozen=True, kw_only=True)
class TokenCorpus(AbstractArrayCorpus):
    """Tokens of two files, as they are; `sha256` is of the tokens of each, whatever the form of the files."""

    spec: Tokens
    train: Integer[np.ndarray, " n"]
    test: Integer[np.ndarray, " m"]
    sha256: tuple[str, str]
    fingerprint: str

    @classmethod
    def read(cls, spec: Tokens) -> "TokenCorpus":
        """The corpus of the declared files, each token of them checked.

        Raises `SimlawError` where a file is missing, has no tokens or another form than declared, for a token that is
        not of the vocabulary, and where both files hold the same.
        """
        train, test = (_mapped(Path(name).expanduser(), spec) for name in (spec.train, spec.held_out))
        sums = _checked(train, spec.train, spec.vocab), _checked(test, spec.held_out, spec.vocab)
        if sums[0] == sums[1]:
            raise SimlawError(
                f"{spec.held_out} holds the same tokens as {spec.train}: a loss on what was trained on measures "
                "nothing; hold other text out"
            )
        return cls(spec=spec, train=train, test=test, sha256=sums, fingerprint=digest(spec, *sums))

    def check_apart(self) -> None:
        """Raise `SimlawError` where more than a hundredth of the held-out passages are in the training tokens too."""
        found = overlap(self.train, self.test)
        if found is not None and found.share > _OVERLAP:
            raise SimlawError(
                f"{100 * found.share:.3g} % of {found.looked} passages of {found.length} tokens of "
                f"{self.spec.held_out} are in {self.spec.train} too, the first at {found.held_out} there and "
                f"{found.train} here: a loss on what was trained on measures little; hold other text out, or take "
                "repeats out of one of them"
            )

    @property
    def more(self) -> tuple[str, str]:
        """Longer files."""
        return f"give a longer file than {self.spec.train}", f"give a longer file than {self.spec.held_out}"

    @property
    def held_out_part(self) -> str:
        """The second file."""
        return f"the held-out file {self.spec.held_out}"

    @property
    def host_bytes(self) -> int:
        """A copy of the training tokens; those that are streamed are pages of a file, which the system takes back."""
        return 0 if self.streamed else self.resident_bytes

    def describe(self) -> str:
        """One clause for people: what it holds, how much, and its fingerprint."""
        return (
            f"tokens of {self.spec.train} and {self.spec.held_out}, a vocabulary of {self.spec.vocab}: "
            f"{self.train.size / 1e6:.1f}M to train on and {self.test.size / 1e6:.2f}M held out, fingerprint "
            f"{self.fingerprint}"
        )

    def listing(self) -> str:
        """The files as CSV: path, tokens, SHA-256 of the tokens (in the smallest unsigned integers), and the part."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("path", "tokens", "sha256", "part"))
        writer.writerow((self.spec.train, self.train.size, self.sha256[0], "train"))
        writer.writerow((self.spec.held_out, self.test.size, self.sha256[1], "held out"))
        return out.getvalue()


def _mapped(path: Path, spec: Tokens) -> Integer[np.ndarray, " n"]:
    """The tokens of a file, mapped into memory."""
    if path.suffix not in (".bin", ".npy"):
        raise SimlawError(f"the token file {str(path)!r} ends in {path.suffix!r}: give .bin or .npy; Text reads text")
    try:
        size = path.stat().st_size
        if path.is_dir() or size == 0:
            what = "is a folder" if path.is_dir() else "is empty"
            raise SimlawError(f"the token file {str(path)!r} {what}: give a file of tokens")
        found = _npy(path) if path.suffix == ".npy" else _bin(path, size, spec)
    except OSError as error:
        raise SimlawError(
            f"cannot read the token file {str(path)!r}: {error.strerror}; give Tokens(train=…, held_out=…) files that "
            "are there"
        ) from error
    if found.size == 0:
        raise SimlawError(f"the token file {str(path)!r} holds no token: give a file of tokens")
    return found


def _npy(path: Path) -> Integer[np.ndarray, " n"]:
    try:
        found = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except NOT_NPY as error:
        # the library's next sentence says how to load it unsafely
        why = str(error).partition(". ")[0]
        raise SimlawError(
            f"the token file {str(path)!r} is no array of numbers ({why}): write it with np.save"
        ) from error
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise SimlawError(
            f"the token file {str(path)!r} holds an array of {found.dtype} of shape {found.shape}: tokens are whole "
            "numbers in one dimension"
        )
    return found


def _bin(path: Path, size: int, spec: Tokens) -> Integer[np.ndarray, " n"]:
    told: str = spec.dtype or ("uint16" if spec.vocab <= 2**16 else "uint32")
    head = np.fromfile(path, "<i4", _HEADER)
    at = 0
    # llm.c's versions are 1 and 7; no text begins with such tokens
    if head.size == _HEADER and int(head[0]) in _HEADERS and head[1] in (1, 7) and not head[3:].any():
        at, own = head.nbytes, _HEADERS[int(head[0])]
        if spec.dtype not in (None, own):
            raise SimlawError(f"the header of {str(path)!r} says {own}, Tokens.dtype {spec.dtype}: leave dtype out")
        if size - at != int(head[2]) * np.dtype(own).itemsize:
            raise SimlawError(
                f"the header of {str(path)!r} says {head[2]} tokens of {own}, and {size - at} bytes follow: the file "
                "was cut off; write it again"
            )
        told = own
    dtype = np.dtype(told).newbyteorder("<")
    if (size - at) % dtype.itemsize:
        raise SimlawError(
            f"the token file {str(path)!r} has {size} bytes, no multiple of {told}'s {dtype.itemsize}: set "
            "Tokens(dtype=…), or write the file again"
        )
    if size == at:
        return np.zeros(0, dtype)
    return np.asarray(np.memmap(path, dtype, mode="r", offset=at))


def _checked(tokens: Integer[np.ndarray, " n"], name: str, vocab: int) -> str:
    """The SHA-256 of the tokens in the smallest unsigned integers; raises `SimlawError` for one of no vocabulary."""
    dtype, total = small(vocab).newbyteorder("<"), hashlib.sha256()
    whole = vocab > np.iinfo(tokens.dtype).max and np.iinfo(tokens.dtype).min == 0
    for at in range(0, tokens.size, _PART):
        part = tokens[at : at + _PART]
        if not whole and (part.max() >= vocab or part.min() < 0):
            first = int(np.argmax((part >= vocab) | (part < 0)))
            raise SimlawError(
                f"token {at + first} of {name} is {part[first]}: a vocabulary of {vocab} has 0 to {vocab - 1}; raise "
                "Tokens(vocab=…), or set the dtype that the file was written in"
            )
        total.update(np.ascontiguousarray(part.astype(dtype, copy=False)).data)
    return total.hexdigest()
