"""What others see of work: messages, telemetry, the board at any width, traces, and the machine's peak."""

import io
import json
import math
import time

import jax
import pytest
from rich.console import Console

from simlaw.cli.board import Board, shown
from simlaw.config import EMA, LAWA, AdamW, Muon, run_id, trunk_id
from simlaw.plan import Pack
from simlaw.run import machine as machines
from simlaw.run.journal import journal_path, read_journal, state_bytes
from simlaw.run.machine import Machine, machine, memory
from simlaw.run.message import Message, Task
from simlaw.run.trace import Trace
from simlaw.run.work import Desk, work
from simlaw.train import compile_shape, shape_of, start
from tests.conftest import tiny_eval, tiny_run

SPEC = tiny_run(tokens=40 * 128)
WILD = tiny_run(tokens=40 * 128, optimizer=AdamW(rate=0.02, rate_multiple=1e30))
FLOPS = 40 * 128 * 3 * (2 * (3328 + 16 * 16) + 4 * 16 * 16)  # of the matrix products of 40 steps


def done(spec, store, corpus, program, **desk):
    told = []
    desk = Desk(store=store, corpus=corpus, tell=told.append, stop=lambda: False, **desk)
    work(Pack(members=((spec,),), evals=(tiny_eval(),)), desk, {shape_of(SPEC): program})
    return told


def test_a_worker_tells_what_it_is_at(store, corpus, program):
    done(tiny_run(seed=7), store, corpus, program)  # compiles
    one = Machine(kind="one", peaks=(("float32", 1e9),))
    told = done(SPEC, store, corpus, program, machine=one)
    trained = [m.task for m in told if m.task and m.flops and m.task.doing == "training"]
    assert sum(m.flops for m in told if m.task and m.task.doing == "training") == FLOPS
    assert [(task.step, task.steps) for task in trained] == [(32, 32), (40, 40)]
    for task in trained:
        assert (task.width, task.params, task.seed, task.precision, task.members) == (16, 3328, 0, None, 1)
        assert math.isfinite(task.loss)
        assert task.gradient_norm > 0
        assert task.memory > 50e6
        # the peak is 1e9 FLOP/s, and a token takes 3 forward passes
        assert task.utilisation == pytest.approx(task.tokens_per_s * FLOPS / (40 * 128) / 1e9, rel=1e-6)
    assert told[-1] == Message(settled="done", runs=(run_id(SPEC, corpus.fingerprint),))


def test_telemetry_has_every_dispatch(store, corpus, program):
    done(SPEC, store, corpus, program)
    records = [record for record in store.telemetry() if record["event"] == "trained"]
    assert [record["runs"] for record in records] == [
        [trunk_id(SPEC.trunk, corpus.fingerprint)],
        [run_id(SPEC, corpus.fingerprint)],
    ]
    assert [record["step"] for record in records] == [32, 40]
    for record in records:
        assert record["utilisation"] is None  # of a machine that nobody measured
        assert record["state_bytes"] == 3 * 4 * (3328 + 2 * 16 * 16 + 3 * 16) + 8  # and two counters
        assert len(record["loss"]) == len(record["gradient_norm"]) == 1
        assert record["seconds"] > 0
        assert record["memory"] > 50e6


def test_what_compiled_is_told_apart(store, corpus):
    fresh = compile_shape(shape_of(SPEC), corpus)
    told = done(SPEC, store, corpus, fresh)
    records = list(store.telemetry())
    assert [(r["event"], r["compiled"]) for r in records][:2] == [("trained", True), ("trained", False)]
    for record, message in zip(records, [m for m in told if m.flops], strict=True):
        slow = record["compiled"]
        assert message.compiling == pytest.approx(record["seconds"] if slow else 0, abs=1e-5)
        if record["event"] == "trained":
            assert (record["step_ms"] is None, record["tokens_per_s"] is None) == (slow, slow)
    trained = records[1]
    assert trained["step_ms"] == pytest.approx(1e3 * trained["seconds"] / 8, rel=1e-2)
    assert trained["tokens_per_s"] == pytest.approx(128e3 / trained["step_ms"], rel=1e-2)
    done(tiny_run(seed=3, tokens=40 * 128), store, corpus, fresh)
    assert [r["compiled"] for r in store.telemetry()][3:] == [False] * 3
    trunk, branch = read_journal(journal_path(store, run_id(SPEC, corpus.fingerprint)))[1:]
    assert (trunk["step_ms"], trunk["tokens_per_s"], trunk["utilisation"]) == (None, None, None)
    assert trunk["seconds"] > 16e-3 * branch["step_ms"]  # the time went by all the same
    assert branch["seconds"] == pytest.approx(8e-3 * branch["step_ms"], rel=1e-3)
    assert branch["tokens_per_s"] == pytest.approx(128e3 / branch["step_ms"], rel=1e-3)


def test_the_bytes_of_a_member_are_those_of_its_state():
    spec = tiny_run(optimizer=Muon(rate=0.02), averages=(EMA(tokens=512), LAWA(every_tokens=256, count=3)))
    assert state_bytes(spec) == sum(leaf.nbytes for leaf in jax.tree.leaves(start([spec])))


def test_a_diverged_run_is_told_without_numbers(store, corpus, program):
    told = done(WILD, store, corpus, program)
    assert told[-1].settled == "diverged"
    assert [m.task.loss for m in told if m.flops] == [None, None]  # the trunk, the branch
    assert next(r for r in store.telemetry() if r["event"] == "trained")["loss"] == [None]


def test_a_trace_is_left_of_a_few_dispatches(store, corpus, program, tmp_path):
    done(tiny_run(seed=7), store, corpus, program)  # compiles
    trace = Trace(folder=tmp_path / "trace", left=2)
    done(SPEC, store, corpus, program, trace=trace)
    names = {
        path.name.split(".", 1)[1]: path.stat().st_size for path in (tmp_path / "trace").rglob("*") if path.is_file()
    }
    assert set(names) == {"json.gz", "trace.json.gz", "xplane.pb"}
    assert min(names.values()) > 1000
    assert not trace.running
    trace.close()


def test_the_peak_of_a_core_is_measured_once(store, monkeypatch):
    monkeypatch.setattr(machines, "_SECONDS", 0.05)
    found = machine(store)
    assert found.utilisation(1e9, 1.0, "float32") < 1
    monkeypatch.setattr(machines, "measured_peak", lambda: pytest.fail("measured again"))
    assert machine(store) == found
    kept = json.loads((store.root / "machine.json").read_text())
    assert [1e9 < peak < 1e13 for peak in kept.values()] == [True]


def test_an_accelerator_has_its_data_sheets_peak(store, monkeypatch):
    class Device:
        platform, device_kind = "gpu", "NVIDIA H200"

        def memory_stats(self):
            return {"peak_bytes_in_use": 12345}

    monkeypatch.setattr(machines.jax, "local_devices", lambda: [Device()])
    assert machine(store, devices=2).utilisation(67e12, 2.0, "float32") == pytest.approx(0.25)
    assert memory() == 12345
    Device.device_kind = "something newer"
    assert machine(store).utilisation(67e12, 2.0, "float32") is None


def test_memory_is_in_bytes(monkeypatch):
    class Usage:
        ru_maxrss = 5000

    monkeypatch.setattr(machines.resource, "getrusage", lambda _: Usage())
    monkeypatch.setattr(machines.sys, "platform", "linux")
    assert memory() == 5000 * 1024
    monkeypatch.setattr(machines.sys, "platform", "darwin")
    assert memory() == 5000


def board():
    made = Board(what="quickstart", flops=1e13, seconds=200, runs=51, done=3)
    made.began -= 100
    made.first = time.monotonic() - 80
    task = Task(
        doing="training", width=64, params=106_496, seed=0, step=1280, steps=5120, loss=2.3412, gradient_norm=0.523,
        step_ms=11.2, tokens_per_s=183e3, utilisation=0.62, state=1_640_000, memory=412_000_000,
    )  # fmt: skip
    made.hear(0, Message(flops=4e12, task=task))
    made.hear(
        1,
        Message(
            task=Task(doing="evaluating", width=32, params=26_624, precision="W4", seed=2, members=16, step=9, steps=9)
        ),
    )
    made.hear(2, Message(task=Task(doing="starting")))
    made.hear(3, Message(ended=True))
    made.hear(0, Message(settled="done", runs=("a",)))
    made.hear(0, Message(settled="diverged", runs=("b",)))
    for worker in (0, 1):  # both say so, once each
        made.hear(worker, Message(failed="no room", runs=("c", "d")))
    return made


def screen(made, width):
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(made)
    return [line.rstrip() for line in console.export_text().splitlines() if line.strip()]


HEADS = {
    120: "width N precision seed step loss grad ms/step tok/s of peak state memory",
    80: "width N seed step loss grad ms/step tok/s of peak memory",
    60: "width N seed step loss ms/step tok/s",
    40: "N step loss tok/s",
    20: "step loss",
}


@pytest.mark.parametrize("width", HEADS)
def test_a_narrower_board_leaves_out_what_matters_less(width):
    lines = screen(board(), width)
    assert " ".join(lines[2].split()) == HEADS[width]
    assert max(map(len, lines)) <= width


def test_the_board_shows_every_worker():
    lines = screen(board(), 120)
    assert lines[0].startswith("quickstart ━")
    assert lines[0].endswith(" 40% 1.7 min, about 2.0 min left")
    assert lines[1] == "4 of 51 runs done, 1 diverged, 2 failed; 183k tokens/s"
    assert [" ".join(line.split()) for line in lines[3:]] == [
        "0 64 106k full 0 1280/5120 2.341 0.52 11.2 183k 62% 1.64 MB 412 MB",
        "1 32 26.6k W4 2 +15 evaluating",
        "2 starting",
        "3 ended",
    ]


def test_a_narrow_board_says_how_long_before_anything_else():
    assert screen(board(), 40)[0].endswith("40% about 2.0 min left")


def test_columns_stay_where_they_are_while_numbers_change():
    made = board()
    before = screen(made, 80)[2]
    made.hear(0, Message(task=Task(doing="training", width=16, params=832, seed=0, step=1, steps=9, memory=9_000_000)))
    assert screen(made, 80)[2] == before


def test_where_nobody_works_only_the_bar_is_left():
    made = board()
    for worker in range(4):
        made.hear(worker, Message(ended=True))
    assert len(screen(made, 80)) == 2


def test_a_worker_that_stops_stays_on_the_board():
    made = board()
    made.hear(0, Message(task=Task(doing="stopping")))
    assert " ".join(screen(made, 80)[3].split()) == "0 64 106k 0 stopping 2.341 0.52 11.2 183k 62% 412 MB"


def test_the_time_left_is_the_estimate_at_first_and_experience_in_the_end(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("simlaw.cli.board.time.monotonic", lambda: clock[0])
    made = Board(what="x", flops=100.0, seconds=1000.0, runs=1, began=100.0)
    assert made.left == 1000
    clock[0] += 30  # starts and compiles
    made.hear(0, Message(flops=1.0))
    assert made.left == 990
    clock[0] += 4
    made.hear(0, Message(flops=4.0))  # a second each
    assert made.left == pytest.approx(0.4 * 95 + 0.6 * 950)
    clock[0] += 0.5  # a silence is no pace
    assert made.left == pytest.approx(0.4 * 95 + 0.6 * 950)
    clock[0] -= 0.5
    clock[0] += 45
    made.hear(0, Message(flops=45.0))
    assert made.left == pytest.approx(50)
    clock[0] += 50
    made.hear(0, Message(flops=51.0))
    assert made.left == 0


def test_compilations_count_beside_the_pace(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("simlaw.cli.board.time.monotonic", lambda: clock[0])
    made = Board(what="x", flops=100.0, seconds=30.0, fixed=20.0, runs=1, began=0.0)
    clock[0] += 8
    assert made.left == 12 + 10
    made.hear(0, Message(flops=1.0, compiling=5.0, task=Task(doing="training")))
    assert made.left == pytest.approx(0.99 * (12 + 10))
    clock[0] += 6
    made.hear(0, Message(flops=9.0, compiling=6.0))  # another program: no pace yet
    assert made.left == pytest.approx(0.9 * (6 + 10))
    clock[0] += 1
    made.hear(0, Message(flops=10.0))
    assert made.left == pytest.approx(0.8 * 6 + 8)
    clock[0] += 8
    made.hear(0, Message(flops=80.0))
    assert made.left == 0


def test_a_few_seconds_are_not_counted():
    assert Board(what="x", flops=1.0, seconds=4.9, runs=1).time_left == "a few seconds left"
    assert Board(what="x", flops=1.0, seconds=5.1, runs=1).time_left == "about 5 s left"
    assert Board(what="x", flops=0.0, seconds=0.0, runs=1).time_left == "done"


def test_what_nobody_knows_is_no_number(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr("simlaw.cli.board.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("simlaw.cli.board._QUIET_SECONDS", 0)
    made = Board(what="x", flops=100.0, seconds=None, runs=1, began=0.0)
    with shown(made) as tell:
        clock[0] += 9
        tell(0, Message(flops=5.0, compiling=9.0))
        clock[0] += 5
        tell(0, Message(flops=5.0))
    assert capsys.readouterr().err.splitlines() == [
        "x: 5%, time left unknown yet; 0 of 1 runs done",
        "x: 10%, about 1.5 min left; 0 of 1 runs done",
    ]
    assert "unknown yet" in screen(Board(what="x", flops=1.0, seconds=None, runs=1), 80)[0]


def test_without_a_terminal_a_line_comes_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr("simlaw.cli.board._QUIET_SECONDS", 0)
    made = board()
    with shown(made) as tell:
        tell(0, Message(flops=1e12))
    assert capsys.readouterr().err == (
        "quickstart: 50%, about 80 s left; 4 of 51 runs done, 1 diverged, 2 failed; 183k tokens/s; "
        "loss 2.341 at step 1280 of 5120 of 106k parameters\n"
    )
