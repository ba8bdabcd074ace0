"""The schedule at every corner, and one AdamW step worked out by hand."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from simlaw.config import AdamW
from simlaw.optimizer import adamw, direction, wsd


def rate(step, peak=1.0, warmup=4, branch=16, end=20):
    return float(wsd(jnp.int32(step), jnp.float32(peak), jnp.int32(warmup), jnp.int32(branch), jnp.int32(end)))


def test_the_schedule_warms_up_stays_and_cools_down():
    assert [rate(step) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rate(15) == 1.0
    assert np.allclose([rate(step) for step in range(16, 20)], [0.8, 0.6, 0.4, 0.2])
    assert rate(20) == 0
    assert rate(3, peak=0.02) == pytest.approx(0.02)


def test_no_warmup_and_no_cooldown():
    assert rate(0, warmup=0) == 1.0
    assert [rate(step, branch=20, end=20) for step in (15, 19)] == [1.0, 1.0]


def test_a_trunk_never_cools():
    assert rate(10**6, branch=2**30, end=2**30) == 1.0


def test_one_step_by_hand():
    spec = AdamW(rate=1.0, weight_decay=0.1, clip=1.0)
    params = {"w": jnp.full((1, 2), 2.0), "gain": jnp.ones(2)}
    grads = {"w": jnp.asarray([[3.0, 0.0]]), "gain": jnp.asarray([4.0, 0.0])}  # length 5: clipped to a fifth
    transform = adamw(spec)
    update, _ = direction(transform, grads, transform.init(params), params)
    # the first step of Adam is g / (|g| + eps); decay is on matrices alone
    assert np.allclose(update["w"], [[1 + 0.2, 0 + 0.2]], atol=1e-6)
    assert np.allclose(update["gain"], [1, 0], atol=1e-6)


def test_three_steps_agree_with_optax_adamw():
    spec = AdamW(rate=1.0, weight_decay=0.1, clip=1e9)
    mine, theirs = adamw(spec), optax.adamw(0.01, b1=0.9, b2=0.95, eps=1e-8, weight_decay=0.1)
    p = q = {"w": jnp.asarray([[1.0, -2.0], [0.5, 3.0]])}
    a, b = mine.init(p), theirs.init(q)
    for k in range(3):
        grads = {"w": jnp.asarray([[0.3, -0.1], [2.0, 0.0]]) * (k - 1)}
        update, a = direction(mine, grads, a, p)
        p = {"w": p["w"] - 0.01 * update["w"]}
        update, b = direction(theirs, grads, b, q)
        q = optax.apply_updates(q, update)
    assert np.allclose(p["w"], q["w"], rtol=1e-6)
