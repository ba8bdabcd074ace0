"""The next runs: which few would narrow a decision most, by the draws of the fits that it rests on.

A run is judged before it is made. Over the draws, the gap between two plans and the loss that a run would show are
correlated; by the linear-Gaussian update, showing it takes cov(gap, loss)^2 / (var(loss) + noise^2) off the variance of
the gap. Runs are taken one at a time, each after the last has been counted in. The forms' own errors, which no run of
the same kind removes, are not in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from simlaw.decision.allocate import Lawful, parts_of
from simlaw.decision.critical import plan_words
from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit
from simlaw.fitting.quantized import QuantizedFit
from simlaw.report import columns, count, power_of_ten, wrapped

#: Sizes and token counts of the grid of runs to choose from, from the least measured to twice the most.
_GRID = 6


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run to make: parameters, tokens, training FLOPs 6·N·D, and the error of the gap once it is made, in nats."""

    params: float
    tokens: float
    flops: float
    error: float


@dataclass(frozen=True, kw_only=True)
class NextRuns:
    """The runs that narrow the gap between two plans most, in order; `error` is the gap's standard error before them.

    `gap` is the loss of the rival less that of the best, by the mean of the draws, in nats per token.
    """

    best: Mapping[str, float]
    rival: Mapping[str, float]
    gap: float
    error: float
    runs: tuple[Run, ...]
    candidates: int

    @property
    def share(self) -> float:
        """The part of the gap's variance that the runs take off."""
        return 1 - (self.runs[-1].error / self.error) ** 2 if self.runs and self.error > 0 else 0.0

    def __str__(self) -> str:
        rows = [
            (str(i + 1), count(run.params), count(run.tokens), power_of_ten(run.flops), f"± {run.error:.4f}")
            for i, run in enumerate(self.runs)
        ]
        head = ("next run", "parameters", "tokens", "FLOPs", "gap then")
        text = (
            f"of {self.candidates} runs, these {len(self.runs)} would narrow the gap of {self.gap:.4f} ± "
            f"{self.error:.4f} nats between {plan_words(self.best)} and {plan_words(self.rival)} most: "
            f"{self.share:.0%} of its variance"
        )
        return f"{columns(head, rows)}\n\n{wrapped(text + '.')}"


def next_runs(
    law: Lawful,
    best: Mapping[str, float],
    rival: Mapping[str, float],
    *,
    candidates: Sequence[tuple[float, float]] | None = None,
    bits: Sequence[float] = (),
    noise: float | None = None,
    count: int = 3,
    per_flop: bool = False,
    flops: float | None = None,
) -> NextRuns:
    """The `count` runs that would narrow the gap between two plans most: {"N": …, "D": …, "P_post": …} each.

    `candidates` are (N, D) to choose from, the same one more than once if it pays; by default a grid from the least
    measured to twice the most, of no more than `flops` each. A run shows its loss as trained and, with `bits`, its loss
    after quantization to each of them. `noise` is the standard deviation of a shown loss, by default the fit's
    residual. With `per_flop`, what counts is the variance taken off for each FLOP. Raises `SimlawError` for a law
    without draws, and where there is no run to choose from.
    """
    ranges, _, draws = parts_of(law)
    if draws is None:
        raise SimlawError(
            "without draws nobody knows what is uncertain: fit with bootstrap=…, and keep the penalty's too"
        )
    if candidates is None:
        n_ends, d_ends = ranges["N"], ranges["D"]
        sizes = np.geomspace(n_ends[0], 2 * n_ends[1], _GRID)
        tokens = np.geomspace(d_ends[0], 2 * d_ends[1], _GRID)
        candidates = [(float(n), float(d)) for n in sizes for d in tokens]
    pairs = [(n, d) for n, d in candidates if flops is None or 6 * n * d <= flops]
    if not pairs:
        raise SimlawError("there is no run to choose from: give candidates=…, or more flops=…")
    spread = noise if noise is not None else _residual(law)
    if not (spread > 0 and np.isfinite(spread)):
        raise SimlawError(f"noise={spread:g}: the standard deviation of a loss is a number above 0")
    shown = [dict.fromkeys(("P_post",), b) if np.isfinite(b) else {} for b in (np.inf, *bits)]
    gap = draws.loss(**rival) - draws.loss(**best)
    columns_ = [np.atleast_1d(gap)] + [draws.loss(N=n, D=d, **at) for n, d in pairs for at in shown]
    cov = np.cov(np.stack([np.broadcast_to(c, np.shape(gap)) for c in columns_]))
    return _greedy(best, rival, float(np.mean(gap)), cov, pairs, len(shown), spread, count, per_flop)


def _greedy(
    best: Mapping[str, float],
    rival: Mapping[str, float],
    gap: float,
    cov: Float[np.ndarray, "c c"],
    pairs: Sequence[tuple[float, float]],
    each: int,
    noise: float,
    count: int,
    per_flop: bool,
) -> NextRuns:
    """The runs taken one at a time; `cov` is of the gap, then of `each` losses of every pair."""
    before, runs = float(np.sqrt(cov[0, 0])), []
    cost = np.array([6 * n * d for n, d in pairs])
    for _ in range(count):
        after = [_shown(cov, range(1 + i * each, 1 + (i + 1) * each), noise) for i in range(len(pairs))]
        won = np.array([cov[0, 0] - one[0, 0] for one in after])
        top = int(np.argmax(won / cost if per_flop else won))
        cov = after[top]
        (n, d), error = pairs[top], float(np.sqrt(max(cov[0, 0], 0.0)))
        runs.append(Run(params=n, tokens=d, flops=float(cost[top]), error=error))
    return NextRuns(best=dict(best), rival=dict(rival), gap=gap, error=before, runs=tuple(runs), candidates=len(pairs))


def _shown(cov: Float[np.ndarray, "c c"], which: range, noise: float) -> Float[np.ndarray, "c c"]:
    """The covariance once these columns have been seen, each with this noise."""
    for i in which:
        cov = cov - np.outer(cov[i], cov[i]) / (cov[i, i] + noise**2)
    return cov


def _residual(law: Lawful) -> float:
    if isinstance(law, QuantizedFit):
        return law.base.residual
    assert isinstance(law, Fit)  # nothing else has draws
    return law.residual
