"""The best training precision, drawn: what is solid lies within the rows, and the best loses nothing to itself."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from simlaw.decision.bestbits import best_bits
from simlaw.decision.choice import decide
from simlaw.decision.cost import BITS, H200
from simlaw.decision.resources import TIED
from simlaw.fitting.fit import fit
from simlaw.fitting.uncertainty import trunk_weights
from simlaw.laws import PrecisionSum
from simlaw.plot import plot_best_bits, plot_gaps
from simlaw.precisions import precision_observations
from tests.planted import ROLES, TOKENS, planted_precisions

FLOPS = np.geomspace(3e10, 1e14, 6)


@pytest.fixture(scope="module")
def law():
    truth = {name: ROLES.values[name] for name in ("E", "A", "B", "alpha", "beta")}
    added = PrecisionSum(**truth, C_w=2.0, g_w=1.2, C_a=3.0, g_a=1.4, C_kv=1.0, g_kv=0.8)
    seen = precision_observations(planted_precisions(added, tokens=TOKENS[:5], log_loss=0.003))
    return fit(PrecisionSum, seen, trunk_weights(seen.trunk, seen.x["N"], draws=40))


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_the_best_bits_are_solid_within_the_rows_and_dashed_beyond(law, ax):
    found = best_bits(
        law, along="C", at=FLOPS, training=TIED, cost=BITS, bits=[float(b) for b in range(3, 17)], force=True
    )
    _, solid, dashed = plot_best_bits(found, ax, label="W A KV")
    beyond = np.array([bool(far) for far in found.outside]) | found.edge
    assert beyond.any()
    assert not beyond.all()
    inside, outside = (np.isfinite(line.get_ydata()) for line in (solid, dashed))
    assert np.array_equal(inside, ~beyond)
    assert (outside >= beyond).all()
    assert np.array_equal(np.asarray(solid.get_ydata())[inside], found.bits[inside])


@pytest.mark.parametrize("cost", [BITS, H200], ids=lambda cost: cost.name)
def test_gaps_are_those_of_the_candidates_and_one_is_zero_everywhere(law, ax, cost):
    formats = ("bf16", "int6 g128", "int4 g128")
    choices = [decide(law, flops=float(c), training=[TIED], cost=cost, formats=formats, force=True) for c in FLOPS]
    lines = plot_gaps(choices, FLOPS, ax)[1::3]
    assert [line.get_label() for line in lines] == ["16 bit", "int6", "int4"]
    drawn = np.array([line.get_ydata() for line in lines])
    near = np.isfinite(drawn[0])
    assert near.any()
    assert (drawn[:, near].min(axis=0) == 0).all()
    place = int(np.flatnonzero(near)[0])
    losses = {one.format.name: one.loss for one in choices[place].candidates}
    assert drawn[1, place] == pytest.approx(losses["int6 g128"] - min(losses.values()))
