"""Where training in low precision holds, with and without an architecture that bounds what is rounded.

simlaw figure stable_architecture --sweep stable_architecture
"""

from matplotlib.figure import Figure

from simlaw.claims import judge
from simlaw.claims.architectures import architectures, held, rate_curves
from simlaw.plot import plot_findings, plot_held, plot_means, plot_verdicts
from simlaw.report import count
from simlaw.table import Table

#: What is drawn of the losses.
SHOWN = ("16 bit", "W6 A6 KV6", "W4 A4 KV4", "W3 A3 KV3", "W2 A2 KV2")


def draw(table: Table) -> Figure:
    """The figure of a sweep of architectures."""
    figure = Figure(figsize=(7.2, 9.4))
    top, middle, third, bottom = figure.subfigures(4, 1, height_ratios=(1.0, 1.1, 0.9, 0.12))
    size = max(row["params_blocks"] for row in table)
    tokens = max(row["tokens"] for row in table if row["params_blocks"] == size)
    counted, losses = top.subplots(1, 2), middle.subplots(1, 2, sharey=True)
    names = ("the recipe's architecture", "more norms, and bounds")
    for ax, letter, rows, name in zip(counted, "ab", architectures(table), names, strict=True):
        plot_held(held(rows), ax)
        ax.set_title(f"({letter}) Runs that hold: {name}", fontsize=7.5)
    for ax, letter, rows in zip(losses, "cd", architectures(table), strict=True):
        curves = [curve for name in SHOWN for curve in rate_curves(rows, size, tokens) if curve.name == name]
        plot_means(curves, ax, xlabel="peak rate, of the recipe's", ylabel="loss (nats per token)")
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g} ×")
        ax.set_title(f"({letter}) N = {count(size)}, D = {count(tokens)}, those that hold")
        ax.label_outer()
    losses[0].legend(loc="center left", bbox_to_anchor=(0.0, 0.6), fontsize=6.5)
    verdicts = judge(table, ("A12",))
    costs = third.subplots()
    findings = [one for one in verdicts.each[0].findings if one.what.startswith("cost of")]
    plot_findings(
        findings,
        costs,
        names={one.what: one.what.removeprefix("cost of ").removesuffix(", stable - plain") for one in findings},
    )
    costs.set_title("(e) What bits cost more with more norms and bounds, at the recipe's rate")
    costs.set_xlabel("nats per token, 95 % intervals")
    plot_verdicts(verdicts, bottom.subplots())
    return figure
