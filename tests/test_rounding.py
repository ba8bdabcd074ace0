"""Rounding to levels: value by value against ml_dtypes, ties, saturation, randomness, and one compilation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simlaw.formats import FLOATS, NF4, Float, FloatLevels, Int
from simlaw.quantize import cast, on_levels
from simlaw.quantize.rounding import numbers
from tests.test_formats import ML_DTYPES


def probes(form):
    """Every value, every midpoint with its neighbours, what lies beyond the largest, normal numbers of both scales."""
    rng = np.random.default_rng(0)
    values = np.array(form.values, np.float64)
    middle = ((values[1:] + values[:-1]) / 2).astype(np.float32)
    beyond = form.largest * np.array([1.001, 1.03, 1.0625, 1.07, 1.1, 1.25, 1.3, 1.5, 2, 4])
    drawn = rng.normal(size=2000) * form.largest / 3, rng.normal(size=2000) * 2.0**form.lowest
    near = np.nextafter(middle, np.float32(0)), np.nextafter(middle, np.float32(np.inf))
    with np.errstate(over="ignore"):
        x = np.concatenate([values, middle, *near, beyond, *drawn, [np.inf]]).astype(np.float32)
    x = np.concatenate([x, -x])
    return x[(np.abs(x) >= 2.0**-126) | (x == 0)]  # XLA takes float32's subnormal numbers for zero


@pytest.mark.parametrize("name", ML_DTYPES)
def test_a_cast_is_that_of_ml_dtypes(name):
    form, x = FLOATS[name], probes(FLOATS[name])
    with np.errstate(over="ignore"):
        expected = x.astype(ML_DTYPES[name]).astype(np.float32)
    found = np.asarray(jax.jit(lambda x: cast(x, form))(x))
    assert np.array_equal(found, expected, equal_nan=True)
    number = ~np.isnan(found) & (x != 0)
    assert "fnuz" in name or np.array_equal(np.signbit(found[number]), np.signbit(x[number]))
    assert np.isnan(cast(jnp.float32(np.nan)[None], form)).all()


@pytest.mark.parametrize("name", FLOATS)
def test_what_is_beyond_the_largest_value_saturates(name):
    form, x = FLOATS[name], probes(FLOATS[name])
    found = np.asarray(on_levels(jnp.asarray(x), form.levels))
    inside = np.abs(np.asarray(cast(jnp.asarray(x), form))) <= form.largest
    assert np.array_equal(found[inside], np.asarray(cast(jnp.asarray(x), form))[inside])
    assert (np.abs(found[~inside]) == form.largest).all()
    assert np.isfinite(found).all()


def test_ties_of_floats_go_to_even_mantissas():
    x = jnp.asarray([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 7.0])
    assert on_levels(x, FLOATS["e2m1"].levels).tolist() == [0, 1, 1, 2, 2, 4, 4, 6]


def test_a_table_takes_the_nearest_value():
    values = np.array(NF4().levels.values)
    x = np.random.default_rng(1).uniform(-1.2, 1.2, 1000).astype(np.float32)
    expected = values[np.abs(x[:, None].astype(np.float64) - values).argmin(1)]
    assert np.allclose(on_levels(jnp.asarray(x), NF4().levels), expected, rtol=0, atol=1e-7)


STOCHASTIC = [Int(bits=3), FLOATS["e2m1"], FLOATS["e3m2"], NF4()]


@pytest.mark.parametrize("form", STOCHASTIC, ids=lambda form: form.name)
def test_stochastic_rounding_keeps_the_mean_and_takes_neighbours_only(form):
    levels, top = form.levels, 3.0 if form.bits == 3 else getattr(form, "largest", 1.0)
    x = jnp.linspace(-top, top, 41)
    draw = jax.vmap(lambda key: on_levels(x, levels, key=key))
    found = np.asarray(draw(jax.random.split(jax.random.key(0), 4000)), np.float64)
    assert np.array_equal(draw(jax.random.split(jax.random.key(0), 4000)), found)  # keyed
    error = found.mean(0) - np.asarray(x)
    spread = found.std(0) / np.sqrt(4000)
    assert (np.abs(error) <= 5 * spread + 1e-6).all()
    nearest = np.asarray(on_levels(x, levels))
    everything = np.unique(found)
    for column, one, near in zip(found.T, np.asarray(x), nearest, strict=True):
        kinds = np.unique(column)
        assert near in kinds
        assert len(kinds) <= 2
        between = everything[(everything > kinds[0]) & (everything < kinds[-1])]
        assert between.size == 0
        assert kinds[0] <= one + 1e-6
        assert one - 1e-6 <= kinds[-1]


def test_values_on_the_grid_stay_under_any_key():
    for form in STOCHASTIC:
        grid = np.asarray(on_levels(jnp.linspace(-8, 8, 101), form.levels))
        for seed in range(5):
            assert np.array_equal(on_levels(jnp.asarray(grid), form.levels, key=jax.random.key(seed)), grid)


def test_a_kind_of_levels_compiles_once():
    traces = []

    @jax.jit
    def run(x, levels):
        traces.append(type(levels))
        return on_levels(x, levels)

    x = jax.random.normal(jax.random.key(0), (64,)) * 4
    for form in (FLOATS["e2m1"], FLOATS["e5m2"], Float(exponent=3, mantissa=1), FLOATS["e4m3fn"]):
        assert np.array_equal(run(x, numbers(form.levels)), on_levels(x, form.levels))
    assert traces == [FloatLevels]
    for bits in (2, 3, 8, 16):
        run(x, numbers(Int(bits=bits).levels))
    assert len(traces) == 2
