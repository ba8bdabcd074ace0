"""What best rates follow: a power of the width, and a factor for each number of bits."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from simlaw.fitting.uncertainty import interval
from simlaw.rates.best import BestRate, Kind
from simlaw.report import with_error

#: The probability below which a scatter about a line or a common factor is more than noise.
_UNLIKELY = 0.05


@dataclass(frozen=True, kw_only=True)
class RateLine:
    """A power of the width through best rates: `rate · (width / at)^exponent`, at the measured width it knows best.

    Errors are standard deviations of draws, in which every best rate moves within its noise; where the rates scatter
    about the line more than that (`chi2` over `freedom` degrees of freedom), draws are stretched by the root of the
    ratio.
    """

    at: int
    rate: float
    exponent: float
    widths: tuple[int, ...]
    chi2: float
    freedom: int
    drawn_log_rate: Float[np.ndarray, " k"]
    drawn_exponent: Float[np.ndarray, " k"]

    @property
    def rate_error(self) -> float:
        """The error of the rate at the width `at`."""
        return self.rate * float(np.std(self.drawn_log_rate))

    @property
    def error(self) -> float:
        """The error of the exponent."""
        return float(np.std(self.drawn_exponent))

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the exponent."""
        low, high = interval(self.drawn_exponent)
        return float(low), float(high)

    def band(
        self, width: Float[np.ndarray, " n"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """The rates at these widths, and the ends of their intervals."""
        away = np.log(width / self.at)
        drawn = self.drawn_log_rate[:, None] + self.drawn_exponent[:, None] * away
        low, high = interval(drawn)
        return self.rate * np.exp(self.exponent * away), np.exp(low), np.exp(high)

    @property
    def misfit(self) -> str:
        """How far the best rates lie from the line, in words."""
        if not self.freedom:
            return f"none to speak of: the line takes its {len(self.widths)} widths"
        word = "more than noise" if surprise(self.chi2, self.freedom) < _UNLIKELY else "within noise"
        return f"χ² {self.chi2:.1f} for {self.freedom} degrees of freedom, {word}"


def rate_line(found: Sequence[BestRate]) -> RateLine | None:
    """The line through best rates, weighted by their errors; None for fewer than two widths with a best rate."""
    good = [one for one in found if one.rate is not None]
    widths = sorted({one.kind.width for one in good})
    if len(widths) < 2:
        return None
    y = np.log([one.rate for one in good if one.rate])
    drawn = np.array([one.within for one in good])
    weight = 1 / np.var(drawn, axis=1)
    ln_width = np.log([one.kind.width for one in good])
    centre = float(np.sum(weight * ln_width) / weight.sum())
    at = min(widths, key=lambda width: abs(math.log(width) - centre))
    design = np.stack([np.ones(len(good)), ln_width - math.log(at)], axis=1)
    solve = np.linalg.solve(design.T @ (weight[:, None] * design), design.T * weight[None])
    value = solve @ y
    chi2, freedom = float(np.sum(weight * (y - design @ value) ** 2)), len(good) - 2
    draws = value[:, None] + stretch(chi2, freedom) * (solve @ (drawn - y[:, None]))
    return RateLine(
        at=at,
        rate=math.exp(value[0]),
        exponent=float(value[1]),
        widths=tuple(widths),
        chi2=chi2,
        freedom=freedom,
        drawn_log_rate=draws[0],
        drawn_exponent=draws[1],
    )


@dataclass(frozen=True, kw_only=True)
class RateFactor:
    """By how much the best rate of some models is that of their twins, which differ in one thing; and the interval.

    A weighted mean of `each` over the widths; `chi2` over one degree of freedom fewer says whether it hangs on width.
    """

    what: str
    bits: int | None
    multiple: float
    interval: tuple[float, float]
    widths: tuple[int, ...]
    each: tuple[float, ...]
    each_interval: tuple[tuple[float, float], ...]
    chi2: float

    @property
    def told_apart(self) -> bool:
        """Whether the factor differs from 1 beyond noise."""
        return not self.interval[0] <= 1 <= self.interval[1]

    @property
    def verdict(self) -> str:
        """What there is to say of the factor."""
        parts = ["" if self.told_apart else "not told from 1"]
        if len(self.widths) > 1 and surprise(self.chi2, len(self.widths) - 1) < _UNLIKELY:
            parts.append(f"hangs on the width: {', '.join(f'{one:.2g}' for one in self.each)}")
        return "; ".join(part for part in parts if part)

    @property
    def text(self) -> str:
        """The factor with its standard error."""
        low, high = self.interval
        return with_error(self.multiple, (high - low) / (2 * 1.645))


def rate_factor(
    what: str, found: Sequence[BestRate], twin: Callable[[Kind], Kind], bits: int | None = None
) -> RateFactor | None:
    """The factor between best rates and those of their twins; None where no kind and its twin both have one."""
    by_kind = {one.kind: one for one in found if one.rate is not None}
    pairs = [(one, by_kind[twin(one.kind)]) for one in by_kind.values() if twin(one.kind) in by_kind]
    if not pairs:
        return None
    y = np.array([math.log(one.rate / other.rate) for one, other in pairs if one.rate and other.rate])
    drawn = np.array([one.within - other.within for one, other in pairs])
    weight = 1 / np.var(drawn, axis=1)
    weight_of = weight / weight.sum()
    value = float(weight_of @ y)
    chi2 = float(np.sum(weight * (y - value) ** 2))
    ends = interval(value + stretch(chi2, len(pairs) - 1) * (weight_of @ (drawn - y[:, None])))
    low, high = interval(drawn.T)
    return RateFactor(
        what=what,
        bits=bits,
        multiple=math.exp(value),
        interval=(math.exp(ends[0]), math.exp(ends[1])),
        widths=tuple(one.kind.width for one, _ in pairs),
        each=tuple(np.exp(y).tolist()),
        each_interval=tuple(zip(np.exp(low).tolist(), np.exp(high).tolist(), strict=True)),
        chi2=chi2,
    )


def stretch(chi2: float, freedom: int) -> float:
    """By how much errors grow where values scatter more than they explain (the Particle Data Group's scale factor)."""
    return max(1.0, math.sqrt(chi2 / freedom)) if freedom else 1.0


def surprise(chi2: float, freedom: int) -> float:
    """The probability of a larger chi-squared, by Wilson and Hilferty's cube root (1931), to about a hundredth."""
    spread = 2 / (9 * freedom)
    return 0.5 * math.erfc(((chi2 / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(2 * spread))
