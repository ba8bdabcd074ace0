"""Curves of the penalty: the law and its band at each size and precision, over the token counts that were measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from simlaw.errors import SimlawError
from simlaw.fitting import Fit
from simlaw.law import AbstractPenalty
from simlaw.observations import PenaltyCell
from simlaw.uncertainty import interval


@dataclass(frozen=True, kw_only=True)
class PenaltyCurve:
    """delta_PTQ of one size and precision by the law, in nats per token, with its interval, against tokens."""

    params: int
    bits: int
    tokens: Float[np.ndarray, " n"]
    law: Float[np.ndarray, " n"]
    low: Float[np.ndarray, " n"]
    high: Float[np.ndarray, " n"]


def penalty_curves(cells: Sequence[PenaltyCell], fit: Fit, bits: Sequence[int]) -> tuple[PenaltyCurve, ...]:
    """The curves of every size at these bits; raises `SimlawError` where the fit is no penalty with draws."""
    if not isinstance(fit.law, AbstractPenalty) or not isinstance(fit.draws, AbstractPenalty):
        raise SimlawError(f"{type(fit.law).__name__} gives no penalty with draws: fit a penalty with weights")
    curves = []
    for n in sorted({cell.params for cell in cells}):
        for b in bits:
            there = [cell.tokens for cell in cells if (cell.params, cell.bits) == (n, b)]
            if there:
                tokens = np.geomspace(min(there), max(there), 40)
                low, high = interval(fit.draws.penalty(N=n, D=tokens, P_post=b))
                law = fit.law.penalty(N=n, D=tokens, P_post=b)
                curves.append(PenaltyCurve(params=n, bits=b, tokens=tokens, law=law, low=low, high=high))
    return tuple(curves)
