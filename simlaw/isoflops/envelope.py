"""Where each size is the best one as compute grows: the envelope of runs of several sizes (approach 1).

The best size is a staircase over compute. A line through all of it is too flat, by the halves of its first and last
stairs; the middles of the stairs are not, and for sizes in geometric steps they lie on a power law of the optimum's
exponent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from simlaw.isoflops.akima import akima

#: Compute at which the best size is looked up (Hoffmann et al. 2203.15556 took as many).
STEPS = 1500
#: Draws worked on together, so that their curves stay in memory.
_BLOCK = 64


@dataclass(frozen=True, kw_only=True)
class Stairs:
    """Of k draws and s sizes: the middle of the stretch of ln C where the size is the best, and ln L there.

    NaN where the size is never the best, and where its stretch ends because runs end and no other size takes over;
    `cut` says that it is the latter.
    """

    middle: Float[np.ndarray, "k s"]
    log_loss: Float[np.ndarray, "k s"]
    cut: Bool[np.ndarray, "k s"]


def stairs(log_c: Sequence[Float[np.ndarray, " _"]], log_loss: Sequence[Float[np.ndarray, "k _"]]) -> Stairs:
    """The stairs of sizes from the smallest to the largest, each with its runs' rising ln C and k draws of their ln L.

    A run that a draw lacks is NaN there. Between the runs of one size, ln L is interpolated (Akima).
    """
    grid = np.linspace(min(c[0] for c in log_c), max(c[-1] for c in log_c), STEPS)
    found = Stairs(
        middle=np.full((len(log_loss[0]), len(log_c)), np.nan),
        log_loss=np.full((len(log_loss[0]), len(log_c)), np.nan),
        cut=np.zeros((len(log_loss[0]), len(log_c)), bool),
    )
    for first in range(0, len(log_loss[0]), _BLOCK):
        block = slice(first, first + _BLOCK)
        curves = np.stack([akima(c, y[block], grid) for c, y in zip(log_c, log_loss, strict=True)], axis=1)
        curves = np.where(np.isnan(curves), np.inf, curves)
        for k, curve in enumerate(curves, start=first):
            _read(curve, grid, found, k)
    return found


def _read(curves: Float[np.ndarray, "s g"], grid: Float[np.ndarray, " g"], found: Stairs, k: int) -> None:
    best = np.where(np.isfinite(curves).any(axis=0), curves.argmin(axis=0), -1)
    for s in np.unique(best[best >= 0]):
        on = np.flatnonzero(best == s)
        low, high = (_crossing(curves, grid, best, last, step) for last, step in ((int(on[0]), -1), (int(on[-1]), 1)))
        if low is None or high is None:
            found.cut[k, s] = True
        else:
            found.middle[k, s] = (low + high) / 2
            found.log_loss[k, s] = np.interp((low + high) / 2, grid, curves[s])


def _crossing(
    curves: Float[np.ndarray, "s g"], grid: Float[np.ndarray, " g"], best: np.ndarray, last: int, step: int
) -> float | None:
    """The ln C beyond the grid point `last` where another size takes over: downwards a smaller one, upwards a larger.

    None where none does, because runs end.
    """
    beyond = last + step
    if not 0 <= beyond < len(grid) or best[beyond] < 0 or (best[beyond] - best[last]) * step <= 0:
        return None
    inside, outside = (curves[best[beyond], i] - curves[best[last], i] for i in (last, beyond))
    if not (np.isfinite(inside) and np.isfinite(outside)):
        return None
    return float(grid[last] + (grid[beyond] - grid[last]) * inside / (inside - outside))
