"""The supervisor: who dies is buried at once and started again, who hangs is ended, and nothing goes on for ever."""

import os
import signal
import subprocess
import sys
import threading
import time
import types

import pytest

from simlaw.run.message import Message, Task
from simlaw.run.rules import Rules
from simlaw.run.supervisor import Attended, Supervisor

#: Does what the file of its number of starts says; each start counts.
WORKER = """
import os, signal, sys, time
from simlaw.run.message import Message
count = sys.argv[1]
with open(count, "a") as file:
    file.write("x")
start = os.path.getsize(count)
def say(**what):
    print(Message(**what).line(), flush=True)
"""
#: Ends well as soon as a process is gone, and badly where it is not within five seconds.
WATCH = """
import os, sys, time
for _ in range(100):
    try:
        os.kill(int(sys.argv[1]), 0)
    except OSError:
        sys.exit(0)
    time.sleep(0.05)
sys.exit(2)
"""


@pytest.fixture
def attend(tmp_path):
    """Attends one worker that does this; the outcome, how often it was started, what was told and reported."""

    def run(does, *arguments, retries=2, lease_seconds=100.0):
        told, reported = [], []
        attended = worker(tmp_path, WORKER + does, str(tmp_path / "count"), *arguments)
        rules = Rules(retries=retries, lease_seconds=lease_seconds)
        supervisor = Supervisor([attended], rules, lambda i, m: told.append((i, m)), lambda *r: reported.append(r))
        outcome = supervisor.attend()
        count = tmp_path / "count"
        return outcome, len(count.read_text()) if count.exists() else 0, told, reported

    return run


def worker(tmp_path, code, *arguments, name="log"):
    log = tmp_path / name
    log.write_text("")

    def start():
        with log.open("ab") as errors:
            command = [sys.executable, "-c", code, *arguments]
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True)

    return Attended(start=start, log=log)


def test_a_good_worker_runs_once(attend):
    outcome, starts, told, reported = attend("say(flops=3); say(ended=True)")
    assert (outcome.stopped, outcome.failures, starts, reported) == (False, (), 1, [])
    assert told == [(0, Message(task=Task(doing="starting"))), (0, Message(flops=3)), (0, Message(ended=True))]


def test_one_that_said_what_failed_is_not_started_again(attend):
    outcome, starts, _, reported = attend("say(failed='no', runs=('a',)); say(ended=True); sys.exit(1)")
    assert (outcome.failures, starts, reported) == (("no",), 1, [])


def test_what_a_person_must_mend_is_told_once(attend):
    outcome, starts, _, _ = attend("print('simlaw: the files changed', file=sys.stderr); sys.exit(2)")
    assert starts == 1
    assert outcome.failures[0].startswith("a worker ended with status 2: simlaw: the files changed (whole log: ")


def test_a_killed_worker_is_started_again(attend):
    outcome, starts, told, reported = attend("start < 3 and os.kill(os.getpid(), signal.SIGKILL); say(ended=True)")
    assert (outcome.failures, starts) == ((), 3)
    assert [(kind, note.partition(":")[0]) for kind, note in reported] == [
        ("died", "a worker ended with status -9")
    ] * 2
    assert [message.ended for _, message in told].count(True) == 1


def test_one_that_dies_again_and_again_without_a_result_is_given_up(attend):
    outcome, starts, _, _ = attend("sys.exit('no such library')", retries=1)
    assert starts == 3
    assert "no such library" in outcome.failures[0]


def test_what_was_settled_before_is_no_result(attend):
    outcome, starts, _, _ = attend("say(settled='done', runs=('a',)); sys.exit(3)", retries=1)
    assert starts == 3  # one, and two tries more
    assert "ended with status 3" in outcome.failures[0]


def test_a_crash_after_the_end_is_an_end(attend):
    outcome, starts, _, _ = attend("say(ended=True); os.kill(os.getpid(), signal.SIGSEGV)")
    assert (outcome.failures, starts) == ((), 1)


def test_a_supervisor_that_was_stopped_itself_ends_nobody(tmp_path):
    reported = []
    code = WORKER + "say(flops=1); time.sleep(2); say(ended=True)"
    attended = worker(tmp_path, code, str(tmp_path / "count"))
    supervisor = Supervisor([attended], Rules(lease_seconds=60), lambda *_: None, lambda *r: reported.append(r))
    looks = []

    def clock():
        looks.append(1)
        return time.monotonic() + (3600 if len(looks) > 5 else 0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simlaw.run.supervisor.time", types.SimpleNamespace(monotonic=clock))
        outcome = supervisor.attend()
    assert len(looks) > 6
    assert (outcome.failures, reported) == ((), [])


def test_a_result_makes_up_for_earlier_deaths(attend):
    does = "start % 2 == 0 and say(settled='done', runs=(str(start),)); start < 8 and sys.exit(3); say(ended=True)"
    outcome, starts, _, _ = attend(does, retries=1)
    assert (outcome.failures, starts) == ((), 8)


@pytest.mark.parametrize("how", ["time.sleep(1000)", "os.kill(os.getpid(), signal.SIGSTOP)"])
def test_one_that_hangs_is_ended_and_started_again(attend, how):
    begun = time.monotonic()
    outcome, starts, _, reported = attend(f"say(flops=1)\nif start == 1: {how}\nsay(ended=True)", lease_seconds=0.5)
    assert (outcome.failures, starts) == ((), 2)
    assert reported[0] == ("hung", "a worker gave no sign of life for 0.5 seconds and was ended")
    assert time.monotonic() - begun < 30


def test_one_that_starts_slowly_is_left_alone(attend):
    outcome, starts, _, _ = attend("time.sleep(1); say(ended=True)", lease_seconds=0.1)
    assert (outcome.failures, starts) == ((), 1)


def test_a_dead_worker_leaves_no_process_behind_while_another_works(tmp_path):
    dead = worker(tmp_path, "")
    process = dead.start()
    dead.start = lambda: process
    other = worker(tmp_path, WATCH, str(process.pid), name="other")
    outcome = Supervisor([dead, other], Rules(), lambda *_: None, lambda *_: None).attend()
    assert outcome.failures == ()


def test_asked_to_stop_workers_stop_and_none_is_started_again(attend):
    does = """
signal.signal(signal.SIGTERM, lambda *_: (say(ended=True), sys.exit(1)))
say(task=None, flops=1)
time.sleep(60)
"""
    threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    outcome, starts, told, reported = attend(does)
    assert (outcome.stopped, outcome.failures, starts, reported) == (True, (), 1, [])
    assert (0, Message(task=Task(doing="stopping"))) in told
