"""How models were trained, drawn: penalties by arm, findings with intervals, and what low precision costs."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.ticker import LogLocator, NullFormatter

from simlaw.claims.arms import ArmCurve
from simlaw.claims.verdict import Finding
from simlaw.plot.palette import GREY
from simlaw.report import count

#: Wong's colours with a mark and a line each, for readers of grey; an arm has its own everywhere.
_ARMS = {
    "cooled down": ("#0072b2", "o", "-"),
    "constant rate": ("#d55e00", "s", "--"),
    "constant rate, averaged": ("#009e73", "^", ":"),
    "cooled down, averaged": ("#56b4e9", "v", "-."),
    "cosine": ("#000000", "D", (0, (3, 1, 1, 1))),
}
_OTHER = (GREY, "x", "-")


def plot_arms(curves: Sequence[ArmCurve], ax: Axes) -> list[Artist | ErrorbarContainer]:
    """The artists of penalties against tokens, one line an arm, with standard errors over seeds."""
    artists: list[Artist | ErrorbarContainer] = []
    for curve in curves:
        ink, mark, dashes = _ARMS.get(curve.name, _OTHER)
        artists.append(
            ax.errorbar(
                curve.tokens,
                curve.delta,
                curve.error,
                color=ink,
                marker=mark,
                markersize=3.5,
                linestyle=dashes,
                linewidth=1.0,
                elinewidth=0.8,
                label=curve.name,
            )
        )
    ax.set(xscale="log", yscale="log", xlabel="training tokens, D", ylabel=r"$\delta_{PTQ}$ (nats per token)")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    ax.xaxis.set_major_formatter(lambda value, _: count(value))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    return artists


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
    ax.set_ylim(0.6 - len(findings), 0.6)
    ax.tick_params(axis="y", length=0)
    values = np.array([[one.above, one.below] for one in findings if np.isfinite([one.above, one.below]).all()])
    if len(values):
        low, high = min(values.min(), at), max(values.max(), at)
        ax.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    return artists
