"""Learning rates: loss against rate, best rates against width, and what the present rule gives away."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator

from simlaw.plot.palette import BEYOND, colour, line, marker, shade
from simlaw.rates.best import BestRate
from simlaw.rates.rule import RateLine
from simlaw.rates.study import RateStudy
from simlaw.report import precision

#: Marks: a best rate, the fitted rule, the present one.
BEST, RULE, PRESENT = "*", "#b35806", "0.45"
#: By how much points at one width are moved apart, as a share of it.
_APART = 0.07


def plot_rate_curves(found: Sequence[BestRate], rule: RateLine | None, ax: Axes) -> list[Artist | ErrorbarContainer]:
    """The artists of the loss of each size against its peak rate, named at its left end.

    A thick arc is the parabola with the best rate and its interval on it; a triangle below is the rule's rate. A rate
    at which a run diverged has a cross at the loss of its neighbour.
    """
    artists: list[Artist | ErrorbarContainer] = []
    for i, one in enumerate(found):
        ink = shade(i, len(found))
        there = np.isfinite(one.losses)
        x, y = one.rates[there], one.losses[there]
        if not len(x):
            continue
        style = {"color": ink, "linestyle": line(i), "linewidth": 0.6, "marker": marker(i), "markersize": 3.0}
        artists.append(ax.errorbar(x, y, one.errors[there], elinewidth=0.8, **style))
        for rate in one.rates[~there]:
            near = float(y[np.argmin(np.abs(np.log(x / rate)))])
            artists += ax.plot([rate], [near], marker="x", color=ink, linestyle="none", markersize=5)
        if one.rate is not None and one.interval and one.loss is not None and one.curvature is not None:
            arc = np.geomspace(one.used[0], one.used[-1], 60)
            artists += ax.plot(arc, one.loss + one.curvature * np.log(arc / one.rate) ** 2, color=ink, linewidth=1.8)
            artists += ax.plot(one.interval, (one.loss, one.loss), color="black", linewidth=1.0, zorder=4)
            artists += ax.plot([one.rate], [one.loss], marker=BEST, color="black", markersize=6, zorder=5)
            if rule is not None:
                at = float(rule.band(np.array([float(one.kind.width)]))[0][0])
                height = one.loss + one.curvature * math.log(at / one.rate) ** 2
                below: dict[str, Any] = {
                    "xytext": (0, -7),
                    "textcoords": "offset points",
                    "ha": "center",
                    "va": "center",
                }
                artists.append(ax.annotate("▲", (at, height), fontsize=5.5, color=RULE, **below))
        name: dict[str, Any] = {"xytext": (-5, 0), "textcoords": "offset points", "ha": "right", "va": "center"}
        artists.append(ax.annotate(f"width {one.kind.width}", (x[0], y[0]), fontsize=6.5, color=ink, **name))
    ax.set(xscale="log", xlabel="peak learning rate", ylabel="loss (nats per token)")
    _plain(ax, "x")
    low, high = ax.get_xlim()
    ax.set_xlim(low / (high / low) ** 0.26, high)  # room for the names, and above for the marks' meaning
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.13 * (high - low))
    return artists


def plot_best_rates(study: RateStudy, ax: Axes) -> list[Artist | ErrorbarContainer]:
    """The artists of the best rates against width with their intervals, the rule with its band and the present one.

    Colours and marks are the bits of the weights in training, open ones muP. An open triangle at an end of the rates
    points to where a best rate is that was not bracketed; a curve with no single minimum has no mark.
    """
    artists: list[Artist | ErrorbarContainer] = []
    here = [one for one in study.best if one.kind.tokens == study.tokens]
    kinds = list(dict.fromkeys((one.kind.bits, one.kind.mup) for one in here))
    precisions = list(dict.fromkeys(bits for bits, _ in kinds))
    for place, (bits, mup) in enumerate(kinds):
        away = (1 + _APART) ** (place - (len(kinds) - 1) / 2)
        held = math.inf if bits is None else bits
        ink, label = colour(held), precision(held) + (f", muP\n(base width {mup})" if mup else "")
        some = [one for one in here if (one.kind.bits, one.kind.mup) == (bits, mup)]
        known = [one for one in some if one.rate is not None and one.interval]
        x = np.array([one.kind.width * away for one in known])
        y = np.array([one.rate for one in known], np.float64)
        ends = np.array([one.interval for one in known], np.float64).reshape(-1, 2)
        artists.append(
            ax.errorbar(
                x,
                y,
                np.stack([y - ends[:, 0], ends[:, 1] - y]),
                color=ink,
                marker=marker(precisions.index(bits)),
                markersize=3.5,
                markerfacecolor="white" if mup else ink,
                elinewidth=0.9,
                linestyle="none",
                label=label,
                zorder=4,
            )
        )
        for one in some:
            if one.end is not None:
                up = one.end == one.rates[np.isfinite(one.losses)][-1]
                mark = "^" if up else "v"
                artists += ax.plot(
                    [one.kind.width * away], [one.end], mark, color=ink, markersize=4, markerfacecolor="none"
                )
    widths = np.array(sorted({one.kind.width for one in here}), np.float64)
    across = np.geomspace(widths[0] / 1.2, widths[-1] * 1.2, 60)
    if study.line is not None:
        mid, low, high = study.line.band(across)
        name = f"fitted rule:\nwidth$^{{{study.line.exponent:.2f} \\pm {study.line.error:.2f}}}$"
        artists.append(ax.fill_between(across, low, high, color=RULE, alpha=0.2, linewidth=0))
        artists += ax.plot(across, mid, color=RULE, linewidth=1.2, label=name)
    sizes = sorted(study.sizes, key=lambda one: one.kind.width)
    artists += ax.plot(
        [one.kind.width for one in sizes],
        [one.present for one in sizes],
        color=PRESENT,
        linestyle=BEYOND,
        linewidth=1.0,
        label="present rule",
    )
    ax.set(xscale="log", yscale="log", xlabel="width", ylabel="best peak learning rate")
    ax.xaxis.set_major_locator(FixedLocator(widths.tolist()))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    _plain(ax, "x")
    _plain(ax, "y")
    return artists


def plot_given_away(study: RateStudy, ax: Axes) -> list[Artist | ErrorbarContainer]:
    """The artists of what the present rule loses to the best rate, by training, with intervals; markers are widths.

    An arrow stands for a best rate that was not bracketed: at least so much is lost.
    """
    artists: list[Artist | ErrorbarContainer] = []
    places = list(dict.fromkeys(_place(one, study) for one in study.best))
    widths = sorted({one.kind.width for one in study.best})
    for one in study.best:
        if one.given_away is None or one.given_interval is None:
            continue
        size = widths.index(one.kind.width)
        x = places.index(_place(one, study)) + 0.17 * (size - (len(widths) - 1) / 2)
        ink, low, high = shade(size, len(widths)), *one.given_interval
        open_end = math.isinf(high)
        bars = [[max(0.0, one.given_away - low)], [0.0 if open_end else max(0.0, high - one.given_away)]]
        artists.append(
            ax.errorbar(
                [x],
                [one.given_away],
                bars,
                color=ink,
                marker=marker(size),
                markersize=3.5,
                markerfacecolor="white" if open_end else ink,
                elinewidth=0.9,
                linestyle="none",
            )
        )
        if open_end:
            arrow = {"arrowstyle": "<-", "color": ink, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 3}
            artists.append(
                ax.annotate("", (x, one.given_away), xytext=(0, 14), textcoords="offset points", arrowprops=arrow)
            )
    ax.margins(y=0.12)
    ax.axhline(0.0, color="0.2", linewidth=0.6)
    ax.set_xticks(range(len(places)), places)
    ax.set(ylabel="loss above that of the best rate (nats)")
    ax.grid(visible=False, axis="x")
    return artists


def _place(one: BestRate, study: RateStudy) -> str:
    """What a kind of model is trained in, and on how many times the tokens of the others."""
    more = f"\n{one.kind.tokens / study.tokens:.3g} x the tokens" if one.kind.tokens != study.tokens else ""
    return one.kind.training.replace(", ", "\n") + more


def _plain(ax: Axes, name: str) -> None:
    """Nothing; numbers without powers of ten along an axis, and none between."""
    axis = ax.xaxis if name == "x" else ax.yaxis
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())
