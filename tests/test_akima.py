"""Akima interpolation: exact on what it should be exact on, local, and the same curve as an independent one."""

import numpy as np
import pytest

from simlaw.isoflops.akima import akima, lowest

RNG = np.random.default_rng(0)
X = np.array([0.0, 0.7, 1.1, 2.0, 3.5, 3.9, 5.0])
AT = np.linspace(0, 5, 301)


def test_the_curve_is_scipys():
    interpolate = pytest.importorskip("scipy.interpolate")
    y = RNG.normal(size=(20, 7))
    theirs = np.stack([interpolate.Akima1DInterpolator(X, row)(AT) for row in y])
    assert np.allclose(akima(X, y, AT), theirs, rtol=1e-12, atol=1e-12)


def test_lines_and_even_parabolas_are_exact():
    assert np.allclose(akima(X, (3 - 2 * X)[None], AT), 3 - 2 * AT)
    even = np.linspace(0, 5, 6)
    assert np.allclose(akima(even, ((even - 2.2) ** 2)[None], AT), (AT - 2.2) ** 2)


def test_a_point_moves_the_curve_near_it_only():
    y = RNG.normal(size=(1, 12))
    x = np.arange(12.0)
    moved = y.copy()
    moved[0, 8] += 1
    difference = akima(x, moved, np.linspace(0, 11, 111)) - akima(x, y, np.linspace(0, 11, 111))
    assert np.all(difference[0, :50] == 0)
    assert np.any(difference[0, 50:] != 0)


def test_missing_points_are_left_out_of_their_own_curve():
    y = RNG.normal(size=(3, 7))
    y[1, [0, 3]] = np.nan
    y[2, 1:] = np.nan
    there = np.isfinite(y[1])
    found = akima(X, y, AT)
    assert np.array_equal(found[1], akima(X[there], y[1:2, there], AT)[0], equal_nan=True)
    assert np.isnan(found[1][X[1] > AT]).all()
    assert np.isnan(found[2]).all()
    assert np.isnan(lowest(X, y)[0][2])


@pytest.mark.parametrize("points", [2, 3, 4, 7, 12])
def test_the_lowest_point_is_that_of_a_fine_grid(points):
    x = np.cumsum(RNG.uniform(0.3, 1.0, points))
    y = RNG.normal(size=(50, points))
    fine = np.linspace(x[0], x[-1], 20_001)
    values = akima(x, y, fine)
    place, value = lowest(x, y)
    assert np.all(value <= values.min(axis=1) + 1e-12)
    assert np.allclose(value, values.min(axis=1), atol=1e-6)
    assert np.allclose(value, [np.interp(p, fine, row) for p, row in zip(place, values, strict=True)], atol=1e-5)
