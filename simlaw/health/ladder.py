"""Ladders: one token count of each size, in proportion to a power of the size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simlaw.errors import SimlawError

#: Mismatches of ladders closer than this, in logarithms, are taken as equal, and the longer ladder wins.
_ALIKE = 0.02


@dataclass(frozen=True, kw_only=True)
class Rung:
    """The token count of one size on a ladder D = c·N^gamma; `of_ladder` is its D over the ladder's."""

    params: int
    tokens: int
    of_ladder: float


def ladder(tokens: Mapping[int, Sequence[int]], *, gamma: float, tolerance: float = 1.25) -> tuple[Rung, ...]:
    """The rungs nearest to D = c·N^gamma out of the `tokens` that each size N has, ascending in size.

    The constant c is free: a ladder of any length in the right proportion collapses. It is chosen to give the most
    sizes a rung within a factor of `tolerance`, then the smallest mismatch, then the longest runs. Sizes without such
    a rung are left out. Raises `SimlawError` for a tolerance of 1 or less.
    """
    if not tolerance > 1:
        raise SimlawError(f"tolerance={tolerance:g}: it is the factor that a rung may miss the ladder by, above 1")
    away = {n: np.log(np.array(sorted(set(ds)), np.float64)) - gamma * np.log(n) for n, ds in tokens.items() if ds}
    every = np.concatenate([*away.values(), np.empty(0)])
    best: tuple[tuple[float, ...], tuple[Rung, ...]] | None = None
    for c in np.unique((every[:, None] + every[None, :]) / 2):
        nearest = {n: r[np.argmin(np.abs(r - c))] for n, r in away.items()}
        inside = {n: r for n, r in nearest.items() if abs(r - c) <= np.log(tolerance) * (1 + 1e-12)}
        if not inside:
            continue
        mismatch = (max(inside.values()) - min(inside.values())) / 2
        middle = (max(inside.values()) + min(inside.values())) / 2
        rungs = tuple(
            Rung(params=n, tokens=round(np.exp(r + gamma * np.log(n))), of_ladder=float(np.exp(r - middle)))
            for n, r in sorted(inside.items())
        )
        merit = (len(rungs), -round(mismatch / _ALIKE), middle)
        if best is None or merit > best[0]:
            best = (merit, rungs)
    return best[1] if best else ()
