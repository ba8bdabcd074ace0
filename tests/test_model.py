"""The model by behaviour: causality, independence of windows, a float64 reference of every option, its arithmetic."""

import functools
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simlaw.arithmetic import Plain
from simlaw.config import Architecture, ModelSpec, MuP
from simlaw.errors import SimlawError
from simlaw.model import init, logits, losses
from simlaw.product import product
from tests.conftest import MODEL

PARAMS = init(MODEL, jax.random.key(0))
TOKENS = jax.random.randint(jax.random.key(1), (3, MODEL.context), 0, MODEL.vocab)


def test_the_past_does_not_see_the_future():
    """The gradient of a position's logits is zero in every later input and not in the earlier ones."""

    def pull(place):
        def loud(embedding):
            params = {**PARAMS, "embedding": {"embedding": embedding}}
            # a window of distinct tokens, so that every input has an embedding of its own
            return logits(MODEL, params, jnp.arange(16)[None])[0, place].sum()

        return np.abs(jax.grad(loud)(PARAMS["embedding"]["embedding"])).sum(axis=1)

    for place in (0, 7, 15):
        strength = pull(place)
        assert (strength[place + 1 :] == 0).all()
        assert (strength[: place + 1] > 0).all()


def test_windows_do_not_touch_each_other():
    together = logits(MODEL, PARAMS, TOKENS)
    alone = jnp.concatenate([logits(MODEL, PARAMS, TOKENS[i : i + 1]) for i in range(3)])
    assert np.allclose(together, alone, atol=1e-5)


def test_positions_matter_only_by_their_distance():
    # one repeated token: every position attends to copies of itself, so rotation must cancel
    same = logits(MODEL, PARAMS, jnp.full((1, MODEL.context), 5))
    assert np.allclose(same[0], same[0, :1], atol=1e-5)


def normed(spec, x, gain):
    if spec.architecture.norm == "layer":
        x = x - x.mean()
    return x / np.sqrt((x**2).mean() + 1e-6) * gain


def reference(spec, params, tokens):
    """The same model in float64 NumPy, one token and one head at a time, written from the papers."""
    d, h, groups, arch = spec.width, spec.heads, spec.kv_heads or spec.heads, spec.architecture
    k = spec.head_dim or d // h
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)

    def bounded(x):
        return x if arch.bound is None else arch.bound * np.tanh(x / arch.bound)

    def turn(x, place):
        if arch.positions == "learned":
            return x
        angle = place * 10_000.0 ** (-2 * np.arange(k // 2) / k)
        a, b = x[: k // 2], x[k // 2 :]
        return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)])

    def unit(x, gain):
        return x / np.sqrt((x**2).mean() + 1e-6) * gain if arch.qk_norm else x

    def feed(x, w, g):
        if arch.feed == "gelu":
            y = x @ w["up"]
            y = y * (1 + np.vectorize(math.erf)(y / np.sqrt(2))) / 2
        else:
            gate, up = np.split(x @ w["gate_up"], 2)
            y = gate / (1 + np.exp(-gate)) * up
        if arch.output_norms:
            y = normed(spec, y, g["output_norm"]["gain"])
        return bounded(y) @ w["down"]

    base = spec.mup.base_width if spec.mup else d
    xs = [p["embedding"]["embedding"][t] * (np.sqrt(base) if arch.tied else 1) for t in tokens]
    if arch.positions == "learned":
        xs = [x + p["embedding"]["positions"][i] for i, x in enumerate(xs)]
    for layer in range(spec.layers):
        w, g = p["blocks"]["blocks"][layer], p["norms"]["blocks"][layer]
        attention = g.get("attention", {})
        gains = [attention.get(name, {}).get("gain") for name in ("query_norm", "key_norm")]
        qkv = [bounded(normed(spec, x, g["attention_norm"]["gain"])) @ w["attention"]["qkv"] for x in xs]
        queries, keys, values = zip(*[np.split(one, [h * k, (h + groups) * k]) for one in qkv], strict=True)
        mixed = [np.zeros(h * k) for _ in xs]
        for i in range(len(xs)):
            for head in range(h):
                at, shared = (slice(n * k, (n + 1) * k) for n in (head, head // (h // groups)))
                q = turn(unit(queries[i][at], gains[0]), i)
                seen = [turn(unit(keys[j][shared], gains[1]), j) for j in range(i + 1)]
                scores = np.array([q @ one / np.sqrt(k) for one in seen])
                weights = np.exp(scores - scores.max())
                weights /= weights.sum()
                mixed[i][at] = sum(weights[j] * values[j][shared] for j in range(i + 1))
        if arch.output_norms:
            mixed = [normed(spec, m, attention["output_norm"]["gain"]) for m in mixed]
        xs = [x + bounded(m) @ w["attention"]["out"] for x, m in zip(xs, mixed, strict=True)]
        xs = [x + feed(bounded(normed(spec, x, g["feed_norm"]["gain"])), w["feed"], g.get("feed")) for x in xs]
    head = p["embedding"]["embedding"].T if arch.tied else p["head"]["head"]
    return np.stack([normed(spec, x, p["norms"]["norm"]["gain"]) @ head * (base / d) for x in xs])


def of(*, mup=None, head_dim=None, kv_heads=None, **parts):
    """The tiny model with four heads and some options."""
    sizes = {"head_dim": head_dim, "kv_heads": kv_heads, "mup": mup, "architecture": Architecture(**parts)}
    return replace(MODEL, heads=4, **sizes)


#: Every option beside few others, and all of them together.
OPTIONS = {
    "learned positions and GELU": of(positions="learned", feed="gelu"),
    "LayerNorm and tied embeddings": of(norm="layer", tied=True),
    "norms of queries, keys and outputs": of(qk_norm=True, output_norms=True),
    "a bound": of(bound=0.7),
    "heads of another width, sharing keys and values": of(head_dim=6, kv_heads=2),
    "muP": of(mup=MuP(base_width=4)),
    "all with rope": of(
        **{"norm": "layer", "tied": True, "qk_norm": True, "output_norms": True, "bound": 2.0},
        **{"head_dim": 6, "kv_heads": 1, "mup": MuP(base_width=4)},
    ),
}


def shaken(spec):
    """Parameters away from their start, so that gains of 1 hide nothing."""
    params = init(spec, jax.random.key(4))
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(5), len(leaves))
    return tree.unflatten([x + 0.2 * jax.random.normal(key, x.shape) for x, key in zip(leaves, keys, strict=True)])


def test_logits_agree_with_a_float64_reference():
    assert np.allclose(logits(MODEL, PARAMS, TOKENS)[1], reference(MODEL, PARAMS, np.asarray(TOKENS[1])), atol=2e-5)


@pytest.mark.parametrize("name", ["default", "grouped"])
def test_blocks_of_queries_give_the_same(name, monkeypatch):
    spec = MODEL if name == "default" else replace(MODEL, kv_heads=1)
    params = init(spec, jax.random.key(0))
    monkeypatch.setattr("simlaw.model.ATTENTION_BLOCK", 4)
    assert np.allclose(logits(spec, params, TOKENS)[1], reference(spec, params, np.asarray(TOKENS[1])), atol=2e-5)


@pytest.mark.parametrize("spec", OPTIONS.values(), ids=OPTIONS.keys())
def test_every_option_agrees_with_the_reference_and_sees_no_future(spec):
    params = shaken(spec)
    # the same window with another token at place 9
    windows = jnp.stack([TOKENS[1], TOKENS[1].at[9].set((TOKENS[1, 9] + 1) % spec.vocab)])
    a, b = np.asarray(jax.jit(logits, static_argnums=0)(spec, params, windows))
    expected = reference(spec, params, np.asarray(TOKENS[1]))
    assert np.allclose(a, expected, atol=1e-5 * np.abs(expected).max())
    assert np.array_equal(a[:9], b[:9])
    assert (np.abs(a[9:] - b[9:]).max(axis=1) > 1e-3).all()


def test_learned_positions_tell_equal_tokens_apart():
    spec = of(positions="learned")
    same = logits(spec, init(spec, jax.random.key(0)), jnp.full((1, MODEL.context), 5))
    assert not np.allclose(same[0], same[0, :1], atol=0.1)


def test_the_same_seed_gives_the_same_matrices_in_every_architecture():
    plain, other = (init(spec, jax.random.key(2)) for spec in (of(), of(positions="learned", norm="layer", bound=1.0)))
    assert jax.tree.all(jax.tree.map(np.array_equal, plain["blocks"], other["blocks"]))
    assert np.array_equal(plain["head"]["head"], other["head"]["head"])


def test_rematerialisation_changes_gradients_by_rounding_alone():
    windows = jnp.concatenate([TOKENS, TOKENS[:, :1]], axis=1)
    spec = OPTIONS["all with rope"]
    params = shaken(spec)

    def pull(remat):
        return jax.jit(jax.grad(lambda p: losses(spec, p, windows, remat=remat).mean())).trace(params)

    products = [str(pull(remat).jaxpr).count("dot_general") for remat in (False, True)]
    assert products[1] == products[0] + 5  # the block's six once more, but for the last, whose result nobody needs
    plain, again = (pull(remat).lower().compile()(params) for remat in (False, True))
    for x, y in zip(jax.tree.leaves(plain), jax.tree.leaves(again), strict=True):
        assert np.allclose(x, y, rtol=0, atol=1e-6 * np.abs(x).max())


def bf16(x):
    """Float64 values rounded to bfloat16: eight significant bits, ties to even."""
    mantissa, exponent = np.frexp(np.asarray(x, np.float64))
    return np.ldexp(np.round(mantissa * 256) / 256, exponent)


def test_a_bfloat16_product_rounds_its_factors_and_nothing_else():
    a, b, pull = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(((9, 33), (33, 7), (9, 7))))
    made, back = jax.vjp(lambda a, b: product("nd,de->ne", a, b, "bfloat16"), a, b)
    left, right = back(pull)
    for got, expected in (
        (made, bf16(a) @ bf16(b)),
        (left, bf16(pull) @ bf16(b).T),
        (right, bf16(a).T @ bf16(pull)),
    ):
        assert got.dtype == jnp.float32
        assert np.allclose(got, expected, atol=1e-5)
    assert np.abs(made - np.asarray(a, np.float64) @ np.asarray(b, np.float64)).max() > 1e-3


def test_bfloat16_is_near_float32_and_is_not_it():
    spec, windows = MODEL, jnp.concatenate([TOKENS, TOKENS[:, :1]], axis=1)
    params = init(spec, jax.random.key(0))

    @functools.partial(jax.jit, static_argnums=1)
    def pull(params, dtype):
        return jax.value_and_grad(lambda p: losses(spec, p, windows, Plain(dtype=dtype)).mean())(params)

    (plain, slopes), (coarse, other) = (pull(params, dtype) for dtype in ("float32", "bfloat16"))
    assert plain.dtype == coarse.dtype == jnp.float32
    assert 0 < abs(float(plain - coarse)) < 0.01  # products of two numbers with eight bits, averaged
    for x, y in zip(jax.tree.leaves(slopes), jax.tree.leaves(other), strict=True):
        assert y.dtype == jnp.float32
        assert 1e-4 < float(jnp.linalg.norm(x - y) / jnp.linalg.norm(x)) < 0.05


def test_losses_are_the_negative_log_probabilities_of_the_next_tokens():
    windows = jnp.concatenate([TOKENS, TOKENS[:, :1]], axis=1)
    z = np.asarray(logits(MODEL, PARAMS, windows[:, :-1]), np.float64)
    p = np.exp(z) / np.exp(z).sum(axis=2, keepdims=True)
    expected = -np.log(np.take_along_axis(p, np.asarray(windows)[:, 1:, None], axis=2)[:, :, 0])
    assert np.allclose(losses(MODEL, PARAMS, windows), expected, atol=1e-5)


def test_initial_scales():
    wide = ModelSpec(vocab=16, context=16, width=128, layers=2, heads=4, hidden=384)
    params = init(wide, jax.random.key(3))
    block = params["blocks"]["blocks"][0]
    assert float(block["attention"]["qkv"].std()) == pytest.approx(128**-0.5, rel=0.02)
    assert float(block["feed"]["down"].std()) == pytest.approx((384 * 4) ** -0.5, rel=0.02)
    assert float(params["head"]["head"].std()) == pytest.approx(128**-0.5, rel=0.05)


def test_heads_need_an_even_width():
    with pytest.raises(SimlawError, match="width 18 with 2 heads: heads need an even width each; take a multiple of 4"):
        ModelSpec(vocab=16, context=16, width=18, layers=1, heads=2, hidden=48)
