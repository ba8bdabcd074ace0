"""Newton's steps: the last digits of a minimum, where Levenberg–Marquardt creeps.

The curvature of a Huber sum is not that of its square-root terms, so the last steps of a fit to many rows gain a digit
in ten. With the whole Hessian, by differences of exact gradients, they gain them at once.
"""

import numpy as np
from jaxtyping import Float

from simlaw.fitting.lm import Residuals

_STEPS = 12
#: The difference of scaled parameters that gradients are compared over.
_APART = 1e-5


def polish(
    residuals: Residuals, theta: Float[np.ndarray, " p"], low: Float[np.ndarray, " p"], high: Float[np.ndarray, " p"]
) -> tuple[Float[np.ndarray, " p"], float]:
    """The minimum next to a point near it, and half the sum of squares there; never above where it started."""
    size = len(theta)
    cost = float(_costs(residuals, theta[None])[0])
    if not np.isfinite(cost):
        return theta, cost  # a start that never was on the curve
    for _ in range(_STEPS):
        around = np.concatenate([theta[None], theta + _APART * np.eye(size), theta - _APART * np.eye(size)])
        r, j = residuals(around, np.zeros(len(around), int))
        gradient = np.einsum("knp,kn->kp", j, r)
        hessian = (gradient[1 : size + 1] - gradient[size + 1 :]) / (2 * _APART)
        if not np.isfinite(hessian).all():
            break
        values, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
        # downhill along every direction, whatever its curvature
        bent = np.maximum(np.abs(values), 1e-12 * np.abs(values).max())
        direction = -vectors @ ((vectors.T @ gradient[0]) / bent)
        tried = np.clip(theta + 0.5 ** np.arange(12)[:, None] * direction, low, high)
        costs = _costs(residuals, tried)
        best = int(np.nanargmin(costs))
        if not costs[best] < cost * (1 - 1e-14):
            break
        theta, cost = tried[best], float(costs[best])
    return theta, cost


def _costs(residuals: Residuals, theta: Float[np.ndarray, "k p"]) -> Float[np.ndarray, " k"]:
    with np.errstate(over="ignore", invalid="ignore"):
        r, _ = residuals(theta, np.zeros(len(theta), int))
        return 0.5 * np.sum(r * r, axis=1)
