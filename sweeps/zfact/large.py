"""The sweep of facts at larger sizes, for an accelerator or patience.

The grids of `sweep.py` at widths (32, 64, 128, 256), or of them the first, with 16 times the tokens and, of facts that
are asked about equally often, 16 times as many.
Command: simlaw run zfact/large --device gpu
Cost: about 86 hours on two CPU cores by the plan's estimate.
"""

from dataclasses import replace
from pathlib import Path

from simlaw.sweep import Grid, load_sweep

BASE = load_sweep(str(Path(__file__).with_name("sweep.py"))).sweep


def _larger(grid: Grid) -> Grid:
    corpora = tuple(
        replace(each, entities=16 * each.entities if each.exponent < 0 else each.entities) for each in grid.corpora
    )
    widths = tuple(4 * width for width in grid.widths) if len(grid.widths) < 4 else (32, 64, 128, 256)
    return replace(grid, widths=widths, tokens=tuple(16 * tokens for tokens in grid.tokens), corpora=corpora)


SWEEP = replace(BASE, grids=tuple(map(_larger, BASE.grids)))
