"""Integers against floats of as many bits in training: what each costs, and which law it follows.

simlaw figure int_or_float --sweep int_or_float
"""

from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from simlaw.claims import judge
from simlaw.claims.formats import cost_curves
from simlaw.plot import plot_findings, plot_means, plot_verdicts
from simlaw.report import count
from simlaw.table import Table


def draw(table: Table) -> Figure:
    """The figure of a sweep of integers and floats."""
    figure = Figure(figsize=(7.2, 7.0))
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=(1.0, 1.15, 0.12))
    params = max(row["params_blocks"] for row in table)
    tokens = max(row["tokens"] for row in table if row["params_blocks"] == params)
    panels = top.subplots(1, 2)
    for ax, letter, role, name in zip(panels, "ab", ("P_w", "P_a"), ("weights", "inputs"), strict=True):
        curves = cost_curves(table, role, params, tokens)
        plot_means(curves, ax, xlabel=f"bits, {name}", ylabel="cost (nats per token)")
        ax.set_yscale("symlog", linthresh=0.01)
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.xaxis.set_major_locator(MultipleLocator(1))
        ax.set_title(f"({letter}) {name}, N = {count(params)}, D = {count(tokens)}")
    panels[0].legend(loc="upper right", fontsize=6.5)
    verdicts = judge(table, ("A11",))
    findings = verdicts.each[0].findings
    slopes, costs = middle.subplots(1, 2)
    compared = [one for one in findings if one.what.startswith("cost of")]
    plot_findings([one for one in findings if one not in compared], slopes)
    slopes.set_title("(c) Exponents of the cost, D^gD / N^gN")
    slopes.set_xlabel("95 % intervals, of all judged (black) together")
    plot_findings(compared, costs, names={one.what: one.what.removeprefix("cost of ") for one in compared})
    costs.set_title("(d) Floats less integers")
    costs.set_xlabel("cost in nats per token, 95 %")
    plot_verdicts(verdicts, bottom.subplots())
    return figure
