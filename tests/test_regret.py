"""Regret on held-out cells: none for the truth, counted by hand for the baselines."""

from dataclasses import replace

import numpy as np
import pytest

from simlaw.decision.baselines import Cells, after_quantization
from simlaw.decision.regret import Follower, Regret, _nearest, _Question, _regret, regret, regret_of_table
from simlaw.errors import SimlawError
from simlaw.external import load_table
from simlaw.fitting.fit import fit
from simlaw.fitting.holdout import LargestC, LargestD, LargestN
from simlaw.laws import Chinchilla, PrecisionWeights
from simlaw.observations import loss_observations
from tests.planted import planted

TABLE = planted(log_loss=1e-5, relative=1e-4, token=1e-7)
TRUTH = Chinchilla(E=1.8, A=420.0, B=1800.0, alpha=0.34, beta=0.36)
BASE = fit(Chinchilla, loss_observations(TABLE))


def isoflop(noise=1e-4, budgets=(1e17, 1e18, 1e19, 1e20)):
    """Runs at equal FLOPs, from a twentieth to twenty times the best size."""
    rng = np.random.default_rng(0)
    g = (0.34 * 420 / (0.36 * 1800)) ** (1 / 0.7)
    n = np.concatenate([g * (c / 6) ** (0.36 / 0.7) * np.geomspace(0.05, 20, 9) for c in budgets])
    d = np.repeat(budgets, 9) / (6 * n)
    y = TRUTH.loss(N=n, D=d) * np.exp(noise * rng.normal(size=len(n)))
    return load_table({"n": n, "d": d, "y": y}, N="n", D="d", loss="y")


@pytest.mark.parametrize("holdout", [LargestD(2), LargestC(3)], ids=str)
def test_the_planted_law_loses_nothing_and_the_baselines_no_less(holdout):
    found = regret_of_table(TABLE, holdout)
    law, *rest = found.followers
    assert law.name == "law: Chinchilla + StepPenalty"
    assert (law.mean, law.worst, law.right) == (pytest.approx(0, abs=2e-4), pytest.approx(0, abs=5e-4), 1.0)
    assert all(law.mean <= other.mean + 1e-4 for other in rest)
    assert found.questions > 3


def test_a_law_that_the_rest_cannot_hold_says_so():
    # one size is left, which knows nothing of N
    found = regret_of_table(TABLE, LargestN(2))
    assert found.followers[0].name.startswith("law: Chinchilla + StepPenalty (")
    assert (found.valid, found.worthwhile) == (False, False)
    assert str(found).endswith("the law's fit to the other rows is not valid, so what it loses here says nothing")


def test_questions_hold_two_sizes_or_more():
    with pytest.raises(
        SimlawError, match=r"no budget of the cells held out \(largest N\) holds two sizes, so there is"
    ):
        regret_of_table(TABLE, LargestN())


def test_choosing_the_size_at_equal_compute():
    seen = isoflop(budgets=(1e17, 1e18, 1e19, 1e22))
    found = regret(Chinchilla, seen, LargestC())
    assert found.questions == 1
    law, nearby, rung = found.followers
    assert law.right == 1.0
    assert law.mean < 5e-4
    # sizes that were best at a thousandth of the compute are far too small for it
    assert rung.mean > 0.005
    assert nearby.mean >= law.mean


def test_a_baseline_runs_what_comes_nearest_to_the_cell_that_it_would_take():
    # seen: N=1e6 is best at 1e15 FLOPs; the options at 6e15 are 0.9e6, 3e6 and 9e6, of which 3e6 is best
    n = np.array([0.5e6, 1e6, 2e6, 0.9e6, 3e6, 9e6])
    d = np.array([1e15 / 6] * 3 + [1e15] * 3) / n
    y = np.array([3.2, 3.0, 3.1, 2.9, 2.7, 2.8])
    seen = load_table({"n": n, "d": d, "y": y}, N="n", D="d", loss="y")
    cells = Cells.of(seen)
    options, rest = cells.keep(cells.flops > 3e15), cells.keep(cells.flops < 3e15)
    question = _Question(options=np.ones(3, bool), seen=np.ones(3, bool))
    _, *found = _regret([BASE], LargestC(), options, rest, [question], -options.params).followers
    assert [(one.mean, one.right) for one in found] == [(pytest.approx(0.2), 0.0)] * 2
    # what costs more than the budget was never seen; where nothing is within it, all that was seen counts
    dear = replace(question, seen=rest.params > 1.5e6)
    assert _regret([BASE], LargestC(), options, rest, [dear], -options.params).followers[1].mean == pytest.approx(0)
    none = replace(question, seen=np.zeros(3, bool))
    assert _regret([BASE], LargestC(), options, rest, [none], -options.params).followers[1].mean == pytest.approx(0.2)


def test_bits_come_before_sizes_and_flops_last():
    options = Cells(
        params=np.array([1e6, 2e6, 2e6, 9e6]),
        tokens=np.array([1e8, 1e8, 2e8, 1e8]),
        bits=np.array([4.0, 3.0, 3.0, np.inf]),
        loss=np.zeros(4),
    )
    cell = Cells(params=np.array([1e6]), tokens=np.array([1e8]), bits=np.array([3.0]), loss=np.zeros(1))
    every = np.ones(4, bool)
    assert _nearest(cell, 0, options, every) == 2
    assert _nearest(replace(cell, bits=np.array([12.0])), 0, options, every) == 3
    assert _nearest(replace(cell, bits=np.array([np.inf])), 0, options, np.array([1, 1, 1, 0], bool)) == 0


def test_every_budget_is_a_question():
    seen = isoflop()
    assert regret(Chinchilla, seen, LargestC(2)).questions == 2


def test_options_are_the_held_out_cells_within_a_cells_bytes_and_flops():
    seen, size = after_quantization(TABLE, "channel", "bytes_blocks")
    out = seen.keep(LargestD(2).mask(seen))
    cells = sorted({(n, d, b) for n, d, b in zip(out.x["N"], out.x["D"], out.x["P_post"], strict=True)})
    questions = set()
    for n, d, b in cells:
        fits = frozenset(c for c in cells if size[c[0], c[2]] <= size[n, b] and c[0] * c[1] <= n * d)
        if len({c[0] for c in fits}) > 1:
            questions.add(fits)
    assert regret_of_table(TABLE, LargestD(2)).questions == len(questions)


def test_a_law_that_loses_less_is_recommended():
    law, other = (
        Follower(name="law: X", mean=0.01, worst=0.1, right=0.5),
        Follower(name="a", mean=0.02, worst=0, right=1),
    )
    found = Regret(holdout="largest C", questions=3, followers=(law, other))
    assert found.worthwhile
    assert str(found).endswith("the law loses less than the baselines")


def test_a_law_that_is_no_better_is_not_recommended():
    same = Follower(name="law: X", mean=0.01, worst=0.01, right=0.5)
    found = Regret(holdout="largest C", questions=3, followers=(same, Follower(name="a", mean=0.01, worst=0, right=1)))
    assert not found.worthwhile
    assert str(found).endswith("no reason to follow the law here: a would lose no more")


def test_training_precision_is_an_option_too():
    rng = np.random.default_rng(0)
    truth = PrecisionWeights(E=1.8, A=420.0, B=1800.0, alpha=0.34, beta=0.36, g_w=2.2, n_w=0.3)
    grid = [
        (n, c / 6 / n, p) for c in (1e17, 4e17, 1.6e18, 6.4e18) for n in (1e7, 3e7, 1e8, 3e8) for p in (3, 4, np.inf)
    ]
    n, d, p = np.array(grid).T
    y = truth.loss(N=n, D=d, P_w=p) * np.exp(1e-4 * rng.normal(size=len(n)))
    seen = load_table({"n": n, "d": d, "p": p, "y": y}, N="n", D="d", P_w="p", loss="y")
    found = regret(PrecisionWeights, seen, LargestC())
    assert found.followers[0].right == 1.0


def test_rows_that_differ_in_more_are_refused():
    seen = isoflop()
    with pytest.raises(
        SimlawError, match="the rows differ in U too: choose rows that differ in N, D and one precision"
    ):
        regret(Chinchilla, replace(seen, x={**seen.x, "U": np.full(len(seen.y), 1e9)}), LargestC())
