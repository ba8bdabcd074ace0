"""Loss against stored bytes at one training budget: a curve for each precision, and their lower envelope."""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer

from simlaw.decision.frontier import Frontier
from simlaw.plot.palette import BEYOND, colour, marker


def plot_frontier(found: Frontier, ax: Axes, *, sizes: tuple[int, ...]) -> list[Artist | ErrorbarContainer]:
    """The artists of the curves with bands, the measured cells, the envelope, and a strip of its best precision.

    A triangle marks where, as the bytes grow, a smaller and finer model takes over from a larger and coarser one. A
    curve is dashed where the budget buys a token count outside the measured ones. `sizes` gives each size its marker.
    """
    artists: list[Artist | ErrorbarContainer] = [
        *ax.plot(found.bytes / 1e3, found.envelope, color="0.7", linewidth=6, zorder=1, solid_capstyle="round")
    ]
    for curve in found.curves:
        x = curve.bytes / 1e3
        artists.append(ax.fill_between(x, curve.low, curve.high, color=colour(curve.bits), alpha=0.06, linewidth=0))
        artists += ax.plot(x, curve.loss, color=colour(curve.bits), linestyle=BEYOND, linewidth=0.8, zorder=2)
        inside = curve.inside
        artists += ax.plot(x[inside], curve.loss[inside], color=colour(curve.bits), linewidth=1.2, zorder=3)
    for cell in found.measured:
        artists.append(
            ax.errorbar(
                cell.bytes / 1e3,
                cell.loss,
                cell.error,  # without an error, without a bar
                color=colour(cell.bits),
                marker=marker(sizes.index(cell.params)),
                markersize=3.5,
                elinewidth=0.8,
                zorder=4,
            )
        )
    changes = [int(i) + 1 for i in np.flatnonzero(found.winner[1:] != found.winner[:-1])]
    finer = [i for i in changes if found.winner[i] > found.winner[i - 1] and found.params[i] < found.params[i - 1]]
    x = found.bytes / 1e3
    for start, stop in zip([0, *changes], [*changes, len(x) - 1], strict=True):
        bits = found.winner[start]
        artists.append(ax.axvspan(x[start], x[stop], 0.0, 0.055, color=colour(bits), linewidth=0, zorder=2))
        artists.append(
            ax.annotate(
                "16" if np.isinf(bits) else f"{bits:g}",
                (np.sqrt(x[start] * x[stop]), 0.026),
                xycoords=ax.get_xaxis_transform(),
                color="white",
                fontsize=6.5,
                fontweight="bold",
                ha="center",
                va="center",
            )
        )
    artists += ax.plot(
        x[finer], found.envelope[finer], color="black", marker="v", markersize=4, linestyle="none", zorder=5
    )
    ax.set(xscale="log", xlabel="stored bytes (kB)")
    return artists
