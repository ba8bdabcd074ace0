"""Journals: what they hold is the history, and neither a kill nor a resume loses or doubles a line."""

import itertools
import json

import numpy as np
import pytest

from simlaw.checkpoint import from_bytes
from simlaw.config import run_id
from simlaw.history import History
from simlaw.plan import Pack
from simlaw.run.journal import (
    JOURNAL_STEPS,
    TIMED,
    Pace,
    journal_path,
    read_journal,
    run_journal,
    state_bytes,
    trunk_journal,
)
from simlaw.run.work import Desk, Stopped, work
from simlaw.store import Store
from simlaw.train import rates, shape_of
from tests.conftest import tiny_eval, tiny_run

SPEC = tiny_run(tokens=40 * 128)
PACK = Pack(members=((tiny_run(), SPEC),), evals=(tiny_eval(),))
PACE = Pace(seconds=0.5, step_ms=500.0, tokens_per_s=256.0, utilisation=0.25)


def history(steps, seed=0):
    rng = np.random.default_rng(seed)
    return History(*rng.uniform(1, 3, (2, steps)).astype(np.float32))


@pytest.fixture
def journal(store):
    return run_journal(store, SPEC, "f")


def test_lines_are_means_of_the_steps_since_the_line_before(journal):
    seen = history(40)
    journal.begin(seen, 0)
    journal.add(History(*(x[:24] for x in seen)), 0, 24, PACE)
    journal.add(seen, 24, 40, PACE)
    lines = journal.lines()
    assert [line["step"] for line in lines] == [16, 32, 40]
    for line, (start, end) in zip(lines, ((0, 16), (16, 32), (32, 40)), strict=True):
        assert line["tokens"] == 128 * end
        assert line["loss"] == pytest.approx(seen.loss[start:end].astype(np.float64).mean(), abs=1e-6)
        assert line["gradient_norm"] == pytest.approx(seen.gradient_norm[start:end].astype(np.float64).mean(), abs=1e-6)
        assert line["rate"] == pytest.approx(rates(SPEC, [end - 1], cool=True)[0], rel=1e-5)
        assert [line[name] for name in TIMED] == [500, 256, 0.25, 0.5 * (end - start)]
        assert line["state_bytes"] == state_bytes(SPEC)


def test_rates_rise_stay_and_fall():
    # two steps of warm-up; 32 of 40 at the peak of 0.02; the last of the 8 that cool is 1/9 of it
    found = rates(SPEC, [0, 1, 31, 32, 39], cool=True)
    assert found == pytest.approx([0.01, 0.02, 0.02, 0.02 * 8 / 9, 0.02 / 9], rel=1e-6)
    assert rates(SPEC, [0, 39], cool=False) == pytest.approx([0.01, 0.02], rel=1e-6)
    assert len(rates(SPEC, range(20), cool=True)) == 20


def test_a_journal_begun_again_neither_doubles_nor_keeps_what_comes_later(journal):
    seen = history(40)
    journal.begin(seen, 0)
    journal.add(seen, 0, 40, PACE)
    before = journal.lines()
    journal.begin(seen, 20)
    assert journal.lines() == before[:1]
    journal.add(History(*(x[:33] for x in seen)), 20, 33, PACE)
    assert [line["step"] for line in journal.lines()] == [16, 32]


def test_lines_that_are_not_there_are_made_from_the_history_without_times(journal):
    seen = history(40)
    journal.begin(seen, 33)
    assert [[line["step"], *(line[name] for name in TIMED)] for line in journal.lines()] == [
        [16, None, None, None, None],
        [32, None, None, None, None],
    ]
    assert journal.lines()[0]["loss"] == pytest.approx(seen.loss[:16].astype(np.float64).mean(), abs=1e-6)


def test_a_line_that_was_cut_off_is_passed_over_and_made_again(journal):
    seen = history(40)
    journal.begin(seen, 0)
    journal.add(seen, 0, 32, PACE)
    journal.path.write_bytes(journal.path.read_bytes()[:-20])
    assert [line["step"] for line in journal.lines()] == [16]
    journal.begin(seen, 32)
    assert [line["step"] for line in journal.lines()] == [16, 32]
    assert all(json.loads(text) for text in journal.path.read_text().splitlines())


def test_what_is_not_finite_is_null(journal):
    seen = history(40)
    seen.loss[20:] = np.inf
    seen.gradient_norm[20:] = np.nan
    journal.begin(seen, 40)
    assert [(line["loss"], line["gradient_norm"]) for line in journal.lines()][1:] == [(None, None)] * 2
    json.loads(journal.path.read_text().splitlines()[-1], parse_constant=pytest.fail)


def test_a_branch_takes_no_line_from_beyond_where_it_leaves(store):
    spec = tiny_run(tokens=64 * 128)  # leaves at step 51
    trunk, seen, mine = trunk_journal(store, spec, "f"), history(80), history(64, seed=1)
    trunk.begin(seen, 80)  # the trunk went on for a longer run
    assert [line["step"] for line in trunk.lines()] == [16, 32, 48, 64, 80]
    branch = run_journal(store, spec, "f")
    branch.begin(mine, 64)
    assert [line["step"] for line in branch.lines()] == [16, 32, 48, 64]
    assert branch.lines()[:3] == trunk.lines()[:3]
    assert branch.lines()[3]["loss"] == pytest.approx(mine.loss[48:].astype(np.float64).mean(), abs=1e-6)


def test_work_leaves_a_journal_of_every_run_also_after_a_stop(store, tmp_path, corpus, program, monkeypatch):
    monkeypatch.setattr("simlaw.run.work.DISPATCH_STEPS", 5)
    other, asked = Store(root=tmp_path / "other"), itertools.count()
    for where, stop in ((other, lambda: False), (store, lambda: next(asked) >= 2)):
        desk = Desk(store=where, corpus=corpus, tell=lambda _: None, stop=stop, due=lambda _: True)
        try:
            work(PACK, desk, {shape_of(SPEC): program})
        except Stopped:
            again = Desk(store=where, corpus=corpus, tell=lambda _: None, stop=lambda: False)
            work(PACK, again, {shape_of(SPEC): program})
    for spec in PACK.members[0]:
        run = run_id(spec, corpus.fingerprint)
        lines, whole = (read_journal(journal_path(where, run)) for where in (store, other))
        bare = [[{k: v for k, v in line.items() if k not in TIMED} for line in found] for found in (lines, whole)]
        assert bare[0] == bare[1]
        assert [line["step"] for line in lines] == [*range(JOURNAL_STEPS, spec.steps, JOURNAL_STEPS), spec.steps]
        assert all(line["tokens_per_s"] > 0 for line in whole)
        stored = from_bytes(
            store.get("run", run)["history.safetensors"],
            {name: np.empty(spec.steps, np.float32) for name in History._fields},
        )
        last = np.asarray(stored["loss"])[(spec.steps - 1) // JOURNAL_STEPS * JOURNAL_STEPS :].astype(np.float64).mean()
        assert lines[-1]["loss"] == pytest.approx(last, abs=1e-6)
