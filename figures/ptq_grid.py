"""What quantizing trained models costs: by method, by format, with outliers, and where more data hurts.

simlaw figure ptq_grid --sweep ptq_grid
"""

from matplotlib.figure import Figure

from simlaw.claims import CLAIMS, judge
from simlaw.claims.comparison import OF_INPUTS, Comparison, comparisons, stored
from simlaw.claims.minimum import minima
from simlaw.errors import SimlawError
from simlaw.observations import usable
from simlaw.plot import plot_minima, plot_ratios, plot_stored, plot_verdicts
from simlaw.quantizations import quantized_as
from simlaw.report import count
from simlaw.table import Table


def draw(table: Table) -> Figure:
    """The figure of a grid of quantizations."""
    figure = Figure(figsize=(7.2, 9.4))
    axes = figure.subplot_mosaic(
        [["methods", "stored"], ["int2", "int3"], ["planted", "plain"], ["claims", "claims"]],
        height_ratios=(1.15, 1, 1, 0.62),
    )
    # the ways that were run at the corners alone: there every way is on the same checkpoints
    table = usable(table)[0]
    corners = {row["run_id"] for row in table if row["ptq_method"] == "awq"}
    if not corners:
        raise SimlawError("no row is quantized by AWQ, so no checkpoint has every method: run the corners of ptq_grid")
    plot_ratios(comparisons(table.where(lambda row: row["run_id"] in corners)), axes["methods"])
    axes["methods"].set_title("(a) Methods at equal bits, per channel")
    low, high = axes["methods"].get_ylim()
    axes["methods"].set_ylim(low / 20, high)  # room for the names
    axes["methods"].legend(ncols=2, loc="lower left")
    largest = max((row["params_blocks"], row["tokens"]) for row in table if row["run_id"] in corners)
    plot_stored(stored(table, *largest), axes["stored"])
    axes["stored"].set_title(f"(b) Formats, N = {count(largest[0])}, D = {count(largest[1])}")
    axes["stored"].legend(loc="lower left")
    rounded = quantized_as(table, ptq_granularity="channel")
    for bits, letter in ((2, "c"), (3, "d")):
        found = minima(rounded.where(lambda row, bits=bits: row["ptq_bits"] == bits))
        plot_minima(found, axes[f"int{bits}"])
        axes[f"int{bits}"].set_title(f"({letter}) int{bits} by rounding; ring: least loss")
    axes["int3"].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    planted = {row["ptq_outliers"] for row in table} - {None}
    for name, outliers, title in (
        ("planted", next(iter(planted), None), "(e) Inputs too, planted outliers"),
        ("plain", None, "(f) Inputs too, as trained"),
    ):
        tokens = {"ptq_activations_granularity": "token", "ptq_outliers": outliers}
        plot_ratios(_of_inputs(table, tokens), axes[name])
        axes[name].set_title(title)
        axes[name].set(xlabel="bits of weights and inputs", ylabel="penalty / scales per token")
    axes["plain"].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    plot_verdicts(judge(table, tuple(name for name in CLAIMS if name[0] in "ACF")), axes["claims"])
    return figure


def _of_inputs(table: Table, columns: dict[str, object]) -> list[Comparison]:
    """Weights and inputs of equal bits against scales for each token."""
    return [
        one
        for bits in (4, 6, 8)
        for one in comparisons(table, OF_INPUTS, **columns, ptq_bits=bits, ptq_activations_bits=bits)
    ]
