"""Work on packs: resume is bit-identical, only what is missing is done, damage is repaired, divergence is a row."""

import contextlib
import dataclasses
import itertools

import jax
import numpy as np
import pytest
from safetensors.numpy import load, save

from simlaw.checkpoint import from_bytes
from simlaw.config import PTQ, WSD, AdamW, Cosine, EvalSpec, run_id, trunk_id
from simlaw.declared import digest
from simlaw.formats import NF4, Int, Quantizer
from simlaw.history import unpack_history
from simlaw.plan import Pack, shapes_of
from simlaw.run.found import stored_rows, stored_steps
from simlaw.run.work import Desk, Stopped, _Job, work
from simlaw.store import Store
from tests.conftest import MODEL, tiny_eval, tiny_run

LADDER = tuple(tiny_run(tokens=steps * 128) for steps in (20, 40))
EVALS = (tiny_eval(), *(tiny_eval(ptq=PTQ(quantizer=Quantizer(format=Int(bits=bits)))) for bits in (3, 4)))
PACK = Pack(members=(LADDER,), evals=EVALS)


class Clerk:
    """Does packs on a desk; counts the FLOPs of training told, and stops after so many boundaries."""

    def __init__(self, store, corpus, program):
        self.store, self.corpus, self.program = store, corpus, program

    def desk(self, tell, stop):
        """States are due at every boundary."""
        return Desk(store=self.store, corpus=self.corpus, tell=tell, stop=stop, due=lambda _: True)

    def do(self, pack, stop_after=None, stop_when=None):
        boundaries, told = itertools.count(1), []
        desk = self.desk(told.append, stop_when or (lambda: stop_after is not None and next(boundaries) >= stop_after))
        with contextlib.suppress(Stopped) if stop_when else contextlib.nullcontext():
            work(pack, desk, {self.program.shape: self.program})
        return [message.flops for message in told if message.flops]

    def id(self, spec):
        return run_id(spec, self.corpus.fingerprint)

    def rows(self, spec):
        return stored_rows(self.store, self.id(spec))

    def params(self, spec):
        files = self.store.get("run", self.id(spec))
        return jax.tree.map(np.asarray, from_bytes(files["params.safetensors"], shapes_of(MODEL)))

    def losses(self, spec):
        files = self.store.get("run", self.id(spec))
        return unpack_history(files["history.safetensors"], spec.steps).loss


@pytest.fixture
def clerk(store, corpus, program):
    return Clerk(store, corpus, program)


@pytest.fixture
def other(tmp_path, corpus, program):
    return Clerk(Store(root=tmp_path / "other"), corpus, program)


def assert_same(a, b, specs=LADDER):
    for spec in specs:
        assert a.rows(spec) == b.rows(spec)
        assert np.array_equal(a.losses(spec), b.losses(spec))
        jax.tree.map(np.testing.assert_array_equal, a.params(spec), b.params(spec))


def test_windows_floors_and_strata_are_made_once_for_all_runs(clerk, monkeypatch):
    asked = []
    for name in ("held_out", "floor", "strata"):
        own = getattr(type(clerk.corpus), name)
        monkeypatch.setattr(
            type(clerk.corpus), name, lambda *given, own=own, name=name: asked.append(name) or own(*given)
        )
    clerk.do(PACK)
    assert sorted(asked) == ["floor", "held_out", "strata"]


def test_a_pack_leaves_runs_rows_and_trunks(clerk):
    clerk.do(PACK)
    for spec in LADDER:
        rows = clerk.rows(spec)
        assert len(rows) == 3
        assert {row["ptq_bits"] for row in rows.values()} == {None, 3, 4}
        for row in rows.values():
            assert row["status"] == "done"
            assert row["tokens"] == spec.tokens
            assert row["excess"] == pytest.approx(row["loss"] - row["floor"], abs=1e-12)
            assert row["delta"] == 0 if row["ptq_bits"] is None else row["delta"] != 0
        assert len(clerk.losses(spec)) == spec.steps
    trunk = trunk_id(LADDER[0].trunk, clerk.corpus.fingerprint)
    assert stored_steps(clerk.store, [trunk]) == [(16, "trunk"), (32, "trunk")]


def test_done_again_it_does_nothing(clerk):
    clerk.do(PACK)
    assert clerk.do(PACK) == []


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_stopped_and_started_again_is_as_if_never_stopped(clerk, other, monkeypatch, stop_after):
    monkeypatch.setattr("simlaw.run.work.DISPATCH_STEPS", 5)
    other.do(PACK)
    with pytest.raises(Stopped):
        clerk.do(PACK, stop_after)
    clerk.do(PACK)
    assert_same(clerk, other)


@pytest.mark.parametrize("schedule", [WSD(warmup_tokens=0, cooldown=0.5), Cosine(warmup_tokens=256)])
def test_a_branch_stops_on_its_way_and_goes_on_where_it_was(clerk, other, monkeypatch, schedule):
    monkeypatch.setattr("simlaw.run.work.DISPATCH_STEPS", 5)
    (spec,) = runs = (tiny_run(tokens=40 * 128, schedule=schedule),)
    pack = Pack(members=(runs,), evals=EVALS)
    whole = other.do(pack)
    begun = clerk.do(pack, stop_when=lambda: bool(clerk.store.keys("partial", clerk.id(spec))))
    states = stored_steps(clerk.store, [clerk.id(spec)])
    assert states == [(spec.branch_step + 5, "partial")]
    assert not clerk.store.has("run", clerk.id(spec))
    rest = clerk.do(pack)
    assert sum(begun) + sum(rest) == pytest.approx(sum(whole))  # nothing was done twice
    assert_same(clerk, other, runs)
    assert clerk.store.keys("partial") == []


def test_branches_of_a_trunk_at_one_step_are_different_runs(clerk, other):
    """A run without a cool-down ends where another's begins, and a longer cool-down leaves at the same step."""
    short, long = (tiny_run(tokens=n * 128, schedule=WSD(warmup_tokens=0, cooldown=c)) for n, c in ((20, 0), (40, 0.5)))
    assert short.branch_step == long.branch_step == 20
    clerk.do(Pack(members=((short, long),), evals=EVALS))
    for spec in (short, long):
        other.do(Pack(members=((spec,),), evals=EVALS))
        assert_same(clerk, other, (spec,))


def test_states_on_the_way_are_dropped_and_those_at_branches_kept(clerk, monkeypatch):
    monkeypatch.setattr("simlaw.run.work.DISPATCH_STEPS", 5)
    clerk.do(PACK)
    trunk = trunk_id(LADDER[0].trunk, clerk.corpus.fingerprint)
    assert stored_steps(clerk.store, [trunk]) == [(16, "trunk"), (32, "trunk")]
    assert clerk.store.keys("partial") == []


def test_one_more_token_count_trains_only_what_is_new(clerk, other):
    first = Pack(members=(LADDER[:1],), evals=EVALS)
    one, both = sum(other.do(first)), sum(clerk.do(PACK))
    more = sum(other.do(PACK))
    assert one + more == pytest.approx(both)
    assert_same(clerk, other)


def test_a_token_count_below_the_last_gets_the_same_bits(clerk, other):
    clerk.do(PACK)
    other.do(Pack(members=(LADDER[1:],), evals=EVALS))
    other.do(PACK)
    assert_same(clerk, other)


def test_rows_of_another_version_are_measured_again_and_nothing_is_trained(clerk, other):
    for one in (clerk, other):
        one.do(Pack(members=(LADDER[:1],), evals=EVALS))
    store, run = clerk.store, clerk.id(LADDER[0])
    (key,) = store.keys("rows", run)
    lines = store.get("rows", key)["rows.csv"].decode().splitlines()
    store.remove("rows", key)
    old = "\n".join(line.rpartition(",")[0] for line in lines) + "\n"  # its last column came later
    store.put("rows", f"{run}/{digest(EVALS)}", {"rows.csv": old.encode()})
    assert clerk.rows(LADDER[0]) == {}
    before = [record["event"] for record in store.telemetry()].count("trained")
    clerk.do(Pack(members=(LADDER[:1],), evals=EVALS))
    assert clerk.rows(LADDER[0]) == other.rows(LADDER[0])
    assert [record["event"] for record in store.telemetry()].count("trained") == before


def test_one_more_precision_trains_nothing(clerk, other):
    other.do(PACK)
    clerk.do(dataclasses.replace(PACK, evals=EVALS[:2]))
    trained = {spec: clerk.params(spec) for spec in LADDER}
    clerk.do(PACK)
    for spec in LADDER:
        assert clerk.rows(spec) == other.rows(spec)
        jax.tree.map(np.testing.assert_array_equal, clerk.params(spec), trained[spec])
    assert [record["event"] for record in clerk.store.telemetry()].count(
        "trained"
    ) == 4  # two trunk pieces, two branches


def test_evaluations_that_take_long_are_stored_kind_by_kind(clerk, other, monkeypatch):
    """A stop between two kinds loses nothing of the first, and the rows are those of one go."""
    evals = (*EVALS, tiny_eval(ptq=PTQ(quantizer=Quantizer(format=NF4()))))
    pack = dataclasses.replace(PACK, evals=evals)
    other.do(pack)
    plain = clerk.desk
    monkeypatch.setattr(clerk, "desk", lambda *given: dataclasses.replace(plain(*given), batch_flops=0.0))
    clerk.do(pack, stop_when=lambda: bool(clerk.store.keys("rows")))
    there = clerk.store.keys("rows", clerk.id(LADDER[0]))
    assert 0 < len(clerk.rows(LADDER[0])) < len(evals)
    clerk.do(pack)
    assert len(clerk.store.keys("rows", clerk.id(LADDER[0]))) > len(there)
    assert_same(clerk, other)


def test_a_checkpoint_that_is_damaged_before_it_is_measured_is_trained_again(clerk, other):
    clerk.do(PACK)
    for key in clerk.store.keys("rows"):
        clerk.store.remove("rows", key)
    job = _Job(desk=clerk.desk(lambda _: None, lambda: False), programs={})
    clerk.store.remove("run", clerk.id(LADDER[0]))
    with pytest.raises(OSError, match="was damaged after it was stored"):
        job.evaluate(LADDER[0], EVALS)
    clerk.do(PACK)
    other.do(PACK)
    assert_same(clerk, other)


@pytest.mark.parametrize("kind", ["run", "rows", "trunk"])
def test_a_damaged_artefact_is_computed_again(clerk, other, kind):
    other.do(PACK)
    clerk.do(PACK)
    if kind == "trunk":  # only looked at when a run is missing
        clerk.store.remove("run", clerk.id(LADDER[1]))
        clerk.store.remove("rows", clerk.id(LADDER[1]))
    key = next(key for key in reversed(clerk.store.keys(kind)) if clerk.id(LADDER[1]) in key or kind == "trunk")
    victim = next(path for path in sorted((clerk.store.root / kind / key).iterdir()) if path.name != "SHA256SUMS")
    victim.write_bytes(victim.read_bytes()[:-10])
    clerk.do(PACK)
    assert_same(clerk, other)
    assert len(list((clerk.store.root / "aside").iterdir())) == 1


def test_a_state_of_an_older_version_is_set_aside_and_made_again(clerk, other):
    other.do(PACK)
    clerk.do(Pack(members=(LADDER[:1],), evals=EVALS))
    (key,) = clerk.store.keys("trunk")
    old = load(clerk.store.get("trunk", key)["state.safetensors"])
    old["[1]"] = old.pop("[1].loss")  # version 0.1 had no gradient norms
    del old["[1].gradient_norm"]
    clerk.store.remove("trunk", key)
    clerk.store.put("trunk", key, {"state.safetensors": save(old)})
    clerk.do(PACK)
    assert_same(clerk, other)
    aside = [record for record in clerk.store.faults() if record["event"] == "set aside"]
    assert "wanted float32[16]" in aside[0]["why"]


def test_a_pack_of_three_gives_each_what_it_gets_in_twos_and_alone(clerk, other):
    seeds = tuple(tuple(dataclasses.replace(spec, seed=seed) for spec in LADDER) for seed in range(3))
    clerk.do(Pack(members=seeds, evals=EVALS))
    for runs in (seeds[:2], seeds[2:]):
        other.do(Pack(members=runs, evals=EVALS))
    for runs in seeds:
        assert_same(clerk, other, runs)


def test_a_diverged_run_is_rows_with_a_sentence_and_no_number(clerk):
    wild = tuple(dataclasses.replace(spec, optimizer=AdamW(rate=0.02, rate_multiple=1e30)) for spec in LADDER)
    clerk.do(Pack(members=(wild,), evals=EVALS))
    for spec in wild:
        rows = list(clerk.rows(spec).values())
        assert len(rows) == 3
        for row in rows:
            assert row["status"] == "diverged"
            assert row["note"].startswith("training loss became nan at step ")
            assert row["note"].endswith(f"of {spec.steps} (peak learning rate 2e+28)")
            assert row["loss"] is row["delta"] is row["excess"] is None
    assert clerk.do(Pack(members=(wild,), evals=EVALS)) == []


def test_a_checkpoint_that_evaluates_to_nothing_is_diverged(clerk, monkeypatch):
    def broken(*args):
        return tuple(dataclasses.replace(m, loss=float("nan")) for m in real(*args))

    from simlaw.run import work as module

    real = module.measure
    monkeypatch.setattr(module, "measure", broken)
    clerk.do(PACK)
    assert {row["note"] for row in clerk.rows(LADDER[0]).values()} == {"the held-out loss is not finite"}


def test_evaluations_of_other_token_counts_do_not_mix(clerk):
    clerk.do(Pack(members=(LADDER[:1],), evals=(EvalSpec(tokens=1024),)))
    clerk.do(Pack(members=(LADDER[:1],), evals=(EvalSpec(tokens=512),)))
    assert sorted(row["eval_tokens"] for row in clerk.rows(LADDER[0]).values()) == [512, 1024]
