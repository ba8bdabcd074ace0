"""The loss curves of a ladder: as they were trained, normalised, and how far each size is from the others."""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from simlaw.health.collapse import Collapse
from simlaw.plot.palette import line, marker, shade
from simlaw.report import count

#: Where nothing is scored, and what noise alone stays within.
_VEIL, _NOISE = "0.93", "0.88"


def plot_losses(found: Collapse, ax: Axes) -> list[Artist]:
    """The artists of the training loss of each size (mean of its seeds) against tokens, named at its end."""
    artists: list[Artist] = []
    for i, size in enumerate(found.sizes):
        ink = shade(i, len(found.sizes))
        tokens = found.x * size.tokens
        artists += ax.plot(tokens, size.loss, color=ink, linestyle=line(i), linewidth=1.2)
        artists += ax.plot(tokens[-1:], size.loss[-1:], color=ink, marker=marker(i), markersize=3.5, linestyle="none")
        artists.append(
            ax.annotate(
                count(size.params),
                (tokens[-1], size.loss[-1]),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=6.5,
                color=ink,
            )
        )
    e = found.irreducible.value + found.shift
    artists.append(ax.axhline(e, color="0.5", linewidth=0.8, linestyle=(0, (1, 2))))
    artists.append(
        ax.annotate(
            f"E = {e:.2f}",
            (0.01, e),
            xycoords=ax.get_yaxis_transform(),
            xytext=(0, 2),
            textcoords="offset points",
            fontsize=6.5,
            color="0.4",
        )
    )
    ax.set(xscale="log", xlabel="training tokens", ylabel="training loss (nats per token)")
    first, last = ax.get_xlim()
    ax.set_xlim(first, last * (last / first) ** 0.06)  # room for the names
    return artists


def plot_normalised(found: Collapse, ax: Axes) -> list[Artist]:
    """The artists of the normalised curve of each size with one standard deviation between seeds on either side.

    Grey covers what is not scored for the warm-up, most of which is left out.
    """
    artists: list[Artist] = [_veil(found, ax)]
    artists.append(
        ax.annotate(
            "not scored: warm-up",
            (found.x[found.scored][0], 0.0),
            xycoords=ax.get_xaxis_transform(),
            xytext=(-4, 4),
            textcoords="offset points",
            ha="right",
            fontsize=6.5,
            color="0.4",
        )
    )
    for i, size in enumerate(found.sizes):
        ink = shade(i, len(found.sizes))
        low, high = (size.normalised * np.exp(sign * found.spread) for sign in (-1, 1))
        artists.append(ax.fill_between(found.x, low, high, color=ink, alpha=0.2, linewidth=0, zorder=2))
        artists += ax.plot(found.x, size.normalised, color=ink, linestyle=line(i), linewidth=1.2, zorder=3)
    shown = found.x >= _first(found)
    top = max(float(size.normalised[shown].max()) for size in found.sizes)
    bottom = min(float(size.normalised[shown].min()) for size in found.sizes)
    ax.set(xscale="log", yscale="log", ylim=(bottom / 1.08, top * 1.08), ylabel=r"$(L - E)\,/\,(L_{end} - E)$")
    _shares(found, ax)
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    return artists


def plot_deviations(found: Collapse, ax: Axes) -> list[Artist]:
    """The artists of each size's distance from the others in seed spreads, with 90 % of the draws of E.

    The band about 0 is what noise alone stays within, all sizes and places together.
    """
    artists: list[Artist] = [_veil(found, ax)]
    artists.append(ax.axhspan(-found.bound, found.bound, color=_NOISE, linewidth=0, zorder=1))
    artists.append(ax.axhline(0.0, color="0.2", linewidth=0.7, zorder=1.5))
    artists.append(
        ax.annotate(
            "noise alone",
            (found.x[found.scored][0], 0.0),
            xytext=(-4, 3),
            textcoords="offset points",
            ha="right",
            fontsize=6.5,
            color="0.3",
        )
    )
    for i, size in enumerate(found.sizes):
        ink = shade(i, len(found.sizes))
        artists.append(ax.fill_between(found.x, size.low, size.high, color=ink, alpha=0.2, linewidth=0, zorder=2))
        artists += ax.plot(found.x, size.deviation, color=ink, linestyle=line(i), linewidth=1.2, zorder=3)
    ax.set(xscale="log", xlabel="share of the run's tokens, x", ylabel="distance\n(seed spreads)")
    _shares(found, ax)
    return artists


def _first(found: Collapse) -> float:
    """Where the axis of shares begins: some way before what is scored."""
    return float(max(found.x[0], found.x[found.scored][0] / 4))


def _shares(found: Collapse, ax: Axes) -> None:
    """Nothing; the axis of shares with plain numbers."""
    ax.set_xlim(_first(found), 1.03)
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())


def _veil(found: Collapse, ax: Axes) -> Artist:
    """What covers the places that are not scored."""
    return ax.axvspan(_first(found), found.x[found.scored][0], color=_VEIL, linewidth=0, zorder=0.5)
