"""The world around workers breaks: artefacts, the disk, writes, the clock. What passes leaves no trace in the table."""

import os
import random
import shutil
import subprocess

import pytest

from tests.faults.scene import FULL, LONG, Scene


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    scene = Scene(tmp_path_factory.mktemp("finished"))
    assert scene.run().returncode == 0
    return scene


def truncated(path, chance):
    path.write_bytes(path.read_bytes()[: chance.randrange(max(1, path.stat().st_size))])


def flipped(path, chance):
    data = bytearray(path.read_bytes() or b"x")
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(bytes(data))


def deleted(path, _):
    path.unlink()


@pytest.mark.parametrize("damage", [pytest.param(truncated, marks=LONG), flipped, pytest.param(deleted, marks=LONG)])
def test_whatever_is_damaged_is_made_again(tmp_path, finished, undisturbed, damage):
    """Each time a share of all files, and the rows of some runs, so that what they rest on is read again."""
    chance = random.Random(damage.__name__)
    for attempt in range(6 if FULL else 1):
        scene = Scene(tmp_path / str(attempt))
        shutil.copytree(finished.store.root, scene.store.root)
        kinds = ("run", "rows", "trunk", "claims", "corpus", "manifests", "history")
        files = [path for kind in kinds for path in sorted((scene.store.root / kind).rglob("*")) if path.is_file()]
        assert {path.relative_to(scene.store.root).parts[0] for path in files} == set(kinds)
        for path in files:
            if chance.random() < 0.4:
                damage(path, chance)
        for path in sorted((scene.store.root / "rows").iterdir()):
            if chance.random() < 0.5:
                shutil.rmtree(path)
        done = scene.run()
        assert done.returncode == 0, done.stderr
        assert scene.table() == undisturbed
        if damage is not deleted:
            assert "artefacts set aside as damaged, to be made again" in scene.status()


@LONG
def test_a_full_disk_is_told_and_with_room_the_same_command_goes_on(tmp_path, undisturbed):
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "none", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk wants the right to mount one: run this test as root")
    try:
        scene = Scene(tmp_path, store=str(place / "store"))
        done = scene.run("--retries", 1)
        assert done.returncode in (1, 2), done.stderr
        assert "No space left on device" in done.stderr or "its disk is full: free space" in done.stderr
        assert "Traceback" not in done.stderr
        assert "left: free some, or set SIMLAW_STORE to another place" in scene.status()
        subprocess.run(["mount", "-o", "remount,size=200m", place], check=True)
        done = scene.run()
        assert done.returncode == 0, done.stderr
        assert scene.table() == undisturbed
    finally:
        subprocess.run(["umount", place], check=True)


@LONG
def test_writes_that_fail_now_and_then_are_tried_again(scene, undisturbed):
    fault = {"kind": "broken writes", "share": 0.05}
    for _ in range(6):
        done = scene.run("--save-seconds", 0, "--retries", 6, fault=fault)
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stderr
    assert scene.table() == undisturbed


@LONG
def test_a_clock_that_jumps_by_years_changes_nothing(scene, undisturbed):
    done = scene.run("--save-seconds", 0, "--lease-seconds", 30, fault={"kind": "jumping clock"})
    assert done.returncode == 0, done.stderr
    assert scene.table() == undisturbed
    assert not list(scene.store.faults())


@LONG
def test_artefacts_follow_the_umask(scene, undisturbed):
    before = os.umask(0o027)
    try:
        assert scene.run().returncode == 0
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in scene.store.root.rglob("*") if path.is_file()}
    assert modes <= {0o640, 0o440}
    assert {path.stat().st_mode & 0o777 for path in scene.store.root.rglob("*") if path.is_dir()} <= {0o750}
    assert scene.table() == undisturbed
