"""Training precision by role: what is multiplied, and what becomes of gradients, against what was written by hand."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simlaw import train
from simlaw.arithmetic import Place, Plain
from simlaw.config import Precision
from simlaw.errors import SimlawError
from simlaw.formats import (
    FLOATS,
    NF4,
    Float8,
    Float16,
    Int,
    PerBlock,
    Percentile,
    PerChannel,
    PerGroup,
    PerTensor,
    PerToken,
    PowerOfTwo,
    Quantizer,
)
from simlaw.lowprecision import (
    LowPrecision,
    RoleLevels,
    arithmetic_of,
    as_inputs_are,
    certain,
    levels_of,
    on_formats,
    random,
)
from simlaw.model import init, losses, matrices, with_matrices
from simlaw.ptq.rotation import turned
from simlaw.quantize import estimated, fake_quantize
from simlaw.train import compile_shape, members, shape_of, start
from tests.conftest import MODEL, tiny_run

SIGN = Int(bits=1, grid="sign")
PARAMS = init(MODEL, jax.random.key(3))
WINDOWS = jax.random.randint(jax.random.key(4), (4, MODEL.context + 1), 0, MODEL.vocab)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 16)).astype(np.float32)
W = RNG.normal(size=(16, 12)).astype(np.float32)
PULL = RNG.normal(size=(6, 12)).astype(np.float32)
PLACE = Place(0, "qkv")


def on(bits, granularity, **how):
    form = Int(bits=bits) if isinstance(bits, int) else bits
    return Quantizer(format=form, granularity=granularity, **how)


def of_precision(precision, key=None):
    return arithmetic_of(precision.kind, levels_of(precision), "float32", key)


@dataclass(frozen=True, kw_only=True)
class Shifted(Plain):
    """Adds constants where roles are rounded: what straight-through gradients are the exact gradients of."""

    precision: Precision
    shifts: dict = field(default_factory=dict)

    def shifted(self, name, x, role):
        quantizer = getattr(self.precision, role)
        if quantizer is None:
            return x
        if name not in self.shifts:
            flat = x.reshape(-1, x.shape[-1])
            found = fake_quantize(flat, quantizer.format.levels, quantizer.scaling, of_tokens=True).reshape(x.shape)
            self.shifts[name] = np.asarray(found - x)
        return x + self.shifts[name]

    def linear(self, place, x, w):
        return super().linear(place, self.shifted(place, x, "activations"), w)

    def cache(self, layer, k, v):
        return self.shifted((layer, "k"), k, "kv"), self.shifted((layer, "v"), v, "kv")


@pytest.mark.parametrize("inputs", [PerToken(), PerTensor(), PerGroup(size=8)])
def test_losses_and_straight_through_gradients_are_those_of_a_model_with_the_errors_as_constants(inputs):
    precision = Precision(weights=on(3, PerChannel()), activations=on(4, inputs), kv=on(4, PerToken()))
    kind, levels = precision.kind, levels_of(precision)

    def loss(params):
        used = on_formats(params, kind, levels)
        return losses(MODEL, used, WINDOWS, of_precision(precision)).mean()

    found, grads = jax.value_and_grad(loss)(PARAMS)
    errors = {
        place: fake_quantize(w, precision.weights.format.levels, precision.weights.scaling) - w
        for place, w in matrices(PARAMS).items()
    }
    arithmetic = Shifted(precision=precision)

    def plain(params):
        used = with_matrices(params, {place: w + errors[place] for place, w in matrices(params).items()})
        return losses(MODEL, used, WINDOWS, arithmetic).mean()

    truth = plain(PARAMS)  # fills in the constants
    assert len(arithmetic.shifts) == 6
    assert found == pytest.approx(float(truth), rel=1e-6)
    for one, other in zip(jax.tree.leaves(grads), jax.tree.leaves(jax.grad(plain)(PARAMS)), strict=True):
        assert np.allclose(one, other, rtol=1e-3, atol=1e-6)


def test_sixteen_bits_are_next_to_nothing_and_four_are_not():
    plain = losses(MODEL, PARAMS, WINDOWS).mean()

    def rise(bits):
        roles = Precision(weights=on(bits, PerChannel()), activations=on(bits, PerToken()), kv=on(bits, PerToken()))
        used = on_formats(PARAMS, roles.kind, levels_of(roles))
        return abs(float(losses(MODEL, used, WINDOWS, of_precision(roles)).mean() - plain))

    assert rise(16) < 1e-4
    assert rise(4) > 1e-3


def test_gradients_of_outputs_are_rounded_before_both_products_and_the_outputs_are_not():
    precision = Precision(gradients=on(3, PerToken()))
    found, back = jax.vjp(lambda x, w: of_precision(precision).linear(PLACE, x, w), jnp.asarray(X), jnp.asarray(W))
    assert np.allclose(found, X @ W, rtol=1e-5, atol=1e-5)
    rounded = np.asarray(fake_quantize(jnp.asarray(PULL), Int(bits=3).levels, on(3, PerToken()).scaling, None, True))
    of_x, of_w = back(jnp.asarray(PULL))
    assert np.allclose(of_x, rounded @ W.T, rtol=1e-5, atol=1e-5)
    assert np.allclose(of_w, X.T @ rounded, rtol=1e-5, atol=1e-5)
    assert not np.allclose(of_w, X.T @ PULL, atol=1e-2)


def test_gradients_as_small_as_those_of_a_mean_loss_are_rounded_as_large_ones():
    precision = Precision(gradients=on(4, PerToken()))

    def back(pull):
        _, vjp = jax.vjp(lambda x: of_precision(precision).linear(PLACE, x, jnp.eye(16, 12)), jnp.asarray(X))
        return np.asarray(vjp(jnp.asarray(pull))[0])

    assert np.allclose(back(PULL * np.float32(2.0**-20)) * 2.0**20, back(PULL), rtol=2e-3, atol=1e-6)


def test_microscaled_gradients_share_a_power_of_two_along_the_outputs():
    form = FLOATS["e4m3fn"]
    precision = Precision(gradients=on(form, PerGroup(size=4), scale=PowerOfTwo()))
    _, back = jax.vjp(lambda x: of_precision(precision).linear(PLACE, x, jnp.eye(16, 12)), jnp.asarray(X))
    (found,) = back(jnp.asarray(PULL))
    for token in range(6):
        for group in range(0, 12, 4):
            part = PULL[token, group : group + 4]
            power = 2.0 ** (np.floor(np.log2(np.abs(part).max())) - 8)
            exponent = np.maximum(np.floor(np.log2(np.abs(part / power))), -6)
            unit = power * 2.0 ** (exponent - 3)
            wanted = np.clip(np.round(part / unit) * unit, -448 * power, 448 * power)
            assert np.allclose(found[token, group : group + 4], wanted, rtol=1e-6)


def slopes(estimator, quantizer, x=X):
    def total(x):
        return estimated(x, quantizer.format.levels, quantizer.scaling, estimator, of_tokens=True).sum()

    return np.asarray(jax.grad(total)(jnp.asarray(x)))


def test_estimators_pass_gradients_where_they_say():
    half = on(4, PerToken(), calibration=Percentile(share=0.5))  # half of the values lie beyond the levels
    order = np.sort(np.abs(X), axis=1)[:, 7:8]
    step = order / 7
    assert (slopes("straight_through", half) == 1).all()
    assert np.array_equal(slopes("clipped", half), np.abs(X) <= order * (1 + 1e-3))
    trusted = slopes("trust", half)
    near = np.abs(np.abs(X) - (order + step / 2)) < 2e-3 * order
    assert np.array_equal(trusted[~near], (np.abs(X) <= order + step / 2)[~near])
    assert trusted.sum() >= slopes("clipped", half).sum()
    for estimator in ("clipped", "trust"):  # nothing lies beyond the largest magnitude
        assert (slopes(estimator, on(4, PerToken())) == 1).all()


def test_the_floor_rule_of_powers_of_two_clips_what_saturates():
    quantizer = on(FLOATS["e2m1"], PerToken(), scale=PowerOfTwo())
    x = np.array([[7.9, 6.0, 4.1, 1.0, -6.5, -5.9] + [0.0] * 10], np.float32)  # the scale is 1, and 6 the largest
    assert slopes("clipped", quantizer, x)[0, :6].tolist() == [0, 1, 1, 1, 0, 1]
    assert slopes("trust", quantizer, x)[0, :6].tolist() == [0, 1, 1, 1, 1, 1]  # the widest step is 2


@pytest.mark.parametrize(("form", "beyond"), [(FLOATS["e3m0"], 4.0), (FLOATS["e2m1"], 1.0), (FLOATS["e4m3fn"], 16.0)])
def test_the_widest_step_of_a_float_is_that_below_its_largest_number(form, beyond):
    quantizer = on(form, PerToken(), scale=PowerOfTwo())
    inside, outside = (form.largest + beyond * share for share in (0.9, 1.1))
    x = np.array([[inside, outside] + [0.0] * 14], np.float32)  # the scale is 1
    assert slopes("trust", quantizer, x)[0, :2].tolist() == [1, 0]


@pytest.mark.parametrize("roles", [("weights",), ("activations",), ("weights", "activations")])
def test_a_rotation_turns_what_is_rounded_and_changes_no_product_else(roles):
    fine = {role: on(16, PerChannel() if role == "weights" else PerToken()) for role in roles}
    precision = Precision(**fine, rotate=True)
    used = on_formats(PARAMS, precision.kind, levels_of(precision))
    found = losses(MODEL, used, WINDOWS, of_precision(precision))
    assert np.allclose(found, losses(MODEL, PARAMS, WINDOWS), atol=3e-4)
    coarse = Precision(**{role: on(3, q.granularity) for role, q in fine.items()}, rotate=True)
    arithmetic, kind = of_precision(coarse), coarse.kind
    place, w = next(iter(matrices(PARAMS).items()))
    own = matrices(on_formats(PARAMS, kind, levels_of(coarse)))[place]
    x = jnp.asarray(X)

    def rounded(values, of_tokens):
        quantizer = coarse.activations if of_tokens else coarse.weights
        if quantizer is None:
            return values
        return fake_quantize(values, quantizer.format.levels, quantizer.scaling, of_tokens=of_tokens)

    wanted = rounded(turned(x), True) @ rounded(turned(w.T).T, False)
    assert np.allclose(arithmetic.linear(place, x, own), wanted, rtol=1e-4, atol=1e-4)
    # inputs alone, for matrices that someone else made
    assert np.allclose(
        arithmetic.inputs(x) @ w, arithmetic.linear(place, x, as_inputs_are(kind, w)), rtol=1e-4, atol=1e-4
    )


def test_rounding_at_random_has_the_value_for_its_mean_and_other_draws_for_every_place_and_key():
    precision = Precision(activations=on(2, PerToken(), rounding="stochastic"))
    assert random(precision.kind)
    keys = jax.random.split(jax.random.key(0), 4000)

    def product(key, place=PLACE):
        return of_precision(precision, key).linear(place, jnp.asarray(X), jnp.eye(16))

    drawn = np.asarray(jax.vmap(product)(keys))
    assert np.abs(drawn.mean(axis=0) - X).max() < 5 * np.abs(X).max() / np.sqrt(4000)
    assert np.array_equal(product(keys[0]), product(keys[0]))
    assert not np.array_equal(product(keys[0]), product(keys[1]))
    assert not np.array_equal(product(keys[0]), product(keys[0], Place(0, "out")))
    # an evaluation is the same again
    assert not random(certain(precision).kind)


def test_an_evaluation_has_no_gradients_and_leaves_a_precision_of_gradients_alone():
    assert certain(Precision(gradients=on(4, PerToken()))) == Precision()
    both = Precision(weights=on(4, PerChannel()), gradients=on(4, PerToken()), rotate=True)
    assert certain(both) == Precision(weights=on(4, PerChannel()), rotate=True)


def test_levels_are_data_and_one_kind_serves_every_bit_width():
    four, eight = (Precision(activations=on(bits, PerToken())) for bits in (4, 8))
    assert four.kind == eight.kind
    assert four.kind != Precision(activations=on(FLOATS["e4m3"], PerToken())).kind
    stacked = jax.tree.map(lambda *each: jnp.stack(each), levels_of(four), levels_of(eight))

    def inputs(levels: RoleLevels):
        return LowPrecision(kind=four.kind, levels=levels).inputs(jnp.asarray(X))

    found = jax.jit(jax.vmap(inputs))(stacked)
    for one, precision in zip(found, (four, eight), strict=True):
        assert np.allclose(one, of_precision(precision).inputs(jnp.asarray(X)), atol=1e-6)


def test_a_scale_of_the_whole_batch_does_not_depend_on_how_a_cpu_cuts_it(corpus, monkeypatch):
    monkeypatch.setattr(train, "CPU_PART_TOKENS", 32)
    batch = Precision(activations=on(4, PerTensor()))
    spec = tiny_run(precision=batch)
    program = compile_shape(shape_of(spec), corpus)
    state, data = start([spec]), members(program, [spec], cool=False)
    first = jax.tree.map(lambda x: x[0].copy(), state.params)
    _, history = program.advance(state, data, 1)
    own = jax.tree.map(lambda x: x[0], data.corpus)
    windows = corpus.batch(program.shared, own, jnp.int32(0), spec.batch, spec.model.context)
    wanted = losses(spec.model, first, windows, of_precision(batch)).mean()
    assert history.loss[0, 0] == pytest.approx(float(wanted), rel=1e-6)


ROLES_AT_TWO_BITS = Precision(weights=on(2, PerChannel()), activations=on(2, PerToken()), kv=on(2, PerToken()))


@pytest.mark.parametrize(
    "precision",
    [
        ROLES_AT_TWO_BITS,
        Precision(weights=on(2, PerChannel()), estimator="trust", rotate=True),
        Precision(gradients=on(3, PerToken(), rounding="stochastic")),
    ],
)
def test_training_in_low_precision_learns_something_else_and_the_same_again(corpus, precision):
    (plain, _), (found, losses), (again, _) = (trained(corpus, one) for one in (Precision(), precision, precision))
    assert losses[-4:].mean() < losses[0] - 0.1
    assert np.abs(found["blocks"] - plain["blocks"]).max() > 1e-3
    assert np.array_equal(found["blocks"], again["blocks"])


def trained(corpus, precision, steps=16):
    spec = tiny_run(precision=precision)
    program = compile_shape(shape_of(spec), corpus)
    state, history = program.advance(start([spec]), members(program, [spec], cool=False), steps)
    blocks = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.params["blocks"])])
    return {"blocks": blocks, "params": jax.tree.map(lambda x: x[0], state.params)}, history.loss[0]


def test_learned_steps_are_trained_beside_the_weights_and_make_int2_better_than_a_fixed_one(corpus):
    weights = on(2, PerChannel())
    learned, losses = trained(corpus, Precision(weights=weights, learned_steps=True), 64)
    fixed, others = trained(corpus, Precision(weights=weights), 64)
    steps = learned["params"]["steps"]
    assert set(steps) == {f"0.{name}" for name in ("qkv", "out", "gate_up", "down")}
    first = start([tiny_run(precision=Precision(weights=weights, learned_steps=True))]).params["steps"]
    assert all(not np.array_equal(steps[name], first[name][0]) for name in steps)
    assert "steps" not in fixed["params"]
    assert losses[-8:].mean() < others[-8:].mean()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"weights": on(4, PerToken())}, r"weights have no tokens: the nearest is PerChannel\(\)"),
        ({"activations": on(4, PerChannel())}, r"which are of weights: the nearest is PerToken\(\)"),
        ({"kv": on(4, PerBlock(inputs=8, outputs=8))}, r"the nearest is PerGroup\(size=8\)"),
        (
            {"gradients": Quantizer(format=Int(bits=1, grid="sign"), granularity=PerToken())},
            r"no level for 0: .* Int\(bits=2\)",
        ),
        ({"activations": on(SIGN, PerToken())}, "no level for 0"),
        ({"activations": on(NF4(), PerToken())}, r"not for factors of a product: the nearest is FLOATS\['e2m1'\]"),
        ({"gradients": on(NF4(), PerToken())}, "not for factors of a product"),
        (
            {"weights": on(4, PerChannel()), "begins": 0.0},
            "begins is 0: it is a share of the tokens above 0 and below 1",
        ),
        ({"weights": on(4, PerChannel()), "begins": 1}, "begins is 1: it is a share"),
        ({"weights": on(4, PerChannel()), "begins": -0.2}, "begins is -0.2: it"),
        ({"weights": on(4, PerChannel()), "begins": "end"}, "begins is 'end'"),
        ({"begins": 0.5}, "Precision.begins is 0.5, and no role is quantized"),
        ({"estimator": "trust"}, "Precision.estimator is 'trust', and no role is quantized"),
        ({"kv": on(4, PerToken()), "rotate": True}, "neither is quantized"),
        ({"activations": on(4, PerToken()), "learned_steps": True}, "are those of the weights"),
        ({"weights": on(NF4(), PerChannel()), "learned_steps": True}, r"no step to learn: .* Int\(bits=4\)"),
        ({"weights": on(4, PerChannel()), "learned_steps": True, "rotate": True}, "leave scale"),
        ({"weights": on(4, PerChannel()), "learned_steps": True, "begins": 0.5}, "leave one of them out"),
    ],
)
def test_a_precision_without_a_meaning_is_refused_with_the_nearest_that_has_one(given, says):
    with pytest.raises(SimlawError, match=says):
        Precision(**given)


def test_a_batch_is_not_cut_where_something_is_for_all_of_it():
    assert Precision(activations=on(4, PerTensor())).of_batch
    assert Precision(gradients=on(FLOATS["e2m1"], PerGroup(size=16), scale=Float8())).of_batch  # NVFP4
    assert not Precision(weights=on(4, PerTensor()), kv=on(4, PerToken())).of_batch


def test_nf4_may_hold_keys_and_values_and_one_affine_bit_has_a_zero():
    assert Precision(kv=on(NF4(), PerToken())).name == "KV-nf4"
    assert Precision(gradients=on(Int(bits=1, grid="asymmetric"), PerToken(), scale=Float16())).name == "G1"
    assert Precision(weights=on(4, PerChannel()), activations=on(8, PerToken())).name == "W4 A8"
