"""Observations: what enters a fit and what does not, and noise measured from replicates."""

import dataclasses

import numpy as np
import pytest

from simlaw.errors import SimlawError
from simlaw.observations import (
    loss_observations,
    penalty_cells,
    penalty_observations,
    rate_checks,
    usable,
)
from simlaw.seednoise import relative_step, seed_noise
from simlaw.table import Table, make_table
from tests.planted import PENALTY, planted, trained_at

NOISY = planted(log_loss=0.02, relative=0.2, token=1e-4, seeds=20)


def changed(table, count, **values):
    rows = [{**row, **(values if i < count else {})} for i, row in enumerate(table)]
    return Table(rows=tuple(rows))


def test_the_spread_between_seeds_is_measured():
    noise = seed_noise(NOISY)
    # trunks share their shift, so 20 seeds and 18 cells tell as much as 20 seeds and 3 sizes
    assert noise.log_loss == pytest.approx(0.02, rel=0.25)
    assert noise.relative == pytest.approx(0.2, rel=0.25)
    assert noise.per_step * relative_step(np.array(4)) < 2e-4  # no more than the token noise that was planted


def test_the_spread_of_two_seeds_is_that_of_their_difference():
    rows = [row for row in planted(seeds=2) if row["ptq_bits"] is None]
    losses = {0: 2.0, 1: 2.1}
    table = make_table([{**row, "loss": losses[row["seed"]]} for row in rows])
    assert seed_noise(table).log_loss == pytest.approx(np.log(2.1 / 2.0) / np.sqrt(2), rel=1e-12)


def test_a_spread_in_proportion_to_the_step_is_told_from_one_in_proportion_to_delta():
    rng = np.random.default_rng(0)
    rows = []
    for row in planted(log_loss=0.01, seeds=20):
        push = 0.03 * float(relative_step(np.array(row["ptq_bits"]))) * rng.normal() if row["ptq_bits"] else 0.0
        rows.append({**row, "delta": row["delta"] + push})
    noise = seed_noise(make_table(rows))
    assert noise.per_step == pytest.approx(0.03, rel=0.1)
    assert noise.relative < 0.05


def test_relative_step():
    assert relative_step(np.array([2.0, 3.0, 8.0])).tolist() == [1, 1 / 3, 1 / 127]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"status": "diverged"}, "diverged"),
        ({"rate_multiple": 2.0}, "learning-rate check"),
        ({"epochs": 1.5}, "beyond one epoch"),
        ({"train_weights_bits": 4}, "quantised training"),
    ],
)
def test_rows_are_left_out_for_a_reason(values, reason):
    kept, left_out = usable(changed(NOISY, 7, **values))
    assert left_out == {reason: 7}
    assert len(kept) == len(NOISY) - 7


def test_nothing_left_says_what_went():
    with pytest.raises(SimlawError, match=r"no row is left to fit \(2520 diverged\): run cells without these"):
        usable(changed(NOISY, len(NOISY), status="diverged"))


def test_rows_of_another_granularity_are_counted():
    rows = [{**row, "eval_id": f"{row['eval_id']}g", "ptq_granularity": "group"} for row in NOISY if row["ptq_bits"]]
    seen = penalty_observations(Table(rows=(*NOISY, *rows)))
    assert seen.left_out["per group (--where ptq_granularity=group)"] == 3 * 6 * 20 * 6


def test_repeated_data_may_be_asked_for():
    kept, left_out = usable(changed(NOISY, 7, epochs=1.5), repeats=True)
    assert len(kept) == len(NOISY)
    assert not left_out


def test_losses_are_those_of_models_as_trained():
    seen = loss_observations(NOISY)
    assert len(seen.y) == 3 * 6 * 20
    assert np.allclose(seen.sigma / seen.y, seed_noise(NOISY).log_loss)


def test_penalties_keep_small_and_negative_values():
    seen = penalty_observations(NOISY)
    assert (seen.y < 0).any()
    assert len(seen.y) == 3 * 6 * 20 * 6
    assert seen.left_out["below 3 bits"] == 0
    cell = (seen.x["N"] == 6656) & (seen.x["D"] == 10_485_760) & (seen.x["P_post"] == 4)
    assert cell.sum() == 20
    seeds = seed_noise(NOISY).delta(np.array([seen.y[cell].mean()]), np.array([4.0]))[0]
    assert np.allclose(seen.sigma[cell], np.hypot(1e-4, seeds))


def test_a_cell_under_the_noise_floor_says_so():
    cells = {(c.params, c.tokens, c.bits): c for c in penalty_cells(planted(log_loss=0.01, relative=0.2, token=5e-4))}
    assert len(cells) == 3 * 6 * 6
    assert cells[6656, 10_485_760, 3].visible
    assert not cells[106496, 327_680, 8].visible
    assert all(cell.seeds == 3 for cell in cells.values())


def test_rate_checks_pair_seeds():
    rows = [row for row in planted(log_loss=0.05) if row["ptq_bits"] is None]
    for row in list(rows):
        if row["tokens"] == 655_360 and row["seed"] == 1:
            rows += [
                {
                    **row,
                    "rate_multiple": m,
                    "loss": row["loss"] + 0.1 * abs(np.log(m)),
                    "eval_id": f"{row['eval_id']}-{m}",
                }
                for m in (0.5, 2.0)
            ]
    low = [
        {**row, **trained_at(3, 4), "eval_id": f"{row['eval_id']}-low"} for row in rows if row["params_blocks"] == 6656
    ]
    found = rate_checks(make_table([*rows, *low]))
    assert [(check.precision, check.params) for check in found if check.precision != "16 bit"] == [("W3 A4", 6656)]
    checks = [check for check in found if check.precision == "16 bit"]
    assert [(c.params, c.tokens, c.multiples) for c in checks] == [
        (n, 655_360, (0.5, 1.0, 2.0)) for n in (6656, 26624, 106496)
    ]
    assert all(c.verdict == "the rule's rate is the best" for c in checks)
    off = dataclasses.replace(checks[0], losses=(2.0, 1.99, 1.9), noise=0.01)
    assert off.verdict == "2 x is 0.090 nats better: mend the rule"
    assert dataclasses.replace(off, noise=0.1).verdict == "2 x is 0.090 nats better, within the noise of 0.100"
    assert checks[0].noise == pytest.approx(
        seed_noise(usable(make_table(rows))[0]).log_loss * checks[0].losses[1] * 2**0.5
    )


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"cooldown": 0.4},
            r"the rows differ in cooldown \(0.2, 0.4\), which no law knows: choose, for .*cooldown=0.2",
        ),
        ({"corpus_fingerprint": "f"}, "the rows differ in corpus_fingerprint"),
        ({"peak_rate": 0.5}, r"the rows of 6656 parameters differ in peak_rate \(0.5, None\)"),
        ({"warmup_tokens": 5}, r"the rows of 6656 parameters differ in warmup_tokens \(5, None\)"),
    ],
)
def test_rows_that_differ_in_what_no_law_knows_are_no_replicates(values, sentence):
    with pytest.raises(SimlawError, match=sentence):
        usable(changed(NOISY, 7, **values))


def test_two_group_sizes_are_not_pooled():
    rows = [{**row, "ptq_granularity": "group", "ptq_group": 16 * (1 + i % 2)} for i, row in enumerate(NOISY)]
    with pytest.raises(SimlawError, match=r"the rows quantized per group differ in ptq_group \(16, 32\)"):
        penalty_observations(Table(rows=tuple(r for r in rows if r["ptq_bits"])), granularity="group")


def test_the_spread_is_taken_where_the_law_says_and_not_where_chance_put_the_cell():
    seen = penalty_observations(NOISY, expected=PENALTY)
    noise = seed_noise(usable(NOISY)[0])
    spread = noise.delta(PENALTY.penalty(**seen.x), seen.x["P_post"])
    assert np.allclose(seen.sigma, np.hypot(1e-4, spread))
    assert not np.allclose(seen.sigma, penalty_observations(NOISY).sigma)


def test_refusals():
    with pytest.raises(SimlawError, match="no size and token count has two seeds"):
        seed_noise(planted(seeds=1))
    with pytest.raises(SimlawError, match="no row quantised per group at 3 bits or more: add PTQ"):
        penalty_observations(NOISY, granularity="group")
