"""Which predictions a loss counts: by hand, in training and evaluation alike, however a batch is cut."""

import jax.numpy as jnp
import numpy as np
import pytest

from simlaw.counted import counted, window_means

WINDOWS = np.array([[0, 3, 0, 4, 9], [0, 3, 4, 5, 6], [7, 0, 9, 0, 9]], np.int32)
EACH = np.arange(12, dtype=np.float64).reshape(3, 4)


def test_all_count_where_nothing_is_left_out():
    assert counted(WINDOWS, ()) is None
    assert window_means(EACH, WINDOWS, ()).tolist() == [1.5, 5.5, 9.5]


def test_the_first_token_is_never_predicted_and_left_out_ones_do_not_count():
    expected = [(0 + 2) / 2, 5.5, 0.0]  # of the last window nothing is left: markers alone
    assert window_means(EACH, WINDOWS, (0, 9)).tolist() == expected


def test_it_is_the_same_for_both_kinds_of_array():
    of_jax = window_means(jnp.asarray(EACH, jnp.float32), jnp.asarray(WINDOWS), (0, 9))
    assert np.asarray(of_jax).tolist() == window_means(EACH, WINDOWS, (0, 9)).tolist()


def test_a_batch_may_be_cut_anywhere():
    whole = window_means(EACH, WINDOWS, (0,)).mean()
    parts = [window_means(EACH[i : i + 1], WINDOWS[i : i + 1], (0,)).mean() for i in range(3)]
    assert whole == pytest.approx(np.mean(parts), rel=1e-15)
