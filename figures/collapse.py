"""The health of a ladder: loss curves of all sizes, as trained and normalised, and which size stands off.

simlaw figure collapse --sweep quickstart
"""

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from simlaw.analysis import Analysis
from simlaw.health.collapse import collapse, floor_of, gamma_of, irreducible_of
from simlaw.losscurves import LossCurves
from simlaw.plot import plot_deviations, plot_losses, plot_normalised
from simlaw.plot.palette import line, shade
from simlaw.report import count


def draw(analysis: Analysis, curves: LossCurves) -> Figure:
    """The figure of a table's loss curves, on the ladder and with the E of its own fit."""
    found = collapse(
        curves,
        analysis.table,
        irreducible=floor_of(analysis.table) or irreducible_of(analysis.base),
        gamma=gamma_of(analysis.base),
    )
    figure = Figure(figsize=(7.2, 3.9))
    axes = figure.subplot_mosaic([["raw", "normalised"], ["raw", "deviation"]], height_ratios=(2, 1))
    plot_losses(found, axes["raw"])
    axes["raw"].set_title(f"(a) Training loss, D in proportion to $N^{{{found.gamma:.2f}}}$")
    plot_normalised(found, axes["normalised"])
    axes["normalised"].set_title("(b) Normalised loss; bands: ± one seed spread")
    plot_deviations(found, axes["deviation"])
    axes["normalised"].tick_params(labelbottom=False)
    axes["deviation"].set_title("(c) Distance from the other sizes; bands: error of E")
    keys = [
        Line2D(
            [],
            [],
            color=shade(i, len(found.sizes)),
            linestyle=line(i),
            label=f"N = {count(size.params)}, D = {count(size.tokens)}",
        )
        for i, size in enumerate(found.sizes)
    ]
    axes["normalised"].legend(handles=keys, loc="upper right")
    return figure
