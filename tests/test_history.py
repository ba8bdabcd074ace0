"""Histories: exact as stored, and what an older version stored is read."""

import numpy as np
import pytest

from simlaw.checkpoint import to_bytes
from simlaw.errors import SimlawError
from simlaw.history import History, divergence, join, no_history, pack_history, unpack_history

LOSS, NORM = np.float32([2.5, np.nan, 1.25]), np.float32([0.5, np.inf, 3e-9])


def test_round_trip_is_exact():
    back = unpack_history(pack_history(History(loss=LOSS, gradient_norm=NORM)), 3)
    assert back.loss.tobytes() == LOSS.tobytes()
    assert back.gradient_norm.tobytes() == NORM.tobytes()


def test_a_store_without_gradient_norms_is_read():
    back = unpack_history(to_bytes({"loss": LOSS}), 3)
    assert back.loss.tobytes() == LOSS.tobytes()
    assert np.isnan(back.gradient_norm).all()
    assert back.gradient_norm.shape == (3,)


@pytest.mark.parametrize("wrong", [{"loss": LOSS[:2]}, {"gradient_norm": NORM}])
def test_a_history_of_another_run_is_refused(wrong):
    with pytest.raises(SimlawError, match=r"checkpoint's \['loss'\] is (float32\[2\]|missing), wanted float32\[3\]"):
        unpack_history(to_bytes(wrong), 3)


def test_parts_join_in_order():
    parts = [History(loss=x[None], gradient_norm=-x[None]) for x in (LOSS, 2 * LOSS)]
    whole = join([no_history(1), *parts])
    assert whole.member(0).loss.tobytes() == np.concatenate([LOSS, 2 * LOSS]).tobytes()
    assert whole.gradient_norm.shape == (1, 6)


def test_a_run_diverges_where_its_loss_is_not_finite_or_comes_back_up_for_good():
    steps = np.arange(256)
    falling = 2 + 4 * np.exp(-steps / 40)
    assert divergence(falling) is None
    assert divergence(np.where(steps > 200, np.nan, falling)) == "became nan at step 201"
    up = falling + np.clip((steps - 128) / 64, 0, None) * 1.2
    assert divergence(up).startswith("rose from 2.2")
    assert divergence(falling + 0.2 * (steps > 200)) is None  # less than a quarter of what was learned
    assert divergence(up[:100]) is None


def test_what_a_change_of_precision_costs_is_no_divergence():
    steps = np.arange(512)
    changed = 2 + 4 * np.exp(-steps / 40) + np.where(steps >= 300, 2.0, 0.0)
    assert divergence(changed) is not None
    assert divergence(changed, begin=300) is None
    assert divergence(changed + np.clip((steps - 400) / 50, 0, None) * 2, begin=300) is not None
