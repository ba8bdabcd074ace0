"""The sweep of architectures at larger sizes and 4 times the tokens, for an accelerator or patience.

Every grid of `sweep.py` at widths (64, 128), with a table of its own.
Command: simlaw run stable_architecture/large --device gpu
Cost: about 10.7 hours on two CPU cores by the plan's estimate.
"""

from dataclasses import replace
from pathlib import Path

from simlaw.sweep import load_sweep

BASE = load_sweep(str(Path(__file__).with_name("sweep.py"))).sweep
SWEEP = replace(
    BASE,
    grids=tuple(
        replace(grid, widths=(64, 128), tokens=tuple(4 * tokens for tokens in grid.tokens)) for grid in BASE.grids
    ),
)
