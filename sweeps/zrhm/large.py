"""The sweep of grammars at a larger size and with 16 times the tokens, for an accelerator or patience.

Every grid of `sweep.py` at four times the width, so that size is not short where the theory says that data is.
Command: simlaw run zrhm/large --device gpu
Cost: about 139 hours on two CPU cores by the plan's estimate.
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
            widths=tuple(4 * width for width in grid.widths),
            tokens=tuple(16 * tokens for tokens in grid.tokens),
        )
        for grid in BASE.grids
    ),
)
