"""The headline: what quantizing costs as training goes on, and who wins at equal bytes and equal training compute.

simlaw figure headline --sweep quickstart
"""

import numpy as np
from matplotlib.figure import Figure

from simlaw.analysis import Analysis
from simlaw.curves import penalty_curves
from simlaw.decision.frontier import frontier
from simlaw.decision.verdict import Question
from simlaw.errors import SimlawError
from simlaw.observations import penalty_cells, usable
from simlaw.plot import plot_frontier, plot_penalty
from simlaw.plot.palette import keys

BITS = (3, 4, 5, 6)


def draw(analysis: Analysis) -> Figure:
    """The figure of an analysis: penalties above; below, a frontier for each of the dearest compute-matched budgets."""
    if analysis.penalty is None:
        raise SimlawError("no row is quantized, so there is no penalty to draw: add Sweep(ptq=…) and run it")
    figure = Figure()
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.3))
    sizes = tuple(int(n) for n in np.unique(usable(analysis.table)[0].column("params_blocks")))
    ax = top.subplots()
    cells = penalty_cells(analysis.table, granularity=analysis.granularity)
    plot_penalty(cells, penalty_curves(cells, analysis.penalty, BITS), ax)
    ax.set_title("(a) The loss that rounding adds, by precision and size; law with 90 % band")
    measured = np.unique(usable(analysis.table)[0].column("ptq_bits"))  # the empty cell of 16 bits sorts last
    precisions = [*measured[measured >= BITS[0]], np.inf]
    ax.legend(handles=keys(sizes, precisions), loc="center left", bbox_to_anchor=(1.0, 0.5))
    sick = [fit for fit in (analysis.base, analysis.penalty) if fit.health != "VALID"]
    if sick:
        names = " and ".join(f"{type(fit.law).__name__} is {fit.health}" for fit in sick)
        warning = f"The fit of {names}: its curves are no answer."
        ax.annotate(warning, (0.01, 0.98), xycoords="axes fraction", va="top", color="#b00020", fontweight="bold")
    budgets = matched_budgets(analysis)[-3:]
    panels = bottom.subplots(1, len(budgets), sharey=True, squeeze=False)[0]
    for panel, amount in zip(panels, budgets, strict=True):
        question = Question(bytes=np.inf, amount=amount, granularity=analysis.granularity)
        found = frontier(question, analysis.table, analysis.base, analysis.penalty)
        plot_frontier(found, panel, sizes=sizes)
        mantissa, exponent = f"{amount:.1e}".split("e")
        panel.set_title(rf"${mantissa} \times 10^{{{int(exponent)}}}$ training FLOPs")
    panels[0].set_ylabel("loss (nats per token)")
    bottom.suptitle(
        "(b) Loss against stored bytes of the blocks at equal training compute; strip: bits of the best precision",
        x=0.01,
        ha="left",
        fontsize=8.5,
    )
    return figure


def matched_budgets(analysis: Analysis) -> list[float]:
    """The training budgets at which two or more sizes were measured, ascending; without any, all of them."""
    rows = usable(analysis.table)[0]
    pairs = {(row["flops_train_6nd"], row["params_blocks"]) for row in rows}
    budgets = sorted({amount for amount, _ in pairs})
    return [amount for amount in budgets if sum(a == amount for a, _ in pairs) > 1] or budgets
