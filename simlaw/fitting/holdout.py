"""What a form is asked to predict: rows held out by scale, never at random."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from simlaw.errors import SimlawError
from simlaw.observations import Observations

#: The bits of the tensor roles in training.
_ROLES = ("P_w", "P_a", "P_kv")


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """The rows at the outermost `levels` values of a variable.

    "C" stands for training FLOPs, 6·N·D, of which values within 5 % count as one: runs of one budget differ by their
    rounding to batches. "roles" stands for how many tensor roles were quantized in training: none, one, or several.
    """

    variable: str
    side: Literal["largest", "lowest"]
    levels: int = 1

    def mask(self, seen: Observations) -> Bool[np.ndarray, " n"]:
        """Which rows are held out; raises `SimlawError` where nothing would be left, or the variable is missing."""
        if self.variable == "C":
            values = _budgets(6 * seen.x["N"] * seen.x["D"])
        elif self.variable == "roles":
            quantized = [np.isfinite(values) for name, values in seen.x.items() if name in _ROLES]
            values = np.minimum(np.sum(quantized, axis=0), 2) if quantized else np.zeros_like(seen.y)
        elif self.variable in seen.x:
            values = seen.x[self.variable]
        else:
            raise SimlawError(f"the rows have no {self.variable} to hold out: they have {', '.join(seen.x)}")
        if self.variable == "roles" and values.max() < 2:
            raise SimlawError("no run has several tensor roles quantized, so none is held out: add such precisions")
        there = np.unique(values[np.isfinite(values)])
        if len(there) <= self.levels:
            raise SimlawError(
                f"the rows have {len(there)} values of {self.variable}, so holding {self.levels} out leaves none: "
                "add some"
            )
        ends = there[-self.levels :] if self.side == "largest" else there[: self.levels]
        return np.isin(values, ends)

    def __str__(self) -> str:
        if self.variable == "roles":
            return "several roles together"
        return f"{self.side} {self.variable}" + (f" ({self.levels} values)" if self.levels > 1 else "")


def _budgets(flops: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The least of the values that lie within 5 % of their neighbours."""
    there, place = np.unique(flops, return_inverse=True)
    first = np.concatenate([[True], there[1:] > 1.05 * there[:-1]])
    return there[first][np.cumsum(first) - 1][place]


def LargestN(levels: int = 1) -> Holdout:  # named like the value that it gives
    """Hold out the largest sizes."""
    return Holdout(variable="N", side="largest", levels=levels)


def LargestD(levels: int = 1) -> Holdout:
    """Hold out the largest token counts."""
    return Holdout(variable="D", side="largest", levels=levels)


def LargestC(levels: int = 1) -> Holdout:
    """Hold out the dearest runs."""
    return Holdout(variable="C", side="largest", levels=levels)


def SeveralRoles() -> Holdout:
    """Hold out the runs in which several tensor roles were quantized in training."""
    return Holdout(variable="roles", side="largest")


def LowestBits(variable: str = "P_post", levels: int = 1) -> Holdout:
    """Hold out the lowest precisions."""
    return Holdout(variable=variable, side="lowest", levels=levels)
