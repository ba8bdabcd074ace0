"""The sweep of schedules at larger sizes, for an accelerator or patience.

Every grid of `sweep.py` at widths (64, 128, 256), with a table of its own.
Command: simlaw run schedule/large --device gpu
Cost: about 26.8 hours on two CPU cores by the plan's estimate.
"""

from dataclasses import replace
from pathlib import Path

from simlaw.sweep import load_sweep

BASE = load_sweep(str(Path(__file__).with_name("sweep.py"))).sweep
SWEEP = replace(BASE, grids=tuple(replace(grid, widths=(64, 128, 256)) for grid in BASE.grids))
