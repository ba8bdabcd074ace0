"""The next runs: which few would narrow a decision most, by the draws of the fits that it rests on.

A run is judged before it is made. Over the draws, the gap between two plans and the loss that a run would show are
correlated; by the linear-Gaussian update, showing it takes cov(gap, loss)^2 / (var(loss) + noise^2) off the variance of
the gap. Runs are taken one at a time, each after the last has been counted in. The forms' own errors, which no run of
the same kind removes, are no part of what is narrowed; the total, as decisions quote it, has them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from simlaw.decision.allocate import Lawful, require_budget, require_variables
from simlaw.decision.amounts import require_amount, require_amounts
from simlaw.decision.critical import plan_words
from simlaw.decision.surface import Surface, surface_of
from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit
from simlaw.fitting.quantized import QuantizedFit
from simlaw.report import columns, count, power_of_ten, wrapped

#: Sizes and token counts of the grid of runs to choose from, from the least measured to twice the most.
_GRID = 6

#: Of an error, the part that runs must leave at most to be of help.
_HARDLY = 0.9


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run to make: parameters, tokens, training FLOPs 6·N·D, and the error of the gap once it is made, in nats."""

    params: float
    tokens: float
    flops: float
    error: float


@dataclass(frozen=True, kw_only=True)
class NextRuns:
    """The runs that narrow the gap between two plans most, in order.

    `gap` is the loss of the rival less that of the best, by the law, in nats per token. `error` is its standard error
    by the draws, before the runs; `total` the one with the forms' own errors, as in the intervals of decisions.
    """

    best: Mapping[str, float]
    rival: Mapping[str, float]
    gap: float
    error: float
    total: float
    runs: tuple[Run, ...]
    candidates: int

    @property
    def share(self) -> float:
        """The part of the variance by the draws that the runs take off."""
        return 1 - (self.runs[-1].error / self.error) ** 2 if self.error > 0 else 0.0

    @property
    def total_then(self) -> float:
        """The standard error with the forms' own errors once the runs are made."""
        return float(np.sqrt(max(self.total**2 - self.error**2 + self.runs[-1].error ** 2, 0.0)))

    def __str__(self) -> str:
        rows = [
            (str(i + 1), count(run.params), count(run.tokens), power_of_ten(run.flops), f"± {run.error:.4f}")
            for i, run in enumerate(self.runs)
        ]
        head = ("next run", "parameters", "tokens", "FLOPs", "gap then")
        text = (
            f"of {self.candidates} runs, these {len(self.runs)} would narrow the gap of {self.gap:.4f} ± "
            f"{self.error:.4f} nats between {plan_words(self.best)} and {plan_words(self.rival)} most: they take off "
            f"{self.share:.0%} of its variance over the draws of the fit. With the forms' own errors, which no such "
            f"run takes off, the gap is known to ± {self.total:.4f} now and ± {self.total_then:.4f} then"
        )
        if self.total_then > _HARDLY * self.total:
            text += ", so such runs hardly help: measure the two plans themselves"
        return f"{columns(head, rows)}\n\n{wrapped(text + '.')}"


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A plan as next_runs takes it, when it is quantized, and the least that it loses to the best one by 90 % of draws.

    `least` is the lower end of the interval of its gap to the best, None where the law has no draws.
    """

    plan: Mapping[str, float]
    how: str
    least: float | None


def open_rival(best: Contender, others: Sequence[Contender]) -> Contender | None:
    """Of the others, best first, the one whose gap to the best is worth narrowing; None where there is none.

    That is the best one that is quantized at another time, or not at all: it decides between a larger quantized model
    and a smaller one. Where that is settled, because its gap is beyond noise, it is the closest one at another
    precision.
    """
    other = next((one for one in others if one.how != best.how), None)
    if other is not None and (other.least is None or other.least <= 0):
        return other
    bits = _precisions(best.plan)
    return next((one for one in others if _precisions(one.plan) != bits or one.how != best.how), None)


def next_runs(
    law: Lawful,
    best: Mapping[str, float],
    rival: Mapping[str, float],
    *,
    candidates: Sequence[tuple[float, float]] | None = None,
    bits: Sequence[float] = (),
    noise: float | None = None,
    penalty_noise: float | None = None,
    count: int = 3,
    per_flop: bool = False,
    most: float | None = None,
) -> NextRuns:
    """The `count` runs that would narrow the gap between two plans most: {"N": …, "D": …, "P_post": …} each.

    `candidates` are (N, D) to choose from, the same one more than once if it pays; by default a grid from the least
    measured to twice the most, of no more than `most` FLOPs each. A run shows its loss as trained and, with `bits`,
    what quantization to each of them adds. `noise` is the standard deviation of a shown loss, `penalty_noise` that of a
    shown penalty, by default what the fits leave over. With `per_flop`, what counts is the variance taken off for each
    FLOP. Raises `SimlawError` for a law without draws, for plans that are the same, and where there is no run to choose
    from.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise SimlawError(f"count={count!r}: it must be a whole number of runs, 1 or more")
    for plan in (best, rival):
        if not isinstance(plan, Mapping) or not {"N", "D"} <= {*plan}:
            raise SimlawError(f"the plan {plan!r} lacks N or D: give its parameters, its tokens and its precisions")
        require_budget(N=plan["N"], D=plan["D"])
        require_variables(plan)
    if dict(best) == dict(rival):
        raise SimlawError(
            f"best and rival are both {plan_words(best)}, so there is no gap between them: give two plans"
        )
    surface = surface_of(law)
    if surface.draws is None:
        raise SimlawError(
            "without draws nobody knows what is uncertain: fit with bootstrap=…, and keep the penalty's too"
        )
    widths = [] if len(bits) == 0 else [float(b) for b in require_amounts("bits", bits)]
    pairs = _pairs(surface, candidates, most)
    left = _residuals(law)
    errors = [
        left[0] if noise is None else require_amount("noise", noise),
        *[left[1] if penalty_noise is None else require_amount("penalty_noise", penalty_noise)] * len(widths),
    ]
    drawn = [surface.draws.loss(**rival) - surface.draws.loss(**best)]
    for n, d in pairs:
        loss = surface.draws.loss(N=n, D=d)
        drawn += [loss, *(surface.draws.loss(N=n, D=d, P_post=b) - loss for b in widths)]
    cov = np.cov(np.stack([np.broadcast_to(column, np.shape(drawn[0])) for column in drawn]))
    runs = _greedy(cov, pairs, errors, count, per_flop)
    return NextRuns(
        best=dict(best),
        rival=dict(rival),
        gap=float(surface.law.loss(**rival) - surface.law.loss(**best)),
        error=float(np.sqrt(cov[0, 0])),
        total=max(_total(surface, best, rival), float(np.sqrt(cov[0, 0]))),
        runs=runs,
        candidates=len(pairs),
    )


def _pairs(
    surface: Surface, candidates: Sequence[tuple[float, float]] | None, most: float | None
) -> list[tuple[float, float]]:
    """The runs to choose from: N and D of each."""
    if candidates is None:
        (n_low, n_high), (d_low, d_high) = surface.ranges["N"], surface.ranges["D"]
        sizes, tokens = np.geomspace(n_low, 2 * n_high, _GRID), np.geomspace(d_low, 2 * d_high, _GRID)
        candidates = [(float(n), float(d)) for n in sizes for d in tokens]
    if any(not isinstance(pair, Sequence | np.ndarray) or len(pair) != 2 for pair in candidates):
        raise SimlawError(f"candidates={candidates!r}: give pairs of parameters and tokens, one for each run")
    pairs = [(require_amount("N", n), require_amount("D", d)) for n, d in candidates]
    if not pairs:
        raise SimlawError("candidates=… has no run to choose from: give some, or leave it out")
    if most is None:
        return pairs
    within = [(n, d) for n, d in pairs if 6 * n * d <= require_amount("most", most)]
    if not within:
        least = power_of_ten(min(6 * n * d for n, d in pairs))
        raise SimlawError(f"most={most:g}: the cheapest run to choose from takes {least} FLOPs; raise it")
    return within


def _greedy(
    cov: Float[np.ndarray, "c c"],
    pairs: Sequence[tuple[float, float]],
    noise: Sequence[float],
    count: int,
    per_flop: bool,
) -> tuple[Run, ...]:
    """The runs taken one at a time; `cov` is of the gap, then of what every pair shows, each with its noise."""
    runs: list[Run] = []
    each, cost = len(noise), np.array([6 * n * d for n, d in pairs])
    for _ in range(count):
        after = [_shown(cov, 1 + i * each, noise) for i in range(len(pairs))]
        won = np.array([cov[0, 0] - one[0, 0] for one in after])
        top = int(np.argmax(won / cost if per_flop else won))
        cov = after[top]
        (n, d), error = pairs[top], float(np.sqrt(max(cov[0, 0], 0.0)))
        runs.append(Run(params=n, tokens=d, flops=float(cost[top]), error=error))
    return tuple(runs)


def _shown(cov: Float[np.ndarray, "c c"], first: int, noise: Sequence[float]) -> Float[np.ndarray, "c c"]:
    """The covariance once the columns from `first` on have been seen, each with its noise."""
    for i, error in enumerate(noise, first):
        cov = cov - np.outer(cov[i], cov[i]) / (cov[i, i] + error**2)
    return cov


def _total(surface: Surface, best: Mapping[str, float], rival: Mapping[str, float]) -> float:
    """The standard error of the gap between two plans, with the forms' own errors."""
    names = dict.fromkeys(name for plan in (best, rival) for name in _precisions(plan))
    n, d = (np.array([float(plan[name]) for plan in (best, rival)]) for name in ("N", "D"))
    bits = {name: np.array([float(plan.get(name, np.inf)) for plan in (best, rival)]) for name in names}
    drawn = surface.ensemble(n, d, **bits)
    return float(np.std(drawn[:, 1] - drawn[:, 0], ddof=1))


def _precisions(plan: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in plan.items() if name not in ("N", "D") and np.isfinite(value)}


def _residuals(law: Lawful) -> tuple[float, float]:
    """What the fits leave over, in nats: of losses, and of penalties."""
    if isinstance(law, QuantizedFit):
        return law.base.residual, law.penalty.residual
    assert isinstance(law, Fit)  # nothing else has draws
    return law.residual, law.residual
