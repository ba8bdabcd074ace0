"""Trends: planted slopes and falls come back, noise is called noise."""

import numpy as np
import pytest

from simlaw.laws import StepPenalty
from simlaw.trends import trends
from tests.planted import PENALTY, planted


def test_planted_trends_come_back():
    found = trends(planted(log_loss=0.01, relative=0.01, token=1e-6))
    assert [t.what for t in found[:5]] == [
        "ln delta per ln D at N = 6.66k",
        "ln delta per ln D at N = 26.6k",
        "ln delta per ln D at N = 106k",
        "fall of ln delta from N = 6.66k to 26.6k",
        "fall of ln delta from N = 26.6k to 106k",
    ]
    assert [t.bits for t in found] == [3] * 5 + [4] * 5
    for trend in found:
        truth = PENALTY.gD if "per ln D" in trend.what else PENALTY.gN * np.log(4)
        assert trend.value == pytest.approx(truth, abs=4 * trend.error)
        assert trend.error < 0.02
        assert trend.verdict == "as expected"


def test_the_other_way_and_no_way_are_said():
    flat = StepPenalty(C_T=2.0, gD=1e-9, gN=1e-9)
    noisy = trends(planted(penalty=flat, log_loss=0.01, relative=0.3, token=1e-4))
    assert sum(t.verdict == "within noise" for t in noisy) >= 8
    falling = planted(penalty=flat, log_loss=0.01, relative=0.01, token=1e-6)
    rows = [{**row, "delta": row["delta"] / row["tokens"] ** 0.3} for row in falling]
    found = trends(type(falling)(rows=tuple(rows)))
    assert {t.verdict for t in found if "per ln D" in t.what} == {"the other way"}


def test_errors_cover_when_trunks_move_together():
    """Over many tables, the falls stay within two errors of the truth as often as they should: not with cells alone."""
    inside = [
        abs(trend.value - PENALTY.gN * np.log(4)) < 2 * trend.error
        for seed in range(40)
        for trend in trends(planted(seed=seed, seeds=4, log_loss=0.01, relative=0.1, token=1e-6), bits=(3,))
        if trend.what.startswith("fall")
    ]
    assert len(inside) == 80
    assert sum(inside) >= 64  # 95 % of a normal; 85 % and more with the few seeds of a trunk
