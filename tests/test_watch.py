"""What others see of work: messages, telemetry, the board at any width, traces, and the machine's peak."""

import io
import json
import math
import time

import pytest
from rich.console import Console

from simlaw.cli.board import Board, shown
from simlaw.config import AdamW, run_id, trunk_id
from simlaw.plan import Pack
from simlaw.run import machine as machines
from simlaw.run.machine import Machine, machine, memory
from simlaw.run.message import Message, Task
from simlaw.run.trace import Trace
from simlaw.run.work import Desk, work
from simlaw.train import shape_of
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
        assert (task.width, task.params, task.seed, task.bits, task.members) == (16, 3328, 0, None, 1)
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
        assert len(record["loss"]) == len(record["gradient_norm"]) == 1
        assert record["seconds"] > 0
        assert record["memory"] > 50e6


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
    made.first = time.monotonic() - 80, 0.0
    task = Task(
        doing="training", width=64, params=106_496, seed=0, step=1280, steps=5120, loss=2.3412, gradient_norm=0.523,
        tokens_per_s=183e3, utilisation=0.62, memory=412_000_000,
    )  # fmt: skip
    made.hear(0, Message(flops=4e12, task=task))
    made.hear(
        1, Message(task=Task(doing="evaluating", width=32, params=26_624, bits=4, seed=2, members=16, step=9, steps=9))
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


@pytest.mark.parametrize("width", [80, 120])
def test_the_board_shows_every_worker(width):
    lines = screen(board(), width)
    assert lines[0].startswith("quickstart ━")
    assert lines[0].endswith(" 40% 1.7 min, about 2.0 min left")
    assert lines[1] == "4 of 51 runs done, 1 diverged, 2 failed; 183k tokens/s"
    assert lines[2].split() == [
        "width",
        "N",
        "weights",
        "seed",
        "step",
        "loss",
        "grad",
        "tok/s",
        "of",
        "peak",
        "memory",
    ]
    assert lines[3].split() == [
        "0",
        "64",
        "106k",
        "full",
        "0",
        "1280/5120",
        "2.341",
        "0.52",
        "183k",
        "62%",
        "412",
        "MB",
    ]
    assert lines[4].split() == ["1", "32", "26.6k", "int4", "2", "+15", "evaluating"]
    assert lines[5:] == [lines[5], lines[6]]
    assert [line.split() for line in lines[5:]] == [["2", "starting"], ["3", "ended"]]
    assert max(map(len, lines)) <= width


def test_a_narrow_board_leaves_out_what_matters_less():
    lines = screen(board(), 60)
    assert lines[2].split() == ["width", "N", "seed", "step", "loss", "tok/s"]
    assert lines[3].split() == ["0", "64", "106k", "0", "1280/5120", "2.341", "183k"]
    assert max(map(len, lines)) <= 60


def test_where_nobody_works_only_the_bar_is_left():
    made = board()
    for worker in range(4):
        made.hear(worker, Message(ended=True))
    assert len(screen(made, 80)) == 2


def test_a_worker_that_stops_stays_on_the_board():
    made = board()
    made.hear(0, Message(task=Task(doing="stopping")))
    assert screen(made, 80)[3].split() == [
        "0",
        "64",
        "106k",
        "full",
        "0",
        "stopping",
        "2.341",
        "0.52",
        "183k",
        "62%",
        "412",
        "MB",
    ]


def test_the_time_left_is_the_estimate_at_first_and_experience_in_the_end(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("simlaw.cli.board.time.monotonic", lambda: clock[0])
    made = Board(what="x", flops=100.0, seconds=1000.0, runs=1)
    assert made.left == 1000
    clock[0] += 30  # starts and compiles
    made.hear(0, Message(flops=1.0))
    assert made.left == 990
    clock[0] += 4
    made.hear(0, Message(flops=4.0))  # a second each
    assert made.left == pytest.approx(0.5 * 95 + 0.5 * 950)
    clock[0] += 45
    made.hear(0, Message(flops=45.0))
    assert made.left == pytest.approx(50)
    clock[0] += 50
    made.hear(0, Message(flops=51.0))
    assert made.left == 0


def test_without_a_terminal_a_line_comes_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr("simlaw.cli.board._QUIET_SECONDS", 0)
    made = board()
    with shown(made) as tell:
        tell(0, Message(flops=1e12))
    assert capsys.readouterr().err == (
        "quickstart: 50%, about 80 s left; 4 of 51 runs done, 1 diverged, 2 failed; 183k tokens/s; "
        "loss 2.341 at step 1280 of 5120 of 106k parameters\n"
    )
