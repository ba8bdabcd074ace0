"""Integer formats: the codes of every grid, value by value."""

import numpy as np
import pytest

from simlaw.errors import SimlawError
from simlaw.formats import Int, PerChannel, PerGroup, codes, scale_groups


@pytest.mark.parametrize(
    ("grid", "bits", "expected"),
    [
        ("symmetric", 2, (-1, 1, 1)),
        ("symmetric", 4, (-7, 7, 7)),
        ("symmetric", 16, (-32767, 32767, 32767)),
        ("full_range", 2, (-2, 1, 1)),
        ("full_range", 4, (-8, 7, 7)),
        ("half_step", 2, (-1, 1, 1.5)),
        ("half_step", 8, (-127, 127, 127.5)),
    ],
)
def test_codes(grid, bits, expected):
    assert codes(bits, grid) == expected


def test_codes_of_an_array_of_bits():
    assert np.array_equal(codes(np.array([2.0, 3.0, 8.0]), "symmetric").high, [1, 3, 127])


@pytest.mark.parametrize("grid", ["symmetric", "full_range", "half_step"])
def test_one_bit_needs_the_sign_grid(grid):
    with pytest.raises(SimlawError, match="has no codes: take the grid 'sign'"):
        Int(bits=1, grid=grid)
    with pytest.raises(SimlawError, match="take at least 2 bits"):
        Int(bits=2, grid="sign")


def test_scale_groups():
    assert scale_groups(48, PerGroup(size=16)) == 3
    assert scale_groups(48, PerChannel()) == 1
    with pytest.raises(
        SimlawError, match="a group of 32 does not divide a matrix with 48 inputs: take a divisor of 48"
    ):
        scale_groups(48, PerGroup(size=32))
