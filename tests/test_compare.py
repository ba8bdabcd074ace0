"""Comparing rows made here with the committed ones: what agrees, what does not, what cannot be compared."""

import pytest

from simlaw.compare import compare
from simlaw.sweep import Tolerance
from simlaw.table import make_table
from tests.planted import planted

COMMITTED = planted(log_loss=0.01, relative=0.2, token=1e-4)
TOLERANCE = Tolerance(loss=0.03, delta=5.0)


def rows_with(bits, **changes):
    """The committed rows, where those of one bit-width have something added to their values."""
    return make_table(
        [
            {**row, **({name: row[name] + by for name, by in changes.items()} if row["ptq_bits"] == bits else {})}
            for row in COMMITTED
        ]
    )


def test_the_same_rows_agree():
    agreement = compare(COMMITTED, COMMITTED, TOLERANCE)
    assert agreement.agrees
    assert agreement.shared == len(COMMITTED)
    assert agreement.loss == agreement.delta == 0


def test_a_loss_beyond_the_tolerance_does_not_agree():
    assert compare(rows_with(None, loss=0.029), COMMITTED, TOLERANCE).agrees
    agreement = compare(rows_with(None, loss=0.031), COMMITTED, TOLERANCE)
    assert not agreement.agrees
    assert agreement.loss == pytest.approx(0.031)
    assert "do NOT agree" in agreement.sentence


def test_a_penalty_is_held_to_the_spread_of_seeds_and_not_to_the_tolerance_of_losses():
    small = min(row["delta"] for row in COMMITTED if row["ptq_bits"] == 3)
    assert compare(rows_with(3, delta=small, loss=small), COMMITTED, TOLERANCE).agrees
    agreement = compare(rows_with(8, delta=0.5, loss=0.5), COMMITTED, TOLERANCE)
    assert not agreement.agrees
    assert agreement.loss == 0
    assert agreement.delta > 5


def test_another_status_does_not_agree():
    first, *rest = COMMITTED
    changed = make_table([{**first, "status": "diverged", "loss": None}, *rest])
    agreement = compare(changed, COMMITTED, TOLERANCE)
    assert not agreement.agrees
    assert agreement.sentence.endswith("1 with another status")


@pytest.mark.parametrize(
    ("change", "why"),
    [({"corpus_fingerprint": "0" * 16}, "the corpus here is 0000000000000000, theirs"), ({}, "the sweep changed")],
)
def test_rows_without_twins_are_not_compared(change, why):
    others = make_table([{**row, "eval_id": f"{row['eval_id']}x", **change} for row in COMMITTED])
    agreement = compare(others, COMMITTED, TOLERANCE)
    assert (agreement.agrees, agreement.shared) == (False, 0)
    assert why in agreement.sentence
