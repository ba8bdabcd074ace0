"""Stored scales: the numbers by which a scale group's codes are multiplied."""

from dataclasses import dataclass
from typing import Literal

from simlaw.declared import Declared


@dataclass(frozen=True, kw_only=True)
class Float16(Declared):
    """16 bits, rounded up, so that no value saturates and the error is at most half a step."""

    bits = 16
    tensor_bits = 0


@dataclass(frozen=True, kw_only=True)
class Float32(Declared):
    """32 bits: for scales that nobody need store, as those of inputs in training, which may leave float16's range."""

    bits = 32
    tensor_bits = 0


@dataclass(frozen=True, kw_only=True)
class PowerOfTwo(Declared):
    """8 bits of exponent (E8M0). "floor" is the microscaling rule (OCP 1.0, section 6.3), under which values saturate.

    Its exponent is that of the largest magnitude less that of the format's largest value; "up" is the smallest power of
    two under which nothing saturates.
    """

    rule: Literal["floor", "up"] = "floor"
    bits = 8
    tensor_bits = 0


@dataclass(frozen=True, kw_only=True)
class Float8(Declared):
    """8 bits (e4m3, with one NaN), to nearest, times one float32 for the whole matrix: the scales of NVFP4.

    The float32 makes the largest scale 448; a scale that rounds down saturates values.
    """

    bits = 8
    tensor_bits = 32


Scale = Float16 | Float32 | PowerOfTwo | Float8
