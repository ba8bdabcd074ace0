"""Throughput: steps learned from dispatches, planted and real, and the time that workers take together."""

import dataclasses

import numpy as np
import pytest

from simlaw.plan import Pack, packs
from simlaw.run.local import Local
from simlaw.run.throughput import Step, bounds, dispatches, kind_of, learned, makespan, trial, worth
from simlaw.run.work import Desk, work
from simlaw.train import shape_of
from tests.conftest import tiny_eval, tiny_run
from tests.test_layout import cells, tell

SPEC = tiny_run()


def test_a_line_through_medians_is_learned():
    sizes = np.repeat([1, 2, 8, 32], 3)
    seconds = 5.0 + 0.5 * sizes
    seconds[::3] += 100.0  # what was disturbed
    found = learned(sizes.tolist(), seconds.tolist())
    assert (found.fixed, found.each) == (pytest.approx(5.0), pytest.approx(0.5))
    assert learned([16, 16], [1.0, 1.1]) is None
    assert learned([1, 2], [1.0, 2.5]) == Step(fixed=0.0, each=1.125, measured=True)
    assert learned([1, 2], [1.0, 0.9]) == Step(fixed=1.0, each=0.0, measured=True)


def test_dispatches_of_training_are_known_by_kind(store, corpus, program):
    desk = Desk(store=store, corpus=corpus, tell=lambda _: None, stop=lambda: False)
    pack = Pack(members=((SPEC,),), evals=(tiny_eval(),))
    for _ in range(2):  # the first may compile
        work(pack, desk, {shape_of(SPEC): program})
        for kind in ("run", "trunk", "partial"):
            for key in store.keys(kind):
                store.remove(kind, key)
    seen = dispatches(store, "cpu")
    assert {(one.kind, one.members, one.working) for one in seen} == {(kind_of(SPEC), 1, 1)}
    assert all(0 < one.seconds < 1 for one in seen)
    assert dispatches(store, "cpu", (1, 2, 1)) == dispatches(store, "gpu") == []


def test_a_pack_on_a_mesh_counts_as_filled_up(store):
    for members in (3, 4, 5):
        tell(store, SPEC, [0.1], members=members, mesh=[4, 1, 1])
    assert [one.members for one in dispatches(store, "cpu", (4, 1, 1))] == [4, 4, 8]


def test_of_one_size_alone_the_fixed_part_has_bounds(store):
    tell(store, SPEC, [0.1, 0.1], members=4)
    least, most = bounds(SPEC, dispatches(store, "cpu"), store, "cpu")
    assert least.fixed < most.fixed
    for step in (least, most):
        assert step.fixed + 4 * step.each == pytest.approx(0.1)
        assert not step.measured


def test_how_many_were_at_work_is_counted(store):
    alone = tell(store, SPEC, [1.0] * 3)
    together = tell(store, SPEC, [1.0] * 3, at=alone + 1e6)
    tell(store, SPEC, [1.0] * 3, at=together + 5)
    seen = dispatches(store, "cpu")
    assert [one.working for one in seen] == [1] * 3 + [2] * 6
    assert worth(seen * 8, 2) == 2  # both as fast as one


def test_the_time_of_a_sweep_is_that_of_the_last_worker():
    made = packs(cells(seeds=3), 1)  # three of width 16, three of 8
    steps = made[0].members[0][0].steps
    step = {kind_of(pack.members[0][0]): Step(fixed=1.0, each=0.0, measured=True) for pack in made}
    compiling = 4.0 + 3.0  # training, evaluation
    assert makespan(made, step, 1) == 6 * steps + 2 * compiling
    assert makespan(made, step, 2) == 3 * steps + 2 * compiling
    assert makespan(packs(cells(seeds=3), 3), step, 2) == steps + compiling
    assert makespan(packs(cells(seeds=3), 2), step, 1) == 4 * steps + 2 * compiling + 2 * 4.0  # of two and of one
    assert makespan(packs(cells(seeds=3), 2), step, 1, unit=2) == 4 * steps + 2 * compiling  # filled up
    assert makespan([], step, 2) == 0.0


def test_an_evaluation_goes_as_fast_as_training():
    pack = Pack(members=((SPEC,), (dataclasses.replace(SPEC, seed=1),)), evals=(tiny_eval(tokens=3 * 128 * 7),))
    assert Step(fixed=1.0, each=10.0, measured=True).pack(pack) == 20 * (1 + 2 * 10) + 2 * 7 * 10


def test_a_trial_is_a_worker_that_measures_once(store, monkeypatch):
    engine = Local()
    found = trial(SPEC, (1, 2), store, engine)
    assert found is not None
    assert min(found.fixed, found.each) >= 0  # under load two may seem to take no longer than one
    assert 0 < found.fixed + found.each < 0.1
    monkeypatch.setattr("simlaw.run.throughput.subprocess", None)
    assert trial(SPEC, (1, 2), store, engine) == found  # out of the store


def test_a_trial_that_fails_says_nothing(store):
    assert trial(SPEC, (1, 2), store, Local(device="tpu")) is None
    assert not (store.root / "machine.json").exists()
