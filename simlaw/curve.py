"""A line of means over seeds along an axis, with what it is called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Means over seeds at places `x`, with their standard errors, 0 of one value."""

    name: str
    x: tuple[float, ...]
    mean: tuple[float, ...]
    error: tuple[float, ...]


def curve_of(name: str, values: Mapping[float, Sequence[float]]) -> Curve:
    """The curve of the values at each place."""
    places = sorted(values)
    each = [np.asarray(values[place], np.float64) for place in places]
    return Curve(
        name=name,
        x=tuple(places),
        mean=tuple(float(one.mean()) for one in each),
        error=tuple(float(one.std(ddof=1) / len(one) ** 0.5) if len(one) > 1 else 0.0 for one in each),
    )
