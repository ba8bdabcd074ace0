"""Decisions: at equal stored bytes and equal training compute (or tokens), which size at which precision?

The rival of a quantised large model is the best smaller model at its own best precision, 16 bits being one of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from simlaw.decision.amounts import NOTHING
from simlaw.decision.baselines import SLACK, Baseline, Cells, baselines
from simlaw.decision.critical import rise
from simlaw.decision.surface import UNQUANTIZED, Storage, Surface
from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit
from simlaw.fitting.uncertainty import interval
from simlaw.observations import usable
from simlaw.report import count, power_of_ten, precision, size
from simlaw.table import Table

#: What both sides of a comparison are given beside the bytes: training FLOPs (6·N·D) or training tokens.
Convention = Literal["compute", "tokens"]
#: Tokens this many times outside the measured ones are out of a law's reach.
_FAR = 10.0
#: Sizes tried between the smallest and the largest measured one.
_SIZES = 120


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The best size at one precision within a budget, by the law: loss in nats per token and its interval.

    Losses and intervals are those on the sweep's held-out tokens, the same for all plans; sizes are the estimate's, in
    every draw. `gap` is how much worse it is than the best plan, drawn with the same draws; `best` the share of draws
    in which it is the best of all. `edge` is true where a size outside the measured ones would use the budget better.
    """

    bits: float
    params: float
    tokens: float
    bytes: float
    loss: float
    interval: tuple[float, float]
    gap: float
    gap_interval: tuple[float, float]
    best: float
    edge: bool


@dataclass(frozen=True, kw_only=True)
class MeasuredCell:
    """A measured size, token count and precision: mean loss over seeds and its standard error (None for one seed)."""

    bits: float
    params: int
    tokens: int
    bytes: float
    flops: float
    loss: float
    error: float | None
    seeds: int


@dataclass(frozen=True, kw_only=True)
class PrecisionCrossover:
    """Where one precision overtakes another as the budget grows, and stays ahead as far as runs were measured.

    `share` of the draws have it between the cheapest and the dearest measured amount. An end of the interval is
    infinite where more draws than it may leave out have it beyond those.
    """

    overtakes: float
    overtaken: float
    at: float
    interval: tuple[float, float]
    share: float


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The answer under a budget: whether it is identified, a sentence, and what the sentence rests on.

    `baselines` are what somebody without a law would take of the measured cells within the budget.
    """

    identified: bool
    sentence: str
    convention: Convention
    bytes_column: str
    bytes: float
    amount: float
    plans: tuple[Plan, ...]
    measured: tuple[MeasuredCell, ...]
    crossing: PrecisionCrossover | None
    baselines: tuple[Baseline, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Question:
    """A budget and its conventions; `amount` is training FLOPs by 6·N·D, or training tokens."""

    bytes: float
    amount: float
    convention: Convention = "compute"
    bytes_column: str = "bytes_blocks"
    granularity: str = "channel"

    def tokens(self, n: Float[np.ndarray, "..."], amount: Float[np.ndarray, "..."] | None = None) -> Any:
        """The training tokens that the budget, or another amount, buys for models of `n` parameters."""
        amount = np.array(self.amount) if amount is None else amount
        return amount / (6 * n) if self.convention == "compute" else np.broadcast_to(amount, n.shape)


def decide(question: Question, table: Table, base: Fit, penalty: Fit) -> Decision:
    """The best plan at every precision, ranked, with what was measured and where the winner changes.

    Only precisions inside the penalty fit's range and sizes between the measured ones are candidates. Raises
    `SimlawError` where no candidate fits the bytes.
    """
    kept, _ = usable(table)
    surface = Surface.of(base, penalty, np.unique(kept.column("params_blocks")))
    storage = Storage.of(kept, question.bytes_column, question.granularity)
    low, high = penalty.ranges["P_post"]
    bits = tuple(b for b in storage.precisions if low <= b <= high or b == UNQUANTIZED)
    plans = _plans(question, surface, storage, bits)
    if not plans:
        least = float(storage.bytes(storage.sizes[:1], bits[0])[0])
        raise SimlawError(
            f"no measured size fits {question.bytes:g} bytes: the smallest takes {least:.0f} at {precision(bits[0])}; "
            "raise the bytes or add smaller sizes"
        )
    amounts = kept.column("flops_train_6nd" if question.convention == "compute" else "tokens")
    crossing = _crossing(question, surface, storage, plans, (float(amounts.min()), float(amounts.max())))
    unhealthy = [fit for fit in (base, penalty) if fit.health != "VALID"]
    measured = measured_cells(question, kept, bits)
    decision = Decision(
        identified=False,
        sentence="",
        convention=question.convention,
        bytes_column=question.bytes_column,
        bytes=question.bytes,
        amount=question.amount,
        plans=plans,
        measured=measured,
        crossing=crossing,
        baselines=_baselines(question, measured, plans[0].bits),
    )
    if unhealthy:
        why = f"the fit of {type(unhealthy[0].law).__name__} is {unhealthy[0].health}: {unhealthy[0].sentence}"
        return replace(decision, sentence=f"not identified: {why}.", plans=(), crossing=None, baselines=())
    return _verdict(decision, (float(kept.column("tokens").min()), float(kept.column("tokens").max())))


def measured_cells(question: Question, table: Table, bits: tuple[float, ...]) -> tuple[MeasuredCell, ...]:
    """The measured cells within the budget, best first; the amount may be exceeded by 1 % (rounding to batches)."""
    cells: dict[tuple[float, int, int], list[dict[str, float]]] = {}
    for row in table:
        width = float(row["ptq_bits"] or UNQUANTIZED)
        if width in bits and (row["ptq_bits"] is None or row["ptq_granularity"] == question.granularity):
            cells.setdefault((width, row["params_blocks"], row["tokens"]), []).append(dict(row))
    amount = "flops_train_6nd" if question.convention == "compute" else "tokens"
    found = [
        MeasuredCell(
            bits=width,
            params=n,
            tokens=d,
            bytes=rows[0][question.bytes_column],
            flops=rows[0]["flops_train_6nd"],
            loss=float(np.mean([row["loss"] for row in rows])),
            error=float(np.std([row["loss"] for row in rows], ddof=1) / np.sqrt(len(rows))) if len(rows) > 1 else None,
            seeds=len(rows),
        )
        for (width, n, d), rows in cells.items()
        if rows[0][question.bytes_column] <= question.bytes and rows[0][amount] <= SLACK * question.amount
    ]
    return tuple(sorted(found, key=lambda cell: cell.loss))


def best_size(question: Question, surface: Surface, storage: Storage, bits: float) -> float | None:
    """The size that is best at these bits within the budget; None where none fits."""
    sizes = _candidates(question, storage, bits)
    if not sizes.size:
        return None
    return float(_best_sizes(question, surface, sizes, bits, np.array([question.amount]))[0])


def _candidates(question: Question, storage: Storage, bits: float) -> Float[np.ndarray, " q"]:
    """Sizes that fit the bytes, ascending; the largest of all is one of them, so that answers do not jump."""
    sizes = np.geomspace(storage.sizes[0], storage.sizes[-1], _SIZES)
    fits = sizes[storage.bytes(sizes, bits) <= question.bytes]
    if not 0 < fits.size < sizes.size:
        return fits
    low, high = fits[-1], sizes[fits.size]
    for _ in range(40):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if storage.bytes(np.array(middle), bits) <= question.bytes else (low, middle)
    return np.append(fits, low)


def _best_sizes(
    question: Question, surface: Surface, sizes: Float[np.ndarray, " q"], bits: float, amounts: Float[np.ndarray, " a"]
) -> Float[np.ndarray, " a"]:
    """The best of the sizes at each amount of compute or tokens."""
    n = np.broadcast_to(sizes, (len(amounts), len(sizes)))
    loss = surface.loss(n, question.tokens(n, amounts[:, None]), np.full_like(n, bits))
    return sizes[loss.argmin(axis=1)]


def _plans(question: Question, surface: Surface, storage: Storage, bits: tuple[float, ...]) -> tuple[Plan, ...]:
    sizes = {b: found for b in bits if (found := best_size(question, surface, storage, b))}
    if not sizes:
        return ()
    n = np.array(list(sizes.values()))
    p = np.array(list(sizes))
    d = question.tokens(n)
    loss, drawn = surface.loss(n, d, p), surface.ensemble(n, d, p)
    top = int(np.argmin(loss))
    gaps = drawn - drawn[:, [top]]
    best = np.bincount(drawn.argmin(axis=1), minlength=len(n)) / len(drawn)
    ends = (storage.sizes[0] * 1.001, storage.sizes[-1] * 0.999)
    made = [
        Plan(
            bits=float(p[i]),
            params=float(n[i]),
            tokens=float(d[i]),
            bytes=float(storage.bytes(n[[i]], float(p[i]))[0]),
            loss=float(loss[i]),
            interval=interval(drawn[:, i]),
            gap=float(loss[i] - loss[top]),
            gap_interval=interval(gaps[:, i]),
            best=float(best[i]),
            edge=bool(n[i] <= ends[0] or n[i] >= ends[1]),
        )
        for i in range(len(n))
    ]
    return tuple(sorted(made, key=lambda plan: plan.loss))


def _crossing(
    question: Question,
    surface: Surface,
    storage: Storage,
    plans: tuple[Plan, ...],
    ends: tuple[float, float],
) -> PrecisionCrossover | None:
    """Where the nearest other precision that is best above the budget (else below it) takes over.

    Searched where the runs were: between the cheapest and the dearest measured amount.
    """
    amounts = np.geomspace(*ends, 61)
    bits = np.array(sorted(plan.bits for plan in plans))
    each = [_best_sizes(question, surface, _candidates(question, storage, b), b, amounts) for b in bits]
    sizes = np.stack(each, axis=1)
    tokens = question.tokens(sizes, amounts[:, None])
    widths = np.broadcast_to(bits, sizes.shape)
    best = surface.loss(sizes, tokens, widths).argmin(axis=1)
    winner = list(bits).index(plans[0].bits)
    above = [i for i in range(len(amounts)) if amounts[i] > question.amount and best[i] != winner]
    below = [i for i in range(len(amounts)) if amounts[i] <= question.amount and best[i] != winner]
    if not above and not below:
        return None
    at = above[0] if above else below[-1]
    other = best[at]
    drawn = surface.ensemble(sizes, tokens, widths)
    lead = drawn[:, :, winner] - drawn[:, :, other]  # positive where the other one is better
    # upwards the other overtakes the winner; downwards the winner overtakes the other
    sign = 1.0 if above else -1.0
    places = np.array([rise(np.log(amounts), sign * row) for row in lead])
    ahead = sign * np.diff(surface.loss(sizes, tokens, widths)[:, [other, winner]], axis=1)[:, 0]
    near = slice(0, at + 1) if above else slice(at, None)
    estimate = np.clip(rise(np.log(amounts[near]), ahead[near]), *np.log(ends))
    low, high = interval(places)
    return PrecisionCrossover(
        overtakes=float(bits[other] if above else bits[winner]),
        overtaken=float(bits[winner] if above else bits[other]),
        at=float(np.exp(estimate)),
        interval=(float(np.exp(low)), float(np.exp(high))),
        share=float(np.isfinite(places).mean()),
    )


def _baselines(question: Question, measured: tuple[MeasuredCell, ...], best: float) -> tuple[Baseline, ...]:
    n, d, bits, loss = (
        np.array([float(getattr(cell, name)) for cell in measured]) for name in ("params", "tokens", "bits", "loss")
    )
    cells = Cells(params=n, tokens=d, bits=bits, loss=loss)
    return baselines(cells, best, d if question.convention == "tokens" else cells.flops)


def _verdict(decision: Decision, tokens: tuple[float, float]) -> Decision:
    """The decision with its sentence: identified where the best plan can be told from its rivals."""
    plans = decision.plans
    best = plans[0]
    if len(plans) == 1:
        sentence = (
            f"not identified: {size(decision.bytes)} hold no measured size at any precision but "
            f"{precision(best.bits)}, so there is nothing to compare; raise the bytes or add smaller sizes."
        )
        return replace(decision, sentence=sentence)
    far = max(tokens[0] / best.tokens, best.tokens / tokens[1])
    if far > _FAR:
        sentence = (
            f"not identified: by the law the best choice is {count(best.params)} parameters at {precision(best.bits)} "
            f"on {count(best.tokens)} tokens, {far:.3g} times outside the measured {count(tokens[0])} to "
            f"{count(tokens[1])}."
        )
        return replace(decision, sentence=sentence)
    tied = [plan for plan in plans[1:] if plan.gap_interval[0] <= NOTHING]
    what = "block bytes" if decision.bytes_column == "bytes_blocks" else "bytes in all"
    amount = "training FLOPs" if decision.convention == "compute" else "training tokens"
    budget = f"At {size(decision.bytes)} of {what} and {power_of_ten(decision.amount)} {amount}"
    plan = f"{count(best.params)} parameters at {precision(best.bits)}"
    other, far_end = rivals(plans)
    for rival, least in ((other, 0.0), (far_end, NOTHING)):
        if rival is not None and rival.gap_interval[0] <= least:
            sentence = (
                f"not identified: {budget[0].lower()}{budget[1:]}, {plan} and {count(rival.params)} at "
                f"{precision(rival.bits)} cannot be told apart: {_gap(rival, ' nats')}."
            )
            return replace(decision, sentence=sentence)
    parts = [f"{budget} the best choice is {plan}"]
    if tied:
        parts[0] += f" ({', '.join(precision(p.bits) for p in tied)} within noise)"
    parts.append(_losers([rival for rival in (other, far_end) if rival is not None]))
    if best.edge:
        parts.append("it is at the edge of the measured sizes, so a size beyond may be better still")
    if not tokens[0] <= best.tokens <= tokens[1]:
        parts.append(
            f"its {count(best.tokens)} tokens are outside the measured {count(tokens[0])} to {count(tokens[1])}"
        )
    crossing = decision.crossing
    if crossing is None:
        parts.append(f"no other precision overtakes it at any measured {amount}")
    else:
        which = f"{precision(crossing.overtakes)} overtakes {precision(crossing.overtaken)}"
        if np.isfinite(crossing.interval).all():
            a, b = map(power_of_ten, crossing.interval)
            parts.append(f"{which} from {power_of_ten(crossing.at)} {amount} (90 % interval {a} to {b})")
        else:
            parts.append(
                f"where {which} is not identified (about {power_of_ten(crossing.at)} {amount}; "
                f"{crossing.share:.0%} of the draws have it inside the data)"
            )
    return replace(decision, identified=True, sentence="; ".join(parts) + ".")


def rivals(plans: Sequence[Plan]) -> tuple[Plan | None, Plan | None]:
    """What the best plan must beat: the best of the other kind, 16 bit or quantized; and, where another one, the end.

    The end is the coarsest precision, or the finest where the coarsest is the best. The first answers whether to
    quantize or to train a smaller model, the second whether rounding costs anything here.
    """
    best = plans[0]
    other = next((p for p in plans if (p.bits == UNQUANTIZED) != (best.bits == UNQUANTIZED)), None)
    by_bits = sorted(plans, key=lambda plan: plan.bits)
    end = by_bits[0] if by_bits[0] is not best else by_bits[-1]
    return other, None if end is other else end


def _losers(rivals: Sequence[Plan]) -> str:
    """By how much each rival loses to the best."""
    said = []
    for i, rival in enumerate(rivals):
        who = f"{count(rival.params)} at {precision(rival.bits)}"
        if rival.gap <= NOTHING:
            said.append(f"{who} is as good to a thousandth")
        else:
            said.append(f"{who} loses to it by {_gap(rival, ' nats')}" if not i else f"{who} by {_gap(rival)}")
    return ", ".join(said)


def _gap(rival: Plan, unit: str = "") -> str:
    low, high = rival.gap_interval
    return f"{rival.gap:.3f}{unit} ({'90 % interval ' if unit else ''}{low:.3f} to {high:.3f})"
