"""An oracle for P: linear regression on quantized features, whose expected risk is exact at every N, D and P.

The model of Zhang et al. (2510.18259 and 2602.19241), made diagonal so that nothing is sampled. Inputs are normal
with covariance Lambda, lambda_i = i^-a; the label is <w, x> + noise, with w_i^2 lambda_i = i^-b. A model of size N sees
the leading N directions through a quantizer, z = x + n with normal n of covariance K independent of x, and learns by
one pass of SGD over D samples, from zero, with a learning rate that falls linearly to zero.

Additive noise is an integer grid with one scale: a random rotation gives all N features the variance tr(Lambda_N) / N,
and K = 4^-P · tr(Lambda_N) / N · I, which no rotation changes. Multiplicative noise is a floating-point grid:
K = 4^-P · Lambda_N.

The best predictor from z is u_i = w_i lambda_i / (lambda_i + k_i); the label minus <u, z> is independent of z, and its
variance is the risk at D = infinity (sums over i),

    R(N, P) = noise + sum_{i > N} w_i^2 lambda_i + sum_{i <= N} w_i^2 lambda_i · k_i / (lambda_i + k_i).

With h_i = lambda_i + k_i, the second moments m_i of the error of SGD in each direction follow, exactly for normal z,

    m_i <- m_i · (1 - 2 eta h_i + 2 eta^2 h_i^2) + eta^2 h_i · (sum_j h_j m_j + R),

and the risk is R + sum_i h_i m_i. What follows from it:

- Additive noise hides the directions below k: R is that of fewer parameters, min(N, (N · 4^P)^(1/a)) up to constants,
  a share N_eff / N that falls with fewer bits and with size. At full precision R - noise is about N^(1-b) / (b-1).
- Multiplicative noise adds 4^-P / (1 + 4^-P) of the signal to R at every N, and what N has to gain keeps its exponent.
- Both raise R, which is the noise that SGD averages away: where that term leads (small N, large D), the same excess
  takes more tokens. Where directions are still being learned (large N, small D) it takes fewer: additive noise
  replaces the slow directions by a floor, multiplicative noise raises their rate by 1 + 4^-P. The published claim, that
  both kinds lower D_eff, is about upper bounds, and holds here in the first regime alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from simlaw.errors import SimlawError
from simlaw.observations import Observations

Sizes = Float[np.ndarray, " n"]


@dataclass(frozen=True, kw_only=True)
class QuantizedRegression:
    """A regression problem: the exponents of its spectrum (a) and source (b), its label noise, its directions in all.

    `rate` is the first learning rate times tr(Lambda); it is the recipe's, whatever the precision. With a = b = 2 bias
    and variance fall with the same power of D, and full precision follows Chinchilla's form to half a percent.
    """

    kind: Literal["additive", "multiplicative"]
    spectrum: float = 2.0
    source: float = 2.0
    noise: float = 1.0
    rate: float = 0.5
    directions: int = 65_536

    def __post_init__(self) -> None:
        if self.spectrum <= 1 or self.source <= 1:
            raise SimlawError(
                f"spectrum {self.spectrum:g} and source {self.source:g}: both exponents are above 1, or a sum diverges"
            )

    def limit(self, N: Sizes, P: Sizes) -> Sizes:
        """The risk at D = infinity of whole numbers of features N at P bits; P may be infinite."""
        _, _, lost, tail = self._problem(N, P)
        return self.noise + tail + lost.sum(axis=1)

    def risk(self, N: Sizes, D: int, P: Sizes) -> Sizes:
        """The expected risk after one pass over D samples: exact, in D steps of the recursion."""
        h, m, lost, tail = self._problem(N, P)
        limit = self.noise + tail + lost.sum(axis=1)
        first = self.rate / np.sum(np.arange(1.0, self.directions + 1) ** -self.spectrum)
        for step in range(D):
            eta = first * (1 - step / D)
            excess = np.sum(h * m, axis=1) + limit
            m = m * (1 - 2 * eta * h + 2 * (eta * h) ** 2) + eta**2 * h * excess[:, None]
        return limit + np.sum(h * m, axis=1)

    def effective_size(self, N: Sizes, P: Sizes) -> Sizes:
        """N_eff: how many features at full precision have the same limit; between whole numbers on a log-log line.

        NaN where even one feature is better.
        """
        tails = self._tails()[1:-1]
        gap = self.limit(N, P) - self.noise
        found = np.exp(np.interp(-np.log(gap), -np.log(tails), np.log(np.arange(1.0, len(tails) + 1))))
        return np.where(gap > tails[0], np.nan, found)

    def excess(self, N: Sizes, D: int, P: Sizes) -> Sizes:
        """The risk after D samples above that at D = infinity: what more data would take away."""
        return self.risk(N, D, P) - self.limit(N, P)

    def effective_tokens(self, N: Sizes, D: int, P: Sizes, beyond: int = 8) -> Sizes:
        """D_eff: how many samples at full precision leave the same excess; between counts on a log-log line.

        NaN where they would be fewer than D / `beyond`, or more than D · `beyond`.
        """
        counts = np.unique(np.geomspace(D / beyond, D * beyond, 9).round().astype(int))
        full = np.stack([self.excess(N, int(d), np.full_like(N, np.inf)) for d in counts], axis=1)
        own = self.excess(N, D, P)
        each = [
            np.exp(np.interp(-np.log(one), -np.log(line), np.log(counts), left=np.nan, right=np.nan))
            for one, line in zip(own, full, strict=True)
        ]
        return np.array(each)

    def _problem(self, N: Sizes, P: Sizes) -> tuple[np.ndarray, np.ndarray, np.ndarray, Sizes]:
        """Of each size: the variances h of its features, u_i^2, the signal lost in each, and that of all others."""
        if not (np.asarray(N) <= self.directions).all():
            raise SimlawError(f"N is {np.max(N):g}: there are {self.directions} directions; raise `directions`")
        i = np.arange(1.0, np.max(N) + 1)
        seen = i <= np.asarray(N)[:, None]
        variance, signal = seen * i**-self.spectrum, seen * i**-self.source
        step = 4.0 ** -np.asarray(P, np.float64)[:, None]
        share = variance.sum(axis=1, keepdims=True) / np.asarray(N)[:, None] * seen
        h = variance + step * (share if self.kind == "additive" else variance)
        safe = np.where(seen, h, 1.0)
        optimum = signal * i**-self.spectrum / safe**2
        return h, optimum, signal * (1 - variance / safe), self._tails()[np.asarray(N, int)]

    def _tails(self) -> Float[np.ndarray, " m"]:
        """The signal beyond the leading 0, 1, 2, … and all directions."""
        signal = np.arange(1.0, self.directions + 1) ** -self.source
        return np.append(np.cumsum(signal[::-1])[::-1], 0.0)


def regression_table(
    problem: QuantizedRegression,
    *,
    sizes: Sequence[int] = (16, 32, 64, 128, 256, 512),
    tokens: Sequence[int] = (512, 1024, 2048, 4096, 8192, 16_384),
    bits: Sequence[float] = (2, 3, 4, 5, 6, np.inf),
    seeds: int = 1,
    noise: float = 0.0,
    seed: int = 0,
) -> Observations:
    """The risk at every size, sample count and precision: y at N, D and P_w, in squared units of the label.

    `noise` is the standard deviation of the log risk between `seeds`, each of which is a trunk of its own; with 0 the
    risks are exact and `sigma` is NaN.
    """
    grid = np.meshgrid(sizes, bits, range(seeds), indexing="ij")
    N, P, number = (axis.ravel().astype(np.float64) for axis in grid)
    first = number == 0
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.repeat(problem.risk(N[first], d, P[first]), seeds) for d in tokens])
    names = [f"{n:g}-{p:g}-{s:g}" for n, p, s in zip(N, P, number, strict=True)]
    trunk = [f"{name}-{d}" for d in tokens for name in names]
    return Observations(
        x={
            "N": np.tile(N, len(tokens)),
            "D": np.repeat(np.array(tokens, np.float64), len(N)),
            "P_w": np.tile(P, len(tokens)),
        },
        y=y * np.exp(noise * rng.normal(size=len(y))),
        sigma=noise * y if noise else np.full(len(y), np.nan),
        trunk=tuple(trunk),
        left_out={},
    )
