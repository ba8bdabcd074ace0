"""Levenberg–Marquardt for many small problems at once, in NumPy and float64.

Damping is by the identity: with Marquardt's diagonal damping 40 to 57 % of starts reach the optimum of a scaling law,
with the identity 99.8 %. A Huber sum is minimised as a sum of squares of its square-root terms, so the objective is
the same one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

#: Residuals and their Jacobian, (k n) and (k n p), for k parameter vectors (k p) of the problems with these numbers;
#: arrays of their own, which are written to.
Residuals = Callable[
    [Float[np.ndarray, "k p"], Int[np.ndarray, " k"]], tuple[Float[np.ndarray, "k n"], Float[np.ndarray, "k n p"]]
]
#: A scaled gradient below this is a minimum; rounding leaves about 1e-9.
FLAT = 1e-7
#: Residuals of this root mean square are nothing but rounding, and their direction says nothing.
NOTHING = 1e-8
#: Steps in a row that lower no cost, after which a start is left where it is: rejected ones alone end it before.
IDLE = 40
#: Problems worked on together: enough to forget Python's overhead, few enough that they stay in a core's cache.
BLOCK = 192


@dataclass(frozen=True, kw_only=True)
class Minima:
    """Where k starts ended: parameters, half the sum of squares, the scaled gradient, and whether it is a minimum."""

    theta: Float[np.ndarray, "k p"]
    cost: Float[np.ndarray, " k"]
    gradient: Float[np.ndarray, " k"]
    converged: Bool[np.ndarray, " k"]

    @classmethod
    def joined(cls, parts: Sequence["Minima"]) -> "Minima":
        """The minima of several parts, one after the other."""
        return cls(
            theta=np.concatenate([part.theta for part in parts]),
            cost=np.concatenate([part.cost for part in parts]),
            gradient=np.concatenate([part.gradient for part in parts]),
            converged=np.concatenate([part.converged for part in parts]),
        )


def minimise(
    residuals: Residuals,
    starts: Float[np.ndarray, "k p"],
    low: Float[np.ndarray, " p"],
    high: Float[np.ndarray, " p"],
    *,
    metric: Float[np.ndarray, "p p"] | None = None,
    iterations: int = 500,
) -> Minima:
    """The local minimum of half the sum of squared residuals that each start leads to, inside the bounds.

    Damping is by the identity, or by `metric`: the normal matrix at a minimum nearby, in whose units the valley is
    round (a bootstrap starts at one). `residuals` gets parameter vectors and the numbers of their problems (a
    bootstrap's problems differ); where one ends does not depend, to the last bit, on the others. A start has converged
    where the gradient is flat in every direction not held by a bound: the cosine of the angle between the residuals and
    every column of their Jacobian is below `FLAT`, or the residuals are `NOTHING`.
    """
    theta = np.clip(starts, low, high).astype(np.float64)
    count, size = theta.shape
    ruler = np.eye(size) if metric is None else metric
    cost, slope = np.full(count, np.inf), np.full(count, np.inf)
    damping = np.full(count, 1e-2)
    still, taken = np.zeros(count, int), np.zeros(count, int)  # steps since the cost fell, and all steps
    active, waiting = np.split(np.arange(count), [BLOCK])
    r, j = residuals(theta[active], active)
    cost[active] = 0.5 * np.sum(r * r, axis=1)
    while len(active) or len(waiting):
        if len(waiting) and len(active) <= BLOCK // 2:
            # the next take the places of those that have ended, so that stragglers hold up nobody
            fresh, waiting = np.split(waiting, [BLOCK - len(active)])
            r_new, j_new = residuals(theta[fresh], fresh)
            cost[fresh] = 0.5 * np.sum(r_new * r_new, axis=1)
            active, r, j = (np.concatenate(two) for two in ((active, fresh), (r, r_new), (j, j_new)))
        at = theta[active]
        transposed = j.transpose(0, 2, 1)
        # normal matrix and gradient in one product
        products = transposed @ np.concatenate([transposed, r[:, None]], axis=1).transpose(0, 2, 1)
        normal, gradient = products[:, :, :-1], products[:, :, -1]
        held = ((at <= low) & (gradient > 0)) | ((at >= high) & (gradient < 0))
        free = np.where(held, 0.0, gradient)
        size_r = np.sqrt(2 * cost[active])
        length = np.sqrt(np.diagonal(normal, axis1=1, axis2=2)) * size_r[:, None]
        slope[active] = np.max(np.abs(free) / np.maximum(length, 1e-300), axis=1)
        slope[active[size_r < NOTHING * np.sqrt(r.shape[1])]] = 0.0
        # flat, and three steps brought nothing: what is left is rounding
        arrived = (slope[active] <= FLAT / 100) | ((slope[active] <= FLAT) & (still[active] >= 3))
        going = ~arrived & (damping[active] < 1e12) & (still[active] < IDLE) & (taken[active] < iterations)
        if not going.all():
            active, r, j, at, held, free, normal = (x[going] for x in (active, r, j, at, held, free, normal))
        if not len(active):
            continue
        tried = np.clip(at + _step(normal, free, held, damping[active], ruler), low, high)
        with np.errstate(over="ignore", invalid="ignore"):
            r_new, j_new = residuals(tried, active)
            cost_new = 0.5 * np.sum(r_new * r_new, axis=1)
        taken[active] += 1
        # a step below rounding can no longer lower the cost; accept it, so that the damping does not run away
        better = cost_new <= cost[active] * (1 + 1e-15)
        still[active] = np.where(cost_new < cost[active] * (1 - 1e-12), 0, still[active] + 1)
        theta[active[better]] = tried[better]
        cost[active[better]] = cost_new[better]
        damping[active] = np.where(better, np.maximum(damping[active] / 4, 1e-15), damping[active] * 6)
        if not better.all():
            worse = ~better
            r_new[worse], j_new[worse] = r[worse], j[worse]
        r, j = r_new, j_new
    return Minima(theta=theta, cost=cost, gradient=slope, converged=slope <= FLAT)


def _step(
    normal: Float[np.ndarray, "k p p"],
    free: Float[np.ndarray, "k p"],
    held: Bool[np.ndarray, "k p"],
    damping: Float[np.ndarray, " k"],
    ruler: Float[np.ndarray, "p p"],
) -> Float[np.ndarray, "k p"]:
    if held.any():
        # a parameter held at its bound takes no part in the step
        normal = np.where(held[:, :, None] | held[:, None, :], 0.0, normal)
    # never below rounding, or a direction that the data do not hold makes the matrix singular
    rounding = 1e-15 * np.trace(normal, axis1=1, axis2=2)
    damped = normal + damping[:, None, None] * ruler + rounding[:, None, None] * np.eye(len(ruler))
    return -np.linalg.solve(damped, free[:, :, None])[:, :, 0]


def huber(
    r: Float[np.ndarray, "k n"], j: Float[np.ndarray, "k n p"], delta: float
) -> tuple[Float[np.ndarray, "k n"], Float[np.ndarray, "k n p"]]:
    """Residuals whose squares are twice the Huber function of `r` with threshold `delta`, and their Jacobian.

    `sign(r)·sqrt(2·delta·|r| - delta²)` beyond the threshold, `r` within: the sum of squares is the Huber sum.
    """
    # where the residual is within, the root is delta, and the slope 1
    root = np.maximum(np.abs(r), delta)
    root = np.sqrt(2 * delta * root - delta * delta)
    return np.clip(r, -root, root), j * (delta / root)[:, :, None]
