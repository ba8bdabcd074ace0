"""The health of a ladder: whether the normalised loss curves of its sizes fall on one.

l(x) = (L(x·D) - E) / (L(D) - E) for x from 0 to 1. Where D is in the compute-optimal proportion to N and every size
has the right learning rate and schedule, curves of all sizes are one; a size that stands off has something wrong (Qiu
et al. 2507.02119). Numerator and denominator share the noise of their run and every curve ends at 1, so the noise is
taken from whole curves of seeds, and x = 1 is not scored. No two sizes share a trunk, and one rung of each is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit
from simlaw.fitting.uncertainty import interval
from simlaw.health.judge import Judge, running
from simlaw.health.ladder import Rung, ladder
from simlaw.laws import Chinchilla
from simlaw.losscurves import PLACES, LossCurve, LossCurves
from simlaw.observations import usable
from simlaw.report import AbstractReported, TableReport, count, wrapped
from simlaw.table import Row, Table

#: The probability that noise alone keeps below the bounds of the verdicts, all sizes and places together.
CONFIDENT = 0.95
#: Scored places below which a curve says nothing, and sizes below which nobody can tell which one stands off.
LEAST_PLACES, LEAST_SIZES = 6, 3
Standing = Literal["collapses", "stands off", "E decides"]


@dataclass(frozen=True, kw_only=True)
class Irreducible:
    """E, the loss of the held-out tokens that no size and no data undercut, draws of its error, and who says so."""

    value: float
    draws: Float[np.ndarray, " k"] | None
    source: str

    def __str__(self) -> str:
        error = ""
        if self.draws is not None:
            low, high = interval(self.draws)
            error = f", 90 % of its draws {low:.3f} to {high:.3f}"
        return f"{self.value:.3f} nats {self.source}{error}"


@dataclass(frozen=True, kw_only=True)
class SizeHealth:
    """One size of a ladder: its curve (means of seeds, at the places `x` of the ladder) and how it stands.

    `deviation` is that of ln l from the common curve of the others in standard deviations between seeds, positive
    above, with its interval over the draws of E; it is NaN where nothing is scored. `largest` is the one farthest out,
    at the place `at`.
    """

    params: int
    tokens: int
    of_ladder: float
    seeds: int
    loss: Float[np.ndarray, " n"]
    normalised: Float[np.ndarray, " n"]
    deviation: Float[np.ndarray, " n"]
    low: Float[np.ndarray, " n"]
    high: Float[np.ndarray, " n"]
    largest: float
    at: float
    standing: Standing

    @property
    def verdict(self) -> str:
        """How the size stands, in words."""
        where = f"{abs(self.largest):.1f} seed spreads {'above' if self.largest > 0 else 'below'} at x = {self.at:.2g}"
        return {
            "collapses": "collapses within seed noise",
            "stands off": f"stands off: {where}",
            "E decides": f"stands off at this E ({where}), not beyond the error of E",
        }[self.standing]


@dataclass(frozen=True, kw_only=True, repr=False)
class Collapse(AbstractReported):
    """The normalised curves of a ladder and their score.

    `ratio` is the spread of sizes over that of seeds: standard deviation between the sizes' means over the one that
    seeds alone would give these means; 1 where nothing but noise tells sizes apart. `ratio_at` is the same at each
    place, `noise_reach` what noise alone stays below, `bound` the same for a size's deviation in seed spreads.
    `spread` is the standard deviation of ln l between seeds at each place; `super_ratio` the spread of single runs of
    all sizes over that of the curves before they are normalised: below 1 is the paper's supercollapse. `shift` is what
    training losses end above held-out ones, by which E is moved; `dropped` the share of draws of E that reach a loss;
    `warm` the shortest and the longest warm-up as shares of their runs.
    """

    gamma: float
    irreducible: Irreducible
    shift: float
    x: Float[np.ndarray, " n"]
    scored: Bool[np.ndarray, " n"]
    sizes: tuple[SizeHealth, ...]
    common: Float[np.ndarray, " n"]
    spread: Float[np.ndarray, " n"]
    ratio: float
    ratio_interval: tuple[float, float]
    ratio_at: Float[np.ndarray, " n"]
    noise_reach: float
    bound: float
    super_ratio: float
    dropped: float
    warm: tuple[float, float]
    left_out: tuple[int, ...]

    @property
    def worst(self) -> SizeHealth:
        """The size that stands farthest off."""
        return max(self.sizes, key=lambda size: (size.standing == "stands off", abs(size.largest)))

    @property
    def sentence(self) -> str:
        """The verdict on the ladder."""
        low, high = self.ratio_interval
        off = [size for size in self.sizes if size.standing == "stands off"]
        said = (
            f"The sizes spread {self.ratio:.2f} times as far as seeds alone would spread their means (90 % interval "
            f"{low:.2f} to {high:.2f}; noise alone stays below {self.noise_reach:.2f})"
        )
        if not off:
            doubt = [size for size in self.sizes if size.standing == "E decides"]
            if doubt:
                names = ", ".join(count(size.params) for size in doubt)
                return f"{said}: whether {names} stands off hangs on E."
            return f"{said}: the ladder collapses within seed noise."
        if len(off) == len(self.sizes):
            return f"{said}: no two sizes share a curve; {count(self.worst.params)} is farthest off.{self._fanned}"
        names = " and ".join(f"{count(size.params)} {size.verdict}" for size in off)
        return f"{said}: {names}.{self._fanned}"

    @property
    def _fanned(self) -> str:
        """What it may mean that the sizes lie in their order; nothing where they do not."""
        at = int(np.argmin(np.abs(self.x - self.worst.at)))
        steps = np.diff([size.normalised[at] for size in self.sizes])
        if not (np.all(steps > 0) or np.all(steps < 0)):
            return ""
        return " They lie in the order of size, as under a wrong gamma, E, or exponent of the learning rate."

    @property
    def report(self) -> TableReport:
        """The sizes, then the verdict, then what it rests on."""
        head = ("size", "tokens", "of the ladder's", "seeds", "deviation", "at x", "")
        lines = [
            (
                count(size.params),
                count(size.tokens),
                f"{size.of_ladder:.2f}",
                str(size.seeds),
                f"{size.largest:+.1f}",
                f"{size.at:.2g}",
                size.verdict,
            )
            for size in self.sizes
        ]
        x = self.x[self.scored]
        low, high = self.warm
        basis = (
            f"D in proportion to N^{self.gamma:.3f}; E = {self.irreducible}, moved by {self.shift:+.3f} to training "
            f"losses; the warm-up is {f'{low:.0%}' if low == high else f'{low:.0%} to {high:.0%}'} of a run; scored "
            f"from x = {x[0]:.2g} to {x[-1]:.2g}. Deviations are in standard deviations between seeds, and noise alone "
            f"stays within {self.bound:.1f} at all sizes and places."
        )
        paper = (
            f"Single runs of all sizes spread {self.super_ratio:.2f} times as far as the curves of one size before "
            f"they are normalised{' (supercollapse)' if self.super_ratio < 1 else ''}."
        )
        lost = f"{self.dropped:.0%} of the draws of E reach a measured loss and are left out." if self.dropped else ""
        out = f"No rung near the ladder: {', '.join(map(count, self.left_out))}." if self.left_out else ""
        sentences = [wrapped(text) for text in (self.sentence, paper, basis, lost, out) if text]
        return TableReport(tables=((head, lines),), sentences=sentences)


def floor_of(table: Table) -> Irreducible | None:
    """E by the table's floor, which is exact; None where a row that is done has none."""
    floors = table.where(lambda row: row["status"] == "done").column("floor")
    if not len(floors) or np.isnan(floors).any():
        return None
    return Irreducible(value=float(floors.mean()), draws=None, source="by the exact floor")


def irreducible_of(base: Fit) -> Irreducible:
    """E by a fit of the loss, with its draws; raises `SimlawError` where it is not valid or its law has no E."""
    if "E" not in base.law.values or base.health != "VALID":
        health = f"the fit of {type(base.law).__name__} is {base.health}"
        raise SimlawError(
            f"the irreducible loss is not known: {health}; give irreducible=…, the loss in nats per token"
        )
    drawn = None if base.draws is None else np.ravel(np.asarray(base.draws.values["E"], np.float64))
    return Irreducible(value=float(base.law.values["E"]), draws=drawn, source=f"by {type(base.law).__name__}")


def gamma_of(base: Fit) -> float:
    """The power of N that compute-optimal tokens are in proportion to: alpha / beta of Chinchilla's law.

    Raises `SimlawError` where there is no valid fit of it.
    """
    if not isinstance(base.law, Chinchilla) or base.health != "VALID":
        health = f"the fit of {type(base.law).__name__} is {base.health}"
        raise SimlawError(f"the compute-optimal proportion is not known: {health}; give gamma=…, of D in N^gamma")
    return float(base.law.alpha / base.law.beta)


def collapse(
    curves: LossCurves,
    table: Table,
    *,
    irreducible: Irreducible,
    gamma: float,
    tolerance: float = 1.25,
    draws: int = 1000,
    seed: int = 0,
) -> Collapse:
    """The health of the ladder D = c·N^gamma in a table, from the loss curves of its runs; see `ladder` for the rungs.

    A curve is scored from twice the longest warm-up on. Sizes are means over seeds, in ln l. The noise of seeds is
    drawn as Gaussian mixtures of whole residual curves (a multiplier bootstrap), so places keep their correlation, and
    each draw of E is taken with one of the noise. Where noise hardly lasts from place to place, mixtures of few curves
    are more alike over places than the noise is, and intervals and bounds err on the wide side.

    Raises `SimlawError` for fewer than three sizes, no replicates, an E that reaches a loss, and curves that end in
    their warm-up.
    """
    rows, rungs, left_out = _rungs(curves, table, gamma, tolerance)
    x, raw = _aligned([curves.by_run[row["run_id"]] for row in rows])
    warm = [(row["warmup_tokens"] or 0) / row["tokens"] for row in rows]
    scored = (x >= 2 * max(warm)) & (x < 1)
    if scored.sum() < LEAST_PLACES:
        raise SimlawError(
            f"the warm-up is {max(warm):.0%} of a run of this ladder, so {scored.sum()} places are left to score: take "
            "longer runs or a shorter warm-up"
        )
    size = np.array([[row["params_blocks"] == rung.params for row in rows] for rung in rungs])
    mean = size / size.sum(axis=1, keepdims=True)
    freedom = len(rows) - len(rungs)
    if not freedom:
        raise SimlawError("no size of the ladder has two seeds, so the noise between seeds is unknown: add seeds")
    shift = float(np.mean(raw[:, -1] - [row["loss"] for row in rows]))
    floor, drawn, dropped = _moved(irreducible, shift, float(raw.min()), draws)
    judge = Judge(mean=mean, freedom=freedom, smooth=running(int(scored.sum())))

    y = _logs(raw, np.array([floor]))[0][:, scored]
    rng = np.random.default_rng(seed)
    residual = y - size.T @ (mean @ y)
    if not residual.any():
        raise SimlawError(
            "all seeds of every size have the same curve, so there is no noise to judge by: look at the file"
        )
    # as many mixtures of the residual curves as runs: each has the seeds' covariance between places
    noise = rng.normal(size=(draws, len(rows), len(rows))) @ residual / np.sqrt(freedom)
    everyone = np.ones(len(rungs), bool)
    alone = np.abs(judge.standard(noise, everyone)).max(axis=(1, 2))
    limit = float(np.quantile(alone, CONFIDENT))
    reach = float(np.quantile(judge.ratio(mean @ noise, judge.variance(noise)), CONFIDENT))
    trusted = judge.peeled(y, limit)

    ys = _logs(raw, drawn)[..., scored]
    # drawn about the measured means, a draw has the noise of seeds twice: 1 of the squared ratio is taken off
    twice = judge.ratio(mean @ (ys + noise[: len(drawn)]), judge.variance(noise[: len(drawn)]))
    low, high = interval(np.sqrt(np.maximum(0.0, twice**2 - 1)))
    off = np.abs(judge.standard(y[None], trusted)[0]).max(axis=1) > limit
    surely = np.mean(np.abs(judge.standard(ys, trusted)).max(axis=2) > limit, axis=0) >= CONFIDENT
    deviation = judge.deviation(y[None], trusted)[0]
    ends = interval(judge.deviation(ys, trusted))
    normalised = np.exp(mean @ _logs(raw, np.array([floor]))[0])
    variance, between = judge.variance(y[None])[0], (mean @ y).var(axis=0, ddof=1)
    per_mean = np.mean(np.sum(mean**2, axis=1))
    single = between + variance * (1 - per_mean)
    before = judge.variance(np.log(raw - floor)[None][..., scored])[0]

    def placed(values: Float[np.ndarray, " m"]) -> Float[np.ndarray, " n"]:
        whole = np.full(len(x), np.nan)
        whole[scored] = values
        return whole

    far = np.argmax(np.abs(deviation), axis=1)
    sizes = tuple(
        SizeHealth(
            params=rung.params,
            tokens=rung.tokens,
            of_ladder=rung.of_ladder,
            seeds=int(size[i].sum()),
            loss=mean[i] @ raw,
            normalised=normalised[i],
            deviation=placed(deviation[i]),
            low=placed(ends[0][i]),
            high=placed(ends[1][i]),
            largest=float(deviation[i, far[i]]),
            at=float(x[scored][far[i]]),
            standing="collapses" if not off[i] else "stands off" if surely[i] else "E decides",
        )
        for i, rung in enumerate(rungs)
    )
    return Collapse(
        gamma=gamma,
        irreducible=irreducible,
        shift=shift,
        x=x,
        scored=scored,
        sizes=sizes,
        common=np.exp(np.log(normalised[trusted]).mean(axis=0)),
        spread=placed(np.sqrt(variance)),
        ratio=float(judge.ratio((mean @ y)[None], variance[None])[0]),
        ratio_interval=(float(low), float(high)),
        ratio_at=placed(np.sqrt(between / (variance * per_mean))),
        noise_reach=reach,
        bound=limit * float(judge.errors(everyone).max()),
        super_ratio=float(np.sqrt(single.sum() / before.sum())),
        dropped=dropped,
        warm=(min(warm), max(warm)),
        left_out=left_out,
    )


def _rungs(
    curves: LossCurves, table: Table, gamma: float, tolerance: float
) -> tuple[list[Row], tuple[Rung, ...], tuple[int, ...]]:
    """The rows of the ladder's runs, its rungs, and the sizes that have none."""
    if not np.isfinite(gamma):
        raise SimlawError(f"gamma={gamma:g}: it is the power of N that tokens are in proportion to, a finite number")
    known = curves.by_run
    kept = [row for row in usable(table)[0] if row["ptq_bits"] is None]
    with_curve = [row for row in kept if row["run_id"] in known]
    if not with_curve:
        raise SimlawError(
            f"none of the {len(kept)} runs of the table has a loss curve: `simlaw table SWEEP --write` writes them "
            "where the store has their histories"
        )
    tokens: dict[int, list[int]] = {}
    for row in with_curve:
        tokens.setdefault(row["params_blocks"], []).append(row["tokens"])
    rungs = ladder(tokens, gamma=gamma, tolerance=tolerance)
    if len(rungs) < LEAST_SIZES:
        there = "; ".join(f"{count(n)} on {', '.join(map(count, sorted(set(ds))))}" for n, ds in sorted(tokens.items()))
        raise SimlawError(
            f"{len(rungs)} sizes have a rung within {tolerance:g} x of one ladder D = c·N^{gamma:.3g}, and two cannot "
            f"say which of them stands off: with curves there are {there}; add runs on the ladder, or raise tolerance=…"
        )
    chosen = {(rung.params, rung.tokens) for rung in rungs}
    rows = [row for row in with_curve if (row["params_blocks"], row["tokens"]) in chosen]
    return rows, rungs, tuple(sorted(set(tokens) - {rung.params for rung in rungs}))


def _aligned(curves: Sequence[LossCurve]) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "r n"]]:
    """The places that all curves reach, and their losses there.

    Their own places are the same shares but for the rounding to whole steps: they are interpolated, in logarithms.
    """
    shares = [curve.tokens / curve.tokens[-1] for curve in curves]
    x = PLACES[max(share[0] for share in shares) <= PLACES]
    at = [np.interp(np.log(x), np.log(s), np.log(curve.loss)) for s, curve in zip(shares, curves, strict=True)]
    return x, np.exp(np.stack(at))


def _moved(e: Irreducible, shift: float, lowest: float, draws: int) -> tuple[float, Float[np.ndarray, " k"], float]:
    """E of the training losses, its draws that stay below the lowest of them, and the share of those that do not."""
    value = e.value + shift
    drawn = np.full(draws, value) if e.draws is None else np.resize(e.draws, draws) + shift
    inside = drawn < lowest
    if value >= lowest or inside.mean() < 1 / 2:
        what = f"E = {e.value:.3f}" if value >= lowest else f"half the draws of E = {e.value:.3f}"
        raise SimlawError(
            f"{what} {e.source}, moved by {shift:+.3f} nats to training losses, reach the lowest of them, "
            f"{lowest:.3f}: give irreducible=… below every loss, or fit more sizes and tokens"
        )
    return value, drawn[inside], float(1 - inside.mean())


def _logs(raw: Float[np.ndarray, "r n"], floor: Float[np.ndarray, " b"]) -> Float[np.ndarray, "b r n"]:
    """ln l at every place, for every E."""
    excess = np.log(raw[None] - floor[:, None, None])
    return excess - excess[..., -1:]
