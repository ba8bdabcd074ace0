"""The search for the best size within bounds, which every decision shares."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

#: Sizes tried: from one parameter to the most at first, then between the neighbours of the best so far.
_FIRST, _THEN, _ROUNDS = 64, 17, 6


def best_sizes(
    loss: Callable[[Float[np.ndarray, "q g"]], Float[np.ndarray, "... q g"]],
    reach: Float[np.ndarray, " q"],
    most: Float[np.ndarray, " q"],
) -> Float[np.ndarray, "... q"]:
    """The size of least loss from one parameter to `most`, for each of q plans and each of their draws.

    `reach` is the size to which a plan's compute reaches, whatever else bounds it. The sizes tried follow from it
    alone, so two plans of the same loss have the same best size, to the last digit, wherever `most` does not bind. The
    loss falls and rises once along the size, or its lowest valley is wider than a factor of two. `loss` may answer with
    draws on leading axes; each has its own best size, by the parabola through the best of those tried.
    """
    low, high, bound = np.zeros_like(reach), np.log(reach), np.log(most)[:, None]
    places = np.arange(len(reach))
    for i in range(_ROUNDS):
        x = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, _THEN if i else _FIRST)
        tried = np.minimum(x, bound)  # what lies beyond stands for the bound itself
        y = loss(np.exp(tried))
        at = y.argmin(axis=-1)
        first, last = (end(at.reshape(-1, len(reach)), axis=0) for end in (np.min, np.max))
        if (last - first > _THEN // 2).any():  # so far apart that sizes between all draws would be no closer
            break
        low = x[places, np.maximum(first - 1, 0)]
        high = x[places, np.minimum(last + 1, x.shape[1] - 1)]
    inner = np.clip(at, 1, x.shape[1] - 2)
    rows = np.indices(at.shape)
    left, middle, right = (y[(*rows, inner + step)] for step in (-1, 0, 1))
    bend = left - 2 * middle + right
    valley = (at == inner) & (x[places, inner + 1] <= bound[:, 0]) & (bend > 0)
    step = x[:, 1] - x[:, 0]
    shift = np.where(valley, 0.5 * (left - right) / np.where(valley, bend, 1.0), 0.0) * step
    return np.where(x[places, at] >= bound[:, 0], most, np.exp(tried[places, at] + shift))
