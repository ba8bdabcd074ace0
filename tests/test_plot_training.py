"""Plots of training: what is drawn is what was measured, and what a claim judges is black."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer

from simlaw.claims.arms import arm_curves, arms_of
from simlaw.claims.verdict import Finding
from simlaw.plot import plot_arms, plot_costs, plot_findings, plot_held, plot_means, plot_together
from simlaw.precisions import cost_cells, pairs_of, rounded_curves, together
from simlaw.table import make_table
from tests.planted import ROLES, planted, planted_precisions, trained_at


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def points(artist):
    return [np.asarray(values, float).tolist() for values in artist.lines[0].get_data()]


def test_arms_are_their_means(ax):
    cooled = [dict(row) for row in planted(bits=(4,), relative=0.05)]
    flat = [
        {**row, "cooldown": 0.0, "eval_id": f"{row['eval_id']}-0", "run_id": f"{row['run_id']}-0"} for row in cooled
    ]
    curves = arm_curves(arms_of(make_table([*cooled, *flat]), (4,)), 26_624, 4)
    assert [curve.name for curve in curves] == ["cooled down", "constant rate"]
    drawn = plot_arms(curves, ax)
    assert points(drawn[0]) == [list(curves[0].x), list(curves[0].mean)]
    here = [
        row["delta"] for row in cooled if (row["params_blocks"], row["tokens"], row["ptq_bits"]) == (26_624, 327_680, 4)
    ]
    assert curves[0].mean[0] == pytest.approx(np.mean(here))
    assert curves[0].error[0] == pytest.approx(np.std(here, ddof=1) / 3**0.5)


def test_findings_stand_below_each_other_with_their_intervals_and_the_judged_are_black(ax):
    findings = [
        Finding(what="a", value=1.0, low=0.5, high=1.5),
        Finding(what="b", value=2.0, low=1.0, high=3.0, judged=False),
    ]
    _, first, second = plot_findings(findings, ax, at=1.0, names={"b": "other"})
    assert points(first) == [[1.0], [0.0]]
    assert points(second) == [[2.0], [-1.0]]
    assert (first.lines[0].get_color(), second.lines[0].get_color()) == ("black", "0.45")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "other"]
    (bar,) = second.lines[2]
    assert np.asarray(bar.get_segments()[0])[:, 0].tolist() == [1.0, 3.0]


def test_costs_are_measured_cells_and_the_law(ax):
    pairs, _ = pairs_of(planted_precisions(constant=1e-4, relative=0.0))
    cells = cost_cells(pairs)
    drawn = plot_costs(cells, "P_w", ROLES, ax, tokens=655_360)
    bars = [one for one in drawn if isinstance(one, ErrorbarContainer)]
    assert len(bars) == 4
    bits, cost = points(bars[0])
    assert bits == [2, 3, 4, 6]
    assert cost[0] == pytest.approx(
        float(ROLES.loss(N=6656, D=655_360, P_w=2) - ROLES.loss(N=6656, D=655_360)), abs=5e-4
    )


def test_several_roles_lie_on_the_line_of_shares_that_multiply_and_off_that_of_sums(ax):
    pairs, _ = pairs_of(planted_precisions(constant=1e-4, relative=0.0))
    found = together(cost_cells(pairs), ROLES.values)
    assert {len(cell.roles) for cell in cost_cells(pairs)} == {1, 3}
    product, plain, _ = plot_together(found, ax)
    said, cost = points(product)
    assert np.allclose(said, cost, atol=1e-3)
    sums, _ = points(plain)
    large = np.array(cost) > 0.05
    assert large.any()
    assert (np.array(sums)[large] < np.array(cost)[large]).all()


def test_rounding_is_drawn_to_fewer_bits_than_a_run_was_trained_at_and_to_as_many(ax):
    plain = [dict(row) for row in planted(bits=(3, 4, 6))]
    low = [{**row, **trained_at(4), "eval_id": f"{row['eval_id']}-w", "run_id": f"{row['run_id']}-w"} for row in plain]
    curves = rounded_curves(make_table([*plain, *low]), 26_624, 655_360)
    assert [(curve.name, curve.x) for curve in curves] == [("16 bit", (3, 4, 6)), ("W4", (3, 4))]
    drawn = plot_means(curves, ax, xlabel="bits", ylabel="delta")
    assert points(drawn[1]) == [[3, 4], list(curves[1].mean)]


def test_runs_that_hold_are_counted_in_their_place_and_drawn_darker_where_fewer_do(ax):
    image, *texts = plot_held({(1.0, "16 bit"): (3, 3), (2.0, "16 bit"): (3, 3), (1.0, "W2"): (0, 3)}, ax)
    shares = np.ma.filled(image.get_array(), np.nan)
    assert np.array_equal(shares, [[1, 1], [0, np.nan]], equal_nan=True)
    assert [(text.get_position(), text.get_text()) for text in texts] == [
        ((0, 0), "3/3"),
        ((1, 0), "3/3"),
        ((0, 1), "0/3"),
    ]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1 ×", "2 ×"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["16 bit", "W2"]
