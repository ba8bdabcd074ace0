"""Next runs: the update by hand, greedy steps, and that a run which was made narrows as was said."""

from dataclasses import replace

import numpy as np
import pytest

from simlaw.decision.nextruns import next_runs
from simlaw.errors import SimlawError
from simlaw.fitting.fit import fit
from simlaw.fitting.quantized import QuantizedFit
from simlaw.fitting.uncertainty import trunk_weights
from simlaw.laws import Chinchilla, StepPenalty
from simlaw.observations import loss_observations, penalty_observations
from simlaw.published import kumar2024
from tests.planted import planted

TABLE = planted(log_loss=0.005, relative=0.1, token=1e-4, seeds=4)
LOSSES, PENALTIES = loss_observations(TABLE), penalty_observations(TABLE)
TRUNKS = trunk_weights(LOSSES.trunk, LOSSES.x["N"], draws=300)
BASE, PENALTY = fit(Chinchilla, LOSSES, TRUNKS), fit(StepPenalty, PENALTIES, TRUNKS)
BOTH = QuantizedFit(base=BASE, penalty=PENALTY)
BEST, RIVAL = {"N": 45e3, "D": 3.7e6, "P_post": 5.0}, {"N": 14.5e3, "D": 11.5e6}


def test_one_run_is_the_linear_gaussian_update():
    pairs = [(6656.0, 3e6), (106e3, 3e6), (30e3, 1e7)]
    found = next_runs(BASE, {"N": 45e3, "D": 3.7e6}, RIVAL, candidates=pairs, noise=0.01, count=1)
    gap = BASE.draws.loss(**RIVAL) - BASE.draws.loss(N=45e3, D=3.7e6)
    after = []
    for n, d in pairs:
        shown = BASE.draws.loss(N=n, D=d)
        after.append(gap.var(ddof=1) - np.cov(gap, shown)[0, 1] ** 2 / (shown.var(ddof=1) + 0.01**2))
    run = found.runs[0]
    assert (run.params, run.tokens) == pairs[int(np.argmin(after))]
    assert run.error == pytest.approx(np.sqrt(min(after)))
    assert found.error == pytest.approx(gap.std(ddof=1))
    assert run.flops == 6 * run.params * run.tokens


def test_every_run_narrows_what_the_last_left():
    found = next_runs(BOTH, BEST, RIVAL)
    errors = [found.error, *(run.error for run in found.runs)]
    assert errors == sorted(errors, reverse=True)
    assert len(found.runs) == 3
    assert found.candidates == 36
    assert 0 < found.share < 1
    said = str(found).replace("\n", " ")
    assert "of 36 runs, these 3 would narrow the gap of " in said
    assert "between N=45k at P_post=5 and N=14.5k most" in said


def test_a_noiseless_repeat_of_the_gap_settles_it():
    # two runs without noise show both plans themselves
    best = {"N": 45e3, "D": 3.7e6}
    found = next_runs(BASE, best, RIVAL, candidates=[(45e3, 3.7e6), (14.5e3, 11.5e6)], noise=1e-9, count=2)
    assert {run.params for run in found.runs} == {45e3, 14.5e3}
    assert found.runs[-1].error < 1e-4 * found.error


def test_seeing_quantized_losses_narrows_more():
    plain, more = (next_runs(BOTH, BEST, RIVAL, bits=bits, noise=0.005) for bits in ((), (3.0, 4.0, 5.0)))
    assert more.runs[-1].error < plain.runs[-1].error


def test_cheap_runs_win_for_each_flop():
    plain, cheap = next_runs(BOTH, BEST, RIVAL), next_runs(BOTH, BEST, RIVAL, per_flop=True)
    assert sum(run.flops for run in cheap.runs) < sum(run.flops for run in plain.runs)
    bounded = next_runs(BOTH, BEST, RIVAL, flops=1e11)
    assert max(run.flops for run in bounded.runs) <= 1e11
    assert bounded.candidates < 36


def test_a_run_that_was_made_narrows_the_gap():
    # the same sweep with four more seeds of every cell is narrower; the forecast of repeats says so too
    more = loss_observations(planted(log_loss=0.005, relative=0.1, token=1e-4, seeds=8))
    made = fit(Chinchilla, more, trunk_weights(more.trunk, more.x["N"], draws=300))
    gaps = [f.draws.loss(**RIVAL) - f.draws.loss(N=45e3, D=3.7e6) for f in (BASE, made)]
    cells = sorted({(float(n), float(d)) for n, d in zip(LOSSES.x["N"], LOSSES.x["D"], strict=True)})
    forecast = next_runs(BASE, {"N": 45e3, "D": 3.7e6}, RIVAL, candidates=cells, count=12)
    assert np.std(gaps[1]) < np.std(gaps[0])
    assert forecast.runs[-1].error < forecast.error


def test_refusals():
    with pytest.raises(SimlawError, match="without draws nobody knows what is uncertain: fit with bootstrap=…"):
        next_runs(replace(BASE, draws=None), BEST, RIVAL)
    with pytest.raises(SimlawError, match="without draws nobody knows what is uncertain"):
        next_runs(kumar2024, BEST, RIVAL)
    with pytest.raises(SimlawError, match="there is no run to choose from: give candidates=…, or more flops=…"):
        next_runs(BASE, RIVAL, RIVAL, flops=1.0)
    with pytest.raises(SimlawError, match="noise=0: the standard deviation of a loss is a number above 0"):
        next_runs(BASE, RIVAL, RIVAL, noise=0.0)
