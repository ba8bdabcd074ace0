"""Quantizing: exact values, error bounds, gradients, non-finite inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simlaw.errors import SimlawError
from simlaw.formats import Int, PerChannel, PerGroup, PerTensor, Quantizer
from simlaw.quantize import dequantize, fake_quantize, quantize, straight_through

CHANNEL = PerChannel()


def column(*values):
    return jnp.asarray(values, jnp.float32)[:, None]


def on_grid(w, bits, grid="symmetric", granularity=CHANNEL):
    return np.asarray(fake_quantize(w, bits, grid, granularity))


def test_ties_go_to_even():
    # absmax 7 at 4 bits: the step is exactly 1
    w = column(7, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 3.49, 3.51)
    assert on_grid(w, 4)[:, 0].tolist() == [7, 0, 2, 2, 0, -2, -2, 3, 4]


def test_the_largest_value_is_kept_by_symmetric_and_shrunk_by_half_step():
    w = column(7.5, -7.5, 1.0)
    # the scale 7.5 / 7 is rounded up to float16: 1.0722656
    assert on_grid(w, 4)[:, 0].tolist() == [7 * 1.072265625, -7 * 1.072265625, 1.072265625]
    assert on_grid(w, 4, "half_step")[:, 0].tolist() == [7, -7, 1]


def test_full_range_has_the_floor_of_twos_complement_but_absmax_never_reaches_it():
    w = column(-7, 7, -3)
    assert on_grid(w, 4, "full_range")[:, 0].tolist() == on_grid(w, 4, "symmetric")[:, 0].tolist() == [-7, 7, -3]


def test_int2_is_ternary():
    w = jax.random.normal(jax.random.key(0), (512, 1))
    assert len(np.unique(on_grid(w, 2))) == 3


def test_one_bit_is_sign_times_mean():
    w = column(1.0, -2.0, 0.0, 5.0)
    assert on_grid(w, 1, "sign")[:, 0].tolist() == [2, -2, 2, 2]


def test_zero_rows_stay_zero():
    w = jnp.stack([jnp.zeros(4), jnp.asarray([1.0, 2, 3, 4])], axis=1)
    for grid in ("symmetric", "full_range", "half_step", "sign"):
        assert on_grid(w, 1 if grid == "sign" else 4, grid)[:, 0].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("granularity", [PerTensor(), PerChannel(), PerGroup(size=8)], ids=lambda g: type(g).__name__)
@pytest.mark.parametrize("bits", range(2, 17))
def test_the_error_is_at_most_half_a_step(bits, granularity):
    w = jax.random.normal(jax.random.key(bits), (32, 6)) * jnp.geomspace(1e-3, 1e3, 6)[None, :]
    stored = quantize(np.asarray(w), Quantizer(format=Int(bits=bits), granularity=granularity))
    error = np.abs(np.asarray(w) - dequantize(stored)).reshape(stored.codes.shape)
    step = stored.scales.astype(np.float32)
    assert (error <= 0.5 * step * (1 + 1e-6)).all()
    assert (error > 0.4 * step).any()  # the bound is tight: the step is not larger than it has to be


@pytest.mark.parametrize("grid", ["symmetric", "full_range", "half_step"])
def test_the_round_trip_is_exact(grid):
    w = np.asarray(jax.random.normal(jax.random.key(1), (16, 4)))
    quantizer = Quantizer(format=Int(bits=5, grid=grid), granularity=PerGroup(size=8))
    once = dequantize(quantize(w, quantizer))
    assert np.array_equal(once, on_grid(jnp.asarray(w), 5, grid, PerGroup(size=8)))
    if grid == "symmetric":  # the values of the grid are on the grid
        assert np.array_equal(dequantize(quantize(once, quantizer)), once)


def test_scales_are_float16_rounded_up():
    w = np.asarray(jax.random.normal(jax.random.key(2), (64, 32))) * np.geomspace(1e-4, 1e3, 32, dtype=np.float32)
    exact = np.abs(w).max(axis=0) / 7
    scales = quantize(w, Quantizer(format=Int(bits=4))).scales[0, 0]
    assert scales.dtype == np.float16
    assert (scales >= exact * (1 - 1e-6)).all()
    assert (np.nextafter(scales, np.float16(0)).astype(np.float64) < exact).all()  # and no higher than needed


def test_groups_have_scales_of_their_own():
    w = column(100, 50, 1, 0.5)
    grouped = on_grid(w, 8, granularity=PerGroup(size=2))[:, 0]
    assert abs(grouped[3] - 0.5) < 0.005 < abs(on_grid(w, 8)[3, 0] - 0.5)


def test_bits_are_traced_and_compile_once():
    traces = []

    @jax.jit
    def run(w, bits):
        traces.append(bits)
        return fake_quantize(w, bits, "symmetric", CHANNEL)

    w = jax.random.normal(jax.random.key(3), (8, 8))
    for bits in (2, 3, 8, 16):
        assert np.array_equal(run(w, jnp.float32(bits)), on_grid(w, bits))
    assert len(traces) == 1


def test_the_gradient_goes_straight_through():
    w = jax.random.normal(jax.random.key(4), (8, 8))
    target = jax.random.normal(jax.random.key(5), (8, 8))

    def loss(w):
        return jnp.sum((straight_through(w, fake_quantize(w, 3, "symmetric", CHANNEL)) - target) ** 2)

    rounded = fake_quantize(w, 3, "symmetric", CHANNEL)
    assert np.allclose(jax.grad(loss)(w), 2 * (rounded - target), rtol=1e-6, atol=0)
    assert np.array_equal(straight_through(w, rounded), rounded)  # the value is exactly the rounded one


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
@pytest.mark.parametrize("grid", ["symmetric", "sign"])
def test_a_non_finite_value_spoils_its_group_and_no_other(bad, grid):
    w = jax.random.normal(jax.random.key(6), (16, 2)).at[3, 0].set(bad)
    out = jax.jit(lambda w: fake_quantize(w, 4, grid, PerGroup(size=8)))(w)
    assert not np.isfinite(out[:8, 0]).any()
    assert np.isfinite(out[8:, 0]).all()
    assert np.isfinite(out[:, 1]).all()


def test_the_host_refuses_non_finite_values():
    w = np.ones((4, 4), np.float32)
    w[2, 1] = np.nan
    with pytest.raises(SimlawError, match=r"the matrix holds nan at \(2, 1\): only finite values have codes"):
        quantize(w, Quantizer(format=Int(bits=4)))
