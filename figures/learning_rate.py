"""The learning rate that a size and a training precision want, the rule that they follow, and what ours gives away.

simlaw figure learning_rate --sweep learning_rate
"""

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from simlaw.plot import plot_best_rates, plot_given_away, plot_rate_curves
from simlaw.plot.palette import marker, shade
from simlaw.plot.rates import BEST, RULE
from simlaw.rates.study import rate_study
from simlaw.report import count
from simlaw.table import Table


def draw(table: Table) -> Figure:
    """The figure of the rates in a table."""
    study = rate_study(table)
    figure = Figure(figsize=(7.2, 6.0))
    axes = figure.subplot_mosaic([["curves", "best"], ["given", "given"]], height_ratios=(1.35, 1))
    plot_rate_curves(study.sizes, study.line, axes["curves"])
    axes["curves"].set_title(f"(a) Loss against peak rate, {count(study.tokens)} tokens, 16 bit")
    marks = [
        Line2D([], [], color="black", marker=BEST, markersize=6, linewidth=1, label="best rate, 90 % interval"),
        Line2D([], [], color=RULE, marker="^", markersize=4, linestyle="none", label="rate of the fitted rule"),
    ]
    axes["curves"].legend(handles=marks, loc="upper left")
    plot_best_rates(study, axes["best"])
    axes["best"].set_title("(b) Best rate, 90 % intervals; rule with band")
    handles, _ = axes["best"].get_legend_handles_labels()
    if any(one.end is not None for one in study.best if one.kind.tokens == study.tokens):
        beyond = Line2D([], [], color="0.2", marker="^", markersize=4, markerfacecolor="none", linestyle="none")
        beyond.set_label("not bracketed")
        handles.append(beyond)
    axes["best"].legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5))
    plot_given_away(study, axes["given"])
    widths = sorted({one.kind.width for one in study.best})
    keys = [
        Line2D([], [], color=shade(i, len(widths)), marker=marker(i), markersize=4, linestyle="none", label=f"{width}")
        for i, width in enumerate(widths)
    ]
    axes["given"].legend(handles=keys, title="width", title_fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes["given"].set_title("(c) What the present rule gives away, by the bits of the weights in training")
    return figure
