"""Allocation: how to spend compute on size and data, with and without serving, by a law of the loss."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from simlaw.decision.amounts import require_amount
from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit
from simlaw.fitting.quantized import QuantizedFit
from simlaw.fitting.uncertainty import interval
from simlaw.law import AbstractLaw, AbstractLossLaw, QuantizedLaw
from simlaw.published import Published
from simlaw.report import AbstractReported, TableReport, count, power_of_ten, wrapped

#: Whatever holds a law of the loss.
Lawful = Fit | QuantizedFit | Published | AbstractLaw | QuantizedLaw
#: From this factor outside the rows of a fit on, an answer is refused unless it is forced.
FAR = 10.0
#: Sizes searched, as multiples of the range: nine decades are enough for any budget, in steps of 0.4 %.
_SIZES = np.geomspace(1e3, 1e14, 6001)


@dataclass(frozen=True, kw_only=True, repr=False)
class Allocation(AbstractReported):
    """The best N and D of a budget, the loss there, and intervals from the draws of the fit (None without draws).

    FLOPs are 6·N·D for training and 2·N for each token served; `outside` says by which factor each of N, D and C lies
    outside the rows of the fit.
    """

    params: float
    tokens: float
    loss: float
    flops: float
    serve_tokens: float
    params_interval: tuple[float, float] | None
    tokens_interval: tuple[float, float] | None
    loss_interval: tuple[float, float] | None
    outside: Mapping[str, float]

    @property
    def report(self) -> TableReport:
        """The answer in a sentence."""
        budget = f"{power_of_ten(self.flops)} training FLOPs"
        if self.serve_tokens:
            budget = f"{power_of_ten(self.flops)} FLOPs of training and serving {count(self.serve_tokens)} tokens"
        text = f"At {budget} the best choice is {count(self.params)} parameters on {count(self.tokens)} tokens"
        if self.params_interval and self.tokens_interval:
            n, d = (f"{count(low)} to {count(high)}" for low, high in (self.params_interval, self.tokens_interval))
            text += f" (90 % interval {n} parameters, {d} tokens)"
        text += f": {self.loss:.3f} nats"
        if self.outside:
            text += f"; that extrapolates beyond the rows of the fit in {factors(self.outside)}"
        return TableReport(sentences=(wrapped(text + "."),))


def allocate(
    law: Lawful,
    *,
    flops: float,
    serve_tokens: float = 0.0,
    force: bool = False,
    **precisions: float,
) -> Allocation:
    """The best size and data for a budget of FLOPs, 6·N·D + 2·N·serve_tokens (Sardana and Frankle 2401.00448).

    `precisions` (P_w, P_post … and the other variables that the law takes: G, U) are the same for all candidates.
    Raises `SimlawError` for a budget that is not above 0 or trains no model, and where the best lies more than ten
    times outside the rows of the fit, unless `force`.
    """
    require_budget(flops=flops)
    require_amount("serve_tokens", serve_tokens, zero=True)
    require_variables(precisions, found="allocate finds")
    ranges, estimate, draws = parts_of(law)
    n = _SIZES[2 * _SIZES * serve_tokens < flops]
    d = (flops - 2 * n * serve_tokens) / (6 * n)
    n, d = n[d >= 1], d[d >= 1]
    if not n.size:
        least = float(_SIZES[0]) * (6 + 2 * serve_tokens)
        what = f"train no model of {_SIZES[0]:g} parameters on one token"
        if serve_tokens:
            what += f" and serve {count(serve_tokens)} tokens with it"
        raise SimlawError(f"flops={flops:g} {what}, which takes {power_of_ten(least)}: raise the budget")
    loss = estimate.loss(N=n, D=d, **precisions)
    best = int(np.nanargmin(loss))
    outside = beyond(
        ranges, {"N": float(n[best]), "D": float(d[best]), "C": float(6 * n[best] * d[best]), **precisions}
    )
    if not force:
        refuse_far(outside)
    params_interval = tokens_interval = loss_interval = None
    if draws is not None:
        each: Float[np.ndarray, "k n"] = draws.loss(N=n, D=d, **precisions)
        at = np.nanargmin(each, axis=1)
        low, high = interval(n[at])
        params_interval = (float(low), float(high))
        low, high = interval(d[at])
        tokens_interval = (float(low), float(high))
        low, high = interval(each[:, best])
        loss_interval = (float(low), float(high))
    return Allocation(
        params=float(n[best]),
        tokens=float(d[best]),
        loss=float(loss[best]),
        flops=flops,
        serve_tokens=serve_tokens,
        params_interval=params_interval,
        tokens_interval=tokens_interval,
        loss_interval=loss_interval,
        outside=outside,
    )


def require_budget(**amounts: Any) -> None:
    """Nothing; raises `SimlawError` where an amount is no finite number above 0."""
    for name, value in amounts.items():
        require_amount(name, value)


def require_variables(given: Mapping[str, Any], *, found: str = "") -> None:
    """Nothing; raises `SimlawError` where a variable of a law is no number, or one that is searched for.

    Infinity is one (no quantization), and whether 0 is, the law says. `found` names who looks for N, D or C.
    """
    for name, value in given.items():
        if found and name in ("N", "D", "C"):
            raise SimlawError(f"{name}={value!r}: {found} {name} itself: leave it out")
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating) or np.isnan(value):
            raise SimlawError(f"{name}={value!r}: give one number, the same for all that is compared")


def beyond(ranges: Mapping[str, tuple[float, float]], point: Mapping[str, float]) -> dict[str, float]:
    """By which factor a point lies outside the ranges of a fit's rows; nothing for what lies inside.

    "C" is 6·N·D; where the ranges have none, it is that of the corners. Bits are compared by their difference, as a
    power of two.
    """
    limits = dict(ranges)
    if "C" not in ranges and "N" in ranges and "D" in ranges:
        limits["C"] = (6 * ranges["N"][0] * ranges["D"][0], 6 * ranges["N"][1] * ranges["D"][1])
    found = {}
    for name, value in point.items():
        if name in limits and np.isfinite(value):
            low, high = limits[name]
            factor = max(low / value, value / high)
            if name.startswith("P_"):
                factor = 2.0 ** max(low - value, value - high)
            if factor > 1.05:
                found[name] = float(factor)
    return found


def factors(far: Mapping[str, float]) -> str:
    """How far outside, in words: "N by 3 x, D by 1.2 x"."""
    return ", ".join(f"{name} by {factor:.3g} x" for name, factor in far.items())


def refuse_far(far: Mapping[str, float]) -> None:
    """Nothing; raises `SimlawError` where a point lies more than ten times outside the rows of a fit."""
    if too := {name: factor for name, factor in far.items() if factor > FAR}:
        raise SimlawError(
            f"the answer lies outside the rows of the fit in {factors(too)}, more than {FAR:g} x: force=True gives it "
            "all the same"
        )


def parts_of(
    law: Lawful,
) -> tuple[dict[str, tuple[float, float]], AbstractLossLaw | QuantizedLaw, AbstractLossLaw | QuantizedLaw | None]:
    """The ranges, the law and its draws, of whatever holds a law of the loss; raises `SimlawError` for sick fits."""
    ranges: dict[str, tuple[float, float]] = {}
    draws: AbstractLaw | QuantizedLaw | None = None
    found: AbstractLaw | QuantizedLaw
    for fit in (law.base, law.penalty) if isinstance(law, QuantizedFit) else (law,):
        if isinstance(fit, Fit) and fit.health != "VALID":
            raise SimlawError(f"the fit of {type(fit.law).__name__} is {fit.health}: {fit.sentence}; not identified")
    if isinstance(law, Fit | QuantizedFit):
        ranges, draws, found = dict(law.ranges), law.draws, law.law
    elif isinstance(law, Published):
        ranges, found = dict(law.ranges), law.law
    else:
        found = law
    if not isinstance(found, AbstractLossLaw | QuantizedLaw):
        raise SimlawError(
            f"{type(found).__name__} is no law of the loss: give one, such as a fit or sl.published.kumar2024"
        )
    assert draws is None or isinstance(draws, AbstractLossLaw | QuantizedLaw)
    return ranges, found, draws
