"""The schedules at every corner, and single steps of every optimizer worked out by hand."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from simlaw.arithmetic import Plain
from simlaw.config import SGD, WSD, AdamW, Cosine, ModelSpec, Muon, MuP
from simlaw.errors import SimlawError
from simlaw.model import _GROUP, _graph, init, logits, losses
from simlaw.optimizer import Rate, direction, rate_at, rate_of, transform_of
from tests.conftest import MODEL, tiny_run


def rate(step, peak=1.0, warmup=4, branch=16, end=20, final=None):
    """The rate of one step, or of several; a cosine where it has a `final`."""
    counts = map(jnp.int32, (warmup, branch, end))
    schedule = Rate(jnp.float32(peak), *counts, jnp.bool_(final is not None), jnp.float32(final or 0))
    return np.asarray(rate_at(jnp.asarray(step, jnp.int32), schedule))


def test_the_schedule_warms_up_stays_and_cools_down():
    assert rate(np.arange(5)).tolist() == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rate(15) == 1.0
    assert np.allclose(rate(np.arange(16, 20)), [0.8, 0.6, 0.4, 0.2])
    assert rate(20) == 0
    assert rate(3, peak=0.02) == pytest.approx(0.02)


def test_no_warmup_and_no_cooldown():
    assert rate(0, warmup=0) == 1.0
    assert rate([15, 19], branch=20, end=20).tolist() == [1.0, 1.0]


def test_a_trunk_never_cools():
    assert rate(10**6, branch=2**30, end=2**30) == 1.0


def test_a_cosine_falls_from_the_end_of_the_warmup_to_its_final_share():
    found = rate(np.arange(20), branch=0, final=0.1)
    assert np.allclose(found[:4], [0.25, 0.5, 0.75, 1.0])
    assert found[3] == found.max()
    assert np.allclose(found[3:], 0.1 + 0.9 * (1 + np.cos(np.pi * np.arange(17) / 16)) / 2, atol=1e-6)
    assert found[11] == pytest.approx(0.55)  # half way
    assert found[19] == pytest.approx(0.1)
    assert rate(19, branch=0, final=0.0) == 0
    assert rate([0, 19], branch=0, warmup=0, final=1.0).tolist() == [1.0, 1.0]
    assert rate([0, 19], branch=0, warmup=20, final=0.5).tolist() == [pytest.approx(0.05), 1.0]  # a warm-up and no more


def test_the_rate_of_a_run_is_that_of_its_schedule():
    cosine = tiny_run(schedule=Cosine(warmup_tokens=256, final=0.2))
    assert cosine.branch_step == 0
    wsd = tiny_run(schedule=WSD(warmup_tokens=256, cooldown=0.2))
    for spec, last in ((cosine, 0.02 * 0.2), (wsd, 0.02 * 0.2)):
        assert float(rate_at(jnp.int32(0), rate_of(spec))) == pytest.approx(0.01)  # two steps of warm-up
        assert float(rate_at(jnp.int32(19), rate_of(spec))) == pytest.approx(last)
    assert float(rate_at(jnp.int32(10**6), rate_of(wsd, cool=False))) == pytest.approx(0.02)


def test_one_step_by_hand():
    spec = AdamW(rate=1.0, weight_decay=0.1, clip=1.0)
    params = {"w": jnp.full((1, 2), 2.0), "gain": jnp.ones(2)}
    grads = {"w": jnp.asarray([[3.0, 0.0]]), "gain": jnp.asarray([4.0, 0.0])}  # length 5: clipped to a fifth
    transform = transform_of(spec, MODEL)
    update, _ = direction(transform, grads, transform.init(params), params)
    # the first step of Adam is g / (|g| + eps); decay is on matrices alone
    assert np.allclose(update["w"], [[1 + 0.2, 0 + 0.2]], atol=1e-6)
    assert np.allclose(update["gain"], [1, 0], atol=1e-6)


def test_two_steps_of_sgd_by_hand():
    params = {"w": jnp.full((1, 2), 2.0), "gain": jnp.ones(2)}
    grads = {"w": jnp.asarray([[3.0, 0.0]]), "gain": jnp.asarray([4.0, 0.0])}
    transform = transform_of(SGD(rate=1.0, momentum=0.5, weight_decay=0.1, clip=1.0), MODEL)
    first, state = direction(transform, grads, transform.init(params), params)
    second, _ = direction(transform, grads, state, params)
    assert np.allclose(first["w"], [[0.6 + 0.2, 0.2]])
    assert np.allclose(first["gain"], [0.8, 0])
    assert np.allclose(second["w"], [[0.6 * 1.5 + 0.2, 0.2]])
    assert np.allclose(second["gain"], [0.8 * 1.5, 0])


def drawn(key):
    """A tree of parameters or gradients with a wide and a tall block matrix."""
    keys = jax.random.split(jax.random.key(key), 5)
    shapes = {"embedding": (4, 6), "head": (6, 4), "norms": (6,), "wide": (6, 18), "tall": (18, 6)}
    named = {name: jax.random.normal(k, shape) for k, (name, shape) in zip(keys, shapes.items(), strict=True)}
    blocks = {name: named.pop(name) for name in ("wide", "tall")}
    return {**{name: {"x": x} for name, x in named.items()}, "blocks": blocks}


def orthogonal(g):
    """Five steps of the quintic iteration of Jordan 2024, in float64."""
    x = np.asarray(g, np.float64)
    x = x / np.linalg.norm(x)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x


def test_one_step_of_muon_by_hand():
    params, grads = drawn(0), drawn(1)
    transform = transform_of(Muon(rate=1.0, weight_decay=0.1, clip=1e9), MODEL)
    update = jax.jit(lambda g, p: direction(transform, g, transform.init(p), p)[0])(grads, params)
    for name, most in (("wide", 18), ("tall", 18)):
        step = np.asarray(update["blocks"][name] - 0.1 * params["blocks"][name])
        assert np.allclose(step, 0.2 * most**0.5 * orthogonal(grads["blocks"][name]), atol=1e-4)
        assert np.sqrt((step**2).mean()) == pytest.approx(0.2, rel=0.3)  # the iteration is only roughly orthogonal
    # everything else takes Adam's first step, and matrices decay
    assert np.allclose(update["norms"]["x"], np.sign(grads["norms"]["x"]), atol=1e-4)
    for name in ("embedding", "head"):
        expected = np.sign(grads[name]["x"]) + 0.1 * np.asarray(params[name]["x"])
        assert np.allclose(update[name]["x"], expected, atol=1e-4)


@pytest.mark.parametrize(("optimizer", "factor"), [(AdamW(rate=1.0), 0.25), (Muon(rate=1.0), 0.5)])
def test_mup_slows_the_blocks_of_wider_models_and_nothing_else(optimizer, factor):
    params, grads = drawn(0), drawn(1)

    def step(model):
        transform = transform_of(optimizer, model)
        return jax.jit(lambda g, p: direction(transform, g, transform.init(p), p)[0])(grads, params)

    plain, scaled = step(MODEL), step(replace(MODEL, mup=MuP(base_width=4)))
    for group in ("embedding", "norms", "head"):
        assert np.allclose(plain[group]["x"], scaled[group]["x"], rtol=1e-6)
    for name, w in params["blocks"].items():
        before, after = (np.asarray(each["blocks"][name] - 0.1 * w) for each in (plain, scaled))
        assert np.allclose(after, factor * before, atol=1e-6)


def test_mup_has_no_rates_for_sgd():
    with pytest.raises(SimlawError, match="is SGD and the model has muP, whose rates here are those of Adam and Muon"):
        tiny_run(optimizer=SGD(rate=1.0), model=replace(MODEL, mup=MuP(base_width=16)))


def moved(width, mup):
    """How far three steps move the block's output and the logits of a width: root mean squares."""
    base = MuP(base_width=16) if mup else None
    spec = ModelSpec(vocab=16, context=16, width=width, layers=1, heads=width // 8, hidden=3 * width, mup=base)
    transform = transform_of(AdamW(rate=1.0, weight_decay=0.0), spec)
    windows = jax.random.randint(jax.random.key(0), (8, 17), 0, 16)

    def look(params):
        model = nnx.merge(_graph(spec), *(params[name] for name in _GROUP))
        x = model.embed(windows[:, :-1])
        return model.blocks[0](x, Plain()) - x, logits(spec, params, windows[:, :-1])

    def step(carry, _):
        params, state = carry
        grads = jax.grad(lambda p: losses(spec, p, windows).mean())(params)
        update, state = direction(transform, grads, state, params)
        return (jax.tree.map(lambda w, d: w - 0.01 * d, params, update), state), None

    @jax.jit
    def train(params):
        (after, _), _ = jax.lax.scan(step, (params, transform.init(params)), None, 3)
        pairs = zip(look(params), look(after), strict=True)
        return jnp.stack([jnp.sqrt(jnp.mean((b - a) ** 2)) for a, b in pairs])

    return np.asarray(train(init(spec, jax.random.key(1))))


def test_under_mup_one_rate_moves_every_width_as_far():
    """The coordinate check of 2203.03466, appendix D.1, between 16 and 128; in between it is monotone."""
    narrow = moved(16, mup=False)  # where muP, whose base it is, is the same
    with_mup, without = moved(128, mup=True) / narrow, moved(128, mup=False) / narrow
    assert (with_mup > 0.6).all()
    assert (with_mup < 1.2).all()
    assert (without > 2.5).all()


def test_three_steps_agree_with_optax_adamw():
    spec = AdamW(rate=1.0, weight_decay=0.1, clip=1e9)
    mine, theirs = transform_of(spec, MODEL), optax.adamw(0.01, b1=0.9, b2=0.95, eps=1e-8, weight_decay=0.1)
    p = q = {"w": jnp.asarray([[1.0, -2.0], [0.5, 3.0]])}
    a, b = mine.init(p), theirs.init(q)
    for k in range(3):
        grads = {"w": jnp.asarray([[0.3, -0.1], [2.0, 0.0]]) * (k - 1)}
        update, a = direction(mine, grads, a, p)
        p = {"w": p["w"] - 0.01 * update["w"]}
        update, b = direction(theirs, grads, b, q)
        q = optax.apply_updates(q, update)
    assert np.allclose(p["w"], q["w"], rtol=1e-6)
