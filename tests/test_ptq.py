"""Post-training quantization: every method against float64 references, and the walk that all of them share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simlaw.arithmetic import Place
from simlaw.config import AWQ, GPTQ, PTQ, RTN, Noise, RateDistortion, SmoothQuant, Tender
from simlaw.errors import SimlawError
from simlaw.formats import FLOATS, NF4, Int, PerChannel, PerGroup, PerTensor, PerToken, Quantizer
from simlaw.model import init, losses, matrices, with_matrices
from simlaw.ptq import numbers_of, quantized
from simlaw.ptq.awq import awq
from simlaw.ptq.gptq import gptq
from simlaw.ptq.noise import ideal
from simlaw.ptq.rotation import hadamard, turned
from simlaw.ptq.site import Role, on_role
from simlaw.ptq.smoothquant import smoothquant
from simlaw.ptq.tender import groups_of, shift_accumulate, tender
from simlaw.quantize import fake_quantize, numbers
from tests.conftest import MODEL, inputs_of

RNG = np.random.default_rng(0)
RUN_GPTQ = jax.jit(gptq, static_argnums=(3, 4))
RUN_AWQ = jax.jit(awq, static_argnums=(4, 5))
RUN_SMOOTHQUANT = jax.jit(smoothquant, static_argnums=(3, 5))
RUN_TENDER = jax.jit(tender, static_argnums=(3, 5))
IDEAL = jax.jit(ideal)
ON_ROLE = jax.jit(on_role)
TURNED = jax.jit(turned)
MADE = jax.jit(quantized, static_argnums=(0, 1, 2))
LOSSES = jax.jit(losses, static_argnums=0)
INT3 = Quantizer(format=Int(bits=3))


def layer(inputs, outputs, tokens=512):
    """Inputs that are correlated, as those of trained models are, and a matrix."""
    rng = np.random.default_rng(1000 * inputs + outputs)  # the same whatever ran before
    mix = rng.normal(size=(inputs, inputs)) / np.sqrt(inputs)
    x = (rng.normal(size=(tokens, inputs)) @ mix * np.geomspace(0.3, 3, inputs)).astype(np.float32)
    return x, (rng.normal(size=(inputs, outputs)) / np.sqrt(inputs)).astype(np.float32)


def moments(x):
    return (x.T.astype(np.float64) @ x / len(x)).astype(np.float32)


def run_gptq(w, hessian, quantizer, how=None):
    given = jnp.asarray(w), jnp.asarray(hessian, jnp.float32), numbers(quantizer.format.levels)
    return np.asarray(RUN_GPTQ(*given, quantizer.scaling, how or GPTQ()).w)


def rounded(w, quantizer):
    return np.asarray(fake_quantize(jnp.asarray(w), numbers(quantizer.format.levels), quantizer.scaling))


def up(scale):
    """The smallest float16 not below a scale, but for a thousandth of a step, as the quantizers store it."""
    scale = np.asarray(scale, np.float32).astype(np.float64)
    step = 2.0 ** np.maximum(np.frexp(scale)[1] - 11, -24)
    return np.ceil(scale / step - 2.0**-10) * step


def nearest(w, bits, scale):
    top = 2.0 ** (bits - 1) - 1
    return np.clip(np.round(w / scale), -top, top) * scale


def absmax(w, bits, size=None):
    """The scale of every value of a matrix, by groups of inputs."""
    size = size or len(w)
    top = np.float32(2.0 ** (bits - 1) - 1)  # a scale is rounded up, so that its last bit in float32 decides
    parts = [np.abs(w[i : i + size]).astype(np.float32) for i in range(0, len(w), size)]
    return np.concatenate([np.broadcast_to(up(part.max(0) / top), part.shape) for part in parts])


def excess(w, hessian, bits, found, *, size=None, order="given", groups="static", damping=0.01):
    """How far each value found is from the nearest one beyond the least, in steps, along the paper's algorithm.

    One input at a time, in float64, with the errors of the values found: a tie that falls on the other side in
    float32 then moves nothing behind it.
    """
    w, hessian, found = w.astype(np.float64), hessian.astype(np.float64), found.astype(np.float64)
    scale = absmax(w, bits, size)
    places = np.argsort(-np.diag(hessian), kind="stable") if order == "activations" else np.arange(len(w))
    w, scale, hessian, found = w[places], scale[places].copy(), hessian[places][:, places], found[places]
    upper = np.linalg.cholesky(np.linalg.inv(hessian + damping * np.diag(hessian).mean() * np.eye(len(w)))).T
    beyond = np.zeros_like(w)
    for i in range(len(w)):
        if groups == "refreshed" and i % size == 0:
            scale[i : i + size] = absmax(w[i : i + size], bits)
        assert np.allclose(found[i] / scale[i], np.round(found[i] / scale[i]), atol=1e-3)
        beyond[i] = (np.abs(found[i] - w[i]) - np.abs(nearest(w[i], bits, scale[i]) - w[i])) / scale[i]
        w[i + 1 :] -= np.outer(upper[i, i + 1 :], (w[i] - found[i]) / upper[i, i])
    return beyond


WAYS = [
    (GPTQ(), PerChannel(), {}),
    (GPTQ(order="activations"), PerChannel(), {"order": "activations"}),
    (GPTQ(), PerGroup(size=16), {"size": 16}),
    (GPTQ(order="activations"), PerGroup(size=16), {"size": 16, "order": "activations"}),
    (GPTQ(groups="refreshed"), PerGroup(size=16), {"size": 16, "groups": "refreshed"}),
    (GPTQ(damping=0.3), PerGroup(size=24), {"size": 24, "damping": 0.3}),
]


@pytest.mark.parametrize(("how", "granularity", "reference"), WAYS, ids=repr)
def test_gptq_is_its_algorithm_in_float64(how, granularity, reference):
    x, w = layer(72, 20)  # a block of 64 and a part of one
    for bits in (2, 3, 4, 5, 6, 7, 8):
        found = run_gptq(w, moments(x), Quantizer(format=Int(bits=bits), granularity=granularity), how)
        assert excess(w, moments(x), bits, found, **reference).max() < 2e-3


def test_gptq_beats_rounding_on_its_own_measure():
    x, w = layer(64, 32)
    for form in (Int(bits=4, grid="asymmetric"), FLOATS["e2m1"], Int(bits=1, grid="sign")):
        quantizer = Quantizer(format=form, granularity=PerGroup(size=16))
        found, plain = run_gptq(w, moments(x), quantizer), rounded(w, quantizer)
        assert np.linalg.norm(x @ (found - w)) < 0.95 * np.linalg.norm(x @ (plain - w))


def test_gptq_with_independent_inputs_is_rounding():
    _, w = layer(40, 8)
    quantizer = Quantizer(format=Int(bits=3))
    for hessian in (np.eye(40), np.diag(np.geomspace(1e-3, 1e3, 40)), np.zeros((40, 40))):
        assert np.array_equal(run_gptq(w, hessian, quantizer), rounded(w, quantizer))


def test_gptq_bears_any_hessian():
    _, w = layer(40, 8)
    x = RNG.normal(size=(3, 40)).astype(np.float32)
    dead = moments(layer(40, 1)[0])
    dead[5], dead[:, 5] = 0, 0
    huge = np.diag(np.r_[1e30, np.full(39, 1e-30)])
    negative = moments(layer(40, 1)[0]) - 0.05 * np.eye(40)  # rounding may make it so
    for hessian in (np.ones((40, 40)), moments(x), dead, huge, negative, 1e-38 * np.eye(40)):
        for how in (GPTQ(), GPTQ(order="activations")):
            found = run_gptq(w, hessian, INT3, how)
            assert np.isfinite(found).all()
            assert np.abs(found).max() <= np.abs(w).max() * 1.001
    # an input that was never active is rounded, not dropped
    assert np.abs(run_gptq(w, dead, INT3)[5]).max() > 0


def reference_awq(w, x, bits, size, steps, clip):
    w, x = w.astype(np.float64), x.astype(np.float64)
    magnitude = np.abs(x).mean(0)
    best, found = np.inf, None
    for k in range(steps):
        s = magnitude ** (k / steps)
        s = 1 / (np.sqrt(s.max() * s.min()) / s).astype(np.float16).astype(np.float64)[:, None]
        rounded = nearest(w * s, bits, absmax(w * s, bits, size)) / s
        error = ((x @ (rounded - w)) ** 2).sum()
        if error < best:
            best, found = error, s
    scaled, seen = w * found, x / found[:, 0]
    if not clip:
        return nearest(scaled, bits, absmax(scaled, bits, size)) / found
    top = 2.0 ** (bits - 1) - 1
    made = np.zeros_like(scaled)
    for i in range(0, len(w), size):
        part, own = scaled[i : i + size], seen[:, i : i + size]
        least = np.full(w.shape[1], np.inf)
        for k in range(10):
            reach = np.abs(part).max(0) * (1 - k / 20)
            values = nearest(part, bits, up(reach / top))
            error = ((own @ (values - part)) ** 2).sum(0)
            better = error < least
            least = np.where(better, error, least)
            made[i : i + size, better] = values[:, better]
    return made / found


@pytest.mark.parametrize("clip", [False, True])
def test_awq_is_its_search_in_float64(clip):
    x, w = layer(48, 16)
    quantizer = Quantizer(format=Int(bits=3), granularity=PerGroup(size=16))
    for bits in (2, 3, 4):
        given = jnp.asarray(w), jnp.asarray(moments(x)), jnp.abs(x).mean(0), numbers(Int(bits=bits).levels)
        found = RUN_AWQ(*given, quantizer.scaling, AWQ(clip=clip)).w
        expected = reference_awq(w, x, bits, 16, 20, clip)
        assert (np.abs(np.asarray(found) - expected) > 1e-4).mean() <= 0.02
        plain = nearest(w, bits, absmax(w, bits, 16))
        assert np.linalg.norm(x @ (np.asarray(found) - w)) < np.linalg.norm(x @ (plain - w))


def role(bits, granularity):
    return Role(
        levels=numbers(Int(bits=bits).levels), scaling=Quantizer(format=Int(bits=2), granularity=granularity).scaling
    )


@pytest.mark.parametrize("alpha", [0.3, 0.5, None])
def test_smoothquant_moves_range_from_inputs_to_weights(alpha):
    x, w = layer(32, 16)
    x[:, 7] *= 50
    quantizer = Quantizer(format=Int(bits=6))
    tokens = role(6, PerToken())
    site = RUN_SMOOTHQUANT(
        *(jnp.asarray(w), jnp.asarray(x), numbers(Int(bits=6).levels), quantizer.scaling, tokens),
        SmoothQuant(alpha=alpha),
    )

    def made(power):
        s = np.abs(x).max(0).astype(np.float64) ** power / np.abs(w).max(1).astype(np.float64) ** (1 - power)
        s = s.astype(np.float16).astype(np.float64)
        top = 31.0
        rounded = nearest(w * s[:, None], 6, absmax(w * s[:, None], 6))
        seen = x / s
        return s, nearest(seen, 6, up(np.abs(seen).max(1, keepdims=True) / top)) @ rounded

    found = np.asarray(ON_ROLE(jnp.asarray(x) / site.smooth[None], tokens)) @ np.asarray(site.w)
    if alpha is None:
        errors = [((made(k / 20)[1] - x @ w) ** 2).sum() for k in range(1, 20)]
        assert ((found - x @ w) ** 2).sum() == pytest.approx(min(errors), rel=0.02)
        return
    s, expected = made(alpha)
    assert np.allclose(site.smooth, s, rtol=1e-5)
    assert np.abs(found - expected).mean() < 0.01 * np.abs(expected).mean()
    plain = np.asarray(ON_ROLE(jnp.asarray(x), tokens)) @ nearest(w, 6, absmax(w, 6))
    assert ((found - x @ w) ** 2).sum() < ((plain - x @ w) ** 2).sum()


def test_tender_groups_channels_by_powers_of_two():
    largest = jnp.asarray([8.0, 4.1, 4.0, 2.1, 2.0, 1.0, 0.3, 0.0])
    group, top = groups_of(largest, 4)
    assert (group.tolist(), float(top)) == ([3, 3, 2, 2, 1, 0, 0, 0], 8)
    assert groups_of(jnp.zeros(3), 4)[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("bits", [2, 4, 6, 8])
def test_shifts_alone_give_the_exact_sum_of_the_groups(bits):
    top, groups = 2 ** (bits - 1) - 1, 8
    x = RNG.integers(-top - 1, top + 1, (64, 48)).astype(np.int32)
    w = RNG.integers(-top, top + 1, (48, 20)).astype(np.int32)
    group = RNG.integers(0, groups, 48)
    found = np.asarray(jax.jit(shift_accumulate, static_argnums=3)(x, w, group, groups))
    each = [2.0**g * (x[:, group == g].astype(np.float64) @ w[group == g]) for g in range(groups)]
    assert found.dtype == np.int32
    assert np.array_equal(found, np.sum(each, 0))


def test_tender_computes_what_its_integers_are():
    x, w = layer(32, 8)
    x[:, 3] += 20
    how, bits = Tender(groups=6), 4
    site = RUN_TENDER(
        *(jnp.asarray(w), jnp.asarray(x), numbers(Int(bits=bits).levels), Quantizer(format=Int(bits=4)).scaling),
        *(role(bits, PerToken()), how),
    )
    bias, scale, added, *_ = (np.asarray(part, np.float64) for part in site.channels)
    assert np.array_equal(bias, ((x.max(0) + x.min(0)) / 2).astype(np.float16))
    ratios = np.log2(scale / scale.min())
    assert np.array_equal(ratios, np.round(ratios))
    codes = np.clip(np.round((x - bias.astype(np.float32)) / np.asarray(site.channels.scale)), -8, 7).astype(np.int32)
    own = absmax(w, bits)[:1]
    integers = np.round(np.asarray(site.w, np.float64) / own).astype(np.int32)
    total = shift_accumulate(jnp.asarray(codes), jnp.asarray(integers), jnp.asarray(ratios.astype(np.int32)), 6)
    expected = np.asarray(total, np.float64) * scale.min() * own + added
    found = (codes * scale) @ np.asarray(site.w, np.float64) + added
    assert np.allclose(found, expected, rtol=1e-12, atol=1e-9)
    assert np.abs(found - x @ w).mean() < 0.2 * np.abs(x @ w).mean()


def test_a_rotation_is_its_own_inverse_and_keeps_products():
    for d in (1, 8, 24, 48):
        x, w = RNG.normal(size=(5, d)).astype(np.float32), RNG.normal(size=(d, 3)).astype(np.float32)
        twice = TURNED(TURNED(jnp.asarray(x)))
        assert np.allclose(twice, x, atol=1e-5)
        assert np.allclose(TURNED(jnp.asarray(x)) @ TURNED(jnp.asarray(w.T)).T, x @ w, atol=1e-4)
    matrix = hadamard(16)
    assert np.allclose(matrix @ matrix.T, np.eye(16))
    assert np.allclose(np.abs(matrix), 0.25)


def test_an_ideal_code_has_the_distortion_of_its_rate():
    """White inputs and weights: 2^(-2R); coloured ones: reverse water-filling by hand."""
    w = np.random.default_rng(1).normal(size=(16, 40_000)).astype(np.float32)
    for bits in (1.0, 2.0, 4.0, 8.0, 11.3):
        found = IDEAL(jnp.asarray(w), jnp.eye(16), jax.random.key(0), jnp.float32(bits))
        assert np.mean((np.asarray(found) - w) ** 2) == pytest.approx(4.0**-bits, rel=0.03)
    values = np.array([4.0, 1.0, 1e-3])
    found = IDEAL(jnp.asarray(w[:3]), jnp.diag(jnp.asarray(values, jnp.float32)), jax.random.key(0), jnp.float32(1.0))
    # the third direction gets nothing; 3 bits for the others: theta^2 = 4·1 / 2^6
    error = ((np.asarray(found) - w[:3]) ** 2).mean(1) * values
    assert error[:2] == pytest.approx([0.25, 0.25], rel=0.05)
    assert error[2] == pytest.approx(1e-3, rel=0.05)


def test_an_ideal_code_of_inputs_that_are_never_active_is_one_of_equal_inputs():
    w = np.random.default_rng(1).normal(size=(16, 40_000)).astype(np.float32)
    found = IDEAL(jnp.asarray(w), jnp.zeros((16, 16)), jax.random.key(0), jnp.float32(2.0))
    assert np.mean((np.asarray(found) - w) ** 2) == pytest.approx(1 / 16, rel=0.03)


PARAMS = init(MODEL, jax.random.key(1))
TEXT = jnp.asarray(RNG.integers(0, 16, (24, 16)), jnp.int32)
WINDOWS = jnp.asarray(RNG.integers(0, 16, (8, 17)), jnp.int32)
TOKEN4 = Quantizer(format=Int(bits=4), granularity=PerToken())


def made(ptq):
    seen = None if ptq.looks_at is None else TEXT
    return MADE(MODEL, "float32", ptq.kind, PARAMS, seen, numbers_of(ptq))


def test_inputs_come_from_what_is_quantized_before():
    sites = made(PTQ(method=GPTQ(), quantizer=INT3)).sites
    changed = dict(matrices(PARAMS))
    for place, w in matrices(PARAMS).items():
        x = np.asarray(inputs_of(MODEL, with_matrices(PARAMS, changed), TEXT)[place], np.float64)
        expected = run_gptq(np.asarray(w), x.T @ x / len(x), INT3)
        assert (np.abs(np.asarray(sites[place].w) - expected) > 1e-5).mean() <= 0.02, place
        changed[place] = sites[place].w
    assert list(changed) == [Place(0, name) for name in ("qkv", "out", "gate_up", "down")]


@pytest.mark.parametrize(
    "ptq",
    [
        PTQ(quantizer=INT3),
        PTQ(quantizer=INT3, rotate=True),
        PTQ(method=GPTQ(), quantizer=INT3, activations=TOKEN4, kv=TOKEN4),
        PTQ(method=AWQ(), quantizer=INT3),
        PTQ(method=SmoothQuant(), quantizer=INT3, activations=TOKEN4),
        PTQ(method=Tender(), quantizer=INT3, activations=TOKEN4),
        PTQ(method=Noise(), quantizer=INT3),
        PTQ(method=RateDistortion(), quantizer=INT3),
        PTQ(quantizer=INT3, activations=Quantizer(format=Int(bits=4), granularity=PerTensor())),
    ],
    ids=repr,
)
def test_the_same_inputs_give_the_same_bytes_and_many_bits_change_little(ptq):
    one, again = made(ptq), made(ptq)
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(again), strict=True))
    params = with_matrices(PARAMS, {place: site.w for place, site in one.sites.items()})
    base, moved = LOSSES(MODEL, PARAMS, WINDOWS).mean(), LOSSES(MODEL, params, WINDOWS, one).mean()
    assert np.isfinite(moved)
    assert moved != base
    wide = Quantizer(format=Int(bits=12))
    inputs = (
        None if ptq.activations is None else Quantizer(format=Int(bits=12), granularity=ptq.activations.granularity)
    )
    fine = made(PTQ(method=ptq.method, quantizer=wide, activations=inputs, rotate=ptq.rotate))
    assert LOSSES(MODEL, PARAMS, WINDOWS, fine).mean() == pytest.approx(float(base), abs=5e-3)


def test_bits_of_a_kind_compile_once():
    traces = []

    @jax.jit
    def run(given):
        traces.append(1)
        return quantized(MODEL, "float32", PTQ(method=GPTQ(), quantizer=INT3).kind, PARAMS, TEXT, given)

    for bits in range(2, 9):
        ptq = PTQ(method=GPTQ(), quantizer=Quantizer(format=Int(bits=bits)))
        assert ptq.kind == PTQ(method=GPTQ(), quantizer=INT3).kind
        run(numbers_of(ptq))
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"method": SmoothQuant(), "quantizer": INT3},
            "SmoothQuant, which is for quantized inputs, and activations is",
        ),
        (
            {"method": Tender(), "quantizer": Quantizer(format=NF4()), "activations": TOKEN4},
            "the nearest it takes is Int",
        ),
        ({"method": Tender(), "quantizer": INT3, "activations": TOKEN4, "rotate": True}, "leave rotate out"),
        ({"quantizer": TOKEN4}, "weights have no tokens: take PerChannel"),
        ({"quantizer": INT3, "activations": INT3}, "has scales PerChannel, which are of weights: take PerToken"),
        (
            {"quantizer": INT3, "kv": Quantizer(format=Int(bits=1, grid="sign"), granularity=PerToken())},
            "PTQ.kv has one bit, which has no level for 0",
        ),
        (
            {"method": GPTQ(), "quantizer": Quantizer(format=Int(bits=3), rounding="stochastic")},
            "GPTQ chooses how it rounds",
        ),
    ],
)
def test_what_has_no_meaning_is_refused(fields, sentence):
    with pytest.raises(SimlawError, match=sentence):
        PTQ(**fields)


def test_gptq_does_not_refresh_groups_out_of_order():
    with pytest.raises(SimlawError, match="cannot refresh the scales of groups whose inputs it takes in another order"):
        GPTQ(order="activations", groups="refreshed")


def test_rounding_looks_at_no_text():
    assert PTQ(quantizer=INT3).looks_at is None
    assert PTQ(method=RTN(), quantizer=INT3, activations=TOKEN4).looks_at is None
    static = Quantizer(format=Int(bits=4), granularity=PerTensor())
    assert PTQ(quantizer=INT3, activations=static).looks_at is not None
