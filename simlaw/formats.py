"""Number formats: a grid of representable values and its storage; and how a tensor is put on one.

"int b" means three different grids in the field; the grid is a field here and a column of the table:

| grid | codes | scale | used by |
|---|---|---|---|
| symmetric | -q .. q | absmax / q | most papers |
| full_range | -q-1 .. q | absmax / q | Kumar et al. 2411.04330, Tender 2406.12930 |
| half_step | -q .. q | absmax / (q + 1/2) | qwix |
| sign | -1, +1 | mean of absolute values | one bit |

with q = 2^(b-1) - 1. Rounding is to nearest, ties to even.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

from simlaw.declared import Between, Count, Declared
from simlaw.errors import SimlawError

Bits = Annotated[int, Between(1, 16)]
Grid = Literal["symmetric", "full_range", "half_step", "sign"]

#: Bits that an unquantised value takes in a deployed model, whatever it was in memory during training.
UNQUANTIZED_BITS = 16
#: Bits of a stored scale: scales are rounded up to float16 (quantize.py).
SCALE_BITS = 16


@dataclass(frozen=True, kw_only=True)
class PerTensor(Declared):
    """One scale for the whole matrix."""


@dataclass(frozen=True, kw_only=True)
class PerChannel(Declared):
    """One scale for each output channel."""


@dataclass(frozen=True, kw_only=True)
class PerGroup(Declared):
    """One scale for each run of `size` inputs of each output channel."""

    size: Count


Granularity = PerTensor | PerChannel | PerGroup


class Codes(NamedTuple):
    """The codes of an integer grid and the divisor that turns the largest magnitude into the scale."""

    low: Any
    high: Any
    divisor: Any


@dataclass(frozen=True, kw_only=True)
class Int(Declared):
    """A symmetric integer format of 1 to 16 bits; one bit exists only on the grid "sign"."""

    bits: Bits
    grid: Grid = "symmetric"

    def check(self) -> None:
        if (self.bits == 1) != (self.grid == "sign"):
            other = "the grid 'sign'" if self.bits == 1 else "at least 2 bits, or 'symmetric'"
            raise SimlawError(f"Int(bits={self.bits}, grid={self.grid!r}) has no codes: take {other}")


@dataclass(frozen=True, kw_only=True)
class Quantizer(Declared):
    """How a weight matrix is put on an integer format: absolute-maximum scales, nearest rounding, ties to even."""

    format: Int
    granularity: Granularity = PerChannel()


def scale_groups(inputs: int, granularity: Granularity) -> int:
    """The number of scale groups along the inputs of a matrix with `inputs` rows.

    Raises `SimlawError` where the group size does not divide them.
    """
    if not isinstance(granularity, PerGroup):
        return 1
    if inputs % granularity.size:
        raise SimlawError(
            f"a group of {granularity.size} does not divide a matrix with {inputs} inputs: "
            f"take a divisor of {inputs}, or PerChannel()"
        )
    return inputs // granularity.size


def codes(bits: Any, grid: Grid) -> Codes:
    """The codes and the divisor of an integer grid of two bits or more.

    `bits` may be a number, an array or a traced value: one compilation serves the whole precision axis.
    """
    high = 2.0 ** (bits - 1) - 1
    low = -high - 1 if grid == "full_range" else -high
    return Codes(low=low, high=high, divisor=high + 0.5 if grid == "half_step" else high)
