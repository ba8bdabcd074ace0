"""Whether the penalty of quantizing grows with the tokens, or with the fall of the learning rate.

simlaw figure schedule --sweep schedule
"""

from matplotlib.figure import Figure

from simlaw.claims import judge
from simlaw.claims.arms import QUADRATIC, arm_curves, arms_of
from simlaw.plot import plot_arms, plot_findings, plot_verdicts
from simlaw.report import count
from simlaw.table import Table


def draw(table: Table) -> Figure:
    """The figure of a sweep of schedules."""
    figure = Figure(figsize=(7.2, 7.4))
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=(1.05, 1.3, 0.16))
    table = table.where(lambda row: row["status"] == "done")
    arms, lower = arms_of(table, QUADRATIC), arms_of(table, (3,))
    sizes = sorted({row["params_blocks"] for row in table})
    panels = top.subplots(1, 3)
    for ax, letter, size in zip(panels, "ab", sizes[-2:], strict=False):
        plot_arms(arm_curves(arms, size, 4), ax)
        ax.set_title(f"({letter}) int4, N = {count(size)}")
    plot_arms(
        arm_curves(lower, sizes[-2], 3, "loss"),
        panels[2],
        ylabel="loss after rounding (nats per token)",
        yscale="linear",
    )
    panels[2].set_title(f"(c) int3, N = {count(sizes[-2])}")
    top.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", fontsize=6.5, ncols=3)
    verdicts = judge(table, ("A5",))
    slopes, ratios = middle.subplots(1, 2)
    findings = verdicts.each[0].findings
    # averages of the recipe alone, of whose rates the claim is
    grown = [one for one in findings if one.what.startswith("gD, ") and one.what.count(",") < 3]
    plot_findings(grown, slopes, names={one.what: one.what.removeprefix("gD, ") for one in grown})
    slopes.set_title("(d) Exponent in D, int4 to int6")
    slopes.set_xlabel("gD, 95 % intervals; black: judged")
    compared = [one for one in findings if one.what.startswith("mean penalty ")]
    names = {one.what: one.what.removeprefix("mean penalty ").removesuffix(" / cooled down") for one in compared}
    plot_findings(compared, ratios, at=1.0, names=names)
    ratios.set_title("(e) Mean penalty / that of cooling down")
    ratios.set_xlabel("same sizes, tokens and seeds; 95 % intervals")
    plot_verdicts(verdicts, bottom.subplots())
    return figure
