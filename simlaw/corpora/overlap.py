"""Overlap: passages of a held-out text that stand anywhere in the training text, token by token."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Integer, UInt64

#: Tokens of a passage: 2 to this power.
_DOUBLINGS = 6
_LENGTH = 2**_DOUBLINGS
#: Passages that are looked for, at most.
_PASSAGES = 1_000
#: Training tokens whose hashes are in memory at once: they stay in a processor's cache.
_PART = 2**17
#: An odd number without pattern (that of SplitMix64), and how many high bits of a hash a first look takes.
_BASE = 0x9E3779B97F4A7C15
_LOOK = 20


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """How many passages of `length` tokens were `looked` for, the share found, and where the first stands in each."""

    looked: int
    length: int
    share: float
    held_out: int
    train: int


def overlap(train: Integer[np.ndarray, " n"], test: Integer[np.ndarray, " m"]) -> Overlap | None:
    """The overlap of the held-out tokens with the training tokens; None where no passage is found, or none is there.

    Passages are spread evenly, and those of one repeated token, which fill up, do not count. Every position of the
    training tokens is looked at, by hashes that double: h_2k[i] = h_k[i] B^k + h_k[i + k] modulo 2^64, h_1 the token.
    Hits are compared token by token.
    """
    last = test.size - _LENGTH
    if last < 0:
        return None
    starts = np.unique(np.linspace(0, last, min(last + 1, _PASSAGES)).astype(np.int64))
    passages = test[starts[:, None] + np.arange(_LENGTH)].astype(np.int64)
    several = (passages != passages[:, :1]).any(axis=1)
    starts, passages = starts[several], passages[several]
    if not starts.size:
        return None
    hashes = np.array([_hashes(passage)[0] for passage in passages], np.uint64)
    where = np.full(len(starts), -1, np.int64)
    for at in range(0, train.size - _LENGTH + 1, _PART):
        missing = where < 0
        if not missing.any():
            break
        _look(train, at, passages, hashes, where, missing)
    found = np.flatnonzero(where >= 0)
    if not found.size:
        return None
    return Overlap(
        looked=len(starts),
        length=_LENGTH,
        share=len(found) / len(starts),
        held_out=int(starts[found[0]]),
        train=int(where[found[0]]),
    )


def _look(
    train: Integer[np.ndarray, " n"],
    at: int,
    passages: Int[np.ndarray, "p w"],
    hashes: UInt64[np.ndarray, " p"],
    where: Int[np.ndarray, " p"],
    missing: Bool[np.ndarray, " p"],
) -> None:
    """Look for the missing passages among those that begin in one part; `where` gets the first position of each."""
    here = _hashes(train[at : at + _PART + _LENGTH - 1])
    wanted = np.zeros(2**_LOOK, bool)
    wanted[_high(hashes[missing])] = True
    near = np.flatnonzero(wanted[_high(here)])  # one position in a thousand, and all that count
    near = near[np.isin(here[near], hashes[missing])]
    if not near.size:
        return
    for one in np.flatnonzero(missing):
        for place in at + near[here[near] == hashes[one]]:
            if np.array_equal(train[place : place + _LENGTH], passages[one]):
                where[one] = place
                break


def _high(hashes: UInt64[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    return (hashes >> np.uint64(64 - _LOOK)).view(np.int64)


def _hashes(tokens: Integer[np.ndarray, " n"]) -> UInt64[np.ndarray, " k"]:
    """The hash of the passage that begins at each token, where there is a whole one."""
    found, power = tokens.astype(np.uint64), _BASE
    for doubling in range(_DOUBLINGS):
        step = 2**doubling
        following = found[:-step] * np.uint64(power)
        following += found[step:]
        found, power = following, power * power % 2**64
    return found
