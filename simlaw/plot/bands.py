"""A law against one variable with its band, the measured cells, and dashes where nothing was measured."""

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer

from simlaw.curves import Band
from simlaw.plot.palette import BEYOND, colour, marker, shade
from simlaw.report import count, precision

#: What the axis is called, with its unit.
LABELS = {"N": "parameters, N", "D": "training tokens, D"}
#: Points of the labels of curves.
_SIZE = 6.5


def plot_bands(found: Sequence[Band], ax: Axes) -> list[Artist | ErrorbarContainer]:
    """The artists of each curve, its 90 % band and its cells with standard errors; beyond its rows a curve is dashed.

    Colour is precision where the curves differ in one, else size; markers are sizes. Each curve is labelled at its
    right end by what it is fixed at and the others are not.
    """
    artists: list[Artist | ErrorbarContainer] = []
    differing = [name for name in found[0].fixed if len({band.fixed[name] for band in found}) > 1]
    bits = next((name for name in differing if name.startswith("P_")), None)
    others = [name for name in differing if name != bits]
    sizes = sorted({tuple(band.fixed[name] for name in others) for band in found})
    places = [sizes.index(tuple(band.fixed[name] for name in others)) for band in found]
    inks = [
        colour(band.fixed[bits]) if bits else shade(place, len(sizes))
        for band, place in zip(found, places, strict=True)
    ]
    for band, place, ink in zip(found, places, inks, strict=True):
        if band.low is not None and band.high is not None:
            artists.append(ax.fill_between(band.x, band.low, band.high, color=ink, alpha=0.18, linewidth=0))
        artists += ax.plot(band.x, band.law, color=ink, linestyle=BEYOND, linewidth=0.8, zorder=2)
        artists += ax.plot(band.x[band.inside], band.law[band.inside], color=ink, linewidth=1.3, zorder=3)
        artists.append(
            ax.errorbar(
                band.cells,
                band.means,
                np.where(np.isfinite(band.errors), band.errors, 0.0),
                color=ink,
                marker=marker(place),
                markersize=3.5,
                markeredgecolor="white",
                markeredgewidth=0.4,
                elinewidth=0.8,
                linestyle="none",
                zorder=4,
            )
        )
    along = found[0].along
    if along.startswith("P_"):
        ax.set(xlabel=f"bits, {along}")
    else:
        ax.set(xscale="log", xlabel=LABELS.get(along, along))
    if found[0].penalty:
        ax.set(yscale="log", ylabel=r"$\delta_{PTQ}$ (nats per token)")
    else:
        ax.set_ylabel("loss (nats per token)")
    below = sum(int(np.sum(band.means <= 0)) for band in found)
    if below and found[0].penalty:
        note = f"{below} more at or below 0"
        artists.append(ax.annotate(note, (1.0, 1.0), xycoords="axes fraction", ha="right", va="bottom", color="0.4"))
    return artists + _labels(found, differing, inks, ax)


def _labels(found: Sequence[Band], differing: Sequence[str], inks: Sequence[str], ax: Axes) -> list[Artist]:
    """Labels to the right of the axes, each at the height of its curve's end, pushed apart where they would touch."""
    if not differing:
        return []
    ax.autoscale_view()  # the limits are settled late, and the ends of the curves depend on them
    texts = [", ".join(_value(name, band.fixed[name]) for name in differing) for band in found]
    ends = ax.transAxes.inverted().transform([ax.transData.transform((band.x[-1], band.law[-1])) for band in found])
    height = ax.get_position().height * ax.figure.get_figheight() * 72  # type: ignore[union-attr]
    apart = 1.2 * _SIZE / height
    order = np.argsort(ends[:, 1])
    places = np.clip(ends[order, 1], 0.0, 1.0)
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + apart)
    places -= max(0.0, places[-1] - 1.0)
    for i in range(len(places) - 2, -1, -1):
        places[i] = min(places[i], places[i + 1] - apart)
    return [
        ax.annotate(texts[i], (1.02, y), xycoords="axes fraction", va="center", fontsize=_SIZE, color=inks[i])
        for i, y in zip(order, places, strict=True)
    ]


def _value(name: str, value: float) -> str:
    return precision(value) if name.startswith("P_") else f"{name} = {count(value)}"
