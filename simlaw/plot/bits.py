"""The best bits over bytes and training FLOPs: regions by colour and name, marked where one should doubt them."""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.contour import ContourSet

from simlaw.decision.maps import BitsMap
from simlaw.plot.palette import BEYOND_HATCH, colour
from simlaw.report import count, precision, size

#: Regions from which fewer rims can be peeled have no room for a name.
_ROOM = 3
_WHITE = ListedColormap(["white"])


def plot_bits(found: BitsMap, ax: Axes) -> list[Artist | ContourSet]:
    """The artists of the regions in the colours of their bits, with names; the upper axis counts 16-bit parameters.

    Paler and dotted: nothing is settled, since the winner leads by less than half a thousandth nat, or does not lead in
    90 % of the draws. Hatched: its size or data lie outside the rows of the law.
    """
    x, y, bits = found.bytes, found.flops, found.bits
    kinds = sorted(set(bits.ravel()), reverse=True)
    place = np.searchsorted(np.array(kinds[::-1]), bits)
    shades = ListedColormap([colour(one) for one in kinds[::-1]])
    norm = BoundaryNorm(np.arange(len(kinds) + 1) - 0.5, max(2, len(kinds)))
    doubt = ~found.settled
    mesh = ax.pcolormesh(x, y, place, cmap=shades, norm=norm, shading="nearest", linewidth=0, rasterized=True)
    artists: list[Artist | ContourSet] = [mesh]
    if doubt.any():
        veil = np.where(doubt, 0.0, np.nan)
        artists.append(ax.pcolormesh(x, y, veil, cmap=_WHITE, alpha=0.5, shading="nearest", rasterized=True))
    for mask, hatch in ((found.outside, BEYOND_HATCH), (doubt, "..")):
        if mask.any():
            marked = ax.contourf(x, y, mask.astype(np.float64), levels=[0.5, 1.5], colors="none", hatches=[hatch])
            marked.set(edgecolor="white", linewidth=0.0)
            artists.append(marked)
    if len(kinds) > 1:
        artists.append(ax.contour(x, y, place, np.arange(len(kinds) - 1) + 0.5, colors="0.1", linewidths=0.5))
    ax.set(xscale="log", yscale="log", xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    ax.set(xlabel="bytes of weights", ylabel="training FLOPs, 6·N·D")
    ax.grid(visible=False)
    above = ax.secondary_xaxis("top", functions=(lambda b: np.asarray(b) / 2, lambda n: np.asarray(n) * 2))
    above.set_xlabel("parameters that fit at 16 bits")
    ax.xaxis.set_major_formatter(lambda value, _: size(value))
    above.xaxis.set_major_formatter(lambda value, _: count(value))
    artists.append(above)
    for one in kinds:
        for at in _places(bits == one):
            label = ax.annotate(precision(one), (x[at[1]], y[at[0]]), ha="center", va="center", fontsize=7)
            label.set(color="white", fontweight="bold", bbox={"facecolor": "0.1", "linewidth": 0, "pad": 1.5})
            artists.append(label)
    return artists


def _places(mask: np.ndarray) -> list[tuple[int, int]]:
    """A point deep inside each connected region: among the last to go when its rim is peeled off again and again."""
    found = []
    while mask.any():
        region = np.zeros_like(mask)
        region[tuple(np.argwhere(mask)[0])] = True
        while (grown := _spread(region) & mask).sum() > region.sum():
            region = grown
        mask = mask & ~region
        depth = 0
        while (inner := region & ~_spread(~region, edge=True)).any():
            region, depth = inner, depth + 1
        if depth >= _ROOM:
            points = np.argwhere(region)
            i, j = points[np.argmin(np.sum((points - points.mean(axis=0)) ** 2, axis=1))]
            found.append((int(i), int(j)))
    return found


def _spread(mask: np.ndarray, edge: bool = False) -> np.ndarray:
    """The mask and its neighbours; `edge` is what lies beyond the map."""
    around = np.pad(mask, 1, constant_values=edge)
    return mask | around[:-2, 1:-1] | around[2:, 1:-1] | around[1:-1, :-2] | around[1:-1, 2:]
