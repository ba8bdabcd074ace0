"""The frontier: loss against stored bytes at one training budget, a curve for each precision, and their envelope."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from simlaw.decision.surface import UNQUANTIZED, Storage, Surface
from simlaw.decision.verdict import MeasuredCell, Question, best_size, measured_cells
from simlaw.fitting.fit import Fit
from simlaw.fitting.uncertainty import interval
from simlaw.observations import usable
from simlaw.table import Table


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One precision: loss in nats per token and its interval against bytes, as the size grows at a fixed budget.

    `inside` is true where the budget buys a token count that was measured.
    """

    bits: float
    bytes: Float[np.ndarray, " n"]
    loss: Float[np.ndarray, " n"]
    low: Float[np.ndarray, " n"]
    high: Float[np.ndarray, " n"]
    inside: Bool[np.ndarray, " n"]


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """All curves of one budget, and the envelope: the best loss of at most these bytes.

    `winner` and `params` are the bits and the block parameters that have it.
    """

    amount: float
    curves: tuple[Curve, ...]
    bytes: Float[np.ndarray, " m"]
    envelope: Float[np.ndarray, " m"]
    winner: Float[np.ndarray, " m"]
    params: Float[np.ndarray, " m"]
    measured: tuple[MeasuredCell, ...]


def frontier(question: Question, table: Table, base: Fit, penalty: Fit) -> Frontier:
    """The frontier at the question's training budget; its bytes are not used."""
    kept, _ = usable(table)
    surface = Surface.of(base, penalty, np.unique(kept.column("params_blocks")))
    storage = Storage.of(kept, question.bytes_column, question.granularity)
    low, high = penalty.ranges["P_post"]
    precisions = [b for b in storage.precisions if low <= b <= high or b == UNQUANTIZED]
    d_low, d_high = base.ranges["D"]
    sizes = np.geomspace(storage.sizes[0], storage.sizes[-1], 80)
    tokens = question.tokens(sizes)
    curves = []
    for bits in precisions:
        low_end, high_end = interval(surface.ensemble(sizes, tokens, np.full_like(sizes, bits)))
        curves.append(
            Curve(
                bits=bits,
                bytes=storage.bytes(sizes, bits),
                loss=surface.loss(sizes, tokens, np.full_like(sizes, bits)),
                low=low_end,
                high=high_end,
                inside=(tokens >= 0.99 * d_low) & (tokens <= 1.01 * d_high),
            )
        )
    grid = np.geomspace(min(c.bytes[0] for c in curves), max(c.bytes[-1] for c in curves), 200)
    best, winner, params = _envelope(question, surface, storage, precisions, grid)
    # left of here the winner wins only because no size was measured that a finer precision could take there
    finer = {bits: precisions[min(i + 1, len(precisions) - 1)] for i, bits in enumerate(precisions)}
    fair = np.array([storage.bytes(sizes[:1], finer[b])[0] <= g for g, b in zip(grid, winner, strict=True)])
    grid, best, winner, params = grid[fair], best[fair], winner[fair], params[fair]
    everything = replace(question, bytes=np.inf)
    near = [
        cell
        for cell in measured_cells(everything, kept, tuple(precisions))
        if (cell.flops if question.convention == "compute" else cell.tokens) >= 0.99 * question.amount
    ]
    return Frontier(
        amount=question.amount,
        curves=tuple(curves),
        bytes=grid,
        envelope=best,
        winner=winner,
        params=params,
        measured=tuple(near),
    )


def _envelope(
    question: Question, surface: Surface, storage: Storage, precisions: list[float], grid: Float[np.ndarray, " m"]
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """The least loss within each number of bytes, and the precision and the size that have it."""
    loss = np.full((len(precisions), len(grid)), np.inf)
    params = np.full_like(loss, np.nan)
    for i, bits in enumerate(precisions):
        for j, bound in enumerate(grid):
            found = best_size(replace(question, bytes=float(bound)), surface, storage, bits)
            if found is not None:
                params[i, j] = found
                n = np.array([found])
                loss[i, j] = surface.loss(n, question.tokens(n), np.array([bits]))[0]
    best = loss.argmin(axis=0)
    columns = np.arange(len(grid))
    return loss[best, columns], np.array(precisions)[best], params[best, columns]
