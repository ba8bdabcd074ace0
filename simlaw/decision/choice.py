"""Choices by a law alone: which size in which format, quantized when, within stored bytes and FLOPs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from simlaw.decision.allocate import Lawful, beyond, factors, refuse_far
from simlaw.decision.amounts import NOTHING
from simlaw.decision.baselines import Baseline, Cells, baselines, baselines_text
from simlaw.decision.cache import Cache
from simlaw.decision.cost import FLOPS, CostTable, named_with
from simlaw.decision.named import cost_of, formats_of, trainings_of
from simlaw.decision.options import Plans, best_plans, options_of, own_sizes
from simlaw.decision.resources import Option, Resources, Training
from simlaw.decision.shipped import SHIPPED, Shipped
from simlaw.decision.surface import fits_behind, surface_of
from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit
from simlaw.fitting.uncertainty import interval
from simlaw.law import AbstractLossLaw, AbstractPenalty, QuantizedLaw
from simlaw.observations import Observations
from simlaw.published import Published
from simlaw.report import AbstractReported, TableCells, TableReport, count, size, wrapped


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """The best size of one option: loss in nats per token, its interval, and the share of draws in which it is best.

    `params` and `tokens` are the estimate's, and the losses of all draws are taken there; their intervals are those of
    the draws' own best sizes, without the forms' own errors. `bytes` are those of the weights, and of the cache where
    there is one. Without draws there is no interval, and the best has the share 1. Options that tie exactly share their
    draws.
    """

    option: Option
    params: float
    tokens: float
    bytes: float
    loss: float
    interval: tuple[float, float] | None
    gap_interval: tuple[float, float] | None
    best: float
    params_interval: tuple[float, float] | None
    tokens_interval: tuple[float, float] | None

    @property
    def format(self) -> Shipped:
        """The format of the weights."""
        return self.option.format

    @property
    def plan(self) -> str:
        """The candidate in words: "N=129M in int5 g128"."""
        how = "in" if self.option.plain or self.option.training is None else "trained in"
        return f"N={count(self.params)} {how} {self.format.name}"


@dataclass(frozen=True, kw_only=True)
class ByCost:
    """The best option if costs were those of another table, by the estimate."""

    cost: str
    option: Option
    params: float
    tokens: float
    loss: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Choice(AbstractReported):
    """The candidates, best first, and the answer in a sentence.

    `by_cost` is the best option under every named cost table; empty where costs change nothing, because all options
    train at 16 bits and nothing is served. `outside` says by which factor the best lies outside the rows of the fit in
    each of N, D, C and the precisions; `left_out` why an option is no candidate; `baselines` what measured cells alone
    say of the same plans, where they were given. `notes` are what a reader of the candidates must know. `identified` is
    true where the best kind of plan leads the next by more than half a thousandth nat, in nearly all draws.
    """

    identified: bool
    sentence: str
    candidates: tuple[Candidate, ...]
    by_cost: tuple[ByCost, ...] = ()
    outside: Mapping[str, float] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    baselines: tuple[Baseline, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def report(self) -> TableReport:
        """The candidates as rows, the best under every cost table, what needs no law, and the answer."""
        if not self.candidates:
            return TableReport(sentences=(self.sentence,))
        drawn = self.candidates[0].interval is not None
        head = ("format", "quantized", "parameters", "tokens", "bytes", "loss", "90 % interval", "P(best)")
        rows = [
            (
                c.format.name,
                c.option.how,
                count(c.params),
                count(c.tokens),
                size(c.bytes),
                f"{c.loss:.4f}",
                f"{c.interval[0]:.4f} to {c.interval[1]:.4f}" if c.interval else "",
                f"{c.best:.0%}",
            )
            for c in self.candidates
        ]
        tables: list[TableCells] = [(head, rows) if drawn else (head[:6], [row[:6] for row in rows])]
        if self.by_cost:
            costs = [
                (one.cost, one.option.format.name, one.option.how, count(one.params), count(one.tokens))
                for one in self.by_cost
            ]
            tables.append((("best by cost table", "format", "quantized", "parameters", "tokens"), costs))
        said = [*([null] if (null := baselines_text(self.baselines)) else []), self.sentence]
        if self.left_out:
            said.append("left out: " + "; ".join(f"{name} ({why})" for name, why in self.left_out.items()))
        said += self.notes
        return TableReport(tables=tables, sentences=[wrapped(sentence) for sentence in said])


def decide(
    law: Lawful,
    *,
    bytes: float | None = None,
    flops: float | None = None,
    tokens: float | None = None,
    serve_tokens: float = 0.0,
    serve_flops: float | None = None,
    cache: Cache | None = None,
    cost: CostTable | str = FLOPS,
    penalty: Fit | Published | AbstractPenalty | None = None,
    formats: Sequence[Shipped | str] | str = SHIPPED,
    training: Sequence[Training | str] | str | None = None,
    measured: Observations | None = None,
    force: bool = False,
) -> Choice:
    """Train a smaller model at 16 bits, quantize a larger one, or train one in low precision; and in which format?

    Every format is given its best size and data within the resources (`Resources` says what each bounds): `bytes` of
    weights, and of a `cache` with them; `flops` of training together with `serve_tokens`, or training `tokens`; or
    `serve_flops` for serving by itself. So the rival of any plan is the best one of every other kind at the same
    budget. A model gets into a format after training where the law knows P_post, or a `penalty` is given; and in
    training, by the kinds of `training`: by default, weights in the format where the law knows P_w. Formats outside the
    bits of a fit's rows are no candidates. Formats, kinds of training and cost tables may be given by name ("int4",
    "all", "H200"). `measured` are rows (of N, D, and P_post or P_w) whose cells are asked too, without a law.

    Intervals are those of the draws, with the forms' own errors. "not identified" where a fit is not valid, or where
    the draws do not agree which of the best two kinds is better; a lead below half a thousandth nat is none. Raises
    `SimlawError` for what is no amount, format, training, table, cache or row, for laws that know no precision, where
    no model fits, and where the best lies more than ten times outside the rows of the fit in N, D, C or a precision,
    unless `force`.
    """
    resources = Resources(
        bytes=bytes,
        flops=flops,
        tokens=tokens,
        serve_tokens=serve_tokens,
        serve_flops=serve_flops,
        cache=cache,
        cost=cost_of(cost),
    )
    if measured is not None and not isinstance(measured, Observations):
        raise SimlawError(f"measured={type(measured).__name__}: give the rows that load_table returns")
    for part in fits_behind(law, penalty):
        if part.health != "VALID":
            sick = f"the fit of {type(part.law).__name__} is {part.health}: {part.sentence}"
            return Choice(identified=False, sentence=f"not identified: {sick}.", candidates=())
    surface = surface_of(law, penalty)
    ranges, estimate, draws = surface.ranges, surface.law, surface.draws
    options, left_out = options_of(surface, formats_of(formats), trainings_of(training))
    plans = best_plans(estimate, resources, options, left_out)
    top = _first(plans)
    drawn = None if draws is None else surface.ensemble(plans.params, plans.tokens, **plans.precisions)
    candidates = _candidates(resources, plans, drawn, draws, top)
    best = candidates[0]
    far = _far(ranges, best)
    if not force:
        refuse_far(far)
    choice = Choice(
        identified=False,
        sentence="",
        candidates=tuple(candidates),
        by_cost=_by_cost(estimate, resources, options),
        outside=far,
        left_out=left_out,
        baselines=() if measured is None else _baselines(measured, resources, candidates),
    )
    choice = replace(choice, notes=_notes(choice, resources, surface.counts))
    return _verdict(choice, resources, ranges)


def _first(plans: Plans) -> int:
    """The best of the plans; of those that tie exactly, the one in the format that stores least."""
    return min(range(len(plans.options)), key=lambda i: (plans.loss[i], plans.options[i].format.stored))


def _candidates(
    resources: Resources,
    plans: Plans,
    drawn: Float[np.ndarray, "k f"] | None,
    draws: AbstractLossLaw | QuantizedLaw | None,
    top: int,
) -> list[Candidate]:
    share = np.eye(len(plans.options))[top]
    if drawn is not None:
        wins = drawn == drawn.min(axis=1, keepdims=True)
        share = np.mean(wins / wins.sum(axis=1, keepdims=True), axis=0)
    found = []
    for i, option in enumerate(plans.options):
        n, d = float(plans.params[i]), float(plans.tokens[i])
        own = None if draws is None else own_sizes(draws, resources, [option])[:, 0]
        found.append(
            Candidate(
                option=option,
                params=n,
                tokens=d,
                bytes=float(resources.memory(n, option)),
                loss=float(plans.loss[i]),
                interval=None if drawn is None else _ends(drawn[:, i]),
                gap_interval=None if drawn is None else _ends(drawn[:, i] - drawn[:, top]),
                best=float(share[i]),
                params_interval=None if own is None else _ends(own),
                tokens_interval=None if own is None else _ends(resources.tokens_for(own, option)),
            )
        )
    return sorted(found, key=lambda c: (c.loss, c.format.stored))


def _by_cost(
    estimate: AbstractLossLaw | QuantizedLaw, resources: Resources, options: Sequence[Option]
) -> tuple[ByCost, ...]:
    if not resources.serve_tokens and not any(option.computed and not option.plain for option in options):
        return ()
    found = []
    for table in named_with(resources.cost):
        try:
            plans = best_plans(estimate, replace(resources, cost=table), options, {})
        except SimlawError:
            continue  # nothing fits at these costs
        top = _first(plans)
        found.append(
            ByCost(
                cost=table.name,
                option=plans.options[top],
                params=float(plans.params[top]),
                tokens=float(plans.tokens[top]),
                loss=float(plans.loss[top]),
            )
        )
    return tuple(found)


def _baselines(measured: Observations, resources: Resources, candidates: Sequence[Candidate]) -> tuple[Baseline, ...]:
    """What somebody without a law would take of the cells within the resources."""
    role = "P_w" if "P_w" in measured.x else "P_post"
    asked = [c.option for c in candidates if c.option.plain or role in c.option.precisions]
    return baselines(Cells.of(measured, role).within(resources, asked), candidates[0].format.bits)


def _far(ranges: Mapping[str, tuple[float, float]], c: Candidate) -> dict[str, float]:
    return beyond(ranges, {"N": c.params, "D": c.tokens, "C": 6 * c.params * c.tokens, **c.option.precisions})


def _notes(choice: Choice, resources: Resources, counts: str) -> tuple[str, ...]:
    """What a reader of the candidates must know, a sentence each."""
    found = []
    best = choice.candidates[0]
    if counts:
        found.append(f"N and bytes count parameters: {counts}")
    if any(not c.option.plain for c in choice.candidates):
        found.append("the law knows formats by their bits alone")
    found += dict.fromkeys(
        str(c.option.training) for c in choice.candidates if c.option.training and not c.option.plain
    )
    if resources.bytes is not None and best.bytes < 0.99 * resources.bytes:
        found.append(f"bytes do not bind: the best plan takes {size(best.bytes)} of {size(resources.bytes)}")
    if resources.serve_tokens and resources.cache is None:
        tables = {table.name: table for table in named_with(resources.cost)}
        named = dict.fromkeys([resources.cost.name, *(one.cost for one in choice.by_cost)])
        if moved := [name for name in named if tables[name].byte > 0]:
            found.append(
                f"reading of weights from memory is not counted by {', '.join(moved)}: give cache=… (--batch and "
                "--context)"
            )
    return tuple(found)


def _verdict(choice: Choice, resources: Resources, ranges: Mapping[str, tuple[float, float]]) -> Choice:
    best, rival = choice.candidates[0], rival_of(choice.candidates)
    verb = "quantize" if not best.option.plain and best.option.training is None else "train"
    plan = best.plan.replace(" trained in ", " in ")
    if rival is None:
        sentence = f"{verb} {plan}, {resources}: {best.loss:.4f} nats; there is no other kind of plan to compare with"
        return replace(choice, sentence=sentence + ".")
    # the gaps that the draws leave possible; without draws there is but one
    gaps = [(c, c.gap_interval or (c.loss - best.loss,) * 2) for c in choice.candidates[1:]]
    same = [c for c, (_, high) in gaps if high <= NOTHING]
    near = [c for c, (low, high) in gaps if low <= NOTHING < high]
    if rival in near:
        sentence = (
            f"not identified: {resources}, {best.plan} and {rival.plan} cannot be told apart "
            f"({rival.loss - best.loss:.4f} nats)."
        )
        return replace(choice, sentence=sentence)
    sentence = f"{verb} {plan}, {resources}: {best.loss:.4f} nats; "
    if rival not in same:
        sentence += f"{rival.plan} loses by {rival.loss - best.loss:.4f}"
        if rival.gap_interval:
            sentence += f" (90 % interval {rival.gap_interval[0]:.4f} to {rival.gap_interval[1]:.4f})"
    for tied, what in ((same, "as good to a thousandth"), (near, "within noise")):
        if tied:
            names = [c.format.name if c.option.how == best.option.how else c.plan for c in tied]
            sentence += f"{'' if sentence.endswith('; ') else '; '}{what}: {', '.join(names)}"
    if best.params_interval and best.params_interval[1] > 1.02 * best.params_interval[0]:
        sentence += "; the best size of 90 % of the draws is " + " to ".join(map(count, best.params_interval))
    if choice.outside:
        sentence += f"; that extrapolates beyond the rows of the fit in {factors(choice.outside)}"
    if other := _far(ranges, rival):
        sentence += f"; the rival lies outside the rows of the fit in {factors(other)}"
    return replace(choice, identified=rival not in same, sentence=sentence + ".")


def rival_of(candidates: Sequence[Candidate]) -> Candidate | None:
    """What the best one must beat: the best candidate that is quantized at another time, or not at all."""
    return next((c for c in candidates if c.option.how != candidates[0].option.how), None)


def _ends(drawn: Float[np.ndarray, " k"]) -> tuple[float, float]:
    low, high = interval(drawn)
    return float(low), float(high)
