"""Status: every condition a cell can be in, from the store and the committed table."""

import dataclasses
import json
import os
import re
import socket
import time
from pathlib import Path

import pytest

from simlaw.accounting import flops_forward_per_token
from simlaw.config import AdamW, Graph, ZFact, trunk_id
from simlaw.corpora import open_corpus
from simlaw.declared import canonical
from simlaw.errors import SimlawError
from simlaw.plan import expand, packs
from simlaw.run import attempt
from simlaw.run.estimate import estimate
from simlaw.run.found import Listing, statuses, stored_rows, stored_steps
from simlaw.run.local import Local
from simlaw.run.manifest import Manifest, read_manifest, submit
from simlaw.run.message import Message, Task, read_message
from simlaw.run.status import status_of
from simlaw.run.work import Desk, work
from simlaw.run.worker import run_worker
from simlaw.store import Leases, Store
from simlaw.sweep import Grid, PTQGrid, load_sweep
from simlaw.table import make_table
from simlaw.train import shape_of
from tests.conftest import ROOT, tiny_run

SMOKE = load_sweep(str(ROOT / "sweeps" / "smoke")).sweep
SWEEP = dataclasses.replace(SMOKE, grids=(Grid(widths=(16,), tokens=(20 * 128, 40 * 128), seeds=(0, 1)),))


@pytest.fixture
def plan(corpus):
    return expand(SWEEP, corpus.fingerprint)


@pytest.fixture
def done(plan, store, corpus, program):
    """The plan with the trunk of seed 0 done."""
    assert shape_of(plan.cells[0].spec) == shape_of(tiny_run())
    desk = Desk(store=store, corpus=corpus, tell=lambda _: None, stop=lambda: False)
    work(packs(plan.cells, 1)[0], desk, {shape_of(tiny_run()): program})
    return plan


def conditions(plan, store, committed=None):
    status = status_of(plan, store, committed)
    return [cell.condition for cell in status.cells], status


def fingerprints(corpus):
    return {SWEEP.corpus: corpus.fingerprint}


def manifest(plan, corpus):
    return Manifest(corpora=(SWEEP.corpus,), fingerprints=(corpus.fingerprint,), packs=packs(plan.cells, 1))


def test_done_and_missing(done, store):
    found, status = conditions(done, store)
    assert found == ["done", "done", "missing", "missing"]
    assert [cell.spec.seed for cell in status.todo] == [1, 1]
    assert len(status.rows) == 2 * 7


def test_committed_rows_count_as_done(done, store, tmp_path):
    _, status = conditions(done, store)
    empty = Store(root=tmp_path / "empty")
    found, again = conditions(done, empty, status.rows)
    assert found == ["done", "done", "missing", "missing"]
    assert again.rows == status.rows


def test_rows_of_another_corpus_do_not_count(done, store, tmp_path):
    _, status = conditions(done, store)
    other = expand(SWEEP, "another corpus")
    found, _ = conditions(other, Store(root=tmp_path / "empty"), status.rows)
    assert found == ["missing"] * 4


def test_counting_looks_at_ids_and_conditions_alone(done, store, corpus):
    run = done.cells[0].run_id
    (key,) = store.keys("rows", run)
    files = store.get("rows", key)
    text = files["rows.csv"].decode()
    assert statuses(text, run) == {row["eval_id"]: row["status"] for row in stored_rows(store, run).values()}
    assert len(statuses(text, run)) == 7
    # a note may hold anything, a line break and what looks like a row too
    noted = [{**row, "note": "a\nb,c,d,e,f\nz"} for row in stored_rows(store, run).values()]
    assert statuses(make_table(noted).to_csv(), run) == statuses(text, run)
    # rows in two artefacts are those of both
    store.remove("rows", key)
    for part in (noted[:3], noted[2:]):
        store.put("rows", f"{run}/{part[0]['eval_id']}", {"rows.csv": make_table(part).to_csv().encode()})
    found, status = conditions(done, store)
    assert found == ["done", "done", "missing", "missing"]
    assert len(status.rows) == 2 * 7
    store.remove("rows", f"{run}/{noted[0]['eval_id']}")
    found, status = conditions(done, store)
    assert found == ["missing", "done", "missing", "missing"]
    assert status.cells[0].note == "5 of 7 evaluations are there"
    assert sum(cell.trained for cell in status.cells) == 1
    assert len(status.rows) == 5 + 7


def test_rows_that_are_damaged_or_of_another_version_are_missing(done, store):
    (first,), (second,) = (store.keys("rows", cell.run_id) for cell in done.cells[:2])
    path = store.root / "rows" / first / "rows.csv"
    path.write_bytes(path.read_bytes()[:-1])
    text = store.get("rows", second)["rows.csv"].decode()
    store.remove("rows", second)
    store.put("rows", second, {"rows.csv": text.replace("run_id,", "run,", 1).encode()})
    found, status = conditions(done, store)
    assert found == ["missing"] * 4
    assert (len(status.rows), sum(cell.trained for cell in status.cells)) == (0, 2)


def test_one_listing_says_what_many_said(done, store):
    listing = Listing(store)
    for cell in done.cells:
        trunk = trunk_id(cell.spec.trunk, cell.fingerprint)
        assert listing.steps(trunk) == stored_steps(store, [trunk])
        assert listing.steps(cell.run_id) == stored_steps(store, [cell.run_id])
        assert listing.has("run", cell.run_id) == store.has("run", cell.run_id)
    assert listing.steps(trunk_id(done.cells[0].spec.trunk, done.cells[0].fingerprint))


def test_running_is_a_live_lease(done, store, monkeypatch):
    key = trunk_id(done.cells[2].spec.trunk, done.cells[2].fingerprint)
    leases = Leases(store, job="slurm 12_3", log="/logs/12_3")
    assert leases.claim(key)
    leases.renew({"doing": "training", "step": 3, "steps": 9})
    found, status = conditions(done, store)
    assert found == ["done", "done", "running", "running"]
    where = f"on {os.uname().nodename}, slurm 12_3: training, step 3 of 9"
    assert re.fullmatch(rf"{re.escape(where)}, \d s ago; log: /logs/12_3", status.cells[2].note)
    late = time.time() + 2000
    monkeypatch.setattr(time, "time", lambda: late)  # a host that vanished gives no sign
    leases._own = dataclasses.replace(leases._own, machine="elsewhere")
    found, status = conditions(done, store)
    assert found == ["done", "done", "missing", "missing"]
    assert status.cells[2].note.startswith("a worker gave no sign of life for 33.3 min, on ")
    assert f"{where}; log: " in status.cells[2].note
    monkeypatch.undo()
    leases.release(key)
    assert conditions(done, store)[0] == ["done", "done", "missing", "missing"]


def test_failed_comes_with_its_sentence(done, store):
    store.put("failure", done.cells[2].run_id, {"failure.json": json.dumps({"note": "MemoryError: too big"}).encode()})
    found, status = conditions(done, store)
    assert found == ["done", "done", "failed", "missing"]
    assert status.cells[2].note == "MemoryError: too big"
    assert len(status.rows) == 2 * len(done.cells[0].evals)


def test_diverged_is_settled(corpus, store, program):
    wild = dataclasses.replace(SWEEP, grids=(Grid(widths=(16,), tokens=(20 * 128,), rate_multiples=(1e30,)),))
    plan = expand(wild, corpus.fingerprint)
    desk = Desk(store=store, corpus=corpus, tell=lambda _: None, stop=lambda: False)
    work(packs(plan.cells, 1)[0], desk, {shape_of(plan.cells[0].spec): program})
    found, status = conditions(plan, store)
    assert found == ["diverged"]
    assert "training loss became" in status.cells[0].note
    assert status.todo == ()


def test_a_worker_records_a_failure_once_and_goes_on(plan, corpus, store, monkeypatch, capsys):
    tried = []

    def explode(pack, *_):
        tried.append(pack)
        raise MemoryError("no room")

    monkeypatch.setattr(attempt, "work", explode)
    path = submit(store, manifest(plan, corpus))
    assert read_manifest(path, store).packs == packs(plan.cells, 1)
    assert not run_worker(store, path, None, None)
    assert len(tried) == 2
    assert not run_worker(store, path, None, None)  # another worker of the same submission does not try again
    assert len(tried) == 2
    assert not run_worker(store, path, 1, None)  # a job that is asked for by its number does
    assert len(tried) == 3
    found, status = conditions(plan, store)
    assert found == ["failed"] * 4
    assert {(row["status"], row["note"], row["loss"]) for row in status.rows} == {
        ("failed", "out of memory: no room", None)
    }
    assert len(status.rows) == sum(len(cell.evals) for cell in plan.cells)
    assert set(conditions(plan, Store(root=store.root / "none"), status.rows)[0]) == {"missing"}  # not done by a table
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    failed = [
        {"failed": "out of memory: no room", "runs": [c.run_id for c in plan.cells if c.spec.seed == seed]}
        for seed in (0, 1)
    ]
    begin, end = {"task": {"doing": "starting"}}, {"ended": True}
    assert said == [begin, *failed, end, begin, *failed, end, begin, failed[1], end]
    submit(store, manifest(plan, corpus))
    assert conditions(plan, store)[0] == ["missing"] * 4  # submitted again, it will be tried again


def test_of_a_manifest_one_entry_is_read_alone(plan, corpus, store):
    path = submit(store, manifest(plan, corpus))
    each = packs(plan.cells, 1)
    for index, pack in enumerate(each):
        assert read_manifest(path, store, index).packs == (pack,)
    for index in (-1, len(each)):
        with pytest.raises(SimlawError, match=f"--index {index}: the manifest has the entries 0 to {len(each) - 1}"):
            read_manifest(path, store, index)
    form = json.loads(Path(path).read_text())
    form["manifest"]["packs"][1]["evals"] = form["manifest"]["packs"][1]["evals"][:1]
    Path(path).write_text(json.dumps(form))
    for index in (0, 1, None):  # whichever was altered
        with pytest.raises(SimlawError, match="is not what it was when it was written"):
            read_manifest(path, store, index)


def test_a_worker_takes_over_from_one_that_died(plan, corpus, store):
    path = submit(store, manifest(plan, corpus))
    key = trunk_id(plan.cells[0].spec.trunk, corpus.fingerprint)
    dead = Leases(store)
    dead._own = dataclasses.replace(dead._own, process="999999999:1")
    assert dead.claim(key)
    assert run_worker(store, path, None, None)
    assert conditions(plan, store)[0] == ["done"] * 4


def test_an_estimate_counts_what_is_left(done, plan, store, corpus):
    engine = Local()

    def flops(sweep):
        cells = expand(sweep, corpus.fingerprint).cells
        todo = status_of(expand(sweep, corpus.fingerprint), store, None).todo
        return estimate(packs(todo, 1), fingerprints(corpus), engine, store).flops, cells

    left, cells = flops(SWEEP)
    one_seed = [cell for cell in cells if cell.spec.seed == 1]
    # the trunk of 32 steps, and cool-downs of 4 and 8 steps from 16 and 32
    assert left == pytest.approx(sum(c.flops_eval for c in one_seed) + (32 + 4 + 8) * step_flops(cells[0]))
    finer = dataclasses.replace(SWEEP, ptq=(*SWEEP.ptq, PTQGrid(bits=(6,))), grids=(seed_zero(SWEEP),))
    more, cells = flops(finer)
    assert more == pytest.approx(sum(cell.flops_eval / len(cell.evals) for cell in cells))  # one precision, no training


def test_an_estimate_takes_the_speed_of_this_host_and_device(done, store, corpus):
    cells = expand(SWEEP, corpus.fingerprint).cells
    todo = packs([cell for cell in cells if cell.spec.seed == 1], 1)
    assert estimate(todo, fingerprints(corpus), Local(), store).basis == "measured here"
    on_gpu = estimate(todo, fingerprints(corpus), Local(device="gpu"), store)
    assert (on_gpu.seconds, str(on_gpu)) == (None, "time unknown yet (nothing like it has run on the gpu here)")
    meshed = Local(mesh=(1, 2, 1))
    assert estimate(todo, fingerprints(corpus), meshed, store).seconds is None  # one core says nothing of a mesh
    telemetry = store.root / "telemetry.jsonl"
    telemetry.write_text(telemetry.read_text().replace(socket.gethostname(), "elsewhere"))
    assert estimate(todo, fingerprints(corpus), Local(), store).basis == "estimated from a matrix product"


def logged(store, cell, event, seconds, flops, **more):
    model = canonical(cell.spec.model)
    store.log({"event": event, "model": model, "device": "cpu", "flops": flops, "seconds": seconds, **more})


def test_compilations_do_not_spoil_an_estimate(plan, store, corpus):
    cell = plan.cells[0]
    todo = packs([cell], 1)
    flops = (16 + 4) * step_flops(cell), cell.flops_eval
    engine = Local(workers=1)

    def estimated():
        return estimate(todo, fingerprints(corpus), engine, store)

    logged(store, cell, "trained", 5.0, flops[0], compiled=True, tokens_per_s=None)
    logged(store, cell, "trained", 7.0, flops[0], tokens_per_s=None)  # as version 0.1 wrote it
    logged(store, cell, "evaluated", 4.0, flops[1], compiled=True)
    found = estimated()
    assert found.basis == "estimated from a matrix product"
    assert found.fixed == 3 + 5 + 4
    assert found.fixed < found.seconds < found.fixed + 1
    logged(store, cell, "trained", 0.5, flops[0], compiled=False, tokens_per_s=1.0)
    logged(store, cell, "evaluated", 0.25, flops[1], compiled=False)
    logged(store, cell, "evaluated", 1.5, flops[1], compiled=True)  # from the disk
    found = estimated()
    assert found.basis == "measured here"
    assert (found.fixed, found.seconds) == pytest.approx((3 + 5 + 1.5, 3 + 5 + 1.5 + 0.75))


def test_a_librarys_stray_line_is_no_message():
    assert read_message('{"flops": 3}') == Message(flops=3)
    assert read_message("WARNING: no GPU found\n") is None
    assert read_message("3\n") is None
    assert read_message('{"colour": 3}') is None
    whole = Message(flops=2.5, task=Task(doing="training", step=3), runs=("a",), settled="done")
    assert read_message(whole.line()) == whole


def seed_zero(sweep):
    return dataclasses.replace(sweep.grids[0], seeds=(0,))


def step_flops(cell):
    return 3 * flops_forward_per_token(cell.spec.model, cell.counts) * cell.spec.batch_tokens


def test_an_optimizer_is_part_of_the_identity(corpus):
    assert {cell.run_id for cell in expand(SWEEP, corpus.fingerprint).cells}.isdisjoint(
        cell.run_id for cell in expand(dataclasses.replace(SWEEP, weight_decay=0.0), corpus.fingerprint).cells
    )
    assert AdamW(rate=0.1).peak_rate == 0.1


def test_one_sweep_may_be_on_several_corpora(tmp_path, store, corpus, capsys):
    """Each run has its corpus's vocabulary and fingerprint, and gets the numbers that it has in a sweep of its own."""
    other = Graph(nodes=16, out=2, seed=3)
    facts = ZFact(entities=4, relations=1, values=3, base=2)
    grids = (Grid(widths=(16,), tokens=(20 * 128,), corpora=(SWEEP.corpus, other)),)
    sweep = dataclasses.replace(SWEEP, grids=grids, ptq=())
    assert sweep.corpora == (SWEEP.corpus, other)
    there = {spec: open_corpus(spec) for spec in sweep.corpora}
    plan = expand(sweep, corpus.fingerprint, {other: there[other].fingerprint})
    assert [cell.fingerprint for cell in plan.cells] == [each.fingerprint for each in there.values()]
    assert plan.cells[0] == expand(dataclasses.replace(sweep, grids=SWEEP.grids), corpus.fingerprint).cells[0]
    with_facts = dataclasses.replace(sweep, grids=(dataclasses.replace(grids[0], corpora=(facts,)),))
    assert expand(with_facts, "g", {facts: "f"}).cells[0].spec.model.vocab == facts.vocab == 7
    known = {spec: each.fingerprint for spec, each in there.items()}
    todo = packs(plan.cells, 4)
    assert [pack.corpus for pack in todo] == list(known)  # no pack has runs of two corpora
    path = submit(store, Manifest(corpora=tuple(known), fingerprints=tuple(known.values()), packs=todo))
    assert run_worker(store, path, None, None)
    rows = status_of(plan, store, None).rows
    for each in there.values():
        floor = each.floor(each.held_out(SWEEP.eval_tokens, 16)).mean()
        mine = [row["floor"] for row in rows if row["corpus_fingerprint"] == each.fingerprint]
        assert mine == [pytest.approx(floor, rel=1e-12)]
    wrong = Manifest(corpora=tuple(known), fingerprints=(corpus.fingerprint, "other"), packs=todo)
    with pytest.raises(SimlawError, match="the manifest wants other: the files changed"):
        run_worker(store, submit(store, wrong), None, None)
    capsys.readouterr()
