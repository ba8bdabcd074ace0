"""Floating-point formats of few bits, and tables of values."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float64, Int

from simlaw.declared import Between, Declared, option
from simlaw.errors import SimlawError
from simlaw.formats.levels import FloatLevels, TableLevels

#: What the codes at the top are: "ieee": the highest exponent is infinities and NaN; "nan": the highest code alone
#: is NaN (ml_dtypes' fn); "finite": every code is a number; "fnuz": the code of minus zero is NaN, all others numbers.
Specials = Literal["ieee", "nan", "finite", "fnuz"]


@dataclass(frozen=True, kw_only=True)
class Float(Declared):
    """ExMy: a sign, x bits of exponent and y of mantissa, with subnormal numbers; 2 to 16 bits together.

    The bias is 2^(x-1) - 1 unless given, and one more for "fnuz". (OCP 8-bit floating point 1.0; microscaling formats
    1.0; ml_dtypes for "fnuz" and `e4m3b11fnuz`.)
    """

    exponent: Annotated[int, Between(1, 8)]
    mantissa: Annotated[int, Between(0, 10)]
    specials: Specials = "finite"
    bias: int | None = option(None)

    def check(self) -> None:
        if self.bits > 16:
            raise SimlawError(f"{self.name} has {self.bits} bits: formats have at most 16; lower exponent or mantissa")
        if self.specials == "ieee" and self.exponent == 1:
            raise SimlawError(f"{self.name} has no number but 0 beside infinities: take specials='finite'")
        if self.specials == "nan" and self.mantissa == 0 and self.exponent == 1:
            raise SimlawError(f"{self.name} has no number but 0 beside NaN: take specials='finite'")
        if not -126 <= self.lowest <= 126 or self.largest > float(np.finfo(np.float32).max):
            raise SimlawError(f"{self.name} with a bias of {self.bias} leaves float32's range: leave bias out")

    @property
    def bits(self) -> int:
        """Bits of a value."""
        return 1 + self.exponent + self.mantissa

    @property
    def lowest(self) -> int:
        """The exponent of the smallest normal number; that of 1 where the mantissa starts is 0."""
        bias = self.bias
        if bias is None:
            bias = 2 ** (self.exponent - 1) - (self.specials != "fnuz")
        return 1 - bias

    @property
    def largest(self) -> float:
        """The largest finite number."""
        top = 2 ** (self.exponent + self.mantissa) - 1  # the highest code of one sign
        top -= {"ieee": 2**self.mantissa, "nan": 1, "finite": 0, "fnuz": 0}[self.specials]
        return float(self._of(np.array([top]))[0])

    @property
    def values(self) -> tuple[float, ...]:
        """Every finite number that is not negative, ascending: the codes from 0 on."""
        each = self._of(np.arange(2 ** (self.exponent + self.mantissa)))
        return tuple(each[each <= self.largest].tolist())

    @property
    def levels(self) -> FloatLevels:
        """The values that its codes stand for."""
        return FloatLevels(mantissa=float(self.mantissa), exponent=float(self.lowest), largest=self.largest)

    @property
    def zero_bits(self) -> int:
        """Bits of a stored zero point: it has none."""
        return 0

    @property
    def name(self) -> str:
        """What the table and the screen call it."""
        return f"e{self.exponent}m{self.mantissa}{'' if self.specials == 'finite' else '_' + self.specials}"

    def _of(self, codes: Int[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """The numbers that codes without a sign would be, were all of them numbers."""
        field, rest = np.divmod(codes, 2**self.mantissa)
        lead = rest + 2**self.mantissa * (field > 0)
        return lead * 2.0 ** (np.maximum(field, 1) - 1 + self.lowest - self.mantissa)


@dataclass(frozen=True, kw_only=True)
class NF4(Declared):
    """NormalFloat: 16 values at quantiles of a normal distribution, scaled to the largest magnitude (2305.14314).

    The values are those of the paper's appendix E.
    """

    @property
    def bits(self) -> int:
        """Bits of a value."""
        return 4

    @property
    def levels(self) -> TableLevels:
        """The values that its codes stand for."""
        return TableLevels(values=_NF4)

    @property
    def zero_bits(self) -> int:
        """Bits of a stored zero point: it has none."""
        return 0

    @property
    def name(self) -> str:
        """What the table and the screen call it."""
        return "nf4"


_NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)

#: Formats that ship or are studied, by the names that ml_dtypes and the field use.
FLOATS = {
    "e4m3": Float(exponent=4, mantissa=3, specials="ieee"),
    "e4m3fn": Float(exponent=4, mantissa=3, specials="nan"),
    "e4m3fnuz": Float(exponent=4, mantissa=3, specials="fnuz"),
    "e4m3b11fnuz": Float(exponent=4, mantissa=3, specials="fnuz", bias=11),
    "e5m2": Float(exponent=5, mantissa=2, specials="ieee"),
    "e5m2fnuz": Float(exponent=5, mantissa=2, specials="fnuz"),
    "e3m4": Float(exponent=3, mantissa=4, specials="ieee"),
    "e3m2": Float(exponent=3, mantissa=2),
    "e2m3": Float(exponent=2, mantissa=3),
    "e2m1": Float(exponent=2, mantissa=1),
    "e3m0": Float(exponent=3, mantissa=0),
    "float16": Float(exponent=5, mantissa=10, specials="ieee"),
    "bfloat16": Float(exponent=8, mantissa=7, specials="ieee"),
}
