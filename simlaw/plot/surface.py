"""Contours of the loss over size and data, with the runs, lines of equal compute and the best size of each."""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.contour import ContourSet
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from simlaw.decision.maps import LossMap
from simlaw.plot.palette import ABOVE, BELOW, BEYOND_HATCH
from simlaw.report import power_of_ten

#: Residuals of so many standard deviations have the full colour.
FULL = 3.0
#: A label keeps this factor from the edges of the map.
_EDGE = 1.3


def plot_surface(found: LossMap, ax: Axes, *, levels: int = 9) -> list[Artist | ContourSet | Collection]:
    """The artists of labelled contours (nats per token), iso-FLOP lines, the compute-optimal line, and the runs.

    A triangle points up where runs lie above the law and down where they lie below, full-coloured from three standard
    deviations; a circle is within one. What lies outside the range of the runs is hatched.
    """
    n, d = found.params, found.tokens
    steps = np.quantile(found.loss, np.linspace(0.04, 0.96, levels))
    artists: list[Artist | ContourSet | Collection] = []
    contours = ax.contour(n, d, found.loss, levels=np.unique(_rounded(steps)), colors="0.35", linewidths=0.7, zorder=2)
    ax.set(xscale="log", yscale="log", xlim=(n[0], n[-1]), ylim=(d[0], d[-1]))
    ax.set(xlabel="parameters, N", ylabel="training tokens, D")
    ax.grid(visible=False)
    # labels in one column, where the curves are furthest apart
    column = int(0.85 * len(n))
    tokens = np.interp(np.asarray(contours.levels), found.loss[::-1, column], d[::-1], left=np.nan, right=np.nan)
    spots = [(n[column], at) for at in tokens if d[0] * _EDGE < at < d[-1] / _EDGE]
    artists += [contours, *ax.clabel(contours, fontsize=6.5, fmt="%g", inline_spacing=2, manual=spots)]
    artists += _outside(found, ax)
    decades = np.arange(np.ceil(np.log10(found.flops[0])), np.floor(np.log10(found.flops[-1])) + 1)
    for budget in 10.0**decades:
        artists += ax.plot(n, budget / (6 * n), color="0.65", linestyle=":", linewidth=0.8, zorder=1)
        # at the upper or right edge, whichever the line leaves by
        x = max(budget / (6 * d[-1]), n[0])
        if budget / (6 * x) > d[0] * 2 and x < n[-1] / 2:
            at = (x, budget / (6 * x))
            text = ax.annotate(power_of_ten(budget), at, (2, -2), textcoords="offset points", fontsize=6, color="0.45")
            text.set(va="top", ha="left", bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.5})
            artists.append(text)
    artists += ax.plot(found.optimal, found.flops / (6 * found.optimal), color="black", linewidth=1.6, zorder=3)
    for point in found.measured:
        strength = min(1.0, abs(point.residual) / FULL)
        mark = "o" if abs(point.residual) <= 1 else "^" if point.residual > 0 else "v"
        artists += ax.plot(
            point.params,
            point.tokens,
            color=_mixed(ABOVE if point.residual > 0 else BELOW, strength),
            marker=mark,
            markersize=4.5,
            markeredgecolor="black",
            markeredgewidth=0.5,
            linestyle="none",
            zorder=4,
        )
    return artists


def _outside(found: LossMap, ax: Axes) -> list[PathPatch]:
    """Hatching over the map but for the rectangle of the runs."""
    n, d = found.params, found.tokens
    (n0, n1), (d0, d1) = found.ranges["N"], found.ranges["D"]
    outer = [(n[0], d[0]), (n[-1], d[0]), (n[-1], d[-1]), (n[0], d[-1]), (n[0], d[0])]
    inner = [(n0, d0), (n0, d1), (n1, d1), (n1, d0), (n0, d0)]  # the other way round, a hole
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    ring = Path([*outer, *inner], [*codes, *codes])
    patch = PathPatch(ring, facecolor="none", edgecolor="0.85", hatch=BEYOND_HATCH, linewidth=0.0, zorder=0)
    ax.add_patch(patch)
    return [patch]


def _mixed(ink: str, strength: float) -> tuple[float, ...]:
    """A colour thinned with white."""
    full = [int(ink[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return tuple(1 - strength * (1 - part) for part in full)


def _rounded(values: np.ndarray) -> np.ndarray:
    """Levels to two digits of their spacing, so that labels are short."""
    step = np.median(np.diff(values))
    return np.round(values, int(max(0, np.ceil(-np.log10(step)))))
