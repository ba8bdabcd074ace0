"""The bootstrap: whole trunks are resampled, because the branches of one trunk move together.

Trunks are drawn within strata of equal size (N), so that every draw keeps the design; one fewer than a stratum holds
and with weights scaled up, because with three seeds the plain bootstrap has variances a third too small (Rao and Wu
1988, the rescaling bootstrap with m = n - 1). A spread that few trunks tell is itself uncertain, so fits stretch their
draws by Student's factor.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from jaxtyping import Float

from simlaw.errors import SimlawError

#: Two-sided probability of every interval.
COVERAGE = 0.90
#: Fewer draws have no spread to speak of.
LEAST_DRAWS = 20
#: Two-sided probability, a little above 95 %, beyond which an expansion about the normal quantile does not do.
_FAR = 0.951
#: The two-sided quantile of `COVERAGE` of a normal number.
_NORMAL = 1.6448536269514722


@dataclass(frozen=True, kw_only=True)
class TrunkWeights:
    """Bootstrap weights of every trunk; the same draws serve every fit of a table, so that decisions join them.

    `freedom` is the number of trunks beyond one for each stratum: what the spread of the draws is known from.
    """

    trunks: tuple[str, ...]
    weights: Float[np.ndarray, "k m"]
    freedom: int

    @property
    def stretch(self) -> float:
        """By how much intervals from a spread of so few trunks are wider than those from a known one (Student)."""
        return student(self.freedom) / _NORMAL

    def rows(self, trunk: Sequence[str]) -> Float[np.ndarray, "k n"]:
        """The weights of rows that belong to these trunks."""
        place = {name: i for i, name in enumerate(self.trunks)}
        return self.weights[:, [place[name] for name in trunk]]


def trunk_weights(trunk: Sequence[str], size: Float[np.ndarray, " n"], *, draws: int, seed: int = 0) -> TrunkWeights:
    """`draws` sets of weights for the trunks of some rows, resampled within strata of equal size.

    A trunk that spans sizes is of the stratum of all that it spans. Raises `SimlawError` where a stratum has one trunk,
    whose spread nobody can know.
    """
    strata = _strata(trunk, size)
    order = tuple(name for key in sorted(strata) for name in strata[key])
    rng = np.random.default_rng(seed)
    columns = []
    for key in sorted(strata):
        m = len(strata[key])
        if m < 2:
            what = f"size N = {key[0]:g} has" if len(key) == 1 else f"sizes N = {', '.join(f'{n:g}' for n in key)} have"
            raise SimlawError(f"the {what} one trunk, so its spread is unknown: add a seed to bootstrap")
        columns.append(rng.multinomial(m - 1, np.full(m, 1 / m), size=draws) * (m / (m - 1)))
    return TrunkWeights(trunks=order, weights=np.concatenate(columns, axis=1), freedom=len(order) - len(strata))


def _strata(trunk: Sequence[str], size: Float[np.ndarray, " n"]) -> dict[tuple[float, ...], list[str]]:
    """The trunks by the sizes that they span, whatever the order of the rows."""
    spans: dict[str, set[float]] = {}
    for name, n in zip(trunk, size, strict=True):
        spans.setdefault(name, set()).add(float(n))
    strata: dict[tuple[float, ...], list[str]] = {}
    for name in sorted(spans):
        strata.setdefault(tuple(sorted(spans[name])), []).append(name)
    return strata


def interval(drawn: Float[np.ndarray, "k ..."], coverage: float = COVERAGE) -> tuple[Any, Any]:
    """The ends of the central interval over the first axis; draws may be infinite."""
    low, high = np.quantile(drawn, [(1 - coverage) / 2, (1 + coverage) / 2], axis=0, method="inverted_cdf")
    return low, high


def bootstrap(trunk: Sequence[str], size: Float[np.ndarray, " n"] | None, *, draws: int, seed: int = 0) -> TrunkWeights:
    """`draws` sets of weights: within strata where each has two trunks or more, else of all trunks together.

    Raises `SimlawError` for fewer than three trunks, and for draws too few to tell a spread.
    """
    if draws < LEAST_DRAWS:
        raise SimlawError(f"bootstrap={draws}: {LEAST_DRAWS} draws or more tell a spread; 0 does without")
    if size is not None and min(map(len, _strata(trunk, size).values())) > 1:
        return trunk_weights(trunk, size, draws=draws, seed=seed)
    names = sorted(set(trunk))
    if len(names) < 3:
        raise SimlawError(f"{len(names)} trunks say nothing of their spread: add runs, or fit with bootstrap=0")
    rng = np.random.default_rng(seed)
    count = len(names)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=draws)
    return TrunkWeights(trunks=tuple(names), weights=drawn.astype(np.float64), freedom=count - 1)


def student(freedom: float, coverage: float = COVERAGE) -> float:
    """The two-sided quantile of Student's t, to two digits from 2 degrees of freedom on.

    By the expansion about the normal quantile z (Abramowitz and Stegun, 26.7.5); further out than 95 %, where that is
    too short, by the integral.
    """
    if coverage > _FAR:
        return _student_beyond(freedom, coverage)
    z = _NORMAL if coverage == COVERAGE else NormalDist().inv_cdf((1 + coverage) / 2)
    powers = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(one / freedom ** (i + 1) for i, one in enumerate(powers))


def _student_beyond(freedom: float, coverage: float) -> float:
    """The quantile by bisection; t = sqrt(freedom) tan(angle) makes the density a power of a cosine."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) * 2 / math.sqrt(math.pi)
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        inside = scale * angle / 2 * float(np.sum(weights * np.cos(angle / 2 * (nodes + 1)) ** (freedom - 1)))
        low, high = (angle, high) if inside < coverage else (low, angle)
    return math.sqrt(freedom) * math.tan((low + high) / 2)
