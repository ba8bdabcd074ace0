"""How much of a standard normal number a grid loses: the error by which representations of every kind are compared."""

import math
from functools import cache

import numpy as np


@cache
def gaussian_error(bits: int) -> float:
    """The mean squared error of the best evenly spaced grid of 2^bits values on standard normal numbers.

    Exact up to the golden-section search for its step (1 to 12 bits; Max 1960).
    """
    low, high = 0.0, 4.0 / 2 ** (bits - 1)
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(100):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if _error(left, bits) < _error(right, bits) else (left, high)
    return _error((low + high) / 2, bits)


def _error(step: float, bits: int) -> float:
    """The error of values at odd multiples of half a step, thresholds between them, the outermost open."""
    half = 2 ** (bits - 1)
    edges = np.append(np.arange(half) * step, math.inf)
    values = (np.arange(half) + 0.5) * step
    mass, first, second = (np.diff([moment(edge) for edge in edges]) for moment in (_mass, _first, _second))
    return 2 * float(np.sum(second - 2 * values * first + values**2 * mass))


def _density(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _mass(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def _first(x: float) -> float:
    return -_density(x)


def _second(x: float) -> float:
    return _mass(x) - (0.0 if math.isinf(x) else x * _density(x))
