"""In how many bits to train weights, inputs, keys and values alike, by the law of the sweep, under two tables of costs.

simlaw figure best_precision --sweep train_precision
"""

import numpy as np
from matplotlib.figure import Figure

from simlaw.decision.bestbits import best_bits
from simlaw.decision.choice import decide
from simlaw.decision.cost import BITS, H200
from simlaw.decision.resources import TIED
from simlaw.errors import SimlawError
from simlaw.fitting.fit import fit
from simlaw.fitting.uncertainty import trunk_weights
from simlaw.laws import PrecisionGrowing, PrecisionSum
from simlaw.plot import plot_best_bits, plot_gaps
from simlaw.precisions import precision_observations
from simlaw.table import Table

#: The form that the sweep's law.json has.
FORM = PrecisionGrowing
#: The fewest bits that weights, inputs, keys and values have together.
FEWEST = 3.0
FORMATS = ("bf16", "int8", "int6 g128", "int5 g128", "int4 g128", "int3 g128")


def draw(table: Table) -> Figure:
    """The figure of the best training precision."""
    figure = Figure(figsize=(7.2, 3.3))
    optimum, by_bits, by_device = figure.subplots(1, 3)
    seen = precision_observations(table)
    weights = trunk_weights(seen.trunk, seen.x["N"], draws=400)
    law, other = fit(FORM, seen, weights), fit(PrecisionSum, seen, weights)
    low, high = law.ranges["C"]
    flops = np.geomspace(low, 10 * high, 25)
    bits = np.round(np.arange(FEWEST, 16.01, 0.1), 1).tolist()
    for one, label, ink in ((law, "costs grow with data", "#0072b2"), (other, "costs are constant", "#d55e00")):
        found = best_bits(one, along="C", at=flops, training=TIED, cost=BITS, bits=bits, force=True)
        plot_best_bits(found, optimum, label=label, ink=ink)
    optimum.set_title("(a) Costs: bits")
    optimum.legend(loc="upper left", fontsize=6.5, title="by the law in which", title_fontsize=6.5)
    for ax, letter, cost in ((by_bits, "b", BITS), (by_device, "c", H200)):
        choices = [decide(law, flops=float(c), training=[TIED], cost=cost, formats=FORMATS, force=True) for c in flops]
        if refused := [choice.sentence for choice in choices if not choice.candidates]:
            raise SimlawError(refused[0])
        plot_gaps(choices, flops, ax)
        ax.set_title(f"({letter}) Costs: {cost.name}")
        ax.set_yscale("symlog", linthresh=0.03)
        ax.set_ylim(bottom=-0.003)
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    figure.legend(*by_bits.get_legend_handles_labels(), loc="outside lower right", ncols=6, fontsize=6.5)
    return figure
