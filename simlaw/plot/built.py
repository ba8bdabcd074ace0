"""What corpora were built with against what was found: exponents, stairs of a hierarchy, bits that rounding loses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer

from simlaw.claims.grammars import Learned, stairs, theory
from simlaw.plot.palette import GREY, colour, line, marker, shade
from simlaw.plot.training import by_counts
from simlaw.report import count, precision

#: Wong's colours, and marks with them, for kinds of points.
_KINDS = (("#0072b2", "o"), ("#56b4e9", "s"), ("#009e73", "^"), ("#e69f00", "v"), ("#d55e00", "D"), ("#cc79a7", "P"))


@dataclass(frozen=True, kw_only=True)
class Built:
    """A number that a corpus was built with, and what was found of it, with the ends of its 95 % interval."""

    kind: str
    truth: float
    value: float
    low: float | None
    high: float | None


def plot_built(found: Sequence[Built], ax: Axes, *, within: float | None = None) -> list[Artist | ErrorbarContainer]:
    """The artists of found numbers against those that were built in, and of a band of so much to either side."""
    artists: list[Artist | ErrorbarContainer] = []
    ends = np.array([0.0, 1.15 * max(one.truth for one in found)])
    if within is not None:
        band = ax.fill_between(ends, ends * (1 - within), ends * (1 + within), color=GREY, alpha=0.35, linewidth=0)
        band.set_label(f"within {within:.0%}")
        artists.append(band)
    artists += ax.plot(ends, ends, color="0.2", linewidth=0.8, label="as it was built")
    kinds = list(dict.fromkeys(one.kind for one in found))
    for i, kind in enumerate(kinds):
        mine = [one for one in found if one.kind == kind]
        ink, mark = _KINDS[i % len(_KINDS)]
        # kinds side by side, where they have the same truth; without an interval open
        shift = (i - (len(kinds) - 1) / 2) * 0.012 * ends[1]
        low, high = (
            [one.value if end is None else end for one in mine for end in (getattr(one, name),)]
            for name in ("low", "high")
        )
        values = np.array([one.value for one in mine])
        artists.append(
            ax.errorbar(
                [one.truth + shift for one in mine],
                values,
                [values - low, np.subtract(high, values)],
                color=ink,
                marker=mark,
                markersize=4,
                linestyle="none",
                elinewidth=1.0,
                fillstyle="full" if any(one.low is not None for one in mine) else "none",
                label=kind,
            )
        )
    ax.set(xlabel="built with (kinds side by side)", ylabel="found", xlim=ends)
    ax.set_ylim(bottom=0)
    return artists


def plot_stairs(sizes: Mapping[int, Sequence[Learned]], judged: int, ax: Axes) -> list[Artist]:
    """The artists of excess losses against tokens, a line for each grammar and size, with the theory's slope.

    Dotted lines stand where the theory has a level of rules become visible.
    """
    artists: list[Artist] = []
    order = sorted(sizes)
    for size in order:
        for i, one in enumerate(sizes[size]):
            ink = shade(order.index(size), len(order))
            artists += ax.plot(
                one.tokens,
                one.excess,
                color=ink,
                marker=marker(i),
                markersize=3,
                linewidth=1.0 if size == judged else 0.8,
                linestyle=line(order.index(size)),
                label=f"N = {count(size)}" if i == 0 else None,
            )
    first = sizes[judged][0]
    tokens = first.tokens
    start = np.exp(np.mean([np.log(one.excess[0]) for one in sizes[judged]]))
    slope = start * (tokens / tokens[0]) ** -theory(first.grammar)
    said = "slope of the theory, from the first point"
    artists += ax.plot(tokens, slope, color="black", linewidth=1.4, linestyle=(0, (5, 2)), label=said)
    low, high = tokens[0] / 1.3, tokens[-1] * 1.3
    for level, at in enumerate(stairs(first.grammar), start=1):
        if low < at < high:
            said = "a level of rules becomes visible, by the theory"
            artists.append(ax.axvline(at, color="0.35", linewidth=0.9, linestyle=":", label=said))
            where = (at, 0.985)
            artists.append(
                ax.annotate(
                    f"level {level}",
                    where,
                    xycoords=("data", "axes fraction"),
                    fontsize=6,
                    rotation=90,
                    va="top",
                    ha="right",
                )
            )
    ax.set(xlabel="training tokens, D", ylabel="excess loss (nats per token)", xlim=(low, high))
    by_counts(ax)
    return artists


def plot_lost(
    curves: Mapping[float, tuple[Float[np.ndarray, " r"], Float[np.ndarray, " r"], Float[np.ndarray, " r"]]], ax: Axes
) -> list[Artist | ErrorbarContainer]:
    """The artists of the share of stored bits that rounding loses against the rank of facts, by bits, with errors."""
    artists: list[Artist | ErrorbarContainer] = []
    for i, (bits, (ranks, share, error)) in enumerate(sorted(curves.items())):
        artists.append(
            ax.errorbar(
                ranks,
                share,
                error,
                color=colour(bits),
                marker=marker(i),
                linestyle=line(i),
                markersize=3.5,
                linewidth=1.0,
                elinewidth=0.8,
                label=precision(bits),
            )
        )
    ax.axhline(0, color="0.2", linewidth=0.8)
    ax.set(xlabel="rank of the entity, commonest first", ylabel="share of stored bits lost (± s.e.)", xscale="log")
    ax.xaxis.set_major_formatter(lambda value, _: count(value))
    return artists
