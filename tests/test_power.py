"""The power of designs: what simulated fits of them find, and what they do not."""

import dataclasses
import math

import pytest

from simlaw.designs import design, power
from simlaw.designs.plausible import plausible
from simlaw.designs.power import power_table
from simlaw.laws import Chinchilla, StepPenalty
from tests.test_designs import LOSS, PENALTY, SIZES, TOKENS, cells, grid


def test_power_finds_what_is_there_and_counts_what_is_not():
    x, trunk = grid(sizes=SIZES[:3], evals=(3, 4, 5))
    found = design(StepPenalty, x, trunk, law=PENALTY)
    rows, told = found.rows.of(StepPenalty), []
    strong = power(found.laws[0], rows, found.noise, draws=12, tell=told.append)
    assert sum(told) == 12
    by_name = {one.name: one for one in strong.parameters}
    assert by_name["gD"].seen == strong.valid > 0.5
    line = next(line for line in power_table([strong]).splitlines() if "gD" in line)
    assert line.split()[:3] == ["StepPenalty", f"{strong.valid:.0%}", "gD"]
    assert by_name["gD"].spread == pytest.approx(found.prospects[0].error["gD"], rel=0.6)
    flat = plausible(StepPenalty, rows.x, dataclasses.replace(PENALTY, gN=0.02))
    weak = power(flat, rows, found.noise, draws=12)
    assert {one.name: one.seen for one in weak.parameters}["gN"] < 0.3


def test_what_an_unhealthy_fit_shows_is_not_seen():
    found = design(Chinchilla, *grid(sizes=SIZES[:2]), law=LOSS)
    nothing = power(found.laws[0], found.rows.of(Chinchilla), found.noise, draws=3)
    assert nothing.valid == 0
    assert {one.name: one.seen for one in nothing.parameters}["beta"] == 0
    assert nothing.why


def test_power_of_a_design_that_no_fit_takes_is_none():
    x, trunk = cells([(SIZES[0], d) for d in TOKENS[:2]], seeds=1)
    found = design(Chinchilla, x, trunk, law=LOSS)
    none = power(found.laws[0], found.rows.of(Chinchilla), found.noise, draws=2)
    assert (none.valid, none.why) == (0.0, "no fit")
    assert math.isnan(none.parameters[0].spread)
