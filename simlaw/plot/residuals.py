"""Standardised residuals against one axis: every row, the means of its levels, and the zero line."""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer

from simlaw.errors import SimlawError
from simlaw.fitting.residuals import Residuals
from simlaw.plot.palette import GREY

#: What an axis is called, with its unit.
LABELS = {"N": "parameters, N", "D": "training tokens, D", "C": "training FLOPs, 6·N·D"}


def plot_residuals(found: Residuals, name: str, ax: Axes) -> list[Artist | ErrorbarContainer]:
    """The artists of the rows (grey) and the level means with two standard errors, along the axis of this name.

    An axis on which something stands out has its name in bold. Unquantized rows are drawn at the right, at "16".
    """
    axis = next((one for one in found.axes if one.name == name), None)
    if axis is None:
        raise SimlawError(f"the residuals have no axis {name!r}: they have {', '.join(one.name for one in found.axes)}")
    bits = name.startswith("P_")
    values = found.x[name]
    finite = np.isfinite(values)
    beyond = 1.0 + (values[finite].max() if finite.any() else 0.0)
    artists: list[Artist | ErrorbarContainer] = [ax.axhline(0.0, color="0.2", linewidth=0.9, zorder=1.6)]
    place = np.where(finite, values, beyond)
    artists += ax.plot(place, found.standard, color=GREY, marker="o", markersize=2, linestyle="none", zorder=2)
    levels = axis.levels
    artists.append(
        ax.errorbar(
            [level.value if np.isfinite(level.value) else beyond for level in levels],
            [level.mean for level in levels],
            [2 * level.error if np.isfinite(level.error) else 0.0 for level in levels],
            color="black",
            marker="D",
            markersize=3.5,
            elinewidth=1.0,
            capsize=2,
            linestyle="none",
            zorder=3,
        )
    )
    if bits:
        ticks = sorted({float(v) for v in values[finite]})
        labels = [f"{tick:g}" for tick in ticks]
        if not finite.all():
            ticks, labels = [*ticks, beyond], [*labels, "16"]
        ax.set_xticks(ticks, labels)
        ax.set_xlabel(f"bits, {name}")
    else:
        ax.set_xscale("log")
        ax.set_xlabel(LABELS.get(name, name))
    if axis.sentence:
        ax.xaxis.label.set_fontweight("bold")
    ax.set_ylabel("residual (s.d. of the noise)" if found.noise_known else "residual / their r.m.s.")
    return artists
