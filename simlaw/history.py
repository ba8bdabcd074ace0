"""Histories: what every step of training leaves behind, as arrays and as stored."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from simlaw.checkpoint import from_bytes, names, to_bytes

#: Steps whose mean loss tells whether a run diverged, and the share of what was learned that it then has lost.
_WINDOW, _LOST = 32, 0.25


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


def divergence(losses: Float[np.ndarray, " s"], begin: int = 0) -> str | None:
    """What became of the training losses of one run, in half a sentence, where it diverged; None where it did not.

    A run diverged where a loss is not finite, and where the mean of the last 32 lies above the least mean of 32 in a
    row by more than a quarter of what was learned until then. The least is that from step `begin` on, where the run's
    precision begins: what a change costs is no divergence. Behind it, fewer than 128 steps can only do the former.
    """
    bad = np.flatnonzero(~np.isfinite(losses))
    if bad.size:
        return f"became {losses[bad[0]]} at step {bad[0]}"
    if len(losses) - begin < 4 * _WINDOW:
        return None
    sums = np.cumsum(np.insert(losses.astype(np.float64), 0, 0.0))
    means = (sums[_WINDOW:] - sums[:-_WINDOW]) / _WINDOW
    least = begin + int(means[begin:].argmin())
    if means[-1] - means[least] <= _LOST * (losses[0] - means[least]):
        return None
    return f"rose from {means[least]:.3f} at step {least + _WINDOW // 2} to {means[-1]:.3f} at the end"


def pack_history(history: History) -> bytes:
    """The history of a run as a safetensors file with one tensor for each quantity."""
    return to_bytes(history._asdict())


def unpack_history(data: bytes, steps: int) -> History:
    """The history of a run of so many steps; what the version that wrote it did not record is NaN.

    Raises `SimlawError` where the file is damaged, or of another length.
    """
    there = names(data)
    one = jax.ShapeDtypeStruct((steps,), np.float32)  # type: ignore[no-untyped-call]
    like = {name: one for name in History._fields if name == "loss" or f"['{name}']" in there}
    found = {name: np.asarray(values) for name, values in from_bytes(data, like).items()}
    return History(**{name: found.get(name, np.full(steps, np.nan, np.float32)) for name in History._fields})
