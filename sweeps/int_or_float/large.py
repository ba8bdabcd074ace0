"""The sweep of integers and floats at larger sizes, for an accelerator or patience.

Every grid of `sweep.py` at widths of up to 256 (1.7M block parameters), with a table of its own.
Command: simlaw run int_or_float/large --device gpu
"""

from dataclasses import replace
from pathlib import Path

from simlaw.sweep import load_sweep

BASE = load_sweep(str(Path(__file__).with_name("sweep.py"))).sweep
SWEEP = replace(BASE, grids=tuple(replace(grid, widths=(64, 128, 256)) for grid in BASE.grids))
