"""delta_PTQ against tokens per parameter, by precision and size."""

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer

from simlaw.curves import PenaltyCurve
from simlaw.observations import PenaltyCell
from simlaw.plot.palette import GREY, colour, line, marker


def plot_penalty(
    cells: Sequence[PenaltyCell], curves: Sequence[PenaltyCurve], ax: Axes
) -> list[Artist | ErrorbarContainer]:
    """The artists of the curves with their bands, and of the measured penalties at the curves' bits with error bars.

    Points under the noise floor are grey; where an error bar reaches 0 it runs out of the logarithmic axis.
    """
    artists: list[Artist | ErrorbarContainer] = []
    sizes = sorted({cell.params for cell in cells})
    for curve in curves:
        i, x, shade = sizes.index(curve.params), curve.tokens / curve.params, colour(curve.bits)
        artists.append(ax.fill_between(x, curve.low, curve.high, color=shade, alpha=0.15, linewidth=0))
        artists += ax.plot(x, curve.law, color=shade, linestyle=line(i), linewidth=1.0)
        here = [c for c in cells if (c.params, c.bits) == (curve.params, curve.bits) and c.delta > 0]
        for seen, ink in ((True, shade), (False, GREY)):
            these = [cell for cell in here if cell.visible == seen]
            if these:
                artists.append(
                    ax.errorbar(
                        [c.tokens / c.params for c in these],
                        [c.delta for c in these],
                        [c.error for c in these],
                        color=ink,
                        marker=marker(i),
                        linestyle="none",
                        markersize=3.5,
                        elinewidth=0.8,
                    )
                )
    shown = {(curve.params, curve.bits) for curve in curves}
    below = sum(cell.delta <= 0 for cell in cells if (cell.params, cell.bits) in shown)
    if below:
        artists.append(
            ax.annotate(
                f"{below} more at or below 0",
                (0.995, 0.01),
                xycoords="axes fraction",
                ha="right",
                va="bottom",
                color="0.4",
            )
        )
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="tokens per block parameter, D / N",
        ylabel=r"$\delta_{PTQ}$ (nats per token)",
    )
    return artists
