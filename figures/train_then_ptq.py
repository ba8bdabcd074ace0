"""What rounding costs after training in low precision.

simlaw figure train_then_ptq --sweep train_then_ptq
"""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from simlaw.claims import judge
from simlaw.means import Means
from simlaw.plot import plot_findings, plot_means, plot_verdicts
from simlaw.precisions import rounded_curves
from simlaw.report import count
from simlaw.table import Table

#: Training precisions by what is quantized in them.
WEIGHTS = ("16 bit", "W2", "W3", "W4", "W6")
OTHERS = ("16 bit", "A3", "A4", "KV3", "KV4", "W4 A4 KV4")


def draw(table: Table) -> Figure:
    """The figure of a sweep of roundings after training in low precision."""
    figure = Figure(figsize=(7.2, 6.8))
    axes = figure.subplot_mosaic(
        [["small", "large"], ["others", "paired"], ["claims", "claims"]], height_ratios=(1.0, 1.0, 0.1)
    )
    table = table.where(lambda row: row["status"] == "done")
    quantized = table.where(lambda row: row["ptq_bits"] is not None and row["train_weights_bits"] is not None)
    sizes = sorted({row["params_blocks"] for row in quantized})
    tokens = max(row["tokens"] for row in quantized if row["params_blocks"] == sizes[-1])
    for name, letter, size, chosen in (
        ("small", "a", sizes[0], WEIGHTS),
        ("large", "b", sizes[-1], WEIGHTS),
        ("others", "c", sizes[len(sizes) // 2], OTHERS),
    ):
        curves = _named(rounded_curves(table, size, tokens), chosen)
        plot_means(curves, axes[name], xlabel="bits after rounding", ylabel=r"$\delta_{PTQ}$ (nats per token)")
        axes[name].xaxis.set_major_locator(MultipleLocator(1))
        axes[name].set_yscale("symlog", linthresh=0.01)
        axes[name].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes[name].set_title(f"({letter}) N = {count(size)}, D = {count(tokens)}")
        axes[name].legend(loc="upper right", fontsize=6.5, title="trained at", title_fontsize=6.5)
    verdicts = judge(table, ("A8",))
    findings = verdicts.each[0].findings
    names = {
        one.what: one.what.removeprefix("delta at ")
        .removesuffix(" training - of 16-bit training")
        .replace(" of ", " after ")
        for one in findings
    }
    plot_findings(findings, axes["paired"], names=names)
    axes["paired"].set_title("(d) Penalty less that after 16 bits")
    axes["paired"].set_xscale("symlog", linthresh=0.03)
    axes["paired"].set_xlim(right=0.03)
    axes["paired"].xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes["paired"].set_xlabel("nats per token, 95 % intervals; black: judged")
    plot_verdicts(verdicts, axes["claims"])
    return figure


def _named(curves: Sequence[Means], names: Sequence[str]) -> list[Means]:
    return [curve for name in names for curve in curves if curve.name == name]
