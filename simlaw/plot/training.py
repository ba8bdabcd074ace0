"""How models were trained, drawn: penalties by arm, findings with intervals, and what low precision costs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.ticker import LogLocator, MultipleLocator, NullFormatter

from simlaw.claims.verdict import Finding
from simlaw.law import AbstractLossLaw
from simlaw.means import Means
from simlaw.plot.palette import GREY, line, marker, shade
from simlaw.precisions import CostCell, Together
from simlaw.report import count

#: Wong's colours with a mark and a line each, for readers of grey; an arm has its own everywhere.
_ARMS = {
    "cooled down": ("#0072b2", "o", "-"),
    "constant rate": ("#d55e00", "s", "--"),
    "constant rate, averaged": ("#009e73", "^", ":"),
    "cooled down, averaged": ("#56b4e9", "v", "-."),
    "cosine": ("#000000", "D", (0, (3, 1, 1, 1))),
}
#: Curves from the first: colour, mark and line.
_LOOKS: tuple[tuple[str, str, Any], ...] = (
    *(("#000000", "o", "-"), ("#0072b2", "s", "--"), ("#d55e00", "^", ":"), ("#009e73", "D", "-.")),
    *(("#cc79a7", "v", (0, (3, 1, 1, 1))), ("#56b4e9", "P", (0, (5, 1))), ("#e69f00", "X", (0, (1, 1)))),
)
#: What the bits of each role are called on an axis.
_ROLES = {"P_w": "weights", "P_a": "inputs per token", "P_kv": "keys and values"}
_OTHER = (GREY, "x", "-")


def plot_arms(
    curves: Sequence[Means], ax: Axes, *, ylabel: str = r"$\delta_{PTQ}$ (nats per token)", yscale: str = "log"
) -> list[Artist | ErrorbarContainer]:
    """The artists of penalties, or of another column, against tokens: a line an arm, standard errors over seeds."""
    artists: list[Artist | ErrorbarContainer] = []
    for curve in curves:
        artists.append(_line(curve, ax, _ARMS.get(curve.name, _OTHER)))
    ax.set(xlabel="training tokens, D", ylabel=ylabel)
    by_counts(ax, yscale=yscale)
    return artists


def by_counts(ax: Axes, *, yscale: str = "log") -> None:
    """Nothing; makes the axes those of counts (logarithmic, 1k and 3k) and of numbers, logarithmic unless said."""
    ax.set(xscale="log", yscale=yscale)
    for axis in (ax.xaxis, ax.yaxis) if yscale == "log" else (ax.xaxis,):
        axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(lambda value, _: count(value))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def plot_findings(
    findings: Sequence[Finding], ax: Axes, *, at: float = 0.0, names: Mapping[str, str] | None = None
) -> list[Artist | ErrorbarContainer]:
    """The artists of numbers with their 95 % intervals, one below the other; a line marks the value `at`.

    Those that a claim's rule looks at are black, others grey. `names` are what to call them instead.
    """
    artists: list[Artist | ErrorbarContainer] = [ax.axvline(at, color="0.2", linewidth=0.8)]
    for i, one in enumerate(findings):
        ends = [[one.value - one.above], [one.below - one.value]] if one.low is not None else None
        ink = "black" if one.judged else "0.45"
        artists.append(
            ax.errorbar(
                one.value, -i, xerr=ends, color=ink, marker="o", markersize=3.5, elinewidth=1.0, linestyle="none"
            )
        )
    labels = [(names or {}).get(one.what, one.what) for one in findings]
    ax.set_yticks([-i for i in range(len(findings))], labels, fontsize=6.5)
    ax.set_ylim(0.6 - max(len(findings), 1), 0.6)
    ax.tick_params(axis="y", length=0)
    values = np.array([[one.above, one.below] for one in findings if np.isfinite([one.above, one.below]).all()])
    if len(values):
        low, high = min(values.min(), at), max(values.max(), at)
        ax.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    return artists


def plot_costs(
    cells: Sequence[CostCell], role: str, law: AbstractLossLaw, ax: Axes, *, tokens: int
) -> list[Artist | ErrorbarContainer]:
    """The artists of what bits of one role cost at a token count, one line a size: measured, and by a law of N_eff."""
    artists: list[Artist | ErrorbarContainer] = []
    here = [cell for cell in cells if cell.roles == (role,) and cell.tokens == tokens]
    sizes = sorted({cell.params for cell in here})
    for i, size in enumerate(sizes):
        mine = sorted((cell for cell in here if cell.params == size), key=lambda cell: cell.bits[role])
        ink = shade(i, len(sizes))
        artists.append(
            ax.errorbar(
                [cell.bits[role] for cell in mine],
                [cell.cost for cell in mine],
                [cell.error for cell in mine],
                color=ink,
                marker=marker(i),
                markersize=3.5,
                linestyle="none",
                elinewidth=0.8,
                label=f"N = {count(size)}",
            )
        )
        bits = np.linspace(min(cell.bits[role] for cell in mine), max(cell.bits[role] for cell in mine), 60)
        rise = law.loss(N=size, D=tokens, **{role: bits}) - law.loss(N=size, D=tokens)
        artists += ax.plot(bits, rise, color=ink, linestyle=line(i), linewidth=0.9)
    ax.set(xlabel=f"bits, {_ROLES[role]}", ylabel="cost (nats per token)")
    ax.set_yscale("symlog", linthresh=0.01)
    ax.xaxis.set_major_locator(MultipleLocator(1))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    return artists


def plot_together(found: Sequence[Together], ax: Axes) -> list[Artist | ErrorbarContainer]:
    """The artists of what several roles cost against the sum of what each costs alone, and the product of shares."""
    artists: list[Artist | ErrorbarContainer] = []
    y, error = [one.cost for one in found], [one.error for one in found]
    how: dict[str, Any] = {"markersize": 3.2, "elinewidth": 0.7, "linestyle": "none"}
    for said, name, label in (
        ([one.product for one in found], "cooled down", "shares of N multiply"),
        ([one.total for one in found], "constant rate", "costs add up"),
    ):
        ink, mark, _ = _ARMS[name]
        fill = "none" if name == "constant rate" else "full"
        artists.append(ax.errorbar(said, y, error, color=ink, marker=mark, fillstyle=fill, label=label, **how))
    ends = [0.0, 1.2 * max([*y, 0.01])]
    artists += ax.plot(ends, ends, color="0.2", linewidth=0.8)
    ax.set(xlabel="predicted from each role alone (nats)", ylabel="cost of several roles (nats)")
    for axis, scale in ((ax.xaxis, ax.set_xscale), (ax.yaxis, ax.set_yscale)):
        scale("symlog", linthresh=0.03)
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    return artists


def plot_means(curves: Sequence[Means], ax: Axes, *, xlabel: str, ylabel: str) -> list[Artist | ErrorbarContainer]:
    """The artists of means with their errors: a line, a colour and a mark for each curve, in their order."""
    artists: list[Artist | ErrorbarContainer] = [
        _line(curve, ax, _LOOKS[i % len(_LOOKS)]) for i, curve in enumerate(curves)
    ]
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return artists


def plot_held(held: Mapping[tuple[float, str], tuple[int, int]], ax: Axes) -> list[Artist]:
    """The artists of how many runs hold at each rate and precision, of how many: darker where fewer do."""
    multiples = sorted({multiple for multiple, _ in held})
    names = list(dict.fromkeys(name for _, name in held))
    shares = np.array([[_share(held.get((multiple, name))) for multiple in multiples] for name in names])
    artists: list[Artist] = [ax.imshow(shares, cmap="cividis", vmin=0, vmax=1, aspect="auto")]
    for (multiple, name), (done, runs) in held.items():
        x, y = multiples.index(multiple), names.index(name)
        ink = "black" if done > runs / 2 else "white"
        artists.append(ax.text(x, y, f"{done}/{runs}", ha="center", va="center", color=ink, fontsize=6.5))
    ax.set_xticks(range(len(multiples)), [f"{multiple:g} ×" for multiple in multiples])
    ax.set_yticks(range(len(names)), names, fontsize=6.5)
    ax.set_xlabel("peak rate, of the recipe's")
    ax.grid(visible=False)
    return artists


def _share(held: tuple[int, int] | None) -> float:
    return np.nan if held is None else held[0] / held[1]


def _line(curve: Means, ax: Axes, look: tuple[str, str, Any]) -> ErrorbarContainer:
    """The artist of means with their errors, in a colour, with a mark and a line."""
    ink, mark, dashes = look
    how: dict[str, Any] = {"markersize": 3.5, "linewidth": 1.0, "elinewidth": 0.8}
    return ax.errorbar(
        curve.x, curve.mean, curve.error, color=ink, marker=mark, linestyle=dashes, label=curve.name, **how
    )
