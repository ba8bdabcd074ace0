"""Learned steps: the paper's gradients by hand, and steps that learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simlaw.errors import SimlawError
from simlaw.formats import FLOATS, NF4, Int, PerChannel, PerGroup, Quantizer
from simlaw.quantize import fake_quantize, first_step, learned_step, numbers

INT3 = Int(bits=3).levels
GROUPS = PerGroup(size=4)
W = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)  # the last group has two inputs


def spread(each):
    """What belongs to each group at each value."""
    return np.repeat(np.asarray(each, np.float64)[:, 0, :, 0], 4, axis=0)[:10]


def test_a_step_starts_at_twice_the_mean_magnitude_over_the_root_of_the_largest_level():
    found = first_step(jnp.asarray(W), INT3, GROUPS)
    parts = [np.abs(W[i : i + 4]).mean(0) for i in (0, 4, 8)]
    assert np.allclose(found[:, 0, :, 0], 2 * np.stack(parts) / np.sqrt(3), rtol=1e-6)


def test_gradients_are_those_of_the_paper():
    step = first_step(jnp.asarray(W), INT3, GROUPS) * 0.7  # so that some values lie beyond the levels
    weights = np.random.default_rng(1).normal(size=W.shape)

    def loss(w, step):
        return jnp.sum(learned_step(w, step, INT3, GROUPS) * jnp.asarray(weights, jnp.float32))

    of_w, of_step = jax.jit(jax.grad(loss, argnums=(0, 1)))(jnp.asarray(W), step)
    v = W / spread(step)
    level = np.clip(np.round(v), -3, 3)
    found = jax.jit(learned_step, static_argnums=3)(jnp.asarray(W), step, numbers(INT3), GROUPS)
    assert np.allclose(found, level * spread(step), rtol=1e-6)
    inside = np.abs(v) < 3
    assert 0 < inside.sum() < inside.size
    assert np.allclose(of_w, np.where(inside, weights, 0), rtol=1e-5, atol=1e-6)
    each = weights * np.where(inside, level - v, level) / np.sqrt(4 * 3)
    wanted = np.stack([each[i : i + 4].sum(0) for i in (0, 4, 8)])
    assert np.allclose(np.asarray(of_step)[:, 0, :, 0], wanted, rtol=1e-4, atol=1e-5)


def test_a_step_learns_to_be_better_than_one_that_holds_everything():
    w = jnp.asarray(np.random.default_rng(2).standard_t(3, size=(256, 4)).astype(np.float32))

    def error(step):
        return jnp.mean((learned_step(w, step, INT3, PerChannel()) - w) ** 2)

    def descend(step, _):
        return step - 2.0 * jax.grad(error)(step), None

    start = first_step(w, INT3, PerChannel())
    step, _ = jax.jit(lambda start: jax.lax.scan(descend, start, None, length=300))(start)
    whole = fake_quantize(w, INT3, Quantizer(format=Int(bits=3)).scaling)
    assert error(step) < error(start)
    assert error(step) < 0.6 * jnp.mean((whole - w) ** 2)


def test_floats_have_steps_too_and_tables_do_not():
    form = FLOATS["e2m1"].levels
    step = first_step(jnp.asarray(W), form, PerChannel())
    found = np.asarray(learned_step(jnp.asarray(W), step, form, PerChannel()), np.float64)
    levels = found / np.asarray(step, np.float64)[:, 0, :, 0]
    assert set(np.abs(levels).round(4).reshape(-1).tolist()) <= {0, 0.5, 1, 1.5, 2, 3, 4, 6}
    for levels in (NF4().levels, Int(bits=4, grid="asymmetric").levels):
        with pytest.raises(SimlawError, match="have no step to learn: take integers"):
            first_step(jnp.asarray(W), levels, PerChannel())
