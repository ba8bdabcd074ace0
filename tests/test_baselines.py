"""Null baselines: cells as they were measured, within a budget."""

import numpy as np
import pytest

from simlaw.decision.baselines import BASELINES, Cells, after_quantization, baselines, baselines_text, taken
from simlaw.decision.resources import Option, Resources
from simlaw.decision.shipped import INTEGERS
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


def test_the_best_cell_and_the_best_of_the_largest_rung():
    # 2e9 tokens of 4e6 parameters are the largest rung; the loss is least there too
    assert [taken(CELLS, share) for share in BASELINES.values()] == [3, 3]
    # without that one, two cells are within a tenth of the dearest, and a cheap one is better
    other = Cells(
        params=np.array([1e6, 2e6, 4e6]),
        tokens=np.array([1e9, 5.2e8, 1e8]),
        bits=np.full(3, np.inf),
        loss=np.array([3.2, 3.1, 3.0]),
    )
    assert [taken(other, share) for share in BASELINES.values()] == [2, 1]
    assert taken(other, 0.9, other.tokens) == 0


def test_cells_within_resources_are_those_of_their_own_bytes_and_tokens():
    options = [Option(format=form) for form in INTEGERS if form.bits in (4, np.inf)]
    # 4M parameters are 2 MB at 4 bits and 8 MB at 16, 1M are 2 MB at 16
    within = CELLS.within(Resources(bytes=2e6, flops=1e17), options)
    assert within.loss.tolist() == [4.0, 3.0, 2.9]
    assert CELLS.within(Resources(bytes=2e6, flops=4.8e16), options).loss.tolist() == [4.0, 3.0, 2.9]
    assert CELLS.within(Resources(bytes=2e6, flops=4.7e16), options).loss.tolist() == [4.0, 3.0]
    # served tokens are paid from the same budget
    assert CELLS.within(Resources(flops=6.1e15, serve_tokens=1e8), options).loss.tolist() == [4.0, 3.5]
    # a format that is no option has no cell
    assert CELLS.within(Resources(bytes=2e6, flops=1e17), options[:1]).loss.tolist() == [4.0, 3.0]
    assert CELLS.within(Resources(bytes=10.0, flops=1e17), options).loss.tolist() == []


def test_seeds_are_averaged():
    cells = Cells.mean(np.array([1e6, 1e6]), np.array([1e8, 1e8]), np.array([4.0, 4.0]), np.array([3.0, 3.2]))
    assert (cells.params.tolist(), cells.loss.tolist()) == ([1e6], [pytest.approx(3.1)])


def test_a_baseline_says_the_cell_that_it_takes():
    found = baselines(CELLS, best=4.0)
    assert [(one.name, one.params, one.tokens, one.bits, one.loss, one.agrees) for one in found] == [
        ("best measured cell", 4e6, 2e9, 4.0, 2.9, True),
        ("rank at the largest rung", 4e6, 2e9, 4.0, 2.9, True),
    ]
    assert baselines_text(found) == (
        "without a law, of the measured cells within the budget: best measured cell and rank at the largest rung 4M at "
        "int4 on 2B tokens, 2.900 nats (the law's bits)"
    )
    assert baselines_text(baselines(CELLS, best=3.0)).endswith("2.900 nats (not the law's bits)")
    assert baselines_text(baselines(CELLS, best=np.inf, used=np.array([1.0, 1.0, 9.0, 1.0]))) == (
        "without a law, of the measured cells within the budget: best measured cell 4M at int4 on 2B tokens, 2.900 "
        "nats; rank at the largest rung 4M at 16 bit on 100M tokens, 3.500 nats (one has the law's bits)"
    )
    assert baselines(CELLS.keep(np.zeros(4, bool)), best=3.0) == ()
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
    with pytest.raises(SimlawError, match="the rows have no N, so they are no cells: they have D"):
        Cells.of(seen)
