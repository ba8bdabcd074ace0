"""Facts: what fits give back of what the corpus was built with, how many bits are stored, and which are lost first.

simlaw figure zfact --sweep zfact
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

import simlaw as sl
from simlaw.claims import Beside, judge
from simlaw.claims.facts import Rediscovered, ideal, lost, lost_by_rank, parameters, rediscovered, stored_of
from simlaw.config import ZFact
from simlaw.fitting.fit import Fit
from simlaw.ideal import ENOUGH, IdealLearner
from simlaw.laws import Chinchilla
from simlaw.means import Means, means_at
from simlaw.plot import Built, by_counts, plot_built, plot_lost, plot_means, plot_verdicts
from simlaw.plot.palette import line, marker, shade
from simlaw.report import count
from simlaw.table import Table

#: The ideal learner's rows: sizes with data enough, token counts with room enough.
SIZES = tuple(2.0**k for k in range(11, 19))
DATA = tuple(2.0**k for k in range(14, 26))
SEEDS = range(5)


def draw(table: Table, beside: Beside) -> Figure:
    """The figure of a sweep of facts."""
    figure = Figure(figsize=(7.2, 9.0))
    axes = figure.subplot_mosaic(
        [["ideal", "exponents"], ["trained", "capacity"], ["less", "more"], ["said", "said"]],
        height_ratios=(1, 1, 0.85, 0.75),
    )
    corpora = {facts: rows for facts, rows in beside.tables(table, ZFact).items() if facts.exponent > 0}
    fits = {facts: sl.fit(Chinchilla, IdealLearner(facts=facts).edges(SIZES, DATA, SEEDS)) for facts in corpora}
    _ideal(fits, axes["ideal"])
    plot_built(_exponents(corpora, fits), axes["exponents"])
    axes["exponents"].set_title("(b) Exponents of Chinchilla's law, E free, 95 %")
    axes["exponents"].legend(loc="upper left", fontsize=6)
    facts = min(corpora, key=lambda facts: facts.exponent)
    labels = {"xlabel": "training tokens, D", "ylabel": "excess loss (nats per token)"}
    plot_means(_excess(corpora[facts]), axes["trained"], **labels)
    by_counts(axes["trained"])
    axes["trained"].set_title(f"(c) Trained models, a = {facts.exponent:g}")
    axes["trained"].legend(fontsize=6.5)
    _capacity(table, beside, axes["capacity"])
    for name, letter, (facts, size) in zip(("less", "more"), "ef", _largest(table, beside), strict=False):
        plot_lost(_lost(table, beside, facts, size), axes[name])
        axes[name].set_title(f"({letter}) Lost by rounding, a = {facts.exponent:g}, N = {count(size)}")
        axes[name].legend(fontsize=6.5)
    plot_verdicts(judge(table, ("G1", "G3", "G4"), beside), axes["said"])
    return figure


def _ideal(fits: dict[ZFact, Fit], ax: Axes) -> None:
    """The losses of an ideal learner where room is short, and where data are, above E of the laws fitted to them."""
    for i, (facts, found) in enumerate(fits.items()):
        learner = IdealLearner(facts=facts)
        for j, (what, at) in enumerate((("room", SIZES), ("data", DATA))):
            cells = [(x, ENOUGH) if what == "room" else (ENOUGH, x) for x in at]
            least = learner.floor - learner.beyond
            losses = [np.mean([learner.loss(*cell, seed=seed) for seed in SEEDS]) - least for cell in cells]
            ink, place = shade(2 * i + j, 2 * len(fits)), 2 * i + j
            label = f"a = {facts.exponent:g}, {what} short"
            ax.plot(at, losses, color=ink, marker=marker(place), markersize=3, linestyle="none", label=label)
            law = [float(found.law.loss(N=n, D=d) - found.law.values["E"]) for n, d in cells]
            ax.plot(at, law, color=ink, linestyle=line(place), linewidth=0.9)
    ax.set(title="(a) An ideal learner, and the laws fitted to it", xlabel="parameters N, or training tokens D")
    ax.set_ylabel("loss above E (nats per token)")
    by_counts(ax)
    ax.xaxis.set_major_locator(LogLocator())
    ax.legend(fontsize=6)


def _exponents(corpora: dict[ZFact, Table], fits: dict[ZFact, Fit]) -> list[Built]:
    """Those of an ideal learner along its edges and on the sweep's cells, and of trained models, as they were built."""
    found = []
    for who, of in (
        ("ideal, one short", {facts: _edges(facts, law) for facts, law in fits.items()}),
        ("ideal, the sweep's cells", {facts: ideal(rows, facts) for facts, rows in corpora.items()}),
        ("trained", {facts: rediscovered(rows, facts) for facts, rows in corpora.items()}),
    ):
        for name, what in (("alpha", "size"), ("beta", "data")):
            for one in of.values():
                finding = one.finding(name, name, judged=True)
                ends = {"low": finding.low, "high": finding.high}
                if one.fit.health == "VALID":
                    found.append(Built(kind=f"{who}: {what}", truth=one.truth[name], value=finding.value, **ends))
    return found


def _edges(facts: ZFact, found: Fit) -> Rediscovered:
    """The fit along the edges as what it gives back; every row stands alone."""
    freedom = len(SEEDS) * (len(SIZES) + len(DATA)) - len(found.law.values)
    return Rediscovered(facts=facts, fit=found, freedom=float(freedom), floor=IdealLearner(facts=facts).floor)


def _excess(rows: Table) -> list[Means]:
    """The excess losses of every size at the recipe's rate, means over seeds."""
    each: dict[int, dict[float, list[float]]] = {}
    for row in rows:
        if row["ptq_bits"] is None and row["rate_multiple"] == 1:
            each.setdefault(row["params_blocks"], {}).setdefault(row["tokens"], []).append(row["excess"])
    return [means_at(f"N = {count(size)}", each[size]) for size in sorted(each)]


def _capacity(table: Table, beside: Beside, ax: Axes) -> None:
    """Bits of facts that a parameter holds, as trained and at four bits, by how often each was seen."""
    each: dict[tuple[int, int | None], dict[float, list[float]]] = {}
    for one in stored_of(table, beside):
        size, bits = one.row["params_blocks"], one.row["ptq_bits"]
        if one.facts.exponent == -1 and bits in (None, 4):
            times = one.row["tokens"] / one.facts.item / one.items.sum()
            each.setdefault((size, bits), {}).setdefault(times, []).append(one.total / parameters(one.row))
    sizes = sorted({size for size, _ in each})
    for (size, bits), values in sorted(each.items(), key=lambda item: (item[0][1] is not None, item[0][0])):
        means, place = means_at("", values), sizes.index(size)
        label = f"N = {count(size)}{', int4' if bits else ''}"
        how = {"fillstyle": "none", "linestyle": ":"} if bits else {"linestyle": "-"}
        ink = shade(place, len(sizes))
        ax.errorbar(
            means.x, means.mean, means.error, color=ink, marker=marker(place), markersize=3.5, label=label, **how
        )
    ax.axhline(2, color="0.2", linewidth=0.8, label="2 bits (2404.05405)")
    ax.set(xscale="log", xlabel="times each fact was seen", ylabel="bits of facts per parameter (all)")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_title("(d) Bits stored of facts seen equally often")
    ax.set_ylim(top=2.9)  # room for the legend
    ax.legend(fontsize=6, ncols=2, loc="upper left")


def _largest(table: Table, beside: Beside) -> list[tuple[ZFact, int]]:
    """Each corpus of Zipf's law with the largest size that was rounded."""
    found = {}
    for facts, _, size in lost_by_rank(table, beside):
        found[facts] = max(size, found.get(facts, 0))
    return list(found.items())


def _lost(table: Table, beside: Beside, facts: ZFact, size: int) -> dict[float, tuple[np.ndarray, ...]]:
    """The share of stored bits that is lost, by bits: ranks, means over seeds and their errors."""
    curves = {}
    for (corpus, bits, params), pairs in lost_by_rank(table, beside).items():
        if (corpus, params) == (facts, size):
            each: dict[float, list[float]] = {}
            for before, after in pairs:
                for rank, share in zip(*lost(before, after), strict=True):
                    each.setdefault(float(rank), []).append(float(share))
            means = means_at("", each)
            curves[bits] = tuple(map(np.array, (means.x, means.mean, means.error)))
    return curves
