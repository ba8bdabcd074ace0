"""The sweep of facts at larger sizes, for an accelerator or patience.

Every grid of `sweep.py` at widths (32, 64, 128, 256), or of them the first two, with 16 times the tokens.
Command: simlaw run zfact/large --device gpu
Cost: about 86 hours on two CPU cores by the plan's estimate.
"""

from dataclasses import replace
from pathlib import Path

from simlaw.sweep import load_sweep

BASE = load_sweep(str(Path(__file__).with_name("sweep.py"))).sweep
SWEEP = replace(
    BASE,
    grids=tuple(
        replace(
            grid,
            widths=(32, 64, 128, 256)[: len(grid.widths)],
            tokens=tuple(16 * tokens for tokens in grid.tokens),
        )
        for grid in BASE.grids
    ),
)
