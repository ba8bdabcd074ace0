"""What bits of weights, inputs, keys and values in training cost, alone, together, and with other settings.

simlaw figure train_precision --sweep train_precision
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from simlaw.analysis import full_precision
from simlaw.claims import judge
from simlaw.fitting.fit import fit
from simlaw.law import AbstractLossLaw
from simlaw.laws import PrecisionExponential
from simlaw.means import Means, means_at
from simlaw.plot import by_counts, plot_costs, plot_findings, plot_means, plot_together, plot_verdicts
from simlaw.precisions import BITS, Pair, cost_cells, of_roles, pairs_of, precision_observations, together
from simlaw.report import count
from simlaw.table import Table

#: What is drawn against tokens and size.
SHOWN = (("int4 inputs", "P_a", 4), ("int3 weights", "P_w", 3), ("int3 keys and values", "P_kv", 3))


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
    joint, growing, falling = second.subplots(1, 3)
    plot_together(together(cells, held), joint)
    joint.set_title("(d) Several roles together")
    joint.legend(loc="upper left", fontsize=6.5)
    params = min({pair.low["params_blocks"] for pair in pairs}, key=lambda n: abs(n - 3e4))
    for ax, letter, column, axis, place in (
        (growing, "e", "tokens", "training tokens, D", {"params_blocks": params}),
        (falling, "f", "params_blocks", "block parameters, N", {"tokens": tokens}),
    ):
        plot_means([_against(pairs, column, place, *one) for one in SHOWN], ax, xlabel=axis, ylabel="cost (nats)")
        by_counts(ax)
        ((name, value),) = place.items()
        ax.set_title(f"({letter}) {'N' if name == 'params_blocks' else 'D'} = {count(value)}")
    sizes_there = sorted({cell.params for cell in cells})
    lost = [0.05 * (n / sizes_there[0]) ** -held["alpha"] for n in sizes_there]
    falling.plot(sizes_there, lost, color="0.4", linestyle=":", linewidth=1.0, label="slope of lost parameters")
    falling.legend(loc="lower left", fontsize=6.0)
    verdicts = judge(table, ("A7", "A10", "A14"))
    order, settings = third.subplots(1, 2)
    plot_findings(verdicts.each[1].findings, order)
    order.set_title("(g) Costs and differences")
    plot_findings(verdicts.each[2].findings, settings)
    settings.set_title("(h) Settings: cost above plain")
    order.set_xlabel("nats per token, 95 %; black: judged")
    settings.set_xlabel("nats; black: judged together")
    plot_verdicts(verdicts, bottom.subplots())
    return figure


def _against(pairs: Sequence[Pair], column: str, place: Mapping[str, int], name: str, role: str, bits: int) -> Means:
    """What one precision costs at a place, against another column."""
    wanted = {**dict.fromkeys(BITS, np.inf), role: bits}
    costs: dict[float, list[float]] = {}
    for pair in pairs:
        if pair.bits == wanted and all(pair.low[key] == value for key, value in place.items()):
            costs.setdefault(pair.low[column], []).append(pair.cost)
    return means_at(name, costs)
