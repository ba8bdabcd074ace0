"""Critical data: the tokens beyond which training longer makes a quantized model worse, and where two plans cross.

Both are conditional on the schedule of the runs behind the law: checkpoints of one decaying run confound tokens with
learning rate (Catalan-Tatjer et al. 2510.06213). Intervals are those of the draws, without the forms' own errors.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from simlaw.decision.allocate import Lawful, beyond, factors, parts_of, refuse_far, require_variables
from simlaw.decision.amounts import require_amount
from simlaw.errors import SimlawError
from simlaw.fitting.uncertainty import interval
from simlaw.law import AbstractLossLaw, QuantizedLaw
from simlaw.report import count, power_of_ten

#: What grows until plans cross: training tokens, or training FLOPs.
Along = Literal["D", "C"]
#: Tokens (or FLOPs) searched, in logarithms.
_LOG_D = np.linspace(0.0, np.log(1e30), 1001)
#: Half the step of a slope in ln D.
_HALF = 1e-3


@dataclass(frozen=True, kw_only=True)
class Critical:
    """D_crit of one model: the training tokens from which on more of them raise the loss.

    `tokens` is infinite where the loss falls for ever, 0 where it rises from the first token on. `interval` is that of
    the draws (None without draws), of which `share` have a D_crit that is finite. `outside` says by which factor it
    lies outside the rows of the fit.
    """

    params: float
    variables: Mapping[str, float]
    tokens: float
    interval: tuple[float, float] | None
    share: float
    outside: Mapping[str, float]

    def __str__(self) -> str:
        what = ", ".join(f"{name}={value:g}" for name, value in self.variables.items())
        model = f"a model of {count(self.params)} parameters" + (f" at {what}" if what else "")
        if np.isinf(self.tokens):
            return f"{model} has no critical amount of data by this law: its loss falls with every token."
        text = (
            f"{model} gets worse with more than {count(self.tokens)} training tokens ({self.tokens / self.params:.3g} "
        )
        text += "for each parameter)"
        if self.interval is not None:
            text += f", 90 % interval {_span(self.interval, count)}"
            if self.share < 1:
                text += f"; {self.share:.0%} of the draws have such a point"
        if self.outside:
            text += f"; that extrapolates beyond the rows of the fit in {factors(self.outside)}"
        return text + "."


def critical_data(law: Lawful, *, N: float, force: bool = False, **variables: float) -> Critical:
    """D_crit of a model of N parameters: the root of dL/dD at fixed N and precisions (P_post, P_w …).

    In closed form for Kumar et al. (2411.04330, Eq. 12 and 13, with the offset b)
    D_crit = (beta·B·N^gN·exp(P_post/g_post - b) / (gD·C_T))^(1/(gD+beta)); here it is found numerically, for any law.
    Raises `SimlawError` for variables that the law lacks, for D, which is what is looked for, and where the answer lies
    more than ten times outside the rows of the fit, unless `force`.
    """
    require_amount("N", N)
    require_variables(variables, found="critical_data looks for")
    ranges, estimate, draws = parts_of(law)
    slope = _slope(estimate, N=N, **variables)
    at = rise(_LOG_D, slope(_LOG_D))
    if np.isfinite(at):
        at = _bisect(slope, at)
    tokens = float(np.exp(at))
    point = {"N": N, **variables}
    if 0 < tokens < np.inf:
        point |= {"D": tokens, "C": 6 * N * tokens}
    outside = beyond(ranges, point)
    if not force:
        refuse_far(outside)
    ends, share = None, float(np.isfinite(at))
    if draws is not None:
        roots = np.array([rise(_LOG_D, row) for row in _slope(draws, N=N, **variables)(_LOG_D)])
        low, high = interval(roots)
        ends, share = (float(np.exp(low)), float(np.exp(high))), float(np.isfinite(roots).mean())
    return Critical(params=N, variables=variables, tokens=tokens, interval=ends, share=share, outside=outside)


@dataclass(frozen=True, kw_only=True)
class Crossover:
    """Where one plan first overtakes another as training tokens or FLOPs grow, and `until` where it stays ahead.

    `at` is infinite where it never does, 0 where it is ahead from the start; `until` is infinite where it is never
    overtaken again. `interval` and `share` as in `Critical`.
    """

    holder: Mapping[str, float]
    challenger: Mapping[str, float]
    along: Along
    at: float
    until: float
    interval: tuple[float, float] | None
    share: float
    outside: Mapping[str, float]

    def __str__(self) -> str:
        one, other = (plan_words(plan) for plan in (self.challenger, self.holder))
        what = "training tokens" if self.along == "D" else "training FLOPs"
        if np.isinf(self.at):
            return f"{one} never overtakes {other}."
        amount = count if self.along == "D" else power_of_ten
        ahead = f", and stays ahead until {amount(self.until)}" if np.isfinite(self.until) else ""
        if self.at == 0:
            return f"{one} is ahead of {other} from the start{ahead}."
        text = f"{one} overtakes {other} at {amount(self.at)} {what}"
        if self.along == "D":
            text += f" ({self.at / self.challenger['N']:.3g} for each of its parameters)"
        if self.interval is not None:
            text += f", 90 % interval {_span(self.interval, amount)}"
            if self.share < 1:
                text += f"; {self.share:.0%} of the draws have a crossing"
        text += ahead
        if self.outside:
            text += f"; that extrapolates beyond the rows of the fit in {factors(self.outside)}"
        return text + "."


def crossover(
    law: Lawful,
    holder: Mapping[str, float],
    challenger: Mapping[str, float],
    *,
    along: Along = "D",
    force: bool = False,
) -> Crossover:
    """Where `challenger` overtakes `holder`, both plans of N and precisions: {"N": 132e6, "P_post": 5}.

    At equal tokens (`along="D"`) or equal training FLOPs 6·N·D (`along="C"`); equal bytes are the caller's choice of N.
    A plan may have a D, as those of `next_runs` do; it says nothing here, where D is what grows. Raises `SimlawError`
    for another `along`, for plans without N, and where the crossing lies more than ten times outside the rows of the
    fit, unless `force`.
    """
    if along not in ("D", "C"):
        raise SimlawError(f"along={along!r}: plans cross along 'D', training tokens, or 'C', training FLOPs")
    holder, challenger = _plan(holder), _plan(challenger)
    ranges, estimate, draws = parts_of(law)

    def lead(source: AbstractLossLaw | QuantizedLaw) -> Callable[[Any], Any]:
        def at(log: Any) -> Any:
            each = [
                source.loss(D=np.exp(log) / (6 * plan["N"] if along == "C" else 1.0), **plan)
                for plan in (holder, challenger)
            ]
            return each[0] - each[1]

        return at

    found, fall = _first_lead(lead(estimate)(_LOG_D))
    if np.isfinite(found):
        found = _bisect(lead(estimate), found)
    at = float(np.exp(found))
    outside: dict[str, float] = {}
    if 0 < at < np.inf:
        for plan in (holder, challenger):
            d = at / (6 * plan["N"]) if along == "C" else at
            for name, factor in beyond(ranges, {**plan, "D": d, "C": 6 * plan["N"] * d}).items():
                outside[name] = max(factor, outside.get(name, 0.0))
    if not force:
        refuse_far(outside)
    ends, share = None, float(np.isfinite(found))
    if draws is not None:
        roots = np.array([_first_lead(row)[0] for row in lead(draws)(_LOG_D)])
        low, high = interval(roots)
        ends, share = (float(np.exp(low)), float(np.exp(high))), float(np.isfinite(roots).mean())
    return Crossover(
        holder=holder,
        challenger=challenger,
        along=along,
        at=at,
        until=float(np.exp(fall)),
        interval=ends,
        share=share,
        outside=outside,
    )


def _plan(given: Mapping[str, Any]) -> dict[str, float]:
    """A plan without its D; raises `SimlawError` where it has no N, or what is no number."""
    if not isinstance(given, Mapping) or "N" not in given:
        raise SimlawError(f"the plan {given!r} has no N: give its parameters and its precisions")
    plan = {name: value for name, value in given.items() if name != "D"}
    require_amount("N", plan["N"])
    require_variables(plan)
    return plan


def rise(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """Where `y` last rises through 0, by linear interpolation; infinite, on its side, where that is outside `x`."""
    if y[-1] <= 0:
        return float("inf")
    at = np.flatnonzero(y <= 0)
    if not at.size:
        return float("-inf")
    i = at[-1]
    return float(x[i] + (x[i + 1] - x[i]) * y[i] / (y[i] - y[i + 1]))


def _first_lead(lead: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Where a lead along the grid first rises above 0, and where it then falls; infinite where it does not."""
    ahead = np.flatnonzero(lead > 0)
    if not ahead.size:
        return float("inf"), float("inf")
    first = int(ahead[0])
    start = float("-inf") if first == 0 else rise(_LOG_D[: first + 1], lead[: first + 1])
    behind = np.flatnonzero(lead[first:] < 0)
    if not behind.size:
        return start, float("inf")
    last = first + int(behind[0])
    return start, rise(_LOG_D[first : last + 1], -lead[first : last + 1])


def _slope(law: AbstractLossLaw | QuantizedLaw, **variables: float) -> Callable[[Any], Any]:
    """dL / d ln D as a function of ln D."""

    def slope(log: Any) -> Any:
        high, low = (law.loss(D=np.exp(log + sign * _HALF), **variables) for sign in (1, -1))
        return (high - low) / (2 * _HALF)

    return slope


def _bisect(y: Callable[[Any], Any], near: float) -> float:
    """The root of a function that rises through 0 within a step of the grid around `near`."""
    step = float(_LOG_D[1])
    low, high = near - step, near + step
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if float(y(middle)) <= 0 else (low, middle)
    return (low + high) / 2


def plan_words(plan: Mapping[str, float]) -> str:
    """A plan in words: "N=129M at P_post=5"; its tokens go without saying."""
    rest = ", ".join(f"{name}={value:g}" for name, value in plan.items() if name not in ("N", "D"))
    return f"N={count(plan['N'])}" + (f" at {rest}" if rest else "")


def _span(ends: tuple[float, float], amount: Callable[[float], str]) -> str:
    """An interval in words; one that many draws leave open has no end."""
    low = amount(ends[0]) if ends[0] > 0 else "the start"
    return f"{low} to {amount(ends[1])}" if np.isfinite(ends[1]) else f"{low} without end"
