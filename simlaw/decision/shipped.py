"""Weight formats that a decision weighs: the bits by which a law knows each, and the bits that it stores."""

from dataclasses import dataclass

import numpy as np

from simlaw.errors import SimlawError


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """A weight format: the bits by which a law knows it, and the bits it stores, scales included.

    A law fitted to integers knows a floating-point element by its number of bits alone. Unquantized weights have
    infinite `bits` and store 16.
    """

    name: str
    bits: float
    stored: float

    def __post_init__(self) -> None:
        if not (self.bits > 0 and self.stored > 0 and np.isfinite(self.stored)):
            raise SimlawError(
                f"the format {self.name!r} has {self.bits:g} bits and stores {self.stored:g}: both are above 0, and "
                "only the first may be infinite"
            )


#: Formats that ship: in hardware (fp8, MX, NVFP4, int8), or as integers with groups in GPTQ, AWQ and GGUF files.
SHIPPED = (
    Shipped(name="bf16", bits=np.inf, stored=16.0),
    Shipped(name="mxfp8", bits=8, stored=8.25),  # 8-bit scale for 32 values
    Shipped(name="fp8", bits=8, stored=8.0),
    Shipped(name="int8", bits=8, stored=8.0),
    Shipped(name="int6 g128", bits=6, stored=6.125),  # 16-bit scale for 128 values
    Shipped(name="int5 g128", bits=5, stored=5.125),
    Shipped(name="nvfp4", bits=4, stored=4.5),  # 8-bit scale for 16 values
    Shipped(name="mxfp4", bits=4, stored=4.25),
    Shipped(name="int4 g128", bits=4, stored=4.125),
    Shipped(name="int3 g128", bits=3, stored=3.125),
    Shipped(name="int2 g128", bits=2, stored=2.125),
)

#: Integer bits with one scale for each output channel, beside 16 bit. The scales, 16 bits for each row of a matrix, are
#: left out: under 0.04 bits for each weight from width 512 on. A sweep's own table counts them (decision/surface.py).
INTEGERS = (SHIPPED[0], *(Shipped(name=f"int{b}", bits=b, stored=float(b)) for b in (8, 7, 6, 5, 4, 3, 2)))

#: Everything that has a name here.
FORMATS = {one.name: one for one in (*SHIPPED, *INTEGERS)}
