"""What bits of weights, inputs, keys and values in training cost, alone, together, and with other settings.

simlaw figure train_precision --sweep train_precision
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from simlaw.analysis import full_precision
from simlaw.claims import judge
from simlaw.curve import Curve, curve_of
from simlaw.fitting.fit import fit
from simlaw.law import AbstractLossLaw
from simlaw.laws import PrecisionExponential
from simlaw.plot import plot_costs, plot_findings, plot_means, plot_together, plot_verdicts
from simlaw.precisions import BITS, Pair, cost_cells, of_roles, pairs_of, precision_observations
from simlaw.report import count
from simlaw.table import Table

#: What is drawn against tokens.
SHOWN = {"int4 inputs": ("P_a", 4), "int3 weights": ("P_w", 3), "int3 keys and values": ("P_kv", 3)}


def draw(table: Table) -> Figure:
    """The figure of a sweep of training precisions."""
    figure = Figure(figsize=(7.2, 10.0))
    top, second, third, bottom = figure.subfigures(4, 1, height_ratios=(1.0, 1.0, 1.35, 0.27))
    pairs, _ = pairs_of(table)
    cells, seen, held = cost_cells(pairs), precision_observations(table), full_precision(table)
    # the token count that most sizes have, and the largest of these
    sizes = {d: len({cell.params for cell in cells if cell.tokens == d}) for d in {cell.tokens for cell in cells}}
    tokens = max(sizes, key=lambda d: (sizes[d], d))
    panels = top.subplots(1, 3)
    for ax, role, letter in zip(panels, BITS, "abc", strict=True):
        law = fit(PrecisionExponential, of_roles(seen, (role,)), fixed=held).law
        assert isinstance(law, AbstractLossLaw)
        plot_costs(cells, role, law, ax, tokens=tokens)
        ax.set_title(f"({letter}) D = {count(tokens)}; lines: N_eff")
    panels[0].legend(loc="upper right", fontsize=6.5)
    together, growing = second.subplots(1, 2)
    alone = np.isfinite([seen.x[role] for role in BITS]).sum(axis=0) < 2
    law = fit(PrecisionExponential, seen.keep(alone), fixed=held).law
    assert isinstance(law, AbstractLossLaw)
    plot_together(cells, law, together)
    together.set_title("(d) Several roles together")
    together.legend(loc="upper left", fontsize=6.5)
    params = min({pair.low["params_blocks"] for pair in pairs}, key=lambda n: abs(n - 3e4))
    curves = [_against_tokens(pairs, params, name, *shown) for name, shown in SHOWN.items()]
    plot_means(curves, growing, xlabel="training tokens, D", ylabel="cost (nats per token)")
    growing.set(xscale="log", yscale="log")
    for axis in (growing.xaxis, growing.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axis.set_minor_formatter(NullFormatter())
    growing.xaxis.set_major_formatter(lambda value, _: count(value))
    growing.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    growing.set_title(f"(e) N = {count(params)}")
    growing.legend(loc="upper left", fontsize=6.5)
    verdicts = judge(table, ("A7", "A10", "A14"))
    order, settings = third.subplots(1, 2)
    plot_findings(verdicts.each[1].findings, order)
    order.set_title("(f) Costs and differences")
    plot_findings(verdicts.each[2].findings, settings)
    settings.set_title("(g) Settings less plain")
    for ax in (order, settings):
        ax.set_xlabel("nats per token, 95 %; black: judged")
    plot_verdicts(verdicts, bottom.subplots())
    return figure


def _against_tokens(pairs: Sequence[Pair], params: int, name: str, role: str, bits: int) -> Curve:
    """What one precision costs at a size, against tokens."""
    wanted = {**dict.fromkeys(BITS, np.inf), role: bits}
    costs: dict[float, list[float]] = {}
    for pair in pairs:
        if pair.bits == wanted and pair.low["params_blocks"] == params:
            costs.setdefault(pair.low["tokens"], []).append(pair.cost)
    return curve_of(name, costs)
