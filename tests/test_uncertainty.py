"""The bootstrap of trunks: its variances, its strata, its refusals."""

import numpy as np
import pytest

from simlaw.errors import SimlawError
from simlaw.fitting.uncertainty import bootstrap, student, trunk_weights

TRUNKS = [f"{n}-{s}" for n in (1, 2) for s in range(3)]
SIZES = np.repeat([1.0, 2.0], 3)


def test_weights_keep_every_size_at_full_strength():
    weights = trunk_weights(TRUNKS, SIZES, draws=500).weights
    assert weights.shape == (500, 6)
    assert np.allclose(weights[:, :3].sum(axis=1), 3)
    assert np.allclose(weights[:, 3:].sum(axis=1), 3)
    assert np.allclose(weights.mean(axis=0), 1, atol=0.15)


def test_the_variance_of_a_mean_of_three_is_right_and_not_a_third_too_small():
    y = np.array([0.0, 1.0, 5.0])
    weights = trunk_weights(["a", "b", "c"], np.ones(3), draws=200_000).weights
    drawn = weights @ y / 3
    assert drawn.var() == pytest.approx(y.var(ddof=1) / 3, rel=0.02)


def test_rows_of_one_trunk_have_one_weight():
    weights = trunk_weights(TRUNKS, SIZES, draws=10)
    rows = weights.rows(["1-0", "2-2", "1-0"])
    assert rows.shape == (10, 3)
    assert np.array_equal(rows[:, 0], rows[:, 2])


def test_draws_repeat():
    assert np.array_equal(*(trunk_weights(TRUNKS, SIZES, draws=5, seed=3).weights for _ in range(2)))


def test_one_trunk_has_no_spread():
    with pytest.raises(SimlawError, match="the size N = 2 has one trunk, so its spread is unknown: add a seed"):
        trunk_weights(TRUNKS[:4], SIZES[:4], draws=5)


def test_students_quantiles_far_out_are_exact():
    for coverage in (0.96, 1 - 0.05 / 12, 0.9999):  # closed forms of 1 and 2 degrees of freedom
        assert student(1, coverage) == pytest.approx(np.tan(np.pi * coverage / 2), rel=1e-6)
        assert student(2, coverage) == pytest.approx(coverage * (2 / (1 - coverage**2)) ** 0.5, rel=1e-6)
    assert student(8, 0.99) == pytest.approx(3.3554, abs=1e-4)


@pytest.mark.parametrize(("freedom", "quantile"), [(2, 2.920), (3, 2.353), (6, 1.943), (10, 1.812), (40, 1.684)])
def test_students_quantiles_are_those_of_tables(freedom, quantile):
    assert student(freedom) == pytest.approx(quantile, abs=0.01)


def test_freedom_is_what_the_strata_leave():
    weights = trunk_weights(TRUNKS, SIZES, draws=5)
    assert weights.freedom == 4
    assert weights.stretch == pytest.approx(2.132 / 1.645, abs=2e-3)
    alone = bootstrap([str(i) for i in range(240)], np.arange(240.0), draws=20)
    assert alone.freedom == 239
    assert alone.stretch == pytest.approx(1.0, abs=0.005)


def test_trunks_that_span_sizes_are_drawn_together_in_any_order():
    trunk = [f"{s}" for _ in range(3) for s in range(4)]
    size = np.repeat([1.0, 2.0, 3.0], 4)
    rng = np.random.default_rng(0)
    found = bootstrap(trunk, size, draws=20)
    assert found.freedom == 3
    for _ in range(5):
        order = rng.permutation(12)
        again = bootstrap([trunk[i] for i in order], size[order], draws=20)
        assert again.trunks == found.trunks
        assert np.array_equal(again.weights, found.weights)
    mixed = trunk_weights([*trunk, "a", "b"], np.append(size, [3.0, 3.0]), draws=5)
    assert mixed.freedom == 4  # the two of one size are a stratum of their own


def test_draws_that_tell_no_spread_are_refused():
    with pytest.raises(SimlawError, match="bootstrap=3: 20 draws or more tell a spread; 0 does without"):
        bootstrap(TRUNKS, SIZES, draws=3)
