"""For which share of the tokens weights should be trained in low precision.

simlaw figure qat_fraction --sweep qat_fraction
"""

from matplotlib.figure import Figure

from simlaw.claims import judge
from simlaw.claims.shares import shares_of
from simlaw.plot import plot_findings, plot_means, plot_verdicts
from simlaw.report import count
from simlaw.table import Table


def draw(table: Table) -> Figure:
    """The figure of a sweep of shares."""
    figure = Figure(figsize=(7.2, 7.2))
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=(1.0, 1.25, 0.1))
    found = shares_of(table)
    places = sorted({(one.params, one.tokens) for one in found})
    panels = top.subplots(1, len(places), sharey=True, squeeze=False)[0]
    for ax, letter, (n, d) in zip(panels, "abcdefgh", places, strict=False):
        here = [one for one in found if (one.params, one.tokens) == (n, d)]
        bars = plot_means(
            [one.means for one in here], ax, xlabel="share in low precision", ylabel="cost (nats per token)"
        )
        for one, bar in zip(here, bars, strict=True):  # the rule's share, at the foot of the axes
            ax.plot(one.best, 0.02, marker="^", color=bar.lines[0].get_color(), transform=ax.get_xaxis_transform())
        ax.set_yscale("symlog", linthresh=0.03)
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.set_title(f"({letter}) N = {count(n)}, D = {count(d)}", fontsize=7.5)
        ax.tick_params(axis="x", labelsize=6.5)
        ax.label_outer()
    panels[0].legend(loc="upper right", fontsize=6.5, title="0: rounded after; ▲ rule", title_fontsize=6.5)
    verdicts = judge(table, ("A13",))
    ax = middle.subplots()
    plot_findings([one for one in verdicts.each[0].findings if one.judged], ax)
    ax.set_title("The tried share next to the rule's (▲), against others")
    ax.set_xlabel("nats per token, 95 % intervals for all together")
    plot_verdicts(verdicts, bottom.subplots())
    return figure
