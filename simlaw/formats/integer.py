"""Integer formats.

"int b" means different grids in the field; the grid is a field here and a column of the table:

| grid | codes | scale | used by |
|---|---|---|---|
| symmetric | -q .. q | absmax / q | most papers |
| full_range | -q-1 .. q | absmax / q | Kumar et al. 2411.04330, Tender 2406.12930 |
| half_step | -q .. q | absmax / (q + 1/2) | qwix |
| asymmetric | 0 .. 2^b - 1, from which a zero point is taken | (max - min) / (2^b - 1) | GPTQ, AWQ |
| sign | -1, +1 | mean of absolute values | one bit |

with q = 2^(b-1) - 1.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from simlaw.declared import Between, Declared
from simlaw.errors import SimlawError
from simlaw.formats.levels import AffineLevels, IntLevels, Levels, SignLevels

Bits = Annotated[int, Between(1, 16)]
Grid = Literal["symmetric", "full_range", "half_step", "asymmetric", "sign"]


@dataclass(frozen=True, kw_only=True)
class Int(Declared):
    """An integer format of 1 to 16 bits; one bit exists on the grids "sign" and "asymmetric"."""

    bits: Bits
    grid: Grid = "symmetric"

    def check(self) -> None:
        if self.grid != "asymmetric" and (self.bits == 1) != (self.grid == "sign"):
            other = "the grid 'sign'" if self.bits == 1 else "at least 2 bits, or 'symmetric'"
            raise SimlawError(f"Int(bits={self.bits}, grid={self.grid!r}) has no codes: take {other}")

    @property
    def levels(self) -> Levels:
        """The values that its codes stand for."""
        if self.grid == "sign":
            return SignLevels()
        if self.grid == "asymmetric":
            return AffineLevels(steps=2.0**self.bits - 1)
        return codes(self.bits, self.grid)

    @property
    def zero_bits(self) -> int:
        """Bits of a stored zero point, which is a code itself."""
        return self.bits if self.grid == "asymmetric" else 0

    @property
    def name(self) -> str:
        """What the table and the screen call it."""
        return f"int{self.bits}"


def codes(bits: Any, grid: Grid) -> IntLevels:
    """The codes and the divisor of an integer grid of two bits or more, with codes on both sides of 0.

    `bits` may be a number, an array or a traced value.
    """
    high = 2.0 ** (bits - 1) - 1
    low = -high - 1 if grid == "full_range" else -high
    return IntLevels(low=low, high=high, divisor=high + 0.5 if grid == "half_step" else high)
