"""Choices by a law alone: which size in which shipped format, within stored bytes and training FLOPs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from simlaw.allocate import Lawful, beyond, parts_of, require_budget
from simlaw.errors import SimlawError
from simlaw.fitting import Fit
from simlaw.law import AbstractLaw, AbstractLossLaw, AbstractPenalty, QuantizedLaw
from simlaw.report import AbstractReported, TableReport, count, power_of_ten, size
from simlaw.surface import Surface
from simlaw.uncertainty import interval

#: Sizes tried within the bytes, down to a millionth of the largest that fits.
_SIZES = np.geomspace(1e-6, 1.0, 1201)


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """A weight format that ships: the bits by which a law knows it, and the bits it stores, scales included.

    A law fitted to integers knows a floating-point element by its number of bits alone.
    """

    name: str
    bits: float
    stored: float


SHIPPED = (
    Shipped(name="bf16", bits=np.inf, stored=16.0),
    Shipped(name="mxfp8", bits=8, stored=8.25),  # 8-bit scale for 32 values
    Shipped(name="fp8", bits=8, stored=8.0),
    Shipped(name="int8", bits=8, stored=8.0),
    Shipped(name="int6 g128", bits=6, stored=6.125),  # 16-bit scale for 128 values
    Shipped(name="int5 g128", bits=5, stored=5.125),
    Shipped(name="nvfp4", bits=4, stored=4.5),  # 8-bit scale for 16 values
    Shipped(name="mxfp4", bits=4, stored=4.25),
    Shipped(name="int4 g128", bits=4, stored=4.125),
    Shipped(name="int3 g128", bits=3, stored=3.125),
    Shipped(name="int2 g128", bits=2, stored=2.125),
)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """The best size in one format: loss in nats per token, its interval, and the share of draws in which it is best.

    Without draws there is no interval, and the best has the share 1.
    """

    format: Shipped
    params: float
    tokens: float
    loss: float
    interval: tuple[float, float] | None
    gap_interval: tuple[float, float] | None
    best: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Choice(AbstractReported):
    """The candidates, best first, and the answer in a sentence."""

    identified: bool
    sentence: str
    candidates: tuple[Candidate, ...]

    @property
    def report(self) -> TableReport:
        """The candidates as rows, and the answer."""
        rows = [
            (
                c.format.name,
                count(c.params),
                count(c.tokens),
                f"{c.loss:.4f}",
                f"{c.interval[0]:.4f} to {c.interval[1]:.4f}" if c.interval else "",
                f"{c.best:.0%}" if c.interval else "",
            )
            for c in self.candidates
        ]
        head = ("format", "parameters", "tokens", "loss", "90 % interval", "P(best)")
        return TableReport(tables=[(head, rows)], sentences=(self.sentence,))


def decide(
    law: Lawful,
    *,
    bytes: float,
    flops: float,
    penalty: Fit | AbstractPenalty | None = None,
    formats: Sequence[Shipped] = SHIPPED,
    force: bool = False,
) -> Choice:
    """Train a smaller model at 16 bits, or quantize a larger one, and to which format?

    Every format is given its best size within `bytes` of weights and `flops` = 6·N·D of training. The law knows the
    format by P_post, or `penalty` is added to it; formats outside the bits of a fit's rows are no candidates. Intervals
    are those of the draws; of a fit and a fitted penalty they hold the forms' own errors too, as in `simlaw decide`.
    "not identified" where a fit is not valid, or where quantizing and not quantizing cannot be told apart. Raises
    `SimlawError` for budgets that are not above 0, for laws that know no P_post, and where the best lies more than ten
    times outside the rows of the fit, unless `force`.
    """
    require_budget(bytes=bytes, flops=flops)
    for part in (law, penalty):
        if isinstance(part, Fit) and part.health != "VALID":
            sick = f"the fit of {type(part.law).__name__} is {part.health}: {part.sentence}"
            return Choice(identified=False, sentence=f"not identified: {sick}.", candidates=())
    ranges, estimate, draws = parts_of(law)
    drawing: AbstractLossLaw | QuantizedLaw | None = draws
    if penalty is not None:
        estimate, drawing, more = _joined(estimate, draws, penalty)
        ranges = {**more, **ranges}
    if isinstance(estimate, AbstractLaw) and "P_post" not in (*estimate.needs, *estimate.takes):
        raise SimlawError(
            f"{type(estimate).__name__} does not know P_post, so it cannot weigh formats: give penalty=…, or take "
            "allocate"
        )
    low, high = ranges.get("P_post", (0.0, np.inf))
    allowed = [f for f in formats if low <= f.bits <= high or np.isinf(f.bits)]
    sizes = np.stack([_SIZES * bytes * 8 / f.stored for f in allowed])
    tokens = flops / (6 * sizes)
    bits = np.broadcast_to(np.array([[f.bits] for f in allowed]), sizes.shape)
    loss: Float[np.ndarray, "f n"] = estimate.loss(N=sizes, D=tokens, P_post=bits)
    at = np.nanargmin(loss, axis=1)
    rows = np.arange(len(allowed))
    top = int(np.argmin(loss[rows, at]))
    n, d, p = sizes[rows, at], tokens[rows, at], bits[rows, at]
    drawn = None
    if isinstance(law, Fit) and isinstance(penalty, Fit) and law.draws is not None and penalty.draws is not None:
        low_n, high_n = law.ranges["N"]
        drawn = Surface.of(law, penalty, np.geomspace(low_n, high_n, 3)).ensemble(n, d, p)
    elif drawing is not None:
        drawn = drawing.loss(N=n, D=d, P_post=p)
    share = (
        np.eye(len(allowed))[top] if drawn is None else np.bincount(drawn.argmin(axis=1), minlength=len(n)) / len(drawn)
    )
    candidates = [
        Candidate(
            format=allowed[i],
            params=float(n[i]),
            tokens=float(d[i]),
            loss=float(loss[i, at[i]]),
            interval=None if drawn is None else _ends(drawn[:, i]),
            gap_interval=None if drawn is None else _ends(drawn[:, i] - drawn[:, top]),
            best=float(share[i]),
        )
        for i in rows
    ]
    candidates.sort(key=lambda c: c.loss)
    far = beyond(ranges, {"N": float(n[top]), "D": float(d[top]), "C": flops, "P_post": float(p[top])})
    if not force and any(factor > 10 for factor in far.values()):
        names = ", ".join(f"{name} by {factor:.3g} x" for name, factor in far.items())
        raise SimlawError(
            f"the answer lies outside the rows of the fit in {names}, more than 10 x: force=True gives it"
        )
    return _verdict(candidates, bytes, flops, far)


def _verdict(candidates: list[Candidate], bytes: float, flops: float, far: dict[str, float]) -> Choice:
    best = candidates[0]
    budget = f"within {size(bytes)} and {power_of_ten(flops)} training FLOPs"
    rival = _rival(candidates)
    tied = [c for c in candidates[1:] if c.gap_interval and c.gap_interval[0] <= 0]
    if rival in tied:
        sentence = (
            f"not identified: {budget}, {_plan(best)} and {_plan(rival)} cannot be told apart "
            f"({rival.loss - best.loss:.4f} nats)."
        )
        return Choice(identified=False, sentence=sentence, candidates=tuple(candidates))
    verb = "train" if np.isinf(best.format.bits) else "quantize"
    sentence = (
        f"{verb} {_plan(best)}, {budget}: {best.loss:.4f} nats; {_plan(rival)} loses by {rival.loss - best.loss:.4f}"
    )
    if rival.gap_interval:
        sentence += f" (90 % interval {rival.gap_interval[0]:.4f} to {rival.gap_interval[1]:.4f})"
    if tied:
        sentence += f"; within noise: {', '.join(c.format.name for c in tied)}"
    if far:
        names = ", ".join(f"{name} by {factor:.3g} x" for name, factor in far.items())
        sentence += f"; that extrapolates beyond the rows of the fit in {names}"
    return Choice(identified=True, sentence=sentence + ".", candidates=tuple(candidates))


def _rival(candidates: list[Candidate]) -> Candidate:
    """What the best one must beat: 16 bits; or, where they are the best, the best quantized one."""
    quantized = [c for c in candidates if np.isfinite(c.format.bits)]
    plain = [c for c in candidates if np.isinf(c.format.bits)]
    others = plain if candidates[0] in quantized else quantized
    return others[0] if others else candidates[-1]


def _plan(candidate: Candidate) -> str:
    return f"N={count(candidate.params)} in {candidate.format.name}"


def _ends(drawn: Float[np.ndarray, " k"]) -> tuple[float, float]:
    low, high = interval(drawn)
    return float(low), float(high)


def _joined(
    base: AbstractLaw | QuantizedLaw, draws: AbstractLaw | QuantizedLaw | None, penalty: Fit | AbstractPenalty
) -> tuple[QuantizedLaw, QuantizedLaw | None, dict[str, tuple[float, float]]]:
    """A loss law with a penalty, and their draws paired in their order (the same trunks, where they were fitted so)."""
    if isinstance(base, QuantizedLaw):
        raise SimlawError("the law has a penalty of its own: leave penalty=… out")
    law = penalty.law if isinstance(penalty, Fit) else penalty
    found = penalty.draws if isinstance(penalty, Fit) else None
    if not isinstance(law, AbstractPenalty):
        raise SimlawError(f"{type(law).__name__} is no law of the penalty: give one")
    both = None
    if isinstance(draws, AbstractLaw):
        assert found is None or isinstance(found, AbstractPenalty)
        both = QuantizedLaw(base=draws, penalty=found or law)  # type: ignore[arg-type]
    ranges = dict(penalty.ranges) if isinstance(penalty, Fit) else {}
    return QuantizedLaw(base=base, penalty=law), both, ranges  # type: ignore[arg-type]
