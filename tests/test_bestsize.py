"""The search for the best size: closed forms, bounds, draws, and edges of every kind."""

import numpy as np
import pytest

from simlaw.decision.bestsize import best_sizes
from simlaw.laws import Chinchilla

E, A, B, ALPHA, BETA = 1.8, 480.0, 2100.0, 0.35, 0.37
LAW = Chinchilla(E=E, A=A, B=B, alpha=ALPHA, beta=BETA)
FLOPS = np.array([1e12, 1e18, 1e24])


def loss(law, flops):
    return lambda n: law.loss(N=n, D=flops[:, None] / (6 * n))


def optimum(flops, a=A, b=B):
    """Hoffmann et al. (2203.15556, Eq. 4): where the marginal gains of size and data are equal."""
    return (ALPHA * a / (BETA * b)) ** (1 / (ALPHA + BETA)) * (flops / 6) ** (BETA / (ALPHA + BETA))


def test_the_best_size_is_that_of_the_closed_form():
    assert best_sizes(loss(LAW, FLOPS), FLOPS / 6, FLOPS / 6) == pytest.approx(optimum(FLOPS), rel=1e-6)


def test_a_bound_binds_exactly_or_changes_no_digit():
    free = best_sizes(loss(LAW, FLOPS), FLOPS / 6, FLOPS / 6)
    for factor in (1.5, 10.0, 1e3):
        assert (best_sizes(loss(LAW, FLOPS), FLOPS / 6, np.minimum(factor * free, FLOPS / 6)) == free).all()
    for factor in (0.999, 0.5, 1e-2):
        assert (best_sizes(loss(LAW, FLOPS), FLOPS / 6, factor * free) == factor * free).all()


def test_every_draw_has_its_own_best_size():
    a = A * np.exp(np.random.default_rng(0).normal(0.0, 0.3, 200))
    drawn = Chinchilla(E=np.full(200, E), A=a, B=np.full(200, B), alpha=np.full(200, ALPHA), beta=np.full(200, BETA))
    for flops in FLOPS[:, None]:
        found = best_sizes(loss(drawn, flops), flops / 6, flops / 6)
        assert found[:, 0] == pytest.approx(optimum(flops, a), rel=2e-3)


def test_draws_that_lie_very_far_apart_are_still_found():
    a = A * np.geomspace(1e-6, 1e6, 9)
    drawn = Chinchilla(E=np.full(9, E), A=a, B=np.full(9, B), alpha=np.full(9, ALPHA), beta=np.full(9, BETA))
    flops = np.array([1e24])
    assert best_sizes(loss(drawn, flops), flops / 6, flops / 6)[:, 0] == pytest.approx(optimum(flops, a), rel=0.05)


def test_an_end_is_found_as_an_end():
    reach, most = np.array([1e9]), np.array([1e6])
    assert best_sizes(lambda n: 1 / n, reach, most) == most
    assert best_sizes(lambda n: 1 / n, reach, reach) == reach
    assert best_sizes(lambda n: 1.0 * n, reach, most) == 1.0
    assert best_sizes(lambda n: 1.0 * n, np.array([1.0]), np.array([1.0])) == 1.0


def test_a_kink_is_found_where_no_parabola_fits():
    reach = np.array([1e9])
    found = best_sizes(lambda n: np.abs(np.log(n / 12345.0)) * np.where(n > 12345.0, 9.0, 1.0), reach, reach)
    assert found == pytest.approx(12345.0, rel=2e-3)


def test_a_valley_in_front_of_a_wall_is_found():
    # most of the budget serves: what is left for training ends at a size, and its best lies just before
    top = 1e8

    def near(n):
        return A / n**ALPHA + B / np.maximum(1e18 * (1 - n / top), 1e-3) ** BETA

    n = np.geomspace(top / 10, top, 2_000_001)
    exact = n[near(n).argmin()]
    assert 0.98 < exact / top < 1
    assert best_sizes(near, np.array([top]), np.array([top])) == pytest.approx(exact, rel=1e-4)
