"""The exponent of data against that of the hierarchy that strings were drawn from.

simlaw figure zrhm --sweep zrhm
"""

from matplotlib.figure import Figure

from simlaw.claims import Beside, judge
from simlaw.claims.grammars import WITHIN, judged_size, learned, mean_exponent, theory
from simlaw.plot import Built, plot_built, plot_stairs, plot_verdicts
from simlaw.report import count
from simlaw.table import Table


def draw(table: Table, beside: Beside) -> Figure:
    """The figure of a sweep of grammars."""
    figure = Figure(figsize=(7.2, 5.9))
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=(1.15, 1, 0.12))
    sizes = learned(table, beside)
    at = judged_size(sizes)
    panels = top.subplots(1, len(sizes[at]))
    for ax, letter, kind in zip(panels, "abc", sorted(sizes[at]), strict=False):
        plot_stairs({size: kinds[kind] for size, kinds in sizes.items() if kind in kinds}, at, ax)
        ax.set_title(f"({letter}) v = {kind[0]} symbols, m = {kind[1]} rules")
    for ax in panels[1:]:
        ax.set_ylabel("")
    handles = {label: handle for ax in panels for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    top.legend(handles.values(), handles.keys(), loc="outside lower center", fontsize=6.5, ncols=4)
    exponents, beside_it = middle.subplots(1, 2, width_ratios=(1, 0.5))
    found = []
    for size in sorted(sizes, key=lambda size: (size != at, size)):
        for _, each in sorted(sizes[size].items()):
            value, half = mean_exponent(each) if len(each) > 1 else (each[0].exponent, None)
            kind = f"N = {count(size)}, {len(each)} grammars" if len(each) > 1 else f"N = {count(size)}, 1 grammar"
            low, high = (None, None) if half is None else (value - half, value + half)
            found.append(Built(kind=kind, truth=theory(each[0].grammar), value=value, low=low, high=high))
    plot_built(found, exponents, within=WITHIN)
    exponents.set_title("(d) Exponent of data: ln(1/f) / (2 ln m)")
    beside_it.set_axis_off()
    beside_it.legend(*exponents.get_legend_handles_labels(), loc="center left", fontsize=7)
    plot_verdicts(judge(table, ("G2",), beside), bottom.subplots())
    return figure
