"""What `fit`, `decide`, `figure` and `reproduce` share: the parts of an analysis as text."""

import contextlib
import hashlib
from dataclasses import replace

import numpy as np

from simlaw.analysis import Analysis, PrecisionAnalysis
from simlaw.decision.baselines import baselines_text
from simlaw.decision.regret import regret_of_table
from simlaw.decision.verdict import Decision, Question, decide
from simlaw.errors import SimlawError
from simlaw.fitting.fit import fit
from simlaw.fitting.holdout import LargestC, LargestD, LargestN
from simlaw.fitting.residuals import residuals
from simlaw.law import AbstractPenalty
from simlaw.observations import rate_checks
from simlaw.report import columns, count, precision, size, with_error, wrapped
from simlaw.table import Table
from simlaw.trends import trends


def table_sha256(rows: Table) -> str:
    """The hash of a table's CSV."""
    return hashlib.sha256(rows.to_csv().encode()).hexdigest()


def fit_report(analysis: Analysis) -> str:
    """The fits, what they leave over and how they predict, the comparison of bit terms, and the learning-rate check."""
    checks = [residual_report(analysis), prediction_report(analysis)]
    if analysis.penalty is None:
        said = "no row is quantized, so there is no penalty to fit"
        return "\n\n".join(part for part in (str(analysis.base), said, *checks, rate_report(analysis.table)) if part)
    held = "" if analysis.rivals is None else str(analysis.rivals)
    trend, rates = trend_report(analysis), rate_report(analysis.table)
    parts = [str(analysis.base), str(analysis.penalty), held, *checks, trend, rates]
    return "\n\n".join(part for part in parts if part)


def precision_report(analysis: PrecisionAnalysis, rows: Table) -> str:
    """The chosen form of what low precision in training costs, the contests on each role and on all, and the rates."""
    names = {"P_w": "weights", "P_a": "inputs of block matrices", "P_kv": "keys and values"}
    alone = [
        f"{names[role]} alone{'' if family == 'int' else f', floats {family}'}\n{found}"
        for (role, family), found in analysis.roles.items()
    ]
    parts = [str(analysis.chosen), f"all roles\n{analysis.together}", *alone, rate_report(rows)]
    return "\n\n".join(part for part in parts if part)


def residual_report(analysis: Analysis) -> str:
    """What the residuals of the fits still depend on, a line for each fit and axis that stands out."""
    fits = [(analysis.base, analysis.losses), (analysis.penalty, analysis.penalties)]
    lines = [
        f"  {type(found.law).__name__}: {sentence}"
        for found, seen in fits
        if found is not None and seen is not None
        for sentence in residuals(found, seen).sentences
    ]
    return "\n".join(["  residuals against N, D, C and bits, in units of a row's noise", *lines])


def prediction_report(analysis: Analysis) -> str:
    """How the forms predict the largest cells from the others, and what following them would lose there."""
    lines = []
    for holdout in (LargestN(), LargestD(), LargestC(3)):
        try:
            away = holdout.mask(analysis.losses)
            refit = fit(type(analysis.base.law), analysis.losses.keep(~away))
        except SimlawError as error:
            lines.append((str(holdout), "", "", str(error)))
            continue
        held = analysis.losses.keep(away)
        missed = np.sqrt(np.mean(np.log(refit.law.evaluate(held.x) / held.y) ** 2))
        lines.append((str(holdout), str(int(away.sum())), f"{missed:.1%}", refit.health))
    parts = [columns(("predicted from the other rows", "rows", "error of the loss", "refit"), lines)]
    if analysis.penalty is not None:
        with contextlib.suppress(SimlawError):  # too few budgets to ask anything
            penalty = type(analysis.penalty.law)
            assert issubclass(penalty, AbstractPenalty)
            parts.append(str(regret_of_table(analysis.table, LargestC(3), penalty=penalty)))
    return "\n\n".join(parts)


def trend_report(analysis: Analysis) -> str:
    """Whether the penalty rises with data and falls with size, beyond the noise between seeds."""
    lines = [
        (trend.what, precision(trend.bits), with_error(trend.value, trend.error), trend.verdict)
        for trend in trends(analysis.table, granularity=analysis.granularity)
    ]
    return columns(("trend of the penalty", "bits", "value", ""), lines)


def rate_report(rows: Table) -> str:
    """The losses of each size at the recipe's learning rate and at the rates of the check."""
    lines = []
    for check in rate_checks(rows):
        cells = [f"{m:g} x: {loss:.3f}" for m, loss in zip(check.multiples, check.losses, strict=True)]
        lines.append((count(check.params), count(check.tokens), check.precision, ", ".join(cells), check.verdict))
    head = ("rate check N", "tokens", "trained at", "loss at multiples of the rule's rate", "")
    return columns(head, lines) if lines else ""


def decision_report(decision: Decision) -> str:
    """The plans by the law and the best measured cells within a budget, where there are any, then the verdict."""
    plans = columns(
        ("by the law", "parameters", "tokens", "bytes", "loss", "90 % interval", "gap to the best", "P(best)"),
        [
            (
                precision(plan.bits),
                count(plan.params),
                count(plan.tokens),
                size(plan.bytes),
                f"{plan.loss:.3f}",
                f"{plan.interval[0]:.3f} to {plan.interval[1]:.3f}",
                f"{plan.gap:.3f} ({plan.gap_interval[0]:.3f} to {plan.gap_interval[1]:.3f})" if plan.gap else "",
                f"{plan.best:.0%}",
            )
            for plan in decision.plans
        ],
    )
    cells = columns(
        ("measured", "parameters", "tokens", "bytes", "loss", "seeds"),
        [
            (
                precision(cell.bits),
                count(cell.params),
                count(cell.tokens),
                size(cell.bytes),
                f"{cell.loss:.3f}" if cell.error is None else f"{cell.loss:.3f} ± {cell.error:.3f}",
                str(cell.seeds),
            )
            for cell in decision.measured[:5]
        ],
    )
    null = baselines_text(decision.baselines)
    parts = [plans] * bool(decision.plans) + [cells] * bool(decision.measured) + [wrapped(null)] * bool(null)
    return "\n\n".join([*parts, wrapped(decision.sentence)])


def answer(analysis: Analysis, question: Question) -> Decision:
    """The decision of an analysis; raises `SimlawError` where nothing was quantized."""
    if analysis.penalty is None:
        raise SimlawError("no row is quantized, so there is nothing to decide: add Sweep(ptq=…) and run it")
    question = replace(question, granularity=analysis.granularity)
    return decide(question, analysis.table, analysis.base, analysis.penalty)
