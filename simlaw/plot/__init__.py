"""Plots: functions of values and an axes, which return what they drew; they compute nothing and touch no style."""

from simlaw.plot.bands import plot_bands as plot_bands
from simlaw.plot.bits import plot_bits as plot_bits
from simlaw.plot.collapse import plot_deviations as plot_deviations
from simlaw.plot.collapse import plot_losses as plot_losses
from simlaw.plot.collapse import plot_normalised as plot_normalised
from simlaw.plot.frontier import plot_frontier as plot_frontier
from simlaw.plot.optimum import plot_best_bits as plot_best_bits
from simlaw.plot.optimum import plot_gaps as plot_gaps
from simlaw.plot.penalty import plot_penalty as plot_penalty
from simlaw.plot.quantizations import plot_minima as plot_minima
from simlaw.plot.quantizations import plot_ratios as plot_ratios
from simlaw.plot.quantizations import plot_stored as plot_stored
from simlaw.plot.quantizations import plot_verdicts as plot_verdicts
from simlaw.plot.rates import plot_best_rates as plot_best_rates
from simlaw.plot.rates import plot_given_away as plot_given_away
from simlaw.plot.rates import plot_rate_curves as plot_rate_curves
from simlaw.plot.residuals import plot_residuals as plot_residuals
from simlaw.plot.surface import plot_surface as plot_surface
from simlaw.plot.training import by_counts as by_counts
from simlaw.plot.training import plot_arms as plot_arms
from simlaw.plot.training import plot_costs as plot_costs
from simlaw.plot.training import plot_findings as plot_findings
from simlaw.plot.training import plot_held as plot_held
from simlaw.plot.training import plot_means as plot_means
from simlaw.plot.training import plot_together as plot_together
