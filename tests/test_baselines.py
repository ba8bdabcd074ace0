"""Null baselines: cells looked up, not modelled."""

import numpy as np
import pytest

from simlaw.decision.baselines import Cells, after_quantization, baselines, baselines_text, largest_rung, nearest
from simlaw.errors import SimlawError
from simlaw.external import load_table
from simlaw.observations import usable
from tests.planted import LOSS, PENALTY, SIZES, TOKENS, planted

CELLS = Cells(
    params=np.array([1e6, 1e6, 4e6, 4e6]),
    tokens=np.array([1e8, 1e9, 1e8, 2e9]),
    bits=np.array([np.inf, np.inf, np.inf, 4.0]),
    loss=np.array([4.0, 3.0, 3.5, 2.9]),
)


def ask(score, n, d, bits):
    return float(score(CELLS, np.array([n]), np.array([d]), np.array([bits]))[0])


def test_the_nearest_cell_has_the_same_bits():
    assert ask(nearest, 1.1e6, 1.2e8, np.inf) == 4.0
    assert ask(nearest, 3e6, 1.2e8, np.inf) == 3.5
    assert ask(nearest, 1e6, 1e8, 4.0) == 2.9
    assert ask(nearest, 1e6, 1e8, 3.0) == np.inf


def test_the_largest_rung_is_the_longest_run_of_the_nearest_size():
    assert ask(largest_rung, 1.1e6, 1.2e8, np.inf) == 3.0
    assert ask(largest_rung, 9e6, 1e12, np.inf) == 3.5
    assert ask(largest_rung, 1e6, 1e8, 3.0) == np.inf


def test_seeds_are_averaged():
    cells = Cells.mean(np.array([1e6, 1e6]), np.array([1e8, 1e8]), np.array([4.0, 4.0]), np.array([3.0, 3.2]))
    assert (cells.params.tolist(), cells.loss.tolist()) == ([1e6], [pytest.approx(3.1)])


def test_plans_are_ranked_as_their_cells_are():
    n, d = np.array([1e6, 4e6]), np.array([1e9, 2e9])
    found = baselines(CELLS, n, d, np.array([np.inf, 4.0]), best=4.0)
    assert [(one.name, one.bits, one.agrees) for one in found] == [
        ("nearest measured cell", 4.0, True),
        ("rank at the largest rung", 4.0, True),
    ]
    assert baselines_text(found) == (
        "without a law: nearest measured cell 4M at int4, rank at the largest rung 4M at int4 (as the law does)"
    )
    assert baselines_text(baselines(CELLS, n, d, np.array([np.inf, 4.0]), best=3.0)).endswith("(unlike the law)")
    assert baselines(CELLS, n, d, np.array([3.0, 5.0]), best=3.0) == ()
    assert baselines_text(()) == ""


def test_a_table_gives_the_losses_after_quantization():
    seen, size = after_quantization(usable(planted())[0], "channel", "bytes_blocks")
    cells = Cells.of(seen)
    assert len(cells.loss) == len(SIZES) * len(TOKENS) * 7
    expected = LOSS.loss(N=cells.params, D=cells.tokens) + PENALTY.penalty(
        N=cells.params, D=cells.tokens, P_post=cells.bits
    )
    assert cells.loss == pytest.approx(expected)
    assert size[6656.0, np.inf] == 2 * 6656
    assert size[6656.0, 4.0] == pytest.approx(6656 / 2 + 44 * 16)


def test_rows_without_sizes_have_no_neighbours():
    seen = load_table({"d": [1e8, 2e8], "y": [3.0, 2.9]}, D="d", loss="y")
    with pytest.raises(SimlawError, match="the rows have no N, so no cell is near another: they have D"):
        Cells.of(seen)
