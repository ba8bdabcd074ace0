"""Regret: the nats that are lost on held-out cells by following a law, or no law, instead of the best measured cell.

A law is fitted to the cells that are not held out, and takes the held-out cell of the least predicted loss. A person
without a law has the same cells to go by, and no others: a baseline takes the one that it would of those within the
budget (of all, where none is). What it then runs is the held-out cell that comes nearest: the same bits, the nearest
size, and the most FLOPs that the budget allows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from simlaw.decision.amounts import NOTHING
from simlaw.decision.baselines import BASELINES, SLACK, Cells, after_quantization, taken
from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit, fit
from simlaw.fitting.holdout import Holdout
from simlaw.law import AbstractLaw, AbstractLossLaw, AbstractPenalty, QuantizedLaw
from simlaw.laws import Chinchilla, StepPenalty
from simlaw.observations import Observations, granularities, loss_observations, penalty_observations, usable
from simlaw.report import columns
from simlaw.table import Table

#: Cells whose FLOPs differ by less than this factor are one budget.
_SAME = 1.1


@dataclass(frozen=True, kw_only=True)
class Follower:
    """Whoever chooses: mean and largest regret in nats per token, and the share of questions with none."""

    name: str
    mean: float
    worst: float
    right: float


@dataclass(frozen=True, kw_only=True)
class Regret:
    """The regret of a law, first, and of the baselines, over some questions that held-out cells answer.

    `valid` is whether the law's fit to the other rows is; where it is not, what it chooses is luck.

    A question is a budget with at least two sizes within it; the best measured cell is the truth, so that noise of
    cells counts against everybody.
    """

    holdout: str
    questions: int
    followers: tuple[Follower, ...]
    valid: bool = True

    @property
    def worthwhile(self) -> bool:
        """Whether the law is valid and loses less than every baseline."""
        return self.valid and all(self.followers[0].mean < other.mean for other in self.followers[1:])

    def __str__(self) -> str:
        rows = [(f.name, f"{f.mean:.4f}", f"{f.worst:.4f}", f"{f.right:.0%}") for f in self.followers]
        head = (f"regret on {self.holdout} ({self.questions} questions)", "mean nats", "worst", "best chosen")
        law, rest = self.followers[0], self.followers[1:]
        better = [f.name for f in rest if f.mean <= law.mean]
        verdict = "the law loses less than the baselines"
        if not self.valid:
            verdict = "the law's fit to the other rows is not valid, so what it loses here says nothing"
        elif better:
            verdict = f"no reason to follow the law here: {' and '.join(better)} would lose no more"
        return f"{columns(head, rows)}\n\n{verdict}"


def regret_of_table(
    table: Table,
    holdout: Holdout,
    *,
    base: type[AbstractLossLaw] = Chinchilla,
    penalty: type[AbstractPenalty] = StepPenalty,
    column: str = "bytes_blocks",
) -> Regret:
    """The regret of choosing size and precision within stored bytes and training FLOPs, on held-out cells of a table.

    The forms are fitted to the rows that are not held out. Every held-out cell asks one question: its own bytes and
    FLOPs are the budget, and the held-out cells within it are the options. Raises `SimlawError` where no budget holds
    two sizes, or the rest is too little to fit.
    """
    if not isinstance(table, Table):
        raise SimlawError(
            f"regret_of_table takes a table of simlaw's own, and this is a {type(table).__name__}: take regret "
            "for the rows of load_table"
        )
    kept, _ = usable(table)
    granularity = (*granularities(kept), "channel")[0]
    losses = loss_observations(table)
    added = penalty_observations(table, granularity=granularity)
    away, away_added = holdout.mask(losses), holdout.mask(added)
    fits = fit(base, losses.keep(~away)), fit(penalty, added.keep(~away_added))
    law = QuantizedLaw(base=_loss(fits[0].law), penalty=_penalty(fits[1].law))
    total, size = after_quantization(kept, granularity, column)
    out = holdout.mask(total)
    options, seen = Cells.of(total.keep(out)), Cells.of(total.keep(~out))
    stored, there = (
        np.array([size[n, b] for n, b in zip(cells.params, cells.bits, strict=True)]) for cells in (options, seen)
    )
    budgets = zip(stored, options.flops, strict=True)
    within = [(stored <= b * (1 + 1e-9)) & (options.flops <= SLACK * c) for b, c in budgets]
    questions = [
        _Question(
            options=mask,
            seen=(there <= stored[mask].max() * (1 + 1e-9)) & (seen.flops <= SLACK * options.flops[mask].max()),
        )
        for mask in within
    ]
    predicted = law.loss(N=options.params, D=options.tokens, P_post=options.bits)
    return _regret(fits, holdout, options, seen, questions, predicted)


def regret(form: type[AbstractLossLaw], seen: Observations, holdout: Holdout) -> Regret:
    """The regret of choosing N (and precision, where rows have it) at equal training FLOPs, on held-out rows.

    The form is fitted to the rows that are not held out; held-out cells of nearly equal 6·N·D are one question. Raises
    `SimlawError` where no two sizes have equal FLOPs.
    """
    if not isinstance(seen, Observations):
        raise SimlawError(
            f"regret takes rows as load_table gives them, and this is a {type(seen).__name__}: take regret_of_table "
            "for a table of simlaw's own"
        )
    bits = next((name for name in ("P_post", "P_w") if name in seen.x), None)
    extra = [name for name in seen.x if name not in ("N", "D", bits)]
    if extra:
        raise SimlawError(
            f"the rows differ in {', '.join(extra)} too: choose rows that differ in N, D and one precision"
        )
    away = holdout.mask(seen)
    found = fit(form, seen.keep(~away))
    law = _loss(found.law)
    options, rest = (Cells.of(seen.keep(mask), bits or "P_post") for mask in (away, ~away))
    log = np.log(options.params * options.tokens)
    order = np.argsort(log)
    group = np.zeros(len(log), int)
    group[order] = np.cumsum(np.concatenate([[0], np.diff(log[order]) > np.log(_SAME)]))
    within = [group == g for g in np.unique(group)]
    questions = [_Question(options=mask, seen=rest.flops <= SLACK * options.flops[mask].max()) for mask in within]
    predicted = law.loss(N=options.params, D=options.tokens, **({bits: options.bits} if bits else {}))
    return _regret([found], holdout, options, rest, questions, predicted)


@dataclass(frozen=True, kw_only=True)
class _Question:
    """A budget: which held-out cells are within it, and which cells that were seen."""

    options: Bool[np.ndarray, " n"]
    seen: Bool[np.ndarray, " m"]


def _regret(
    fits: Sequence[Fit],
    holdout: Holdout,
    options: Cells,
    seen: Cells,
    questions: Sequence[_Question],
    predicted: Float[np.ndarray, " n"],
) -> Regret:
    distinct = {q.options.tobytes(): q for q in questions if len(np.unique(options.params[q.options])) > 1}.values()
    if not distinct:
        raise SimlawError(
            f"no budget of the cells held out ({holdout}) holds two sizes, so there is nothing to choose: hold out more"
        )
    chosen = {f"law: {_name(fits)}": [_least(predicted, options, q.options) for q in distinct]}
    for name, share in BASELINES.items():
        chosen[name] = []
        for q in distinct:
            cells = seen.keep(q.seen if q.seen.any() else np.ones_like(q.seen))
            chosen[name].append(_nearest(cells, taken(cells, share), options, q.options))
    followers = []
    for who, places in chosen.items():
        best = [options.loss[q.options].min() for q in distinct]
        lost = options.loss[places] - np.array(best)
        followers.append(
            Follower(name=who, mean=float(lost.mean()), worst=float(lost.max()), right=float((lost < NOTHING).mean()))
        )
    valid = all(one.health == "VALID" for one in fits)
    return Regret(holdout=str(holdout), questions=len(distinct), followers=tuple(followers), valid=valid)


def _name(fits: Sequence[Fit]) -> str:
    """The forms, and what is wrong with their fits to the rows that are left."""
    name = " + ".join(type(one.law).__name__ for one in fits)
    sick = [one.health for one in fits if one.health != "VALID"]
    return f"{name} ({', '.join(sick)})" if sick else name


def _least(predicted: Float[np.ndarray, " n"], options: Cells, mask: Bool[np.ndarray, " n"]) -> int:
    """The option of the least predicted loss; of several, the one with the most FLOPs."""
    tied = np.flatnonzero(mask & (predicted <= predicted[mask].min()))
    return int(tied[np.argmax(options.flops[tied])])


def _nearest(cells: Cells, place: int, options: Cells, mask: Bool[np.ndarray, " n"]) -> int:
    """The option that comes nearest to a cell: first in bits, then in size; of several, the one with the most FLOPs."""
    left = np.flatnonzero(mask)
    for away in (
        np.abs(np.minimum(options.bits, 16.0) - min(cells.bits[place], 16.0)),
        np.abs(np.log(options.params / cells.params[place])),
    ):
        left = left[away[left] <= away[left].min() + 1e-9]
    return int(left[np.argmax(options.flops[left])])


def _loss(law: AbstractLaw) -> AbstractLossLaw:
    assert isinstance(law, AbstractLossLaw)
    return law


def _penalty(law: AbstractLaw) -> AbstractPenalty:
    assert isinstance(law, AbstractPenalty)
    return law
