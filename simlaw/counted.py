"""Which predictions a loss counts: tokens that every item of a corpus begins or is filled up with are left out.

A source that repeats a marker at known places would make a loss small by telling nothing, so its spec names the marker
(`left_out`), and training, evaluation and floors leave its predictions out alike.
"""

import functools
import operator
from typing import Any

from jaxtyping import Bool, Float, Int


def counted(windows: Int[Any, "b w"], left_out: tuple[int, ...]) -> Bool[Any, "b w-1"] | None:
    """Which of the predicted tokens count; None: all do. For arrays of NumPy and of JAX."""
    if not left_out:
        return None
    targets = windows[:, 1:]
    return functools.reduce(operator.and_, (targets != token for token in left_out))


def window_means(each: Float[Any, "b t"], windows: Int[Any, "b w"], left_out: tuple[int, ...]) -> Float[Any, " b"]:
    """The mean of each window over the tokens that count; 0 where a window has none.

    A mean of windows, and not of tokens, so that it does not depend on how a batch is cut into parts.
    """
    count = counted(windows, left_out)
    if count is None:
        return each.mean(axis=1)
    weight = count.astype(each.dtype)
    return (each * weight).sum(axis=1) / weight.sum(axis=1).clip(1)
