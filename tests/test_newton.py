"""Newton's last steps: to the minimum next door, never uphill, never out of bounds."""

import numpy as np

from simlaw.fitting.lm import huber
from simlaw.fitting.newton import polish
from tests.test_fitting import rosenbrock

FREE = np.full(2, -5.0), np.full(2, 5.0)


def test_the_valley_is_followed_to_its_end():
    theta, cost = polish(rosenbrock, np.array([0.9, 0.8]), *FREE)
    assert np.allclose(theta, 1.0, atol=1e-9)
    assert cost < 1e-16


def test_no_step_goes_uphill_or_out_of_bounds():
    start = np.array([-1.2, 1.0])
    before = 0.5 * np.sum(rosenbrock(start[None], np.zeros(1, int))[0] ** 2)
    theta, cost = polish(rosenbrock, start, np.array([-5.0, -5.0]), np.array([0.5, 5.0]))
    assert cost < before
    assert theta[0] <= 0.5


def test_a_huber_sum_is_brought_to_its_kink():
    # the median of five numbers is the optimum of a threshold far below their distances
    y = np.array([0.0, 1.0, 2.5, 7.0, 30.0])

    def apart(theta, which):
        return huber(theta - y, np.ones((len(theta), 5, 1)), 1e-2)

    theta, _ = polish(apart, np.array([2.504]), np.array([-100.0]), np.array([100.0]))
    assert abs(theta[0] - 2.5) < 1e-8


def test_a_start_off_the_curve_stays_where_it_is():
    def nowhere(theta, which):
        return np.full((len(theta), 3), np.nan), np.zeros((len(theta), 3, 2))

    theta, cost = polish(nowhere, np.zeros(2), *FREE)
    assert np.array_equal(theta, np.zeros(2))
    assert np.isnan(cost)
