"""The best bits over bytes and training FLOPs: regions by colour and name, hatched and dotted where one should doubt."""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.contour import ContourSet

from simlaw.maps import BitsMap
from simlaw.plot.palette import BEYOND_HATCH, colour
from simlaw.report import precision

#: The share of draws from which a winner counts as settled.
SETTLED = 0.9
#: Regions of fewer points on their widest inner path have no room for a name.
_ROOM = 3


def plot_bits(found: BitsMap, ax: Axes) -> list[Artist | ContourSet]:
    """The artists of the regions in the colours of their bits, with names; the upper axis counts 16-bit parameters.

    Paler and dotted: the winner wins in less than 90 % of the draws. Hatched: its size or data lie outside the rows of
    the law.
    """
    x, y, bits = found.bytes, found.flops, found.bits
    kinds = sorted(set(bits.ravel()), reverse=True)
    place = np.searchsorted(np.array(kinds[::-1]), bits)
    shades = ListedColormap([colour(one) for one in kinds[::-1]])
    norm = BoundaryNorm(np.arange(len(kinds) + 1) - 0.5, max(2, len(kinds)))
    doubt = np.zeros(bits.shape, bool) if found.share is None else found.share < SETTLED
    alpha = np.where(doubt, 0.55, 1.0)
    artists: list[Artist | ContourSet] = [
        ax.pcolormesh(x, y, place, cmap=shades, norm=norm, alpha=alpha, shading="nearest", linewidth=0, rasterized=True)
    ]
    for mask, hatch in ((found.outside, BEYOND_HATCH), (doubt, "....")):
        if mask.any():
            marked = ax.contourf(x, y, mask.astype(np.float64), levels=[0.5, 1.5], colors="none", hatches=[hatch])
            marked.set(edgecolor="white", linewidth=0.0)
            artists.append(marked)
    ax.set(xscale="log", yscale="log", xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    ax.set(xlabel="stored weights (bytes)", ylabel="training FLOPs, 6·N·D")
    ax.grid(visible=False)
    above = ax.secondary_xaxis("top", functions=(lambda b: b / 2, lambda n: 2 * n))
    above.set_xlabel("parameters that fit at 16 bits")
    artists.append(above)
    for one in kinds:
        at = _middle(bits == one)
        if at is not None:
            label = ax.annotate(precision(one), (x[at[1]], y[at[0]]), ha="center", va="center", fontsize=7)
            label.set(color="white", fontweight="bold", bbox={"facecolor": "0.1", "linewidth": 0, "pad": 1.5})
            artists.append(label)
    return artists


def _middle(mask: np.ndarray) -> tuple[int, int] | None:
    """A point deep inside a region: among the last to go when its rim is peeled off again and again."""
    left, depth = np.pad(mask, 1), 0
    while True:
        inner = left.copy()
        inner[1:-1, 1:-1] &= left[:-2, 1:-1] & left[2:, 1:-1] & left[1:-1, :-2] & left[1:-1, 2:]
        if not inner.any():
            break
        left, depth = inner, depth + 1
    if depth + 1 < _ROOM:
        return None
    points = np.argwhere(left)
    i, j = points[np.argmin(np.sum((points - points.mean(axis=0)) ** 2, axis=1))]
    return int(i) - 1, int(j) - 1
