"""The model by behaviour: causality, independence of windows, a float64 reference, its groups of parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simlaw.config import ModelSpec
from simlaw.errors import SimlawError
from simlaw.model import init, logits, losses
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


def reference(params, tokens):
    """The same model in float64 NumPy, one token and one head at a time, written from the papers."""
    d, h = MODEL.width, MODEL.heads
    k = d // h
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)

    def norm(x, gain):
        return x / np.sqrt((x**2).mean() + 1e-6) * gain

    def turn(x, place):
        angle = place * 10_000.0 ** (-2 * np.arange(k // 2) / k)
        a, b = x[: k // 2], x[k // 2 :]
        return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)])

    xs = [p["embedding"]["embedding"][t] for t in tokens]
    for layer in range(MODEL.layers):
        w, g = p["blocks"]["blocks"][layer], p["norms"]["blocks"][layer]
        qkv = [norm(x, g["attention_norm"]["gain"]) @ w["attention"]["qkv"] for x in xs]
        mixed = [np.zeros(d) for _ in xs]
        for i in range(len(xs)):
            for head in range(h):
                at = slice(head * k, (head + 1) * k)
                q = turn(qkv[i][:d][at], i)
                scores = np.array([q @ turn(qkv[j][d : 2 * d][at], j) / np.sqrt(k) for j in range(i + 1)])
                weights = np.exp(scores - scores.max())
                weights /= weights.sum()
                mixed[i][at] = sum(weights[j] * qkv[j][2 * d :][at] for j in range(i + 1))
        xs = [x + m @ w["attention"]["out"] for x, m in zip(xs, mixed, strict=True)]
        for i, x in enumerate(xs):
            both = norm(x, g["feed_norm"]["gain"]) @ w["feed"]["gate_up"]
            gate, up = both[: MODEL.hidden], both[MODEL.hidden :]
            xs[i] = x + (gate / (1 + np.exp(-gate)) * up) @ w["feed"]["down"]
    return np.stack([norm(x, p["norms"]["norm"]["gain"]) @ p["head"]["head"] for x in xs])


def test_logits_agree_with_a_float64_reference():
    assert np.allclose(logits(MODEL, PARAMS, TOKENS)[1], reference(PARAMS, np.asarray(TOKENS[1])), atol=2e-5)


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
