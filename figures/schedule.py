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
    figure = Figure(figsize=(7.2, 8.2))
    axes = figure.subplot_mosaic(
        [["middle", "large"], ["slopes", "slopes"], ["ratios", "ratios"], ["claims", "claims"]],
        height_ratios=(1.0, 1.5, 0.3, 0.14),
    )
    table = table.where(lambda row: row["status"] == "done")
    arms = arms_of(table, QUADRATIC)
    sizes = sorted({row["params_blocks"] for row in table})
    for name, letter, size in (("middle", "a", sizes[-2]), ("large", "b", sizes[-1])):
        plot_arms(arm_curves(arms, size, 4), axes[name])
        axes[name].set_title(f"({letter}) int4 by rounding, N = {count(size)}")
    axes["middle"].legend(loc="upper left", fontsize=6.5)
    verdicts = judge(table, ("A5",))
    findings = verdicts.each[0].findings
    slopes = [one for one in findings if one.what.startswith("gD, ")]
    plot_findings(slopes, axes["slopes"], names={one.what: one.what.removeprefix("gD, ") for one in slopes})
    axes["slopes"].set_title("(c) Exponent of the penalty in D, int4 to int6, all sizes; black: judged")
    axes["slopes"].set_xlabel("gD, 95 % intervals")
    ratios = [one for one in findings if one.what.startswith("penalty ")]
    short = {one.what: one.what.removeprefix("penalty ") for one in ratios}
    plot_findings(ratios, axes["ratios"], at=1.0, names=short)
    axes["ratios"].set_title("(d) Penalties at equal size, tokens and seed")
    axes["ratios"].set_xlabel("ratio, 95 % intervals")
    plot_verdicts(verdicts, axes["claims"])
    return figure
