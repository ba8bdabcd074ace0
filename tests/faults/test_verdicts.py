"""Faults that no other try mends: the rows of that run say so, every other row is the undisturbed one."""

import pytest

from simlaw.plan import packs
from simlaw.run.session import Session
from tests.faults.scene import LONG, rows_of


def told(table, seed, undisturbed):
    """The status and the note of the rows of a seed; all others are as they would have been."""
    mine, others = rows_of(table, seed)
    usual, rest = rows_of(undisturbed, seed)
    assert others == rest
    assert len(mine) == len(usual)
    assert {row["loss"] for row in mine} == {""}
    return mine


def test_numbers_that_are_none_from_a_step_on_are_a_divergence(scene, undisturbed):
    fault = {"kind": "wrong numbers", "seed": 1, "step": 100}
    done = scene.run("--save-seconds", 0, fault=fault)
    assert done.returncode == 0, done.stderr  # a run that diverged is done
    mine = told(scene.table(), 1, undisturbed)
    assert {row["status"] for row in mine} == {"diverged"}
    assert {row["note"].partition(" of ")[0] for row in mine} == {"training loss became nan at step 100"}
    assert "diverged" in scene.status()
    assert "training loss became" in done.stderr
    assert "Warning" not in done.stderr


@LONG
def test_a_pack_too_large_for_memory_is_halved(scene, undisturbed, monkeypatch):
    """Of three seeds in one pack two are too many, and each alone is not."""
    with monkeypatch.context() as patch:
        patch.chdir(scene.folder)
        patch.setenv("SIMLAW_STORE", str(scene.store.root))
        session = Session.open("sweep.py")
        (pack,) = packs(session.plan.cells, 3)
        manifest = session.submit((pack,))
    done = scene.call("work", "--manifest", manifest, "--core", 0, fault={"kind": "memory", "members": 1})
    assert done.returncode == 0, done.stderr
    assert {len(record["runs"]) for record in scene.store.telemetry() if record["event"] == "trained"} == {1}
    assert scene.table() == undisturbed


@LONG
@pytest.mark.parametrize("kind", ["memory", "crash"])
def test_what_cannot_be_done_here_fails_alone(scene, undisturbed, kind):
    done = scene.run("--retries", 1, fault={"kind": kind, "seed": 2})
    assert done.returncode == 1
    words = {"memory": "out of memory: RESOURCE_EXHAUSTED", "crash": "2 workers in turn ended in it without a word"}[
        kind
    ]
    assert f"failed: {words}" in done.stderr
    mine = told(scene.table(), 2, undisturbed)
    assert {row["status"] for row in mine} == {"failed"}
    assert all(row["note"].startswith(words) for row in mine)
    said = scene.status()
    assert said.count(f": {words}") == 2
    assert "failed" in said
    done = scene.run()  # where memory suffices, the same command does what is missing
    assert done.returncode == 0, done.stderr
    assert scene.table() == undisturbed
