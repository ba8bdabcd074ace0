"""What bits of weights, inputs, keys and values in training cost, alone and together.

simlaw figure train_precision --sweep train_precision
"""

import numpy as np
from matplotlib.figure import Figure

from simlaw.analysis import full_precision
from simlaw.claims import judge
from simlaw.fitting.fit import fit
from simlaw.law import AbstractLossLaw
from simlaw.laws import PrecisionExponential
from simlaw.plot import plot_costs, plot_findings, plot_together, plot_verdicts
from simlaw.precisions import BITS, cost_cells, of_roles, pairs_of, precision_observations
from simlaw.report import count
from simlaw.table import Table


def draw(table: Table) -> Figure:
    """The figure of a sweep of training precisions."""
    figure = Figure(figsize=(7.2, 10.2))
    axes = figure.subplot_mosaic(
        [["P_w", "P_a", "P_kv"], ["together", "order", "order"], ["choices"] * 3, ["claims"] * 3],
        height_ratios=(1.0, 1.05, 1.4, 0.27),
    )
    pairs, _ = pairs_of(table)
    cells, seen, held = cost_cells(pairs), precision_observations(table), full_precision(table)
    # the token count that most sizes have, and the largest of these
    sizes = {d: len({cell.params for cell in cells if cell.tokens == d}) for d in {cell.tokens for cell in cells}}
    tokens = max(sizes, key=lambda d: (sizes[d], d))
    for role, letter in zip(BITS, "abc", strict=True):
        law = fit(PrecisionExponential, of_roles(seen, (role,)), fixed=held).law
        assert isinstance(law, AbstractLossLaw)
        plot_costs(cells, role, law, axes[role], tokens=tokens)
        axes[role].set_title(f"({letter}) D = {count(tokens)}")
    axes["P_w"].legend(loc="upper right", fontsize=6.5)
    alone = np.isfinite([seen.x[role] for role in BITS]).sum(axis=0) < 2
    law = fit(PrecisionExponential, seen.keep(alone), fixed=held).law
    assert isinstance(law, AbstractLossLaw)
    plot_together(cells, law, axes["together"])
    axes["together"].set_title("(d) Several roles together")
    axes["together"].legend(loc="upper left", fontsize=6.5)
    verdicts = judge(table, ("A7", "A10", "A14"))
    plot_findings(verdicts.each[1].findings, axes["order"])
    axes["order"].set_title("(e) Costs and their differences; black: judged")
    axes["order"].set_xlabel("nats per token, 95 % intervals")
    plot_findings(verdicts.each[2].findings, axes["choices"])
    axes["choices"].set_title("(f) Settings less plain rounding of as many bits, or 16-bit gradients; black: judged")
    axes["choices"].set_xlabel("nats per token, 95 % intervals")
    plot_verdicts(verdicts, axes["claims"])
    return figure
