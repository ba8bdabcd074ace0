"""Histories: what every step of training leaves behind, as arrays and as stored."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from simlaw.checkpoint import from_bytes, names, to_bytes


class History(NamedTuple):
    """The training loss (nats per token) and the gradient's norm before clipping, of every step.

    Of one run, or, with a leading axis, of a pack's members. Either is not finite from the step of a divergence on; a
    norm that was never recorded is NaN.
    """

    loss: Float[np.ndarray, "*e s"]
    gradient_norm: Float[np.ndarray, "*e s"]

    def member(self, i: int) -> "History":
        """The history of one member of a pack."""
        return History(*(values[i] for values in self))


def no_history(members: int) -> History:
    """The history of a pack before its first step."""
    return unknown(members, 0)


def unknown(members: int, steps: int) -> History:
    """A history in which every number is NaN."""
    return History(*(np.full((members, steps), np.nan, np.float32) for _ in History._fields))


def join(parts: Sequence[History]) -> History:
    """The history of one stretch of steps after the other."""
    return History(*(np.concatenate(values, axis=-1) for values in zip(*parts, strict=True)))


def pack_history(history: History) -> bytes:
    """The history of a run as a safetensors file with one tensor for each quantity."""
    return to_bytes(history._asdict())


def unpack_history(data: bytes, steps: int) -> History:
    """The history of a run of so many steps; what the version that wrote it did not record is NaN.

    Raises `SimlawError` where the file is damaged, or of another length.
    """
    there = names(data)
    like = {name: np.empty(steps, np.float32) for name in History._fields if name == "loss" or f"['{name}']" in there}
    found = {name: np.asarray(values) for name, values in from_bytes(data, like).items()}
    return History(**{name: found.get(name, np.full(steps, np.nan, np.float32)) for name in History._fields})
