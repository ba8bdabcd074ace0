"""Leases: one holder at a time, silent and dead ones are taken over, and no clock but the observer's own counts."""

import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from simlaw.store import Leases, Store, forgive, held
from simlaw.store.leases import Lease, _read
from tests.stores import in_folder, in_memory

CHILD = """
import sys
from pathlib import Path
from simlaw.store import Leases, Store
print(Leases(Store(root=Path(sys.argv[1]))).claim("k"))
"""


@pytest.fixture(params=[in_folder, in_memory])
def store(request, tmp_path):
    return request.param(tmp_path)


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def elsewhere(store, job=None):
    """The leases of a process on another machine: nobody here sees whether it lives."""
    leases = Leases(store, job=job)
    leases._own = replace(leases._own, machine="elsewhere", host="far", log="/logs/7")
    return leases


def test_a_lease_has_one_holder(store):
    one, other = Leases(store), Leases(store)
    assert one.claim("k")
    assert one.mine == ("k",)
    assert other.claim("k") is None
    assert list(held(store)) == ["k"]
    one.release("k")
    assert held(store) == {}
    assert one.mine == ()
    assert other.claim("k").deaths == 0
    one.release("nobody's")


def test_of_all_who_try_at_once_one_gets_it(store):
    """Many rounds on one key, so that a lease is also made anew and freed while others look."""
    got, barrier = [], threading.Barrier(8)

    def take():
        leases = Leases(store)
        for i in range(10):
            barrier.wait()
            if leases.claim("k"):
                got.append(i)
            barrier.wait()
            leases.release("k")

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(10))
    assert len(store.names("claims")) <= 2  # what was before is gone


def test_a_look_that_is_old_makes_no_second_holder(store):
    """Between a look and the file that follows others held the lease and gave it back, and one holds it now."""
    slow, quick, third = (Leases(store) for _ in range(3))
    assert quick.claim("k")
    quick.release("k")
    own = store.names

    class Old(type(store)):
        def names(self, folder):
            found = own(folder)
            if not third.mine:
                assert quick.claim("k")
                quick.release("k")
                assert third.claim("k")
            return found

    slow._store = Old(**store.__dict__)
    assert slow.claim("k") is None
    assert third.mine == ("k",)
    third.release("k")
    assert quick.claim("k")


def test_a_lease_of_a_dead_process_is_taken_over_at_once(tmp_path):
    store = Store(root=tmp_path)
    said = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)], check=True, capture_output=True, text=True)
    assert said.stdout.startswith("Lease(")
    assert held(store) == {}
    lease = Leases(store).claim("k")
    assert lease.deaths == 1
    assert lease.before
    assert list(held(store)) == ["k"]


def test_a_number_that_a_new_process_got_makes_no_dead_holder_alive(tmp_path):
    store, leases = Store(root=tmp_path), Leases(Store(root=tmp_path))
    number, _, began = leases._own.process.partition(":")
    leases._own = replace(leases._own, process=f"{number}:{int(began) - 1}")
    assert leases.claim("k")
    assert held(store) == {}
    assert Leases(store).claim("k")


def test_a_holder_elsewhere_expires_when_its_counter_has_stood_still_on_the_observers_clock(store):
    clock, far = Clock(), elsewhere(store)
    near = Leases(store, patience=100, clock=clock)
    assert far.claim("k")
    assert near.claim("k") is None
    clock.now = 99
    far.renew({"doing": "training", "step": 3, "steps": 9})
    assert near.claim("k") is None  # a new counter: the time begins anew
    clock.now = 198
    assert near.claim("k") is None
    assert held(store)["k"].doing["step"] == 3
    clock.now = 199
    lease = near.claim("k")
    assert (lease.deaths, lease.before) == (1, "far /logs/7")
    far.renew({})  # who was only silent disturbs nobody
    far.release("k")
    assert near.mine == ("k",)
    assert held(store)["k"].holder == lease.holder
    near.release("k")
    assert far.claim("k").deaths == 0


def test_wall_clocks_do_not_count(store, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("time.time", lambda: 1e12)
    far = elsewhere(store)
    assert far.claim("k")
    monkeypatch.setattr("time.time", lambda: 0.0)
    near = Leases(store, patience=100, clock=clock)
    assert near.claim("k") is None
    monkeypatch.setattr("time.time", lambda: 2e12)
    assert near.claim("k") is None
    clock.now = 100
    assert near.claim("k")


def test_deaths_add_up_until_something_is_kept(store):
    clock = Clock()
    for deaths in (0, 1, 2):
        one = elsewhere(store)
        one._patience, one._clock = 10, clock
        lease = one.claim("k")
        clock.now += 10
        assert (lease or one.claim("k")).deaths == deaths
    one.progress()
    near = Leases(store, patience=10, clock=clock)
    assert near.claim("k") is None
    clock.now += 10
    assert near.claim("k").deaths == 1


def test_deaths_are_forgotten_where_a_person_asks_for_the_work_again(store):
    clock = Clock()
    for _ in range(4):
        one = elsewhere(store)
        one._patience, one._clock = 10, clock
        if one.claim("k") is None:
            clock.now += 10
            assert one.claim("k")
    forgive(store, {"other"})
    assert held(store)["k"].deaths == 3
    forgive(store, {"k"})
    near = Leases(store, patience=10, clock=clock)
    assert near.claim("k") is None
    clock.now += 10
    assert near.claim("k").deaths == 1


def test_a_scheduler_that_starts_an_entry_again_gets_its_lease(store):
    assert elsewhere(store, job="slurm 12_3").claim("k")
    assert elsewhere(store, job="slurm 12_4").claim("k") is None
    assert elsewhere(store).claim("k") is None
    assert elsewhere(store, job="slurm 12_3").claim("k").deaths == 1


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"holder": 1}', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_lease_stands_still_and_expires(store, damage):
    clock = Clock()
    assert elsewhere(store).claim("k")
    (name,) = store.names("claims")
    store.write(name, damage)
    assert held(store) == {}
    near = Leases(store, patience=10, clock=clock)
    assert near.claim("k") is None
    clock.now = 10
    assert near.claim("k").deaths == 1


def test_a_lease_that_vanished_can_be_held_anew(store):
    far, near = elsewhere(store), Leases(store)
    assert far.claim("k")
    for name in store.names("claims"):
        store.erase(name)
    assert near.claim("k")
    far.renew({})
    assert near.claim("k") is None


def test_a_lease_reads_back(store):
    lease = Leases(store, job="ray 3", log="/a log").claim("k")
    assert _read(lease.data()) == lease
    assert isinstance(lease, Lease)


def test_what_lies_about_beside_leases_is_no_lease(store):
    store.write("claims/k/notes.json", b"{}")
    assert held(store) == {}
    assert Leases(store).claim("k")


def test_a_store_that_cannot_be_written_costs_a_sign_of_life_and_no_work(tmp_path):
    leases = Leases(Store(root=tmp_path))
    assert leases.claim("k")
    (tmp_path / "tmp").rename(tmp_path / "gone")
    (tmp_path / "tmp").write_text("")
    leases.renew({})
    leases.release("k")
    assert leases.mine == ()
