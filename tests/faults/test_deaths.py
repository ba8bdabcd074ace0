"""Workers that are killed, hang or meet each other: the table is the undisturbed one, and status tells of it."""

import os
import random
import signal
import subprocess
import time

import pytest

from simlaw.store import held
from tests.faults.scene import FULL, LONG, Scene

#: Of workers that are killed wherever they are; with `make faults` more than fifty.
KILLS = 55 if FULL else 5


def test_workers_killed_at_random_leave_the_undisturbed_table(tmp_path, undisturbed):
    """Each kill takes one of the workers that hold a claim, anywhere in its work; who attends them goes on."""
    kills, chance, rounds = 0, random.Random(1), 0
    while kills < KILLS:
        rounds += 1
        scene = Scene(tmp_path / str(rounds))
        process = scene.start("run", "sweep.py", "--workers", 2, "--save-seconds", 0, "--retries", 40)
        while process.poll() is None:
            time.sleep(chance.uniform(0.05, 0.8))
            holders = {int(lease.process.partition(":")[0]) for lease in held(scene.store).values()}
            if holders and kills < rounds * 12 and kills < KILLS:
                try:
                    os.kill(chance.choice(sorted(holders)), signal.SIGKILL)
                    kills += 1
                except ProcessLookupError:
                    continue  # it had ended by itself
        out, said = process.communicate()
        assert process.returncode == 0, out + said
        assert scene.table() == undisturbed
        if rounds == 1:
            assert "ends of workers without a word" in scene.status()
    assert kills >= KILLS


@LONG
def test_all_killed_at_once_leave_what_another_call_goes_on_from(scene, undisturbed):
    for _ in range(10):
        process = scene.start("run", "sweep.py", "--workers", 2, "--save-seconds", 0)
        while process.poll() is None and not held(scene.store):
            time.sleep(0.02)
        time.sleep(0.2)
        os.killpg(process.pid, signal.SIGKILL)
        for lease in held(scene.store).values():  # workers have sessions of their own
            os.kill(int(lease.process.partition(":")[0]), signal.SIGKILL)
        process.communicate()
    done = scene.run()
    assert done.returncode == 0, done.stderr
    assert scene.table() == undisturbed


def test_workers_at_once_on_one_store_do_everything_once(scene, undisturbed):
    """Eight processes that know nothing of each other but the store."""
    planned = scene.call("plan", "sweep.py", "--manifest", "--json")
    assert planned.returncode == 0, planned.stderr
    (manifest,) = (scene.store.root / "manifests").glob("*.json")
    command = ("work", "--manifest", manifest, "--core", 0)
    workers = [scene.start(*command) for _ in range(8 if FULL else 3)]
    said = [worker.communicate() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * len(workers), said
    assert scene.table() == undisturbed
    trained = [record for record in scene.store.telemetry() if record["event"] == "trained"]
    # every step of every run once: nobody did what another had
    pieces = [(tuple(record["runs"]), record["step"]) for record in trained]
    assert len(pieces) == len(set(pieces))


@LONG
@pytest.mark.parametrize("how", ["hangs", "is stopped"])
def test_a_worker_that_hangs_is_ended_and_its_work_done(scene, undisturbed, how, tmp_path):
    fault = {"kind": "hang", "once": str(tmp_path / "struck")} if how == "hangs" else None
    options = ("run", "sweep.py", "--workers", 2, "--lease-seconds", 3, "--save-seconds", 0)
    process = scene.start(*options, fault=fault)
    if how == "is stopped":
        while not (holders := held(scene.store)) and process.poll() is None:
            time.sleep(0.02)
        os.kill(int(next(iter(holders.values())).process.partition(":")[0]), signal.SIGSTOP)
    out, said = process.communicate(timeout=300)
    assert process.returncode == 0, out + said
    assert scene.table() == undisturbed
    assert "gave no sign of life for 3 seconds and was ended" in scene.status()


@LONG
def test_a_silent_worker_elsewhere_is_overtaken(scene, undisturbed):
    """No supervisor sees it: a worker of another machine stands still, and this one waits for its time to pass."""
    done = scene.run("--workers", 1, "--retries", 0)
    assert done.returncode == 0, done.stderr
    for kind in ("rows", "run", "trunk", "claims"):
        subprocess.run(["rm", "-r", str(scene.store.root / kind)], check=True)
    process = scene.start("run", "sweep.py", "--workers", 1, "--lease-seconds", 4, "--save-seconds", 0)
    while not held(scene.store) and process.poll() is None:
        time.sleep(0.02)
    key, lease = next(iter(held(scene.store).items()))
    os.kill(int(lease.process.partition(":")[0]), signal.SIGKILL)
    name = scene.store.names(f"claims/{key}")[-1]
    # as if it had run elsewhere: nobody here sees that it is dead
    scene.store.write(name, lease.data().replace(lease.machine.encode(), b"elsewhere"))
    out, said = process.communicate(timeout=300)
    assert process.returncode == 0, out + said
    assert scene.table() == undisturbed
