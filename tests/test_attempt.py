"""Attempts: what may pass is tried again, what is out of memory in halves, and what fails is a row with a sentence."""

import json

import obstore.exceptions
import pytest

from simlaw.config import run_id
from simlaw.errors import SimlawError
from simlaw.plan import Pack
from simlaw.run import attempt
from simlaw.run.attempt import Attempts, Before, passing, settled
from simlaw.run.message import Message
from simlaw.run.rules import Rules
from simlaw.run.work import Desk, Stopped
from simlaw.table import parse_table
from tests.conftest import tiny_eval, tiny_run

PACK = Pack(members=tuple((tiny_run(seed=seed),) for seed in range(5)), evals=(tiny_eval(),))


class Bench:
    """Attempts at a pack by a stand-in for the work, which says what to do with each try."""

    def __init__(self, store, corpus, monkeypatch, act, retries=2, stop=lambda: False):
        self.tries, self.said, self.waits = [], [], []
        self.desk = Desk(store=store, corpus=corpus, tell=self.said.append, stop=stop)
        self.attempts = Attempts(rules=Rules(retries=retries), tell=self.said.append, programs={})

        def work(pack, desk, programs):
            self.tries.append([runs[0].seed for runs in pack.members])
            act(self)

        monkeypatch.setattr(attempt, "work", work)
        monkeypatch.setattr(attempt.time, "sleep", self.waits.append)
        monkeypatch.setattr(attempt.time, "monotonic", lambda: sum(self.waits))

    def at(self, pack=PACK, before=Before(), again=False):  # noqa: B008
        return self.attempts.at(pack, self.desk, before, again=again)

    def failure(self, seed):
        return self.desk.store.get("failure", run_id(PACK.members[seed][0], self.desk.corpus.fingerprint))


@pytest.fixture
def bench(store, corpus, monkeypatch):
    return lambda act, **how: Bench(store, corpus, monkeypatch, act, **how)


def raises(error, *, until=99, of=bool):
    def act(bench):
        if len(bench.tries) < until and of(bench.tries[-1]):
            raise error

    return act


def test_what_passes_is_tried_again_after_a_wait(bench):
    one = bench(raises(OSError(28, "No space left on device"), until=3))
    assert one.at()
    assert one.tries == [[0, 1, 2, 3, 4]] * 3
    assert sum(one.waits) == pytest.approx(1 + 5, abs=0.5)
    assert set(one.said) == {Message()}  # who waits gives signs of life
    assert one.failure(0) is None


def test_what_does_not_pass_becomes_a_row_with_its_sentence(bench):
    one = bench(raises(ValueError("two\n  lines")), retries=1)
    assert not one.at()
    assert len(one.tries) == 2
    assert [message.failed for message in one.said] == ["ValueError: two lines"]
    assert len(one.said[0].runs) == 5
    record = json.loads(one.failure(4)["failure.json"])
    assert record["note"] == "ValueError: two lines"
    assert any("raise error" in line for line in record["log"])
    (row,) = parse_table(one.failure(4)["rows.csv"].decode(), "it")
    assert (row["status"], row["note"], row["loss"], row["seed"]) == ("failed", "ValueError: two lines", None, 4)
    assert not one.at()  # not again in this submission
    assert len(one.tries) == 2
    assert not one.at(again=True)
    assert len(one.tries) == 4


def test_a_declaration_is_as_wrong_the_next_time(bench):
    one = bench(raises(SimlawError("the group does not divide 7")))
    assert not one.at()
    assert len(one.tries) == 1
    assert one.said[0].failed == "the group does not divide 7"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")])
def test_out_of_memory_a_pack_is_halved_until_it_fits(bench, error):
    one = bench(raises(error, of=lambda seeds: len(seeds) > 2))
    assert one.at()
    assert one.tries == [[0, 1, 2, 3, 4], [0, 1, 2], [0, 1], [2], [3, 4]]
    assert one.said == []


def test_what_never_fits_fails_alone(bench):
    one = bench(raises(MemoryError(), of=lambda seeds: 2 in seeds))
    assert not one.at()
    assert one.tries == [[0, 1, 2, 3, 4], [0, 1, 2], [0, 1], [2], [3, 4]]
    assert [message.failed for message in one.said] == ["out of memory: the host had no more"]
    assert [bool(one.failure(seed)) for seed in range(5)] == [False, False, True, False, False]


@pytest.mark.parametrize(("deaths", "tries"), [(1, [[0, 1, 2], [3, 4]]), (2, [[0, 1], [2], [3], [4]])])
def test_after_deaths_without_a_word_a_pack_is_halved_as_often(bench, deaths, tries):
    one = bench(lambda _: None)
    assert one.at(before=Before(deaths=deaths))
    assert one.tries == tries


def test_what_kills_one_worker_after_the_other_is_not_tried_for_ever(bench):
    one = bench(lambda _: None)
    assert one.at(before=Before(deaths=2))
    assert not one.at(before=Before(deaths=3, where="far slurm 7 /logs/7"))
    note = "3 workers in turn ended in it without a word, the last on far slurm 7 /logs/7: killed, or out of memory"
    assert [message.failed for message in one.said] == [note]
    assert json.loads(one.failure(0)["failure.json"])["note"] == note


def test_whoever_waits_can_be_stopped(bench):
    asked = []
    one = bench(raises(OSError(5, "Input/output error")), stop=lambda: len(asked) == 1 or asked.append(1))
    with pytest.raises(Stopped):
        one.at()
    assert len(one.tries) == 1


def test_a_failure_that_cannot_be_stored_is_said_all_the_same(bench, monkeypatch, capsys):
    one = bench(raises(ValueError("no")), retries=0)

    def full(*_):
        raise SimlawError("cannot write it: No space left on device; free space")

    monkeypatch.setattr(type(one.desk.store), "put", full)
    assert not one.at()
    assert one.said[0].failed == "ValueError: no"
    assert "No space left on device" in capsys.readouterr().err


def test_what_the_disk_or_a_bucket_said_may_pass(bench):
    told = SimlawError("cannot write it: No space left on device; free space")
    told.__cause__ = OSError(28, "No space left on device")
    assert passing(told)
    assert passing(OSError(5, "Input/output error"))
    assert passing(obstore.exceptions.GenericError("503"))
    assert not passing(SimlawError("the group does not divide 7"))
    one = bench(raises(told, until=2))
    assert one.at()
    assert len(one.tries) == 2


def test_settled_is_what_has_every_row(bench, store):
    one = bench(lambda _: None)
    assert not settled(PACK, one.desk)
    failed = bench(raises(ValueError("no")), retries=0)
    assert not failed.at()
    assert not settled(PACK, failed.desk)  # a failure is no row of the run
