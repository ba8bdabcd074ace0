"""Choices by a law alone: brute force on published laws, verdicts in words, honest refusals."""

from dataclasses import replace

import numpy as np
import pytest

import simlaw as sl
from simlaw.choice import SHIPPED, Shipped
from simlaw.errors import SimlawError
from simlaw.fitting import fit
from simlaw.laws import Chinchilla, StepPenalty
from simlaw.observations import loss_observations, penalty_observations
from simlaw.published import besiroglu2024, kumar2024, ouyang2024
from simlaw.uncertainty import trunk_weights
from tests.planted import planted

TABLE = planted(log_loss=0.003, relative=0.1, token=1e-4, seeds=6)
LOSSES, PENALTIES = loss_observations(TABLE), penalty_observations(TABLE)
WEIGHTS = trunk_weights(LOSSES.trunk, LOSSES.x["N"], draws=200)
BASE, PENALTY = fit(Chinchilla, LOSSES, WEIGHTS), fit(StepPenalty, PENALTIES, WEIGHTS)


def test_every_format_gets_its_best_size():
    found = sl.decide(kumar2024, bytes=82.5e6, flops=1.7e19)
    for candidate in found.candidates:
        most = 82.5e6 * 8 / candidate.format.stored
        sizes = np.geomspace(most / 100, most, 5001)
        losses = kumar2024.loss(N=sizes, D=1.7e19 / 6 / sizes, P_post=candidate.format.bits)
        assert candidate.loss == pytest.approx(losses.min(), abs=2e-5)
        assert candidate.params <= most * (1 + 1e-12)
    assert [c.loss for c in found.candidates] == sorted(c.loss for c in found.candidates)
    assert found.candidates[0].format.name == "int5 g128"
    assert found.sentence.startswith("quantize N=129M in int5 g128, within 82.5 MB and 1.7e19 training FLOPs: 3.31")


def test_with_bytes_to_spare_nobody_needs_to_quantize():
    found = sl.decide(kumar2024, bytes=1e10, flops=1e19)
    assert found.sentence.startswith("train N=")
    assert " in bf16, within 10 GB" in found.sentence


def test_a_fit_and_its_penalty_decide_with_intervals():
    found = sl.decide(BASE, penalty=PENALTY, bytes=29e3, flops=1e12)
    assert sum(c.best for c in found.candidates) == pytest.approx(1)
    assert all(c.interval[0] <= c.loss <= c.interval[1] for c in found.candidates)
    assert "int2 g128" not in [c.format.name for c in found.candidates]  # no row has 2 bits
    assert found.identified
    assert "(90 % interval " in found.sentence


def test_what_cannot_be_told_apart_is_not_identified():
    alike = (Shipped(name="bf16", bits=np.inf, stored=6.0 * 1.0355), Shipped(name="int6", bits=6, stored=6.0))
    found = sl.decide(BASE, penalty=PENALTY, bytes=12e3, flops=1e12, formats=alike)
    assert not found.identified
    assert found.sentence.startswith("not identified: within 12 kB and 1e12 training FLOPs, N=")


def test_a_sick_fit_decides_nothing():
    sick = replace(PENALTY, health="COLLAPSED", sentence="g_post ran to 0")
    found = sl.decide(BASE, penalty=sick, bytes=29e3, flops=1e12)
    assert (found.identified, found.candidates) == (False, ())
    assert found.sentence == "not identified: the fit of StepPenalty is COLLAPSED: g_post ran to 0."


def test_scales_are_stored_too():
    for shipped in SHIPPED:
        if shipped.name.endswith("g128"):
            assert shipped.stored == shipped.bits + 16 / 128
    assert {s.name: s.stored for s in SHIPPED}["nvfp4"] == 4 + 8 / 16
    assert {s.name: s.stored for s in SHIPPED}["mxfp4"] == 4 + 8 / 32


@pytest.mark.parametrize(
    ("law", "changes", "sentence"),
    [
        (kumar2024, {"bytes": 0}, "bytes=0: it must be a number above 0"),
        (kumar2024, {"flops": -2}, "flops=-2: it must be a number above 0"),
        (besiroglu2024, {}, "Chinchilla does not know P_post, so it cannot weigh formats: give penalty=…, or take"),
        (kumar2024, {"flops": 1e26, "bytes": 1e13}, "the answer lies outside the rows of the fit in N by "),
        (ouyang2024, {"penalty": PENALTY}, "the law has a penalty of its own: leave penalty=… out"),
    ],
)
def test_refusals(law, changes, sentence):
    with pytest.raises(SimlawError) as caught:
        sl.decide(law, **{"bytes": 16e6, "flops": 1e18, **changes})
    assert str(caught.value).startswith(sentence)


def test_the_forms_own_error_widens_the_intervals():
    bare = sl.decide(replace(BASE, misfit=0.0), penalty=replace(PENALTY, misfit=0.0), bytes=29e3, flops=1e12)
    wide = sl.decide(replace(BASE, misfit=0.02), penalty=replace(PENALTY, misfit=0.2), bytes=29e3, flops=1e12)

    def width(found):
        return np.mean([c.interval[1] - c.interval[0] for c in found.candidates])

    assert width(wide) > 2 * width(bare)
