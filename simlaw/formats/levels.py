"""Levels: the values that a format's codes stand for, before any scale, as numbers that may be traced.

The type of levels is static in compiled code, their numbers are data: one compilation serves every bit-width, exponent
and mantissa of a kind.
"""

from typing import Any, NamedTuple


class IntLevels(NamedTuple):
    """Whole numbers from `low` to `high`; the scale is the largest magnitude over `divisor`."""

    low: Any
    high: Any
    divisor: Any


class AffineLevels(NamedTuple):
    """Whole numbers from 0 to `steps`, of which one, the zero point of a scale group, stands for 0."""

    steps: Any


class SignLevels(NamedTuple):
    """-1 and +1; the scale is the mean magnitude."""


class FloatLevels(NamedTuple):
    """Floating-point numbers of `mantissa` bits behind the point, exponents from `exponent` on, up to `largest`.

    Below 2^exponent the steps stay those of 2^exponent (subnormals).
    """

    mantissa: Any
    exponent: Any
    largest: Any


class TableLevels(NamedTuple):
    """The values of a table (k), ascending, the largest magnitude 1."""

    values: Any


Levels = IntLevels | AffineLevels | SignLevels | FloatLevels | TableLevels
