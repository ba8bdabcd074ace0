"""The best peak learning rate of one kind of model: where a parabola through its lowest losses has its minimum.

The parabola, of the loss in nats against the logarithm of the rate, goes through three points: the rate of the lowest
mean over seeds and its two neighbours. Further away the curve is no parabola, and steeper towards high rates. A
minimum at an end of the rates is not bracketed, and a rate at which a run diverged is an end, never a number.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from simlaw.errors import SimlawError
from simlaw.fitting.uncertainty import COVERAGE, interval, student
from simlaw.observations import uniform
from simlaw.report import count, precision
from simlaw.schema import CONFOUNDERS, CONFOUNDERS_OF_A_SIZE
from simlaw.table import Row, Table

Health = Literal["VALID", "AT_EDGE", "NOT_CONVEX"]
#: Rates that a parabola takes.
POINTS = 3
#: Degrees of freedom from which models of one precision and parametrization tell their own noise; else all do together.
_LEAST_FREEDOM = 6
#: Standard errors beyond which a curve that falls again is no noise.
_BEYOND = 2.5
#: Rates that differ by less, as a share, are one.
_SAME = 1e-4
#: Noise in ln loss below which it is that of a computer's numbers.
_ROUNDING = 1e-10


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is trained: a size on D tokens, weights of `bits` (None: unquantized), `mup` the base width of muP."""

    width: int
    layers: int
    tokens: int
    bits: int | None = None
    mup: int | None = None

    def __str__(self) -> str:
        return f"width {self.width} on {count(self.tokens)} tokens, {self.training}"

    @property
    def training(self) -> str:
        """The precision and the parametrization, in words."""
        return precision(math.inf if self.bits is None else self.bits) + ("" if self.mup is None else ", muP")

    @property
    def order(self) -> tuple[int, ...]:
        """Its place among others: the standard parametrization first, then by precision from the finest, D, width."""
        return (self.mup or 0, -(self.bits or 99), self.tokens, self.width, self.layers)


@dataclass(frozen=True, kw_only=True)
class BestRate:
    """The best peak rate of a kind of model, with what it rests on; what is unknown is None.

    `losses` are means over `seeds` seeds in nats per token, NaN at a rate where a run diverged, `errors` their standard
    errors without what all rates of a seed share. About the best the loss is `loss + curvature · (ln rate - ln best)²`
    on the rates `used`. `present` is the rate that the sweep's rule gives. `given_away` is
    the loss at that rate above the lowest of the parabola; where the best is not bracketed it is the least that it can
    be. `draws` are logarithms of the rate, infinite where a draw has its lowest loss at an end.
    """

    kind: Kind
    rates: Float[np.ndarray, " r"]
    losses: Float[np.ndarray, " r"]
    errors: Float[np.ndarray, " r"]
    seeds: int
    present: float
    health: Health
    sentence: str
    used: tuple[float, ...]
    rate: float | None
    interval: tuple[float, float] | None
    loss: float | None
    curvature: float | None
    given_away: float | None
    given_interval: tuple[float, float] | None
    draws: Float[np.ndarray, " k"]

    @property
    def end(self) -> float | None:
        """The end of the rates that the best is at or beyond; None where it is bracketed, or not one number."""
        if self.health != "AT_EDGE" or not np.isfinite(self.losses).any():
            return None
        there = self.rates[np.isfinite(self.losses)]
        return float(there[-1] if np.nanmean(np.sign(self.draws) * np.isinf(self.draws)) > 0 else there[0])

    @property
    def within(self) -> Float[np.ndarray, " k"]:
        """The draws, those beyond the ends of the rates at these ends."""
        there = self.rates[np.isfinite(self.losses)]
        return np.clip(self.draws, *np.log(there[[0, -1]]))


def best_rates(table: Table, *, draws: int = 2000, seed: int = 0) -> tuple[tuple[BestRate, ...], int]:
    """The best rate of every kind of model in a table, and how many kinds were run at one rate alone.

    Losses are those of checkpoints as trained, with their last weights. What the rates of one seed share, its
    initialisation and order of data, moves no minimum and is taken out; what is left of each trunk is the noise, pooled
    in ln loss over the models of one precision and parametrization. A draw gives every trunk another's share of it,
    stretched by Student's factor; intervals hold 90 % of the draws.

    Raises `SimlawError` where rows differ in what no rate rule knows, where no kind was run at several rates, where a
    kind has no seed at all of its rates, and where no kind has two seeds.
    """
    rows = table.where(lambda row: row["ptq_bits"] is None and row["average"] is None)
    uniform("rows", rows, [name for name in CONFOUNDERS if name != "mup_base_width"])
    found: dict[Kind, list[Row]] = {}
    for row in rows:
        kind = Kind(
            width=row["width"],
            layers=row["layers"],
            tokens=row["tokens"],
            bits=row["train_weights_bits"],
            mup=row["mup_base_width"],
        )
        found.setdefault(kind, []).append(row)
    swept = {kind: _Swept.of(kind, some) for kind, some in sorted(found.items(), key=lambda one: one[0].order)}
    several = {kind: one for kind, one in swept.items() if len(one.rates) > 1}
    if not several:
        raise SimlawError("no size was trained at several rates: add Grid(rate_multiples=(0.5, 1.0, 2.0))")
    noise = _Noise.of(list(several.values()))
    best = tuple(
        one.best(*noise.of_kind(one.kind), draws, [seed, *map(abs, one.kind.order)]) for one in several.values()
    )
    return best, len(swept) - len(several)


def lowest(
    x: Float[np.ndarray, " r"], y: Float[np.ndarray, "k r"]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Where the parabola through the lowest of y and its neighbours is lowest, how low, and half its second derivative.

    The place is infinite where the lowest is at an end of x.
    """
    each, last = np.arange(len(y)), len(x) - 1
    at = np.argmin(y, axis=1)
    mid = np.clip(at, 1, last - 1)
    x0, x1, x2 = x[mid - 1], x[mid], x[mid + 1]
    y0, y1, y2 = y[each, mid - 1], y[each, mid], y[each, mid + 1]
    left, right = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
    half = (right - left) / (x2 - x0)
    inside = (at == mid) & (half > 0)
    safe = np.where(inside, half, 1.0)
    place = np.where(inside, (x0 + x1) / 2 - left / (2 * safe), x1)
    value = np.where(inside, y1 - safe * (x1 - place) ** 2, y[each, at])
    place = np.where(at == 0, -np.inf, np.where(at == last, np.inf, place))
    return place, value, half


@dataclass(frozen=True, kw_only=True)
class _Swept:
    """One kind of model at its rates: losses by rate and seed, of the seeds that every rate has; NaN: diverged."""

    kind: Kind
    rates: Float[np.ndarray, " r"]
    losses: Float[np.ndarray, "r s"]
    present: float

    @classmethod
    def of(cls, kind: Kind, rows: Sequence[Row]) -> "_Swept":
        uniform(f"rows of {kind}", rows, [*CONFOUNDERS_OF_A_SIZE, "train_weights_grid", "train_weights_granularity"])
        presents = sorted(row["peak_rate"] / row["rate_multiple"] for row in rows)
        if presents[-1] > presents[0] * (1 + _SAME):
            raise SimlawError(
                f"the rows of {kind} follow rules of rates {presents[0]:g} and {presents[-1]:g}: keep one of them"
            )
        by_rate: dict[float, dict[int, float]] = {}
        for row in rows:
            value = row["loss"] if row["status"] == "done" else math.nan
            by_rate.setdefault(row["peak_rate"], {})[row["seed"]] = value
        seeds = sorted(set.intersection(*map(set, by_rate.values())))
        if not seeds:
            raise SimlawError(f"no seed was trained at every rate of {kind}: run what is missing")
        rates = sorted(by_rate)
        losses = np.array([[by_rate[rate][seed] for seed in seeds] for rate in rates], np.float64)
        return cls(kind=kind, rates=np.array(rates), losses=losses, present=float(f"{presents[0]:.6g}"))

    @property
    def finite(self) -> Bool[np.ndarray, " r"]:
        """At which rates no run diverged; those beyond a rate that did are not trusted either."""
        good = np.isfinite(self.losses).all(axis=1)
        at = np.nanargmin(np.where(good, self.losses.mean(axis=1), np.inf))
        bad = np.flatnonzero(~good)
        first, last = bad[bad < at].max(initial=-1), bad[bad > at].min(initial=len(good))
        return good & (np.arange(len(good)) > first) & (np.arange(len(good)) < last)

    @property
    def residuals(self) -> Float[np.ndarray, "p s"] | None:
        """What is left of ln loss about the lowest rates without what a seed's or a rate's runs share; None: nothing.

        Scaled up for what the means of rates and seeds took.
        """
        y = np.log(self.losses[self.finite])
        if len(y) < POINTS or y.shape[1] < 2:
            return None
        mid = int(np.clip(np.argmin(y.mean(axis=1)), 1, len(y) - 2))
        y = y[mid - 1 : mid + 2]
        left = y - y.mean(axis=0)[None] - y.mean(axis=1)[:, None] + y.mean()
        return np.asarray(left * math.sqrt(y.size / _freedom(y)))

    def best(self, pool: Float[np.ndarray, " m"], freedom: int, draws: int, seed: list[int]) -> BestRate:
        """The best rate, with noise drawn from a pool of so many degrees of freedom."""
        there, s = self.finite, self.losses.shape[1]
        losses = np.where(there, self.losses.mean(axis=1), np.nan)
        errors = losses * math.sqrt(float(np.mean(pool**2)) / s)
        x, y = np.log(self.rates[there]), losses[there]
        place = value = half = math.nan
        drawn = np.zeros((draws, 0))
        at = low = np.full(draws, np.nan)
        health: Health = "AT_EDGE"
        sentence = f"{len(x)} of {len(losses)} rates did not diverge, and a parabola takes {POINTS}"
        if len(x) >= POINTS:
            stretched = pool * student(freedom) / student(10**6)
            shares = np.random.default_rng(seed).choice(stretched, size=(draws, len(x), s)).mean(axis=2)
            drawn = y * np.exp(shares)
            at, low, _ = lowest(x, drawn)
            place, value, half = (float(one[0]) for one in lowest(x, y[None]))
            health, sentence = self._judged(x, y, errors[there], at, drawn)
        known = health == "VALID"
        ends = tuple(float(end) for end in np.exp(interval(at)))
        given, given_ends = self._given_away(losses, there, drawn, low, value, ends, known)
        return BestRate(
            kind=self.kind,
            rates=self.rates,
            losses=losses,
            errors=errors,
            seeds=s,
            present=self.present,
            health=health,
            sentence=sentence,
            used=tuple(self.rates[there][np.argmin(y) - 1 :][:POINTS].tolist()) if known else (),
            rate=math.exp(place) if known else None,
            interval=(ends[0], ends[1]) if known else None,
            loss=value if known else None,
            curvature=half if known else None,
            given_away=given,
            given_interval=given_ends,
            draws=at,
        )

    def _judged(
        self,
        x: Float[np.ndarray, " n"],
        y: Float[np.ndarray, " n"],
        errors: Float[np.ndarray, " n"],
        at: Float[np.ndarray, " k"],
        drawn: Float[np.ndarray, "k n"],
    ) -> tuple[Health, str]:
        """Whether the best rate is known, and why not."""
        mid, tail = int(np.argmin(y)), (1 - COVERAGE) / 2
        if mid in (0, len(x) - 1):
            return "AT_EDGE", f"the lowest loss is at {self._end(x[mid], mid > 0)}"
        bent = (drawn[:, mid + 1] - drawn[:, mid]) / (x[mid + 1] - x[mid])
        bent = bent - (drawn[:, mid] - drawn[:, mid - 1]) / (x[mid] - x[mid - 1])
        if np.quantile(bent, tail) <= 0:
            return "NOT_CONVEX", "the curve is flat within noise"
        outward = np.concatenate([-np.diff(y[: mid + 1]), np.diff(y[mid:])])
        fall = -outward / np.hypot(errors[1:], errors[:-1])
        if fall.max() > _BEYOND:
            low, high = np.exp(x[fall.argmax() :][:2])
            return "NOT_CONVEX", f"the loss has another low, for it falls again between {low:.3g} and {high:.3g}"
        for upper, share in ((False, np.mean(at == -np.inf)), (True, np.mean(at == np.inf))):
            if share > tail:
                end = self._end(x[-1 if upper else 0], upper)
                return "AT_EDGE", f"{share:.0%} of the draws have the lowest loss at {end}"
        return "VALID", f"through {', '.join(f'{math.exp(one):.3g}' for one in x[mid - 1 : mid + 2])}"

    def _end(self, ln_rate: float, upper: bool) -> str:
        """An end of the rates, in words, and whether one beyond it diverged."""
        beyond = self.rates[np.log(self.rates) > ln_rate + _SAME] if upper else np.array([])
        why = f", for {beyond[0]:.3g} diverges" if len(beyond) else ""
        return f"the {'highest' if upper else 'lowest'} rate, {math.exp(ln_rate):.3g}{why}"

    def _given_away(
        self,
        losses: Float[np.ndarray, " r"],
        there: Bool[np.ndarray, " r"],
        drawn: Float[np.ndarray, "k n"],
        low: Float[np.ndarray, " k"],
        value: float,
        ends: tuple[float, ...] | None,
        known: bool,
    ) -> tuple[float | None, tuple[float, float] | None]:
        """The loss above the lowest at the present rate, where that was run and did not diverge, and its interval."""
        place = np.flatnonzero(np.isclose(self.rates, self.present, rtol=_SAME))
        if not len(place) or not there[place[0]] or not drawn.size:
            return None, None
        given = float(losses[place[0]]) - value
        least, most = map(float, interval(drawn[:, int(there[: place[0]].sum())] - low))
        # noise alone puts the lowest of several below the present one: the interval starts above 0 only where the
        # best rate is another one beyond noise
        if ends is not None and ends[0] <= self.present <= ends[1]:
            least = 0.0
        return given, (least, most if known else math.inf)


@dataclass(frozen=True, kw_only=True)
class _Noise:
    """What trunks differ by in ln loss beside their seed and rate, by precision and parametrization."""

    pools: dict[tuple[int | None, int | None], Float[np.ndarray, " m"]]
    freedoms: Counter[tuple[int | None, int | None]]

    @classmethod
    def of(cls, swept: Sequence[_Swept]) -> "_Noise":
        """The noise of all kinds; raises `SimlawError` where none has two seeds."""
        pools: dict[tuple[int | None, int | None], list[np.ndarray]] = {}
        freedoms: Counter[tuple[int | None, int | None]] = Counter()
        for one in swept:
            left = one.residuals
            if left is not None:
                key = (one.kind.bits, one.kind.mup)
                pools.setdefault(key, []).append(left.ravel())
                freedoms[key] += _freedom(left)
        if not pools:
            raise SimlawError(
                f"no size has {POINTS} rates with two seeds that did not diverge, so the noise between runs is "
                "unknown: add seeds"
            )
        if max(float(np.abs(part).max()) for parts in pools.values() for part in parts) < _ROUNDING:
            raise SimlawError("all seeds differ by the same at every rate, so there is no noise to judge by")
        return cls(pools={key: np.concatenate(parts) for key, parts in pools.items()}, freedoms=freedoms)

    def of_kind(self, kind: Kind) -> tuple[Float[np.ndarray, " m"], int]:
        """The pool for a kind and its degrees of freedom."""
        key = (kind.bits, kind.mup)
        if self.freedoms[key] >= _LEAST_FREEDOM:
            return self.pools[key], self.freedoms[key]
        return np.concatenate([self.pools[one] for one in self.pools]), self.freedoms.total()


def _freedom(y: Float[np.ndarray, "p s"]) -> int:
    return (y.shape[0] - 1) * (y.shape[1] - 1)
