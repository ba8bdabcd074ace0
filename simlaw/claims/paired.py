"""One quantization against another on the same checkpoints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simlaw.claims.growth import COVERAGE
from simlaw.claims.verdict import Finding
from simlaw.errors import SimlawError
from simlaw.fitting.uncertainty import student
from simlaw.table import Row, Table


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """The penalty of one quantization over that of another, averaged in logarithms, with its interval."""

    value: float
    low: float
    high: float
    trunks: int

    def finding(self, what: str, judged: bool = True) -> Finding:
        """The ratio as a finding."""
        return Finding(what=what, value=self.value, low=self.low, high=self.high, judged=judged)


def ratio(one: Table, other: Table) -> Ratio:
    """The geometric mean over trunks of the penalty of `one` over that of `other`, on the checkpoints that have both.

    A trunk counts once, with the mean penalties of its checkpoints; trunks of one size are replicates of each other.
    Raises `SimlawError` where no checkpoint has both, where a size has one trunk, and where a mean is not positive.
    """
    theirs = _by_run(other)
    sums: dict[tuple[int, Any], list[tuple[float, float]]] = {}
    for run, mine in _by_run(one).items():
        if run in theirs:
            key = mine["params_blocks"], mine["trunk_id"]
            sums.setdefault(key, []).append((mine["delta"], theirs[run]["delta"]))
    if not sums:
        raise SimlawError("no checkpoint was quantized in both ways: add both to one grid")
    return ratio_of(sums)


def ratio_of(sums: Mapping[tuple[int, Any], Sequence[tuple[float, float]]]) -> Ratio:
    """The geometric mean over replicates of one mean penalty over another, from the pairs of each size and replicate.

    Raises `SimlawError` where a size has one replicate, and where a mean is not positive.
    """
    sizes: dict[int, list[float]] = {}
    for (size, _), pairs in sums.items():
        top, bottom = np.mean(pairs, axis=0)
        if min(top, bottom) <= 0:
            raise SimlawError(
                f"a mean penalty at {size} parameters is not positive, so it has no ratio: take fewer bits"
            )
        sizes.setdefault(size, []).append(float(np.log(top / bottom)))
    value, spread, freedom = stratified(sizes)
    reach = student(freedom, COVERAGE) * spread
    low, mid, high = np.exp([value - reach, value, value + reach])
    return Ratio(value=float(mid), low=float(low), high=float(high), trunks=sum(map(len, sizes.values())))


def stratified(strata: Mapping[int, Sequence[float]]) -> tuple[float, float, float]:
    """The mean of the strata's means, its standard error, and the degrees of freedom of that (Satterthwaite).

    Raises `SimlawError` where a stratum has one value.
    """
    if alone := [key for key, values in strata.items() if len(values) < 2]:
        raise SimlawError(f"the size of {alone[0]} parameters has one trunk, so its spread is unknown: add a seed")
    each = [(float(np.mean(v)), float(np.var(v, ddof=1)) / len(v), len(v) - 1) for v in strata.values()]
    means, variances, freedoms = (np.array(part) for part in zip(*each, strict=True))
    total = float(variances.sum())
    freedom = total**2 / float(np.sum(variances**2 / freedoms)) if total > 0 else float(freedoms.sum())
    return float(means.mean()), total**0.5 / len(each), freedom


def _by_run(table: Table) -> dict[str, Row]:
    """The row of every checkpoint; the mean of its rows where a method was run with several seeds."""
    rows: dict[str, list[Row]] = {}
    for row in table:
        rows.setdefault(row["run_id"], []).append(row)
    return {run: {**each[0], "delta": float(np.mean([row["delta"] for row in each]))} for run, each in rows.items()}
