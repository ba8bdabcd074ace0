"""Next runs: the update by hand, greedy steps, and that a run which was made narrows as was said."""

import re
from dataclasses import replace

import numpy as np
import pytest

from simlaw.decision.nextruns import Contender, next_runs, open_rival
from simlaw.decision.surface import surface_of
from simlaw.decision.verdict import Question, decide, rivals
from simlaw.errors import SimlawError
from simlaw.external import load_table
from simlaw.fitting.fit import fit
from simlaw.fitting.quantized import QuantizedFit
from simlaw.fitting.uncertainty import bootstrap, trunk_weights
from simlaw.laws import Chinchilla, StepPenalty
from simlaw.observations import loss_observations, penalty_observations
from simlaw.published import kumar2024
from tests.planted import LOSS, planted

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


def test_runs_one_after_another_are_the_update_by_all_at_once():
    pairs = [(6656.0, 3e6), (106e3, 3e6), (30e3, 1e7)]
    noise, own = 0.01, 0.002
    found = next_runs(BOTH, BEST, RIVAL, candidates=pairs, bits=(3.0, 5.0), noise=noise, penalty_noise=own, count=2)
    draws, columns, variances = BOTH.draws, [], []
    for run in found.runs:  # each shows its loss, and what rounding to 3 and 5 bits adds to it
        at = {"N": run.params, "D": run.tokens}
        loss = draws.loss(**at)
        columns += [loss, *(draws.loss(P_post=bits, **at) - loss for bits in (3.0, 5.0))]
        variances += [noise**2, own**2, own**2]
    gap = draws.loss(**RIVAL) - draws.loss(**BEST)
    cov = np.cov(np.stack([gap, *columns]))
    left = cov[0, 0] - cov[0, 1:] @ np.linalg.solve(cov[1:, 1:] + np.diag(variances), cov[1:, 0])
    assert found.runs[-1].error == pytest.approx(np.sqrt(left), rel=1e-6)
    assert found.share == pytest.approx(1 - left / cov[0, 0], rel=1e-6)


def test_the_sentence_has_the_error_of_the_draws_and_that_of_decisions():
    misfit = replace(BOTH, base=replace(BASE, misfit=0.01))
    found = next_runs(misfit, BEST, RIVAL)
    drawn = surface_of(misfit).ensemble(np.array([45e3, 14.5e3]), np.array([3.7e6, 11.5e6]), np.array([5.0, np.inf]))
    assert found.total == pytest.approx(np.std(drawn[:, 1] - drawn[:, 0], ddof=1))
    assert found.total > found.error > found.runs[-1].error
    assert found.total_then == pytest.approx(np.sqrt(found.total**2 - found.error**2 + found.runs[-1].error ** 2))
    assert found.gap == pytest.approx(float(BOTH.law.loss(**RIVAL) - BOTH.law.loss(**BEST)))
    assert (len(found.runs), found.candidates) == (3, 36)
    said = str(found).replace("\n", " ")
    assert f"of 36 runs, these 3 would narrow the gap of {found.gap:.4f} ± {found.error:.4f} nats between " in said
    assert "between N=45k at P_post=5 and N=14.5k most: they take off " in said
    assert f"the gap is known to ± {found.total:.4f} now and ± {found.total_then:.4f} then" in said
    assert str(replace(found, total=1.0)).endswith("runs hardly help: measure the two plans themselves.")
    assert "hardly" not in str(replace(found, total=found.error))


def test_decisions_and_next_runs_know_the_gap_equally_well():
    decision = decide(Question(bytes=29e3, amount=1e12), TABLE, BASE, PENALTY)
    best, rival = decision.plans[0], rivals(decision.plans)[0]
    found = next_runs(
        BOTH,
        {"N": best.params, "D": best.tokens, "P_post": best.bits},
        {"N": rival.params, "D": rival.tokens},
    )
    low, high = rival.gap_interval
    assert found.total == pytest.approx((high - low) / (2 * 1.645), rel=0.2)  # 90 % of a normal distribution
    assert found.gap == pytest.approx(rival.gap)


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
    bounded = next_runs(BOTH, BEST, RIVAL, most=1e11)
    assert max(run.flops for run in bounded.runs) <= 1e11
    assert bounded.candidates < 36


def test_the_forecast_is_the_spread_of_refits():
    # tables drawn again and again, with and without the runs: the gap scatters as was said before they were made
    noise = 0.02  # of the log of losses that are about 1.6 nats
    grid = [(n, d) for n in (6656.0, 13e3, 26624.0, 53e3, 106496.0) for d in np.geomspace(3e5, 1e7, 5)] * 2
    best = {"N": 45e3, "D": 3.7e6}

    def observed(pairs, rng):
        n, d = np.array(pairs).T
        y = LOSS.loss(N=n, D=d) * np.exp(noise * rng.normal(size=len(n)))
        return load_table({"n": n, "d": d, "y": y}, N="n", D="d", loss="y")

    def gap(law):
        return float(law.loss(**RIVAL) - law.loss(**best))

    first = observed(grid, np.random.default_rng(0))
    # least squares, which take as much from normal noise as the forecast does
    known = fit(Chinchilla, first, bootstrap(first.trunk, first.x["N"], draws=300), objective="log")
    forecast = next_runs(known, best, RIVAL, noise=noise * 1.6, count=12)
    made = [*grid, *((run.params, run.tokens) for run in forecast.runs)]
    rngs = [np.random.default_rng(seed) for seed in range(24)]
    before, after = (
        np.std([gap(fit(Chinchilla, observed(pairs, rng), starts=2, objective="log").law) for rng in rngs])
        for pairs in (grid, made)
    )
    assert 1 / 1.4 < before / forecast.error < 1.4  # 24 tables know a spread to 15 %
    assert 1 / 1.4 < after / forecast.runs[-1].error < 1.4
    assert after < before / 1.4


def test_the_rival_is_of_the_other_kind_until_that_gap_is_settled():
    def one(bits, how, least):
        return Contender(plan={"N": 1e6, "D": 1e8, **({"P_post": bits} if bits else {})}, how=how, least=least)

    best = one(5.0, "after training", 0.0)
    same, near, plain = (
        replace(one(5.0, "after training", -0.01), plan={**best.plan, "N": 9e5}),
        one(6.0, "after training", -0.01),
        one(None, "no", -0.001),
    )
    assert open_rival(best, [same, near, plain]) == plain
    settled = replace(plain, least=0.02)
    assert open_rival(best, [same, near, settled]) == near
    assert open_rival(best, [same, settled]) == settled
    assert open_rival(best, [replace(plain, least=None), near]).how == "no"  # a law without draws
    assert open_rival(best, [same]) is None


def test_refusals():
    with pytest.raises(SimlawError, match="without draws nobody knows what is uncertain: fit with bootstrap=…"):
        next_runs(replace(BASE, draws=None), BEST, RIVAL)
    with pytest.raises(SimlawError, match="without draws nobody knows what is uncertain"):
        next_runs(kumar2024, BEST, RIVAL)
    other = {"N": 45e3, "D": 3.7e6}
    for wrong, sentence in (
        ({"most": 1.0}, "most=1: the cheapest run to choose from takes 1.3e10 FLOPs; raise it"),
        ({"candidates": []}, "candidates=… has no run to choose from: give some, or leave it out"),
        ({"noise": 0.0}, "noise=0: it must be a number above 0"),
        ({"penalty_noise": -1.0}, "penalty_noise=-1: it must be a number above 0"),
        ({"count": 0}, "count=0: it must be a whole number of runs, 1 or more"),
        ({"count": -1}, "count=-1: it must be a whole number of runs, 1 or more"),
        ({"bits": [np.nan]}, "bits has nan in it: give one number above 0, or a list of them"),
        ({"candidates": [(1e4, -1.0)]}, "D=-1: it must be a number above 0"),
    ):
        with pytest.raises(SimlawError, match=re.escape(sentence)):
            next_runs(BASE, other, RIVAL, **wrong)
    with pytest.raises(
        SimlawError, match=r"best and rival are both N=14.5k, so there is no gap between them: give two"
    ):
        next_runs(BASE, RIVAL, RIVAL)
    with pytest.raises(
        SimlawError, match=r"the plan \{'N': 45000.0\} lacks N or D: give its parameters, its tokens and"
    ):
        next_runs(BASE, {"N": 45e3}, RIVAL)
