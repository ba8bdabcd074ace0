"""The compute-optimal size by budget, its power law, and both of a law of the loss (Hoffmann's approach 3)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from simlaw.decision.allocate import Lawful, parts_of, require_budget
from simlaw.declared import mismatch
from simlaw.errors import SimlawError
from simlaw.fitting.uncertainty import interval
from simlaw.report import FitReport, columns, count, power_of_ten

#: Fewer points are no evidence of a power law.
LEAST = 3
#: How compute is counted unless the runs say.
SIX = "6·N·D"
#: An optimum is known to this part of the spacing of what was run at best, whatever its draws say (Porian et al.
#: 2406.19146).
_FLOOR = 1 / 3


@dataclass(frozen=True, kw_only=True)
class ComputeOptimal:
    """The best size at each budget, and the power law N_opt = coefficient · C^exponent through them.

    `approach` is "akima", "parabola", "envelope" or "law". `budgets` are FLOPs, counted by `convention`; `params`,
    `tokens` and `loss` (nats per token) are those of the optimum at each. `spread` is the standard deviation over the
    draws of ln N_opt, or for the envelope, whose sizes are the ones that were run, of ln C. `dropped` says why budgets
    (of the envelope: sizes) were not used, `left_out` counts rows by the reason. `scatter` is the root mean square of
    ln N_opt about the power law. Errors, 90 % intervals and `spread` are None without draws.
    """

    approach: str
    convention: str
    budgets: Float[np.ndarray, " b"]
    params: Float[np.ndarray, " b"]
    tokens: Float[np.ndarray, " b"]
    loss: Float[np.ndarray, " b"]
    exponent: float
    coefficient: float
    scatter: float
    spread: Float[np.ndarray, " b"] | None
    exponent_error: float | None
    exponent_interval: tuple[float, float] | None
    coefficient_interval: tuple[float, float] | None
    dropped: Mapping[float, str]
    left_out: Mapping[str, int]

    def params_at(self, flops: float) -> float:
        """The best size for a budget of FLOPs, by the power law."""
        require_budget(flops=flops)
        return float(self.coefficient * flops**self.exponent)

    def __str__(self) -> str:
        noun, name = ("sizes", count) if self.approach == "envelope" else ("budgets", power_of_ten)
        facts = [
            (
                "budgets",
                f"{power_of_ten(self.budgets[0])} to {power_of_ten(self.budgets[-1])} FLOPs, {self.convention}",
            ),
            ("scatter", f"{self.scatter:.1%} of N_opt about the power law"),
            ("dropped", "; ".join(f"{name(key)}: {why}" for key, why in self.dropped.items()) or "none"),
            ("left out", ", ".join(f"{rows} {why}" for why, rows in self.left_out.items() if rows) or "none"),
        ]
        if self.exponent_interval and self.coefficient_interval:
            a, g = self.exponent_interval, self.coefficient_interval
            text = f"exponent {a[0]:.3f} to {a[1]:.3f}, coefficient {g[0]:.2e} to {g[1]:.2e} (90 %)"
            facts.insert(0, ("intervals", text))
        report = FitReport(
            form="N_opt = coefficient · C^exponent",
            health=self.approach,
            sentence=f"{len(self.budgets)} of {len(self.budgets) + len(self.dropped)} {noun} used",
            numbers=[("exponent", self.exponent, self.exponent_error), ("coefficient", self.coefficient, None)],
            facts=facts,
        )
        rows = [
            (power_of_ten(c), count(n), count(d), f"{d / n:.3g}", f"{loss:.4f}")
            for c, n, d, loss in zip(self.budgets, self.params, self.tokens, self.loss, strict=True)
        ]
        return f"{report.text()}\n\n{columns(('FLOPs', 'N_opt', 'D_opt', 'D/N', 'loss'), rows)}"


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The optimum at one budget, or of one size; `at` is what noise moves of it (ln N, of the envelope ln C).

    First as observed, then of every draw, NaN where a draw does not bracket it. `spacing` is that of what was run.
    """

    budget: float
    params: float
    tokens: float
    loss: float
    at: Float[np.ndarray, " k"]
    spacing: float


def compute_optimal(law: Lawful, budgets: ArrayLike, **precisions: float) -> ComputeOptimal:
    """The compute-optimal size of a law of the loss at some budgets of 6·N·D, and its power law (approach 3).

    Of E + A/N^alpha + B/D^beta the exponent is beta / (alpha + beta); every law has its numerical optimum. The draws of
    a fit give the errors. `precisions` (P_w, P_post …) are the same everywhere, one number each. Raises `SimlawError`
    for budgets and precisions that are no numbers, for fewer than three budgets, and where the best is one parameter,
    or one token.
    """
    _, estimate, draws = parts_of(law)
    for name, bits in precisions.items():
        if not (np.ndim(bits) == 0 and isinstance(bits, int | float | np.number)):
            raise SimlawError(f"{name}={bits!r:.60}: give one number of bits, and ask again for each other one")
    found = []
    for flops in distinct(budgets):
        at = _optimum(estimate, flops, precisions)
        if np.isnan(at[0]):
            raise SimlawError(f"at {flops:.3g} FLOPs the law is lowest at one parameter or at one token: no optimum")
        n = float(np.exp(at[0]))
        loss = float(estimate.loss(N=n, D=flops / (6 * n), **precisions))
        if draws is not None:
            at = np.concatenate([at, _optimum(draws, flops, precisions)])
        found.append(Optimum(budget=flops, params=n, tokens=flops / (6 * n), loss=loss, at=at, spacing=0.0))
    return power_law("law", SIX, found, {}, {})


def distinct(budgets: ArrayLike) -> list[float]:
    """Budgets in rising order, each once; raises `SimlawError` for one that is no number above 0."""
    try:
        found = sorted({float(flops) for flops in np.ravel(np.asarray(budgets, np.float64))})
    except (TypeError, ValueError, OverflowError) as error:
        raise SimlawError(f"budgets={budgets!r:.60}: give numbers of FLOPs, for example [1e18, 1e19, 1e20]") from error
    for flops in found:
        require_budget(budget=flops)
    return found


def require(hint: Any, **given: Any) -> None:
    """Nothing; raises `SimlawError` where a setting is not of the type."""
    for name, value in given.items():
        if wrong := mismatch(value.item() if isinstance(value, np.generic) else value, hint):
            raise SimlawError(f"{name}={value!r:.60}: {wrong}")


def power_law(
    approach: str,
    convention: str,
    optima: Sequence[Optimum],
    dropped: Mapping[float, str],
    left_out: Mapping[str, int],
) -> ComputeOptimal:
    """The power law through some optima, weighted by their draws; raises `SimlawError` for fewer than three."""
    if len(optima) < LEAST:
        why = ", ".join(f"{times} x {reason}" for reason, times in Counter(dropped.values()).items())
        raise SimlawError(
            f"{len(optima)} of {len(optima) + len(dropped)} optima are left ({why or 'no more were given'}), and a "
            f"power law needs {LEAST}: add budgets, with sizes on both sides of the best, or fit a law of the loss"
        )
    c, n, d, loss = np.array([(one.budget, one.params, one.tokens, one.loss) for one in optima]).T
    at = np.stack([one.at for one in optima], axis=1)
    there = np.isfinite(at[1:])
    spread, sd = None, np.ones(len(c))
    if len(at) > 1:
        spread = np.array([np.std(one.at[1:][ok]) for one, ok in zip(optima, there.T, strict=True)])
        if approach != "law":
            sd = np.maximum(spread, [_FLOOR * one.spacing for one in optima]) / there.mean(axis=0)
    if approach == "envelope":
        # the sizes are those that were run, and noise moves the compute at which each is the best
        slope, start = _lines(np.log(n), at, sd)
        a, log_g = 1 / slope, -start / slope
    else:
        a, log_g = _lines(np.log(c), at, sd)
    drawn = np.isfinite(a[1:])
    return ComputeOptimal(
        approach=approach,
        convention=convention,
        budgets=c,
        params=n,
        tokens=d,
        loss=loss,
        exponent=float(a[0]),
        coefficient=float(np.exp(log_g[0])),
        scatter=float(np.sqrt(np.mean((np.log(n) - log_g[0] - a[0] * np.log(c)) ** 2))),
        spread=spread,
        exponent_error=float(np.std(a[1:][drawn])) if drawn.any() else None,
        exponent_interval=_ends(a[1:][drawn]),
        coefficient_interval=_ends(np.exp(log_g[1:][drawn])),
        dropped=dict(dropped),
        left_out=dict(left_out),
    )


def _ends(drawn: Float[np.ndarray, " k"]) -> tuple[float, float] | None:
    if not len(drawn):
        return None
    low, high = interval(drawn)
    return float(low), float(high)


def _lines(
    x: Float[np.ndarray, " b"], y: Float[np.ndarray, "k b"], sd: Float[np.ndarray, " b"]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Slope and start of the weighted line through each row's points; NaN where a row has fewer than two."""
    there = np.isfinite(y)
    w = there / sd**2
    w = w / np.maximum(w.sum(axis=1, keepdims=True), 1e-300)
    mean_x, mean_y = w @ x, np.sum(w * np.where(there, y, 0.0), axis=1)
    away = x - mean_x[:, None]
    square = np.sum(w * away**2, axis=1)
    known = there.sum(axis=1) > 1
    slope = np.sum(w * away * np.where(there, y, 0.0), axis=1) / np.where(known, square, np.nan)
    return slope, mean_y - slope * mean_x


def _optimum(law: Any, flops: float, precisions: Mapping[str, float]) -> Float[np.ndarray, " k"]:
    """ln N of the lowest loss at a budget, of a law or of its draws; NaN where an end of the range is lowest."""
    low, high = 0.0, np.log(flops / 6)
    for points in (400, 2000):
        x = np.linspace(low, high, points)
        loss = np.atleast_2d(law.loss(N=np.exp(x), D=np.exp(np.log(flops / 6) - x), **precisions))
        best = loss.argmin(axis=1)
        inside = (best > 0) & (best < points - 1)
        if not inside.any():
            break
        low, high = x[best[inside].min() - 1], x[best[inside].max() + 1]
    at = np.clip(best, 1, points - 2)
    left, here, right = (loss[np.arange(len(loss)), at + step] for step in (-1, 0, 1))
    # the vertex of the parabola through the three lowest points
    bend = np.where(inside, left - 2 * here + right, np.nan)
    found: np.ndarray = x[at] + (x[1] - x[0]) / 2 * (left - right) / bend
    return found
