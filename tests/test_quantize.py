"""Quantizing: exact values, scales of every kind, error bounds, storage, gradients, non-finite inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simlaw.errors import SimlawError
from simlaw.formats import (
    FLOATS,
    MSE,
    NF4,
    AbsMax,
    Float8,
    Float16,
    Float32,
    Int,
    IntLevels,
    PerBlock,
    Percentile,
    PerChannel,
    PerGroup,
    PerTensor,
    PowerOfTwo,
    Quantizer,
)
from simlaw.quantize import dequantize, fake_quantize, numbers, on_levels, quantize, straight_through
from simlaw.quantize.fake import Cut
from tests.test_formats import ML_DTYPES

FAKE = jax.jit(fake_quantize, static_argnums=2)


def column(*values):
    return jnp.asarray(values, jnp.float32)[:, None]


def on_grid(w, bits, grid="symmetric", granularity=None):
    return faked(w, Quantizer(format=Int(bits=bits, grid=grid), granularity=granularity or PerChannel()))


def faked(w, quantizer, key=None):
    return np.asarray(FAKE(jnp.asarray(w), numbers(quantizer.format.levels), quantizer.scaling, key))


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


GRANULARITIES = [PerTensor(), PerChannel(), PerGroup(size=8), PerGroup(size=12), PerBlock(inputs=12, outputs=4)]


@pytest.mark.parametrize("granularity", GRANULARITIES, ids=repr)
@pytest.mark.parametrize("grid", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("bits", [2, 3, 4, 7, 8, 12, 16])
def test_the_error_is_at_most_half_a_step(bits, grid, granularity):
    w = jax.random.normal(jax.random.key(bits), (32, 6)) * jnp.geomspace(1e-3, 1e3, 6)[None, :]
    quantizer = Quantizer(format=Int(bits=bits, grid=grid), granularity=granularity)
    stored = quantize(np.asarray(w), quantizer)
    error = np.abs(np.asarray(w) - dequantize(stored))
    step = Cut(w.shape, granularity).spread(stored.scales)
    rounding = 2.0**-23 * np.abs(np.asarray(w))  # of the division and the product, which shows at 16 bits
    assert (error <= 0.5 * step + rounding).all()
    assert (error > 0.4 * step).any()  # the bound is tight: the step is not larger than it has to be


def test_asymmetric_codes_by_hand():
    w = column(-1.0, 0.0, 0.4, 2.0)
    stored = quantize(np.asarray(w), Quantizer(format=Int(bits=2, grid="asymmetric")))
    assert (stored.scales.tolist(), stored.low.tolist()) == ([[1.0]], [[-1]])
    assert stored.codes[:, 0].tolist() == [0, 1, 1, 3]
    assert dequantize(stored)[:, 0].tolist() == [-1, 0, 0, 2]
    # a channel far from zero still has a code for zero
    assert on_grid(column(5.0, 6.0), 8, "asymmetric")[1, 0] == pytest.approx(6, abs=0.02)
    assert on_grid(column(-3.0, -3.0), 1, "asymmetric")[:, 0].tolist() == [-3, -3]


def test_a_shorter_last_group_is_a_group_of_its_own():
    w = np.asarray(jax.random.normal(jax.random.key(1), (20, 3)))
    for form, calibration in (
        (Int(bits=3), MSE()),
        (Int(bits=3, grid="asymmetric"), Percentile(share=0.5)),
        (Int(bits=1, grid="sign"), AbsMax()),
        (FLOATS["e2m1"], Percentile(share=0.5)),
    ):
        whole = faked(w, Quantizer(format=form, granularity=PerGroup(size=8), calibration=calibration))
        last = faked(w[16:], Quantizer(format=form, granularity=PerChannel(), calibration=calibration))
        assert np.array_equal(whole[16:], last)


EVERY = [
    Quantizer(format=form, granularity=granularity, scale=scale, calibration=calibration)
    for form in (*(Int(bits=5, grid=g) for g in ("symmetric", "full_range", "half_step")), FLOATS["e2m1"], NF4())
    for granularity, scale, calibration in (
        (PerGroup(size=8), Float16(), MSE()),
        (PerGroup(size=12), PowerOfTwo(), Percentile(share=0.9)),
        (PerBlock(inputs=4, outputs=3), Float8(), MSE()),
    )
]
EVERY += [Quantizer(format=form) for form in FLOATS.values()]
EVERY += [Quantizer(format=Int(bits=b, grid="asymmetric"), granularity=PerGroup(size=6)) for b in (1, 3, 8)]
EVERY += [Quantizer(format=Int(bits=1, grid="sign"), granularity=PerTensor())]


@pytest.mark.parametrize("quantizer", EVERY, ids=repr)
def test_what_is_stored_gives_back_the_faked_values(quantizer):
    w = np.asarray(jax.random.normal(jax.random.key(1), (16, 4)))
    stored = quantize(w, quantizer)
    assert np.array_equal(dequantize(stored), faked(w, quantizer))
    codes = stored.codes + 2 ** (quantizer.format.bits - 1) * isinstance(quantizer.format.levels, IntLevels)
    assert ((codes >= 0) & (codes < 2**quantizer.format.bits)).all()


def test_the_values_of_the_grid_are_on_the_grid():
    w = np.asarray(jax.random.normal(jax.random.key(1), (16, 4)))
    quantizer = Quantizer(format=Int(bits=5), granularity=PerGroup(size=8))
    once = dequantize(quantize(w, quantizer))
    assert np.array_equal(dequantize(quantize(once, quantizer)), once)


def test_scales_are_float16_rounded_up():
    w = np.asarray(jax.random.normal(jax.random.key(2), (64, 32))) * np.geomspace(1e-4, 1e3, 32, dtype=np.float32)
    exact = np.abs(w).max(axis=0) / 7
    scales = quantize(w, Quantizer(format=Int(bits=4))).scales[0]
    assert np.array_equal(scales, scales.astype(np.float16))
    assert (scales >= exact * (1 - 1e-6)).all()
    assert (np.nextafter(scales.astype(np.float16), np.float16(0)).astype(np.float64) < exact).all()  # and no higher


@pytest.mark.parametrize("name", ["e2m1", "e3m2", "e2m3", "e4m3fn", "e5m2"])
def test_microscaling_is_that_of_its_specification(name):
    """OCP microscaling 1.0, section 6.3: 2^(floor(log2 absmax) - the exponent of the largest value), then a cast."""
    form = FLOATS[name]
    w = np.asarray(jax.random.normal(jax.random.key(3), (64, 5))) * np.geomspace(1e-6, 1e6, 5, dtype=np.float32)
    found = faked(w, Quantizer(format=form, granularity=PerGroup(size=32), scale=PowerOfTwo()))
    blocks = w.astype(np.float64).reshape(2, 32, 5)
    emax = np.floor(np.log2(form.largest))
    scale = 2.0 ** (np.floor(np.log2(np.abs(blocks).max(1, keepdims=True))) - emax)
    inside = np.clip(blocks / scale, -form.largest, form.largest)
    assert np.array_equal(found, (inside.astype(ML_DTYPES[name]).astype(np.float64) * scale).reshape(64, 5))
    assert (np.abs(blocks / scale) > form.largest).any()  # some saturate, as the rule has it


def test_the_other_power_of_two_never_saturates():
    w = np.asarray(jax.random.normal(jax.random.key(4), (64, 50)))
    for form in (Int(bits=4), FLOATS["e2m1"]):
        top = 7 if form == Int(bits=4) else 6
        scales = quantize(w, Quantizer(format=form, scale=PowerOfTwo(rule="up"))).scales[0]
        exact = np.abs(w).max(0) / top
        assert np.array_equal(scales, 2.0 ** np.ceil(np.log2(exact)))
    even = column(7.0, 3.0)  # absmax / 7 is a power of two already
    assert quantize(np.asarray(even), Quantizer(format=Int(bits=4), scale=PowerOfTwo(rule="up"))).scales[0, 0] == 1


def test_nvfp4_is_that_of_its_description():
    """Blocks of 16 e2m1 values, scales in e4m3 to nearest, one float32 that takes the largest scale to 448."""
    w = np.asarray(jax.random.normal(jax.random.key(5), (64, 8))) * np.geomspace(1e-3, 1e3, 8, dtype=np.float32)
    found = faked(w, Quantizer(format=FLOATS["e2m1"], granularity=PerGroup(size=16), scale=Float8()))
    blocks = w.reshape(4, 16, 8)
    wanted = np.abs(blocks).max(1, keepdims=True) / np.float32(6)
    whole = wanted.max() / np.float32(448)
    scale = (wanted / whole).astype(ML_DTYPES["e4m3fn"]).astype(np.float32) * whole
    divisor = np.where(scale == 0, np.float32(1), scale)
    inside = np.clip(blocks / divisor, -6, 6).astype(ML_DTYPES["e2m1"]).astype(np.float32)
    assert np.array_equal(found, (inside * scale).reshape(64, 8))


def test_a_percentile_is_an_order_statistic():
    w = column(*range(1, 11))
    for share, most in ((1.0, 10), (0.9, 9), (0.85, 9), (0.05, 1)):
        quantizer = Quantizer(format=Int(bits=4), calibration=Percentile(share=share))
        assert quantize(np.asarray(w), quantizer).scales[0, 0] == np.float16(most / 7) or share < 1
        assert faked(w, quantizer)[:, 0].max() == pytest.approx(most, rel=2e-3)
    lopsided = column(-10.0, *range(1, 10))
    low = faked(lopsided, Quantizer(format=Int(bits=8, grid="asymmetric"), calibration=Percentile(share=0.9)))
    assert low[0, 0] == pytest.approx(-9, rel=0.01)


@pytest.mark.parametrize(
    "form", [Int(bits=3), Int(bits=3, grid="asymmetric"), FLOATS["e2m1"], NF4()], ids=lambda form: form.name
)
def test_the_clip_of_least_error_is_the_best_of_its_grid(form):
    w = np.asarray(jax.random.t(jax.random.key(6), 3.0, (32, 7)))
    search = MSE(steps=50, least=0.3, norm=2.0)
    best = np.full(7, np.inf)
    for k in range(35):
        share = np.float32(1) - np.float32(k) / np.float32(50)
        found = []
        for j in range(7):
            # the same scale by hand: absmax of a column whose largest value is this share of it
            least, most = (w[:, j].min(), w[:, j].max()) if form == Int(bits=3, grid="asymmetric") else (0, 0)
            least, most = min(least, 0) * share, max(most, 0) * share
            top = np.abs(w[:, j]).max() * share
            found.append(_squared(w[:, j], form, top, least, most))
        best = np.minimum(best, found)
    ours = faked(w, Quantizer(format=form, calibration=search))
    error = ((ours - w).astype(np.float64) ** 2).sum(0)
    assert np.allclose(error, best, rtol=1e-4)
    plain = ((faked(w, Quantizer(format=form)) - w).astype(np.float64) ** 2).sum(0)
    assert (error <= plain * (1 + 1e-6)).all()
    assert (error < 0.95 * plain).any()


def _squared(w, form, top, least, most):
    if form == Int(bits=3, grid="asymmetric"):
        scale = _up((most - least) / 7)
        low = np.round(least / scale)
        values = np.clip(np.round(w / scale), low, low + 7) * scale
    else:
        scale = _up(top / {"int3": 3, "e2m1": 6, "nf4": 1}[form.name])
        values = np.asarray(on_levels(jnp.asarray(w / scale, jnp.float32), form.levels)) * scale
    return ((values - w).astype(np.float64) ** 2).sum()


def _up(scale):
    half = np.float16(scale)
    return np.float32(half if half >= scale * (1 - 1e-7) else np.nextafter(half, np.float16(np.inf)))


def test_stochastic_rounding_takes_a_key():
    w = jax.random.normal(jax.random.key(7), (64, 64))
    quantizer = Quantizer(format=Int(bits=3), rounding="stochastic")
    one, again, other = (faked(w, quantizer, jax.random.key(seed)) for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    many = np.mean([faked(w, quantizer, jax.random.key(seed)) for seed in range(400)], axis=0)
    step = np.abs(np.asarray(w)).max(0) / 3
    assert np.abs(many - np.asarray(w)).max() < 5 * (0.5 * step / 20).max()
    stored = quantize(np.asarray(w), quantizer, seed=1)
    assert np.array_equal(dequantize(stored), other)
    with pytest.raises(SimlawError, match="rounding is stochastic and there is no key"):
        faked(w, quantizer)


def test_groups_have_scales_of_their_own():
    w = column(100, 50, 1, 0.5)
    grouped = on_grid(w, 8, granularity=PerGroup(size=2))[:, 0]
    assert abs(grouped[3] - 0.5) < 0.005 < abs(on_grid(w, 8)[3, 0] - 0.5)


def test_bits_are_traced_and_compile_once():
    traces = []

    @jax.jit
    def run(w, levels):
        traces.append(levels)
        return fake_quantize(w, levels, Quantizer(format=Int(bits=2)).scaling)

    w = jax.random.normal(jax.random.key(3), (8, 8))
    for bits in (2, 3, 8, 16):
        assert np.array_equal(run(w, numbers(Int(bits=bits).levels)), on_grid(w, bits))
    assert len(traces) == 1


def on_int3(w):
    return fake_quantize(w, Int(bits=3).levels, Quantizer(format=Int(bits=3)).scaling)


def test_the_gradient_goes_straight_through():
    w = jax.random.normal(jax.random.key(4), (8, 8))
    target = jax.random.normal(jax.random.key(5), (8, 8))

    def loss(w):
        return jnp.sum((straight_through(w, on_int3(w)) - target) ** 2)

    rounded = on_int3(w)
    assert np.allclose(jax.grad(loss)(w), 2 * (rounded - target), rtol=1e-6, atol=0)
    assert np.array_equal(straight_through(w, rounded), rounded)  # the value is exactly the rounded one


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
@pytest.mark.parametrize(
    "quantizer",
    [
        Quantizer(format=form, granularity=PerGroup(size=8), scale=scale, calibration=calibration)
        for form in (Int(bits=4), FLOATS["e2m1"], NF4())
        for scale in (Float16(), Float32(), PowerOfTwo(), PowerOfTwo(rule="up"))
        for calibration in (AbsMax(), MSE(), Percentile(share=0.5))
    ]
    + [
        Quantizer(format=Int(bits=b, grid=g), granularity=PerGroup(size=8)) for b, g in ((1, "sign"), (4, "asymmetric"))
    ],
    ids=repr,
)
def test_a_non_finite_value_spoils_its_group_and_no_other(bad, quantizer):
    w = jax.random.normal(jax.random.key(6), (16, 2)).at[3, 0].set(bad)
    out = jax.jit(lambda w: fake_quantize(w, quantizer.format.levels, quantizer.scaling))(w)
    assert not np.isfinite(out[:8, 0]).any()
    assert np.isfinite(out[8:, 0]).all()
    assert np.isfinite(out[:, 1]).all()


def test_a_scale_that_leaves_float16_spoils_its_values_and_one_in_float32_does_not():
    # a third of 3e5 is above 65504: what inputs of int3 training came to
    x = jnp.array([[3e5, -3e5, 1.0], [2.0, -4.0, 6.0]], jnp.float32).T
    short, wide = (faked(x, Quantizer(format=Int(bits=3), scale=scale)) for scale in (Float16(), Float32()))
    assert not np.isfinite(short[:, 0]).any()
    assert wide[:, 0].tolist() == [3e5, -3e5, 0]
    assert short[:, 1].tolist() == wide[:, 1].tolist() == [2, -4, 6]


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_a_scale_of_the_whole_tensor_is_spoilt_with_it(bad):
    w = jax.random.normal(jax.random.key(6), (16, 2)).at[3, 0].set(bad)
    quantizer = Quantizer(format=FLOATS["e2m1"], granularity=PerGroup(size=8), scale=Float8())
    assert not np.isfinite(faked(w, quantizer)).any()


def test_the_host_refuses_non_finite_values():
    w = np.ones((4, 4), np.float32)
    w[2, 1] = np.nan
    with pytest.raises(SimlawError, match=r"the matrix holds nan at \(2, 1\): only finite values have codes"):
        quantize(w, Quantizer(format=Int(bits=4)))
