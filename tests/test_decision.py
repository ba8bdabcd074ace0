"""Decisions: the right answer on planted surfaces, the conventions, honest refusals."""

import math
from dataclasses import replace

import numpy as np
import pytest

from simlaw.analysis import analyse
from simlaw.decision.frontier import frontier
from simlaw.decision.surface import UNQUANTIZED, Storage
from simlaw.decision.verdict import Question, _verdict, decide, measured_cells, rivals
from simlaw.errors import SimlawError
from simlaw.fitting.fit import fit
from simlaw.fitting.uncertainty import trunk_weights
from simlaw.laws import Chinchilla, StepPenalty
from simlaw.observations import loss_observations, penalty_observations
from simlaw.table import make_table
from tests.planted import LOSS, PENALTY, SIZES, planted

NOISE = {"log_loss": 2e-4, "relative": 0.01, "token": 1e-6}
ANALYSIS = analyse(planted(**NOISE), draws=200)


def ask(question, analysis=ANALYSIS):
    return decide(question, analysis.table, analysis.base, analysis.penalty)


def truth(question):
    """The best loss of each precision by brute force on the planted laws and the planted storage."""
    sizes = np.geomspace(SIZES[0], SIZES[-1], 20_001)
    best = {}
    for bits in (3, 4, 5, 6, 7, 8, math.inf):
        overhead = 44 * np.sqrt(sizes / 26) if bits < 16 else 0.0
        fits = sizes[sizes * min(bits, 16) / 8 + overhead <= question.bytes]
        if fits.size:
            tokens = question.amount / (6 * fits) if question.convention == "compute" else question.amount
            loss = LOSS.loss(N=fits, D=tokens) + PENALTY.penalty(N=fits, D=tokens, P_post=bits)
            best[bits] = (float(loss.min()), float(fits[loss.argmin()]))
    return best


@pytest.mark.parametrize(
    "question",
    [
        Question(bytes=29e3, amount=1e12),
        Question(bytes=10e3, amount=4e11),
        Question(bytes=60e3, amount=2e11),
        Question(bytes=29e3, amount=4e6, convention="tokens"),
    ],
    ids=lambda q: f"{q.bytes:g} bytes, {q.amount:g} {q.convention}",
)
def test_every_plan_is_the_best_of_its_precision(question):
    decision, expected = ask(question), truth(question)
    assert {plan.bits for plan in decision.plans} == set(expected)
    for plan in decision.plans:
        loss, size = expected[plan.bits]
        assert plan.loss == pytest.approx(loss, abs=0.003)
        assert plan.params == pytest.approx(size, rel=0.15)  # optima in N are flat
        assert plan.bytes <= question.bytes * 1.0001
        assert plan.interval[0] < plan.loss < plan.interval[1]
    assert decision.plans[0].bits == min(expected, key=lambda bits: expected[bits])
    assert sum(plan.best for plan in decision.plans) == pytest.approx(1)


@pytest.mark.parametrize(
    "question",
    [Question(bytes=29e3, amount=1e12), Question(bytes=29e3, amount=4e6, convention="tokens")],
    ids=["compute", "tokens"],
)
def test_a_decision_says_what_the_cells_within_the_budget_say_without_a_law(question):
    decision = ask(question)
    best = decision.measured[0]
    one, rung = decision.baselines
    assert (one.name, one.params, one.tokens, one.bits, one.loss) == (
        "best measured cell",
        best.params,
        best.tokens,
        best.bits,
        best.loss,
    )
    assert rung.name == "rank at the largest rung"
    cells = [c for c in decision.measured if (c.params, c.tokens, c.bits) == (rung.params, rung.tokens, rung.bits)]
    assert [cell.loss for cell in cells] == [rung.loss]  # it was measured, and is within the budget
    for found in decision.baselines:
        assert found.agrees == (found.bits == decision.plans[0].bits)


def test_a_cell_that_does_not_fit_says_nothing():
    # at 4 kB one cell alone fits, of the smallest size at 3 bits
    decision = ask(Question(bytes=3.5e3, amount=1e12))
    assert {(one.params, one.bits) for one in decision.baselines} == {(6656.0, 3.0)}
    # at a hundredth of the smallest run's compute, none
    assert ask(Question(bytes=29e3, amount=1.3e8)).baselines == ()


def test_the_rival_is_every_size_at_its_own_best_precision():
    # with bytes to spare nobody needs to quantize, and the 16-bit model of the best size wins
    decision = ask(Question(bytes=1e6, amount=2e11))
    assert decision.plans[0].bits == UNQUANTIZED
    assert decision.plans[0].params < SIZES[-1]
    assert decision.identified


def test_the_verdict_names_the_best_16_bit_model_and_the_coarsest_precision():
    decision = ask(Question(bytes=29e3, amount=1e12))
    plans = {plan.bits: plan for plan in decision.plans}
    other, end = rivals(decision.plans)
    assert (other, end) == (plans[UNQUANTIZED], plans[3])
    low, high = other.gap_interval
    assert (
        f"; {other.params / 1e3:.3g}k at 16 bit loses to it by {other.gap:.3f} nats (90 % interval {low:.3f} to "
        f"{high:.3f}), {end.params / 1e3:.3g}k at int3 by {end.gap:.3f} ("
    ) in decision.sentence
    # where 16 bits win, the rival is the best quantized one, as good where bytes are to spare
    spare = ask(Question(bytes=1e6, amount=2e11))
    assert rivals(spare.plans)[0].bits < 16
    assert " is as good to a thousandth, " in spare.sentence


def test_a_rival_of_the_other_kind_that_cannot_be_told_apart_leaves_the_question_open():
    decision = ask(Question(bytes=29e3, amount=1e12))
    best, other = decision.plans[0], rivals(decision.plans)[0]
    near = replace(other, gap=0.004, gap_interval=(-0.01, 0.02))
    asked = replace(decision, identified=False, plans=(best, near, *decision.plans[1:]))
    found = _verdict(asked, (1e5, 1e8))
    assert not found.identified
    assert found.sentence.endswith(" at 16 bit cannot be told apart: 0.004 nats (90 % interval -0.010 to 0.020).")


def test_the_verdict_names_its_conventions():
    assert ask(Question(bytes=29e3, amount=1e12)).sentence.startswith(
        "At 29 kB of block bytes and 1e12 training FLOPs the best choice is "
    )
    in_all = ask(Question(bytes=129e3, amount=4e6, convention="tokens", bytes_column="bytes_total"))
    assert in_all.sentence.startswith("At 129 kB of bytes in all and 4e6 training tokens the best choice is ")


def test_measured_cells_stay_within_the_budget():
    question = Question(bytes=29e3, amount=1.05e12)
    cells = ask(question).measured
    assert [cell.loss for cell in cells] == sorted(cell.loss for cell in cells)
    assert all(cell.bytes <= 29e3 and cell.flops <= 1.01 * 1.05e12 and cell.seeds == 3 for cell in cells)
    assert {cell.params for cell in cells} == {6656, 26624}  # the largest fits at no precision of 3 bits or more
    best = min(LOSS.loss(N=26624, D=5_242_880) + PENALTY.penalty(N=26624, D=5_242_880, P_post=b) for b in (7, 8))
    assert cells[0].loss == pytest.approx(float(best), abs=0.01)


def test_the_crossing_is_where_the_planted_laws_cross():
    decision = ask(Question(bytes=29e3, amount=3e11))
    crossing = decision.crossing
    assert crossing is not None

    def lead(amount):
        best = truth(Question(bytes=29e3, amount=amount))
        return best[crossing.overtaken][0] - best[crossing.overtakes][0]

    assert lead(crossing.at / 1.4) < 0 < lead(crossing.at * 1.4)
    if crossing.share >= 0.9:
        assert crossing.interval[0] <= crossing.at <= crossing.interval[1]


def test_a_crossing_outside_the_measured_budgets_is_not_claimed():
    cheap = analyse(ANALYSIS.table.where(lambda row: row["params_blocks"] * row["tokens"] < 7.1e10), draws=50)
    dearest = max(row["flops_train_6nd"] for row in cheap.table)
    assert dearest == pytest.approx(4.19e11, rel=0.01)
    everywhere = ask(Question(bytes=29e3, amount=4e11)).crossing
    assert everywhere.at > dearest
    here = ask(Question(bytes=29e3, amount=4e11), cheap).crossing
    assert here is None or here.at <= dearest


def test_a_crossing_that_many_draws_have_outside_the_data_has_no_end():
    loud = analyse(planted(log_loss=0.01, relative=0.5, token=5e-4, seed=2), draws=200)
    decision = ask(Question(bytes=15e3, amount=1e12), loud)
    assert decision.crossing.share < 0.9
    assert not np.isfinite(decision.crossing.interval[1])
    assert "is not identified (about" in decision.sentence


def test_the_gap_of_a_verdict_covers_the_planted_gap():
    inside = []
    question = Question(bytes=29e3, amount=1e12)
    best = truth(question)
    for seed in range(12):
        table = planted(log_loss=0.005, relative=0.1, token=1e-4, seeds=4, seed=seed)
        losses, penalties = loss_observations(table), penalty_observations(table)
        weights = trunk_weights(losses.trunk, losses.x["N"], draws=200)
        decision = decide(question, table, fit(Chinchilla, losses, weights), fit(StepPenalty, penalties, weights))
        plans = {plan.bits: plan for plan in decision.plans}
        top = decision.plans[0].bits
        low, high = plans[3].gap_interval
        inside.append(low <= best[3][0] - best[top][0] <= high)
    assert sum(inside) >= 8  # 10.8 expected; fewer than 8 has a probability under 1 %


def test_budgets_far_outside_the_data_are_not_identified():
    decision = ask(Question(bytes=29e3, amount=1e16))
    assert not decision.identified
    assert "times outside the measured 328k to 10.5M" in decision.sentence
    assert ask(Question(bytes=29e3, amount=3e12)).identified  # a little outside is said, and answered


def test_a_lead_that_rounds_to_nothing_is_within_noise():
    decision = ask(Question(bytes=1e9, amount=4e11))
    assert decision.plans[0].bits == UNQUANTIZED
    assert "(int7, int8 within noise)" in decision.sentence or "(int8" in decision.sentence


def test_one_candidate_is_no_comparison():
    decision = ask(Question(bytes=3400, amount=1e12))
    assert [plan.bits for plan in decision.plans] == [3]
    assert not decision.identified
    assert decision.sentence == (
        "not identified: 3.4 kB hold no measured size at any precision but int3, so there is nothing to compare; "
        "raise the bytes or add smaller sizes."
    )


def test_one_seed_has_no_error():
    rows = [row for row in ANALYSIS.table if row["seed"] == 0 or row["params_blocks"] != 6656]
    cells = measured_cells(Question(bytes=29e3, amount=1e12), make_table(rows), (8.0,))
    assert {cell.error is None for cell in cells if cell.seeds == 1} == {True}
    assert {cell.error is None for cell in cells if cell.seeds == 3} == {False}


def test_a_table_without_quantized_rows_is_fitted_and_says_nothing_of_penalties():
    found = analyse(planted(bits=(), **NOISE), draws=50)
    assert found.base.health == "VALID"
    assert (found.penalty, found.rivals) == (None, None)


def test_one_bit_width_is_fitted_by_the_simplest_form():
    found = analyse(planted(bits=(4,), **NOISE), draws=50)
    assert type(found.penalty.law) is type(PENALTY)
    assert found.rivals is None  # no lower bits to predict


def test_groups_are_analysed_where_there_is_nothing_else():
    rows = [{**row, "ptq_granularity": "group" if row["ptq_bits"] else None} for row in planted(**NOISE)]
    assert analyse(make_table(rows), draws=50).granularity == "group"


def test_noise_that_hides_the_answer_is_admitted():
    loud = analyse(planted(log_loss=0.15, relative=0.5, token=1e-3, seed=2), draws=200)
    decision = ask(Question(bytes=29e3, amount=1e12), loud)
    assert not decision.identified
    assert decision.sentence.startswith("not identified: ")


def test_a_fit_that_is_not_valid_decides_nothing():
    sick = replace(ANALYSIS.penalty, health="STARTS_DISAGREE", sentence="only 10% of the starts agree")
    decision = decide(Question(bytes=29e3, amount=1e12), ANALYSIS.table, ANALYSIS.base, sick)
    assert not decision.identified
    assert decision.plans == ()  # numbers of a sick fit would only look like an answer
    assert decision.sentence == (
        "not identified: the fit of StepPenalty is STARTS_DISAGREE: only 10% of the starts agree."
    )


def test_bytes_that_nothing_fits_are_refused():
    with pytest.raises(SimlawError, match="no measured size fits 1000 bytes: the smallest takes 3200 at int3; raise"):
        ask(Question(bytes=1000, amount=1e12))


def test_fits_without_draws_are_refused():
    with pytest.raises(SimlawError, match="a decision needs fits with bootstrap draws"):
        decide(Question(bytes=29e3, amount=1e12), ANALYSIS.table, replace(ANALYSIS.base, draws=None), ANALYSIS.penalty)


def test_storage_is_exact_at_measured_sizes_and_between_them():
    storage = Storage.of(ANALYSIS.table, "bytes_blocks", "channel")
    assert storage.precisions == (3, 4, 5, 6, 7, 8, UNQUANTIZED)
    for row in ANALYSIS.table:
        bits = float(row["ptq_bits"] or UNQUANTIZED)
        assert storage.bytes(np.array(float(row["params_blocks"])), bits) == pytest.approx(
            row["bytes_blocks"], rel=1e-12
        )
    between = 13312.0
    assert storage.bytes(np.array(between), 4) == pytest.approx(between / 2 + 44 * (between / 26) ** 0.5, rel=1e-3)
    total = Storage.of(ANALYSIS.table, "bytes_total", "channel")
    assert total.bytes(np.array(between), UNQUANTIZED) == pytest.approx(
        2 * between + 2048 * (between / 26) ** 0.5, rel=1e-3
    )


def test_the_frontier_is_the_lower_envelope_of_its_curves():
    found = frontier(Question(bytes=np.inf, amount=8.4e11), ANALYSIS.table, ANALYSIS.base, ANALYSIS.penalty)
    assert (np.diff(found.envelope) <= 1e-12).all()
    for curve in found.curves:
        at = np.interp(np.log(curve.bytes), np.log(found.bytes), found.envelope)
        inside = (curve.bytes >= found.bytes[0]) & (curve.bytes <= found.bytes[-1])
        assert (curve.loss[inside] >= at[inside] - 2e-3).all()
        assert (curve.low <= curve.loss).all()
        assert (curve.loss <= curve.high).all()
    assert list(found.winner) == sorted(found.winner)  # with more bytes, more bits
    assert len(set(found.winner)) >= 4
    assert {cell.params for cell in found.measured} == {26624, 106496}
