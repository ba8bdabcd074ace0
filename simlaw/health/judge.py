"""The judge of a ladder: how far sizes are apart, against how far seeds are."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

#: The variance between seeds, of few degrees of freedom at one place, is averaged over this many places.
_SMOOTHED = 9


@dataclass(frozen=True, kw_only=True)
class Judge:
    """How curves in ln l are judged: `mean` averages runs to sizes; arrays have draws, then runs or sizes, then places.

    A deviation is from the mean of the other trusted sizes, in seed spreads; a standard one in its own standard errors.
    """

    mean: Float[np.ndarray, "k r"]
    freedom: int
    smooth: Float[np.ndarray, "m m"]

    def variance(self, y: Float[np.ndarray, "b r m"]) -> Float[np.ndarray, "b m"]:
        """The variance between seeds at each place, pooled over sizes and smoothed over places."""
        residual = y - (self.mean > 0).T.astype(np.float64) @ (self.mean @ y)
        return np.sum(residual**2, axis=1) / self.freedom @ self.smooth

    def ratio(self, means: Float[np.ndarray, "b k m"], variance: Float[np.ndarray, "b m"]) -> Float[np.ndarray, " b"]:
        """The spread of sizes over the one that seeds would give their means, over all places."""
        per_mean = np.mean(np.sum(self.mean**2, axis=1))
        return np.sqrt(means.var(axis=1, ddof=1).sum(axis=1) / (per_mean * variance.sum(axis=1)))

    def contrasts(self, trusted: Bool[np.ndarray, " k"]) -> Float[np.ndarray, "k k"]:
        """The weights that take a size's distance from the mean of the other trusted ones."""
        others = trusted & ~np.eye(len(trusted), dtype=bool)
        return np.eye(len(trusted)) - others / others.sum(axis=1, keepdims=True)

    def errors(self, trusted: Bool[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
        """The standard errors of those distances, in seed spreads."""
        return np.sqrt(self.contrasts(trusted) ** 2 @ np.sum(self.mean**2, axis=1))

    def deviation(self, y: Float[np.ndarray, "b r m"], trusted: Bool[np.ndarray, " k"]) -> Float[np.ndarray, "b k m"]:
        """The distances in seed spreads."""
        return self.contrasts(trusted) @ (self.mean @ y) / np.sqrt(self.variance(y))[:, None, :]

    def standard(self, y: Float[np.ndarray, "b r m"], trusted: Bool[np.ndarray, " k"]) -> Float[np.ndarray, "b k m"]:
        """The distances in their standard errors."""
        return self.deviation(y, trusted) / self.errors(trusted)[:, None]

    def peeled(self, y: Float[np.ndarray, "r m"], limit: float) -> Bool[np.ndarray, " k"]:
        """Which sizes make the common curve: the farthest is left out, one by one, while it is beyond the limit.

        So a size that stands off does not pull the others' common curve along. Two are always left.
        """
        trusted = np.ones(len(self.mean), bool)
        while trusted.sum() > 2:
            far = np.where(trusted, np.abs(self.standard(y[None], trusted)[0]).max(axis=1), 0.0)
            if far.max() <= limit:
                break
            trusted[np.argmax(far)] = False
        return trusted


def running(places: int) -> Float[np.ndarray, "m m"]:
    """The matrix from whose right side variances come out as running means over `_SMOOTHED` places."""
    near = np.abs(np.subtract.outer(np.arange(places), np.arange(places))) <= _SMOOTHED // 2
    return (near / near.sum(axis=1, keepdims=True)).T
