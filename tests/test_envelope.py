"""The stairs of the envelope: exact where curves are straight, and only where another size takes over in order."""

import numpy as np
import pytest

from simlaw.isoflops.envelope import stairs

C = np.array([0.0, 1.0, 2.0, 3.0])


def lines(*starts_and_slopes):
    """ln L of sizes whose curves over ln C are straight."""
    return [np.array([start + slope * C]) for start, slope in starts_and_slopes]


def test_straight_curves_cross_where_they_do():
    # 0 and 1 cross at 0.8, 1 and 2 at 2.2: the second size is the best from the one to the other
    found = stairs([C, C, C], lines((3.0, -0.1), (3.08, -0.2), (3.3, -0.3)))
    assert found.middle[0, 1] == pytest.approx(1.5, abs=1e-9)
    assert found.log_loss[0, 1] == pytest.approx(3.08 - 0.2 * 1.5, abs=1e-9)
    assert np.isnan(found.middle[0, [0, 2]]).all()
    assert found.cut.tolist() == [[True, False, True]]


def test_a_size_that_is_never_the_best_is_not_cut():
    found = stairs([C, C, C], lines((3.0, -0.1), (4.0, -0.2), (3.2, -0.3)))
    assert np.isnan(found.middle[0, 1])
    assert not found.cut[0, 1]


def test_a_larger_size_that_gives_way_to_a_smaller_one_is_cut():
    found = stairs([C, C, C], lines((3.0, -0.1), (3.3, -0.3), (3.08, -0.2)))
    assert np.isnan(found.middle).all()
    assert found.cut.all()


def test_a_stretch_that_ends_with_a_rivals_runs_is_cut():
    # the third size would take over at 2.2, and was run from 2.5 only
    late = [C, C, np.array([2.5, 3.0])]
    curves = [*lines((3.0, -0.1), (3.08, -0.2)), np.array([3.3 - 0.3 * late[2]])]
    found = stairs(late, curves)
    assert np.isnan(found.middle).all()
    assert found.cut[0, 1]


def test_every_draw_has_its_own_stairs():
    curves = lines((3.0, -0.1), (3.08, -0.2), (3.3, -0.3))
    draws = [np.repeat(curve, 70, axis=0) for curve in curves]
    draws[1][69] += 1
    draws[1][5, [0, 1, 2]] = np.nan
    found = stairs([C, C, C], draws)
    assert np.isnan(found.middle[[5, 69], 1]).all()
    assert np.allclose(np.delete(found.middle[:, 1], [5, 69]), 1.5)
