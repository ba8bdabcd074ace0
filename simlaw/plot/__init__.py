"""Plots: functions of values and an axes, which return what they drew; they compute nothing and touch no style."""

from simlaw.plot.frontier import plot_frontier as plot_frontier
from simlaw.plot.penalty import plot_penalty as plot_penalty
