"""Akima interpolation: a smooth curve through points that bends near a point only where its neighbours do.

Akima 1970, "A new method of interpolation and smooth curve fitting based on local procedures", JACM 17(4). Many sets of
values over the same places at once; a value that a set lacks is NaN, and its curve goes through the others.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int


def akima(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, "k n"], at: Float[np.ndarray, " m"]
) -> Float[np.ndarray, "k m"]:
    """The curves through k sets of `y` at rising `x`, taken at `at`; NaN beyond the first and last point of a set."""
    found = np.full((len(y), len(at)), np.nan)
    for rows, there in _patterns(y):
        if len(there) > 1:
            place, cubic = x[there], _cubics(x[there], y[np.ix_(rows, there)])
            piece = np.clip(np.searchsorted(place, at, side="right") - 1, 0, len(place) - 2)
            t = (at - place[piece]) / np.diff(place)[piece]
            inside = (at >= place[0]) & (at <= place[-1])
            found[rows] = np.where(inside, _values(cubic[:, piece], t), np.nan)
    return found


def lowest(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, "k n"]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Where each of k curves is lowest, and its value there, by the roots of the cubics' slopes; NaN for one point."""
    place, value = np.full(len(y), np.nan), np.full(len(y), np.nan)
    for rows, there in _patterns(y):
        if len(there) > 1:
            place[rows], value[rows] = _lowest(x[there], y[np.ix_(rows, there)])
    return place, value


def _lowest(x: Float[np.ndarray, " n"], y: Float[np.ndarray, "k n"]) -> tuple[np.ndarray, np.ndarray]:
    cubic = _cubics(x, y)
    c1, c2, c3 = cubic[..., 1], cubic[..., 2], cubic[..., 3]
    # the root of 3·c3·t² + 2·c2·t + c1 at which the curve turns upwards, without cancellation
    root = np.sqrt(np.maximum(c2 * c2 - 3 * c1 * c3, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(c2 >= 0, -c1 / (c2 + root), (root - c2) / (3 * c3))
    t = np.where((t > 0) & (t < 1), t, 0.0)
    values = np.concatenate([_values(cubic, t), y], axis=1)
    places = np.concatenate([x[:-1] + t * np.diff(x), np.broadcast_to(x, y.shape)], axis=1)
    best = np.argmin(values, axis=1)[:, None]
    return np.take_along_axis(places, best, 1)[:, 0], np.take_along_axis(values, best, 1)[:, 0]


def _values(cubic: Float[np.ndarray, "k m 4"], t: Float[np.ndarray, "..."]) -> Float[np.ndarray, "k m"]:
    found: np.ndarray = ((cubic[..., 3] * t + cubic[..., 2]) * t + cubic[..., 1]) * t + cubic[..., 0]
    return found


def _cubics(x: Float[np.ndarray, " n"], y: Float[np.ndarray, "k n"]) -> Float[np.ndarray, "k m 4"]:
    """The coefficients of 1, t, t² and t³ on each interval, where t runs from 0 to 1."""
    width, rise, slope = np.diff(x), np.diff(y, axis=1), _tangents(x, y)
    s0, s1 = slope[:, :-1] * width, slope[:, 1:] * width
    return np.stack([y[:, :-1], s0, 3 * rise - 2 * s0 - s1, s0 + s1 - 2 * rise], axis=-1)


def _tangents(x: Float[np.ndarray, " n"], y: Float[np.ndarray, "k n"]) -> Float[np.ndarray, "k n"]:
    """The slope of the curve at each of two or more points."""
    m = np.diff(y, axis=1) / np.diff(x)
    if m.shape[1] == 1:
        return np.repeat(m, 2, axis=1)
    first, last = 2 * m[:, :1] - m[:, 1:2], 2 * m[:, -1:] - m[:, -2:-1]
    m = np.concatenate([2 * first - m[:, :1], first, m, last, 2 * last - m[:, -1:]], axis=1)
    turn = np.abs(np.diff(m, axis=1))
    before, after = turn[:, :-2], turn[:, 2:]
    bent = before + after > 1e-12 * np.abs(m).max(axis=1, keepdims=True)
    weighed = (after * m[:, 1:-2] + before * m[:, 2:-1]) / np.where(bent, before + after, 1.0)
    # straight on both sides: where the two slopes differ, Akima takes their mean
    return np.where(bent, weighed, (m[:, 1:-2] + m[:, 2:-1]) / 2)


def _patterns(y: Float[np.ndarray, "k n"]) -> Iterator[tuple[Int[np.ndarray, " r"], Int[np.ndarray, " c"]]]:
    """The rows that lack the same values, together, and the places of the values that they have."""
    masks, which = np.unique(np.isfinite(y), axis=0, return_inverse=True)
    for i, mask in enumerate(masks):
        yield np.flatnonzero(which.ravel() == i), np.flatnonzero(mask)
