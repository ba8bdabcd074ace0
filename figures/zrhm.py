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
    kinds = sorted(sizes[at], key=lambda grammar: (grammar.symbols, grammar.rules))
    for ax, letter, kind in zip(panels, "abc", kinds, strict=False):
        plot_stairs({size: each[kind] for size, each in sizes.items() if kind in each}, at, ax)
        ax.set_title(f"({letter}) v = {kind.symbols} symbols, m = {kind.rules} rules")
    for ax in panels[1:]:
        ax.set_ylabel("")
    handles = {label: handle for ax in panels for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    top.legend(handles.values(), handles.keys(), loc="outside lower center", fontsize=6.5, ncols=3)
    exponents, beside_it = middle.subplots(1, 2, width_ratios=(1, 0.5))
    found = []
    for size in sorted(sizes, key=lambda size: (size != at, size)):
        for grammar, each in sorted(sizes[size].items(), key=lambda item: (item[0].symbols, item[0].rules)):
            several = size == at and len(each) > 1
            value, half = mean_exponent(each, len(sizes[at])) if several else (each[0].exponent, 0.0)
            kind = f"N = {count(size)}, {len(each) if several else 1} grammar{'s' if several else ''}"
            low, high = (value - half, value + half) if several else (None, None)
            found.append(Built(kind=kind, truth=theory(grammar), value=value, low=low, high=high))
    plot_built(found, exponents, within=WITHIN)
    exponents.set_title("(d) Exponent of data: ln(1/f) / (2 ln m); 95 % for all together")
    beside_it.set_axis_off()
    beside_it.legend(*exponents.get_legend_handles_labels(), loc="center left", fontsize=7)
    plot_verdicts(judge(table, ("G2",), beside), bottom.subplots())
    return figure
