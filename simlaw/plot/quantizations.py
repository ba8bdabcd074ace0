"""Ways to quantize, drawn: ratios to plain rounding, penalties by stored bits, losses that rise again with data."""

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter

from simlaw.claims.comparison import Comparison, Stored
from simlaw.claims.minimum import Minimum
from simlaw.claims.verdict import Verdicts
from simlaw.plot.palette import GREY, SIZE_LINES, marker, shade
from simlaw.report import count

#: Wong's colours, which colour-blind readers tell apart, and marks for readers of grey; a way has its own everywhere.
_WAYS = {
    **{"GPTQ": ("#0072b2", "o"), "AWQ": ("#d55e00", "s"), "MSE clip": ("#009e73", "^"), "Hadamard": ("#cc79a7", "D")},
    **{"stochastic": ("#e69f00", "v"), "equal noise": ("#56b4e9", "P"), "rate-distortion": ("#000000", "X")},
    **{"SmoothQuant": ("#009e73", "s"), "Tender": ("#d55e00", "v")},
}
#: Ratios beyond these run out of the axis: they tell nothing.
_SHOWN = (1e-3, 1e2)


def plot_ratios(found: Sequence[Comparison], ax: Axes) -> list[Artist | ErrorbarContainer]:
    """The artists of each way's penalty over that of plain rounding at equal bits, with 95 % intervals."""
    artists: list[Artist | ErrorbarContainer] = [ax.axhline(1.0, color="0.2", linewidth=0.8)]
    ways = list(dict.fromkeys(one.way for one in found))
    for i, way in enumerate(ways):
        here = [one for one in found if one.way == way]
        away = 0.1 * (i - (len(ways) - 1) / 2)
        y = np.array([one.ratio.value for one in here])
        ends = np.array([[one.ratio.low, one.ratio.high] for one in here])
        artists.append(
            ax.errorbar(
                [one.bits + away for one in here],
                y,
                np.abs(ends.T - y),
                color=_WAYS[way][0],
                marker=_WAYS[way][1],
                markersize=3.5,
                elinewidth=0.9,
                linewidth=0.6,
                label=way,
            )
        )
    ax.set(yscale="log", xlabel="bits", ylabel="penalty / that of plain rounding")
    ax.xaxis.set_major_locator(FixedLocator(sorted({one.bits for one in found})))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    values = [one.ratio.value for one in found] or [1.0]
    ax.set_ylim(max(_SHOWN[0], min(values) / 3), min(_SHOWN[1], max(values) * 3))
    return artists


def plot_stored(found: Sequence[Stored], ax: Axes) -> list[Artist | ErrorbarContainer]:
    """The artists of penalties against stored bits: rounding, GPTQ and the ideal code; formats that ship have names."""
    artists: list[Artist | ErrorbarContainer] = []
    names = {"rtn": "rounding", "gptq": "GPTQ", "limit": "rate-distortion limit"}
    looks = {"rtn": ("#d55e00", "s"), "gptq": _WAYS["GPTQ"], "limit": _WAYS["rate-distortion"]}
    for family, (ink, mark) in looks.items():
        here = [one for one in found if one.family == family and one.delta > 0]
        if not here:
            continue
        artists.append(
            ax.errorbar(
                [one.bits for one in here],
                [one.delta for one in here],
                [one.error for one in here],
                color=ink,
                marker=mark,
                markersize=3,
                elinewidth=0.8,
                linewidth=1.0 if family == "limit" else 0.0,
                label=names[family],
            )
        )
    named: dict[int, list[Stored]] = {}
    for one in found:
        if one.family == "rtn" and not one.name.startswith("int"):
            named.setdefault(int(2 * one.bits), []).append(one)  # names of formats within half a bit stand together
    for formats in named.values():
        artists.append(
            ax.annotate(
                "\n".join(", ".join(one.name for one in formats[i : i + 2]) for i in range(0, len(formats), 2)),
                (float(np.mean([one.bits for one in formats])), 0.99),
                xycoords=("data", "axes fraction"),
                rotation=90,
                va="top",
                ha="center",
                fontsize=5.5,
                color="0.3",
            )
        )
    ax.set(yscale="log", xlabel="stored bits per weight, scales included", ylabel=r"$\delta_{PTQ}$ (nats per token)")
    return artists


def plot_minima(found: Sequence[Minimum], ax: Axes) -> list[Artist | ErrorbarContainer]:
    """The artists of quantized losses against tokens, one line a size; a ring is a least loss inside the tokens."""
    artists: list[Artist | ErrorbarContainer] = []
    for i, one in enumerate(found):
        ink = shade(i, len(found))
        artists.append(
            ax.errorbar(
                one.curve.tokens,
                one.curve.loss,
                one.curve.error,
                color=ink,
                marker=marker(i),
                markersize=3,
                linestyle=SIZE_LINES[i % len(SIZE_LINES)],
                elinewidth=0.8,
                label=f"N = {count(one.params)}",
            )
        )
        if one.interior:
            at = one.curve.tokens.index(one.tokens)
            artists += ax.plot([one.tokens], [one.curve.loss[at]], "o", color="black", markersize=8, fillstyle="none")
    ax.set(xscale="log", xlabel="training tokens, D", ylabel="loss after rounding (nats per token)")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    ax.xaxis.set_major_formatter(lambda value, _: count(value))
    ax.xaxis.set_minor_formatter(NullFormatter())
    return artists


def plot_verdicts(found: Verdicts, ax: Axes) -> list[Artist]:
    """The artists of a list of claims with what became of them."""
    inks = {"holds": "#009e73", "fails": "#d55e00", "not identified": GREY}
    artists: list[Artist] = []
    for i, one in enumerate(found.each):
        y = 1 - (i + 0.5) / len(found.each)
        artists.append(
            ax.text(
                *(0.0, y, one.outcome), color="black", va="center", fontsize=7, weight="bold",
                bbox={"facecolor": inks[one.outcome], "alpha": 0.35, "edgecolor": "none", "pad": 1.5},
            )
        )  # fmt: skip
        artists.append(ax.text(0.17, y, f"{one.claim}  {one.says}", va="center", fontsize=7))
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.set_axis_off()
    return artists
