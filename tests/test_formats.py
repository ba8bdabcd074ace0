"""Formats: the codes of every grid and every float, value by value; granularity; refusals."""

import ml_dtypes
import numpy as np
import pytest

from simlaw.declared import canonical
from simlaw.errors import SimlawError
from simlaw.formats import (
    FLOATS,
    MSE,
    NF4,
    Float,
    Float8,
    Float16,
    Float32,
    Int,
    PerBlock,
    PerChannel,
    PerGroup,
    PerTensor,
    PerToken,
    PowerOfTwo,
    Quantizer,
    block_of,
    codes,
    effective,
    scale_count,
)

#: Our names, and those of ml_dtypes (its oldest formats have NumPy's own name).
ML_DTYPES = {
    "e4m3": ml_dtypes.float8_e4m3,
    "e4m3fn": ml_dtypes.float8_e4m3fn,
    "e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "e4m3b11fnuz": ml_dtypes.float8_e4m3b11fnuz,
    "e5m2": ml_dtypes.float8_e5m2,
    "e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "e3m4": ml_dtypes.float8_e3m4,
    "e3m2": ml_dtypes.float6_e3m2fn,
    "e2m3": ml_dtypes.float6_e2m3fn,
    "e2m1": ml_dtypes.float4_e2m1fn,
    "bfloat16": ml_dtypes.bfloat16,
    "float16": np.float16,
}


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
    assert codes(bits, grid) == Int(bits=bits, grid=grid).levels == expected


def test_codes_of_an_array_of_bits():
    assert np.array_equal(codes(np.array([2.0, 3.0, 8.0]), "symmetric").high, [1, 3, 127])


def test_asymmetric_codes_count_from_zero_and_the_zero_point_is_one_of_them():
    assert [Int(bits=b, grid="asymmetric").levels.steps for b in (1, 2, 8)] == [1, 3, 255]
    assert Int(bits=4, grid="asymmetric").zero_bits == 4
    assert Int(bits=4).zero_bits == FLOATS["e2m1"].zero_bits == NF4().zero_bits == 0


@pytest.mark.parametrize("grid", ["symmetric", "full_range", "half_step"])
def test_one_bit_needs_the_sign_grid(grid):
    with pytest.raises(SimlawError, match="has no codes: take the grid 'sign'"):
        Int(bits=1, grid=grid)
    with pytest.raises(SimlawError, match="take at least 2 bits"):
        Int(bits=2, grid="sign")


@pytest.mark.parametrize("name", ML_DTYPES)
def test_the_values_of_a_float_are_those_of_ml_dtypes(name):
    form, dtype = FLOATS[name], np.dtype(ML_DTYPES[name])
    word = np.uint8 if dtype.itemsize == 1 else np.uint16
    with np.errstate(invalid="ignore"):
        theirs = np.arange(2**form.bits).astype(word).view(dtype).astype(np.float32)
    finite = theirs[np.isfinite(theirs)]
    ours = np.array(form.values, np.float32)
    assert np.array_equal(np.unique(finite), np.unique(np.concatenate([-ours, ours])))
    assert form.largest == finite.max()


@pytest.mark.parametrize(
    ("form", "values"),
    [
        (FLOATS["e2m1"], (0, 0.5, 1, 1.5, 2, 3, 4, 6)),
        (FLOATS["e3m0"], (0, 0.25, 0.5, 1, 2, 4, 8, 16)),
        (Float(exponent=1, mantissa=2), (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5)),  # fixed point: the exponent is 0 or 1
        (Float(exponent=2, mantissa=1, specials="ieee"), (0, 0.5, 1, 1.5, 2, 3)),
        (Float(exponent=2, mantissa=1, specials="nan"), (0, 0.5, 1, 1.5, 2, 3, 4)),
        (Float(exponent=2, mantissa=0, bias=3), (0, 0.25, 0.5, 1)),
    ],
    ids=repr,
)
def test_small_floats_by_hand(form, values):
    assert form.values == values
    assert form.largest == values[-1]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"exponent": 8, "mantissa": 8}, "e8m8 has 17 bits: formats have at most 16"),
        ({"exponent": 1, "mantissa": 3, "specials": "ieee"}, "e1m3_ieee has no number but 0 beside infinities"),
        ({"exponent": 1, "mantissa": 0, "specials": "nan"}, "e1m0_nan has no number but 0 beside NaN"),
        ({"exponent": 4, "mantissa": 3, "bias": 140}, "e4m3 with a bias of 140 leaves float32's range"),
        ({"exponent": 8, "mantissa": 7}, "leaves float32's range"),
    ],
)
def test_floats_that_there_are_not(fields, sentence):
    with pytest.raises(SimlawError, match=sentence):
        Float(**fields)


def test_nf4_has_the_papers_values():
    values = NF4().levels.values
    assert len(values) == 16
    assert list(values) == sorted(values)
    # eight quantiles below zero, seven above, of a normal distribution: 2305.14314, equation 4
    assert values[7] == 0
    assert values[0] == -1
    assert values[-1] == 1
    assert values[1] == pytest.approx(-0.6961928, abs=1e-7)


@pytest.mark.parametrize(
    ("granularity", "block", "count"),
    [
        (PerTensor(), (48, 20), 1),
        (PerChannel(), (48, 1), 20),
        (PerToken(), (48, 1), 20),
        (PerGroup(size=16), (16, 1), 60),
        (PerGroup(size=20), (20, 1), 60),  # 20, 20 and 8 inputs
        (PerGroup(size=64), (48, 1), 20),
        (PerBlock(inputs=32, outputs=8), (32, 8), 6),
    ],
    ids=repr,
)
def test_blocks_and_counts(granularity, block, count):
    assert block_of((48, 20), granularity) == block
    assert scale_count((48, 20), granularity) == count


def test_a_group_as_wide_as_the_row_is_called_a_channel():
    assert effective((48, 20), PerGroup(size=48)) == effective((48, 20), PerGroup(size=128)) == PerChannel()
    assert effective((48, 20), PerGroup(size=47)) == PerGroup(size=47)
    assert effective((48, 20), PerBlock(inputs=64, outputs=64)) == PerTensor()
    assert effective((48, 20), PerBlock(inputs=64, outputs=1)) == PerChannel()
    assert effective((48, 20), PerBlock(inputs=16, outputs=1)) == PerGroup(size=16)
    assert effective((48, 20), PerBlock(inputs=16, outputs=2)) == PerBlock(inputs=16, outputs=2)


def test_a_quantizer_of_before_keeps_its_identity():
    old = '{"format":{"bits":4,"grid":"symmetric","type":"Int"},"granularity":{"type":"PerChannel"},"type":"Quantizer"}'
    assert canonical(Quantizer(format=Int(bits=4))) == old
    assert canonical(Quantizer(format=Int(bits=4), calibration=MSE())) != old
    assert canonical(Quantizer(format=Int(bits=4), scale=PowerOfTwo())) != old


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"format": Int(bits=4, grid="asymmetric"), "scale": PowerOfTwo()}, "no rule for a scale stored as PowerOfTwo"),
        ({"format": Int(bits=1, grid="sign"), "scale": Float8()}, "no rule for a scale stored as Float8"),
        ({"format": Int(bits=1, grid="sign"), "calibration": MSE()}, "takes the mean magnitude for its scale"),
        ({"format": Int(bits=1, grid="sign"), "rounding": "stochastic"}, "has no values between which"),
    ],
)
def test_quantizers_without_a_meaning(fields, sentence):
    with pytest.raises(SimlawError, match=sentence):
        Quantizer(**fields)


def test_bits_of_stored_scales():
    kinds = (Float16(), Float32(), PowerOfTwo(), Float8())
    assert [(kind.bits, kind.tensor_bits) for kind in kinds] == [(16, 0), (32, 0), (8, 0), (8, 32)]
