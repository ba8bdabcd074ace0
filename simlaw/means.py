"""Means over seeds along an axis, with what they are called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Means:
    """Means over seeds at places `x`, with their standard errors, 0 of one value."""

    name: str
    x: tuple[float, ...]
    mean: tuple[float, ...]
    error: tuple[float, ...]


def means_at(name: str, values: Mapping[float, Sequence[float]]) -> Means:
    """The means of the values at each place."""
    places = sorted(values)
    each = [np.asarray(values[place], np.float64) for place in places]
    return Means(
        name=name,
        x=tuple(places),
        mean=tuple(float(one.mean()) for one in each),
        error=tuple(float(one.std(ddof=1) / len(one) ** 0.5) if len(one) > 1 else 0.0 for one in each),
    )
