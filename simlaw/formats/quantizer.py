"""Quantizers: how a tensor is put on a format."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from simlaw.declared import Above, Between, Count, Declared, option
from simlaw.errors import SimlawError
from simlaw.formats.floating import FLOATS, NF4, Float
from simlaw.formats.granularity import Granularity, PerChannel
from simlaw.formats.integer import Int
from simlaw.formats.scale import Float8, Float16, PowerOfTwo, Scale

#: Bits that an unquantised value takes in a deployed model, whatever it was in memory during training.
UNQUANTIZED_BITS = 16

Format = Int | Float | NF4


@dataclass(frozen=True, kw_only=True)
class AbsMax(Declared):
    """The scale that holds the largest magnitude (for an asymmetric grid: the least and the largest value)."""


@dataclass(frozen=True, kw_only=True)
class Percentile(Declared):
    """The scale that holds this share of a scale group's magnitudes; larger ones saturate."""

    share: Annotated[float, Above(0), Between(0, 1)] = 0.999


@dataclass(frozen=True, kw_only=True)
class MSE(Declared):
    """The scale, of `steps` from the absolute maximum down, with the smallest sum of errors to the power `norm`.

    The search of GPTQ's code: 100 steps, of which the lowest fifth is not tried, and a norm of 2.4.
    """

    steps: Count = 100
    least: Annotated[float, Above(0), Between(0, 1)] = 0.2
    norm: Annotated[float, Above(0)] = 2.4


Calibration = AbsMax | Percentile | MSE

#: To nearest, ties to even; or up or down at random, so that the expected value is the value itself.
Rounding = Literal["nearest", "stochastic"]


@dataclass(frozen=True, kw_only=True)
class Scaling(Declared):
    """A quantizer without its format: what of it is static in compiled code."""

    granularity: Granularity
    scale: Scale
    calibration: Calibration
    rounding: Rounding


@dataclass(frozen=True, kw_only=True)
class Quantizer(Declared):
    """How a tensor is put on a format: what shares a scale, how the scale is chosen and stored, and the rounding."""

    format: Format
    granularity: Granularity = PerChannel()
    scale: Scale = option(Float16())
    calibration: Calibration = option(AbsMax())
    rounding: Rounding = option("nearest")

    def check(self) -> None:
        grid = self.format.grid if isinstance(self.format, Int) else None
        if isinstance(self.scale, Float8 | PowerOfTwo) and grid in ("asymmetric", "sign"):
            raise SimlawError(
                f"the grid {grid!r} has no rule for a scale stored as {type(self.scale).__name__}: take Float16()"
            )
        if grid == "sign" and not isinstance(self.calibration, AbsMax):
            raise SimlawError(
                f"the grid 'sign' takes the mean magnitude for its scale, and not {type(self.calibration).__name__}: "
                "leave calibration out, or take two bits"
            )
        if grid == "sign" and self.rounding == "stochastic":
            raise SimlawError("the grid 'sign' has no values between which to round at random: take 'nearest'")

    @property
    def scaling(self) -> Scaling:
        """Everything but the format."""
        return Scaling(
            granularity=self.granularity, scale=self.scale, calibration=self.calibration, rounding=self.rounding
        )

    @property
    def kind(self) -> "Quantizer":
        """The quantizer with one format in place of each kind of levels: what of it is static in compiled code."""
        form = self.format
        if isinstance(form, Float):
            return replace(self, format=FLOATS["e4m3"])
        if isinstance(form, NF4):
            return self
        if form.grid == "asymmetric":
            return replace(self, format=Int(bits=8, grid="asymmetric"))
        return replace(self, format=form if form.grid == "sign" else Int(bits=8))
