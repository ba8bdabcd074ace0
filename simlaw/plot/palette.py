"""Colours, markers and names that mean the same in every plot; told apart in grey and by colour-blind readers."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from simlaw.report import count, precision

#: One colour for each precision, dark to light in even steps of matplotlib's plasma map; black is unquantised.
PRECISION = {2: "#0d0887", 3: "#46039f", 4: "#7e03a8", 5: "#b12a90", 6: "#d8576b", 7: "#f1844b", 8: "#fca636"}
#: Integers of more bits than that, which lose next to nothing, share one.
FINER_COLOUR = "#6b8e8e"
UNQUANTIZED_COLOUR = "#000000"
GREY = "#b8b8b8"
#: Beyond the rows that a law was fitted to: lines are dashed, areas hatched.
BEYOND = (0, (2, 1.5))
BEYOND_HATCH = "////"
#: Shades of sizes from the smallest, light to dark: matplotlib's viridis, where colour is not needed for precision.
SIZE_SHADES = ("#5ec962", "#3dbc74", "#20a486", "#218e8d", "#2e6f8e", "#3b528b", "#440154")
#: Above and below the law: told apart by the direction of the marker too.
ABOVE, BELOW = "#b35806", "#542788"
#: Sizes from the smallest: marker and line.
SIZE_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SIZE_LINES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (3, 1, 1, 1)), (0, (5, 1)), (0, (1, 1)))


def colour(bits: float) -> str:
    """The colour of a precision."""
    return UNQUANTIZED_COLOUR if np.isinf(bits) else PRECISION.get(int(bits), FINER_COLOUR)


def marker(place: int) -> str:
    """The marker of the size at this place from the smallest; after seven they come again."""
    return SIZE_MARKERS[place % len(SIZE_MARKERS)]


def shade(place: int, sizes: int) -> str:
    """The shade of the size at this place of so many; one alone has the darkest."""
    return SIZE_SHADES[round(place * (len(SIZE_SHADES) - 1) / (sizes - 1)) if sizes > 1 else -1]


def line(place: int) -> Any:
    """The line of the size at this place."""
    return SIZE_LINES[place % len(SIZE_LINES)]


def keys(sizes: Iterable[int], precisions: Iterable[float]) -> list[Line2D]:
    """Legend entries for sizes, precisions and the marks that all plots share."""
    entries = [
        Line2D([], [], color="0.2", marker=marker(i), linestyle=line(i), markersize=4, label=f"N = {count(n)}")
        for i, n in enumerate(sizes)
    ]
    entries += [Line2D([], [], color=colour(b), linewidth=3, label=precision(b)) for b in precisions]
    entries += [
        Line2D([], [], color=GREY, marker="o", markersize=4, linestyle="none", label="under the noise floor"),
        Line2D([], [], color="0.2", linestyle=BEYOND, linewidth=0.8, label="tokens outside the data"),
        Line2D([], [], color="0.75", linewidth=5, label="best within the bytes"),
        Line2D(
            [], [], color="black", marker="v", markersize=4, linestyle="none", label="smaller and finer\ntakes over"
        ),
    ]
    return entries
