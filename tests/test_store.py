"""The store: whole or not at all, checked when read, leases that outlive no one."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simlaw.errors import SimlawError
from simlaw.store import LEASE_SECONDS, Store

FILES = {"a.txt": b"alpha", "b.bin": bytes(range(256))}


def test_put_and_get(store):
    store.put("run", "k/1", FILES)
    assert store.get("run", "k/1") == FILES
    assert store.has("run", "k/1")
    assert store.keys("run") == ["k/1"]
    assert store.keys("run", "k") == ["k/1"]
    assert store.get("run", "k/2") is None
    assert not list((store.root / "tmp").iterdir())


def test_checksums_are_those_of_sha256sum(store):
    store.put("run", "k", FILES)
    check = subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"], cwd=store.root / "run" / "k", check=False, capture_output=True
    )
    assert check.returncode == 0


def test_a_folder_is_adopted_whole(store):
    draft = store.draft()
    (draft / "sub").mkdir()
    (draft / "sub" / "a.txt").write_bytes(b"alpha")
    store.adopt("run", "k/1", draft)
    assert not draft.exists()
    assert store.get("run", "k/1") == {"sub/a.txt": b"alpha"}
    folder = store.locate("run", "k/1")
    check = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=folder, check=False, capture_output=True)
    assert check.returncode == 0
    (folder / "sub" / "a.txt").write_bytes(b"alphA")
    assert store.locate("run", "k/1") is None
    assert len(list((store.root / "aside").iterdir())) == 1


def test_a_second_put_changes_nothing(store):
    store.put("run", "k", FILES)
    store.put("run", "k", {"a.txt": b"other"})
    assert store.get("run", "k") == FILES


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "b.bin").write_bytes(b"\x00" * 256),
        lambda path: (path / "b.bin").write_bytes(bytes(range(255))),
        lambda path: (path / "b.bin").unlink(),
        lambda path: (path / "SHA256SUMS").unlink(),
        lambda path: (path / "SHA256SUMS").write_text(""),
        lambda path: (path / "SHA256SUMS").write_text("nonsense"),
    ],
    ids=["altered", "truncated", "file gone", "sums gone", "sums empty", "sums unreadable"],
)
def test_a_damaged_artefact_is_set_aside_and_can_be_made_again(store, damage):
    store.put("run", "k", FILES)
    damage(store.root / "run" / "k")
    assert store.get("run", "k") is None
    assert len(list((store.root / "aside").iterdir())) == 1
    assert [record["event"] for record in store.telemetry()] == ["set aside"]
    store.put("run", "k", FILES)
    assert store.get("run", "k") == FILES


def test_a_draft_that_was_cut_off_is_no_artefact(store):
    (store.root / "tmp" / "0123").mkdir(parents=True)
    (store.root / "tmp" / "0123" / "a.txt").write_bytes(b"alp")
    assert store.keys("run") == []


def test_a_store_that_cannot_be_written_says_so(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(SimlawError, match=r"cannot write .*: Not a directory; free space or set SIMLAW_STORE"):
        Store(root=blocked).put("run", "k", FILES)


def test_a_lease_is_held_once(store):
    assert store.claim("k")
    assert not Store(root=store.root).claim("k")
    assert store.held() == ["k"]
    store.renew("k")
    store.release("k")
    assert store.held() == []
    assert store.claim("k")


def test_a_lease_of_a_dead_process_is_taken_over(store):
    child = (
        "from pathlib import Path; from simlaw.store import Store; import sys; Store(root=Path(sys.argv[1])).claim('k')"
    )
    subprocess.run([sys.executable, "-c", child, str(store.root)], check=True)
    assert (store.root / "leases" / "k").exists()
    assert store.held() == []
    assert store.claim("k")
    assert store.held() == ["k"]


def test_a_lease_of_another_host_expires(store):
    lease = store.root / "leases" / "k"
    lease.parent.mkdir(parents=True)
    lease.write_text("elsewhere 1\n")
    assert not store.claim("k")
    os.utime(lease, (0, 0))
    assert store.claim("k")
    assert lease.read_text().split() == [socket.gethostname(), str(os.getpid())]


def test_a_lease_without_a_sign_of_life_expires_even_where_its_process_number_lives_on(store):
    assert store.claim("k")
    lease = store.root / "leases" / "k"
    store.renew("k")
    assert store.held() == ["k"]
    os.utime(lease, (time.time() - LEASE_SECONDS - 1,) * 2)
    assert store.held() == []


def test_a_lease_that_was_cut_off_while_being_written_expires(store):
    lease = store.root / "leases" / "k"
    lease.parent.mkdir(parents=True)
    lease.write_text("")
    assert store.held() == ["k"]
    os.utime(lease, (time.time() - 10,) * 2)
    assert store.held() == []
    assert store.claim("k")


def test_what_another_worker_took_is_no_error(store):
    store.renew("nobody's")
    store.release("nobody's")
    store.set_aside("run", "not there")
    assert not (store.root / "telemetry.jsonl").exists()


def test_the_second_writer_of_the_same_artefact_loses_nothing(store, monkeypatch):
    store.put("run", "k", FILES)
    monkeypatch.setattr(Path, "exists", lambda _: False)  # both looked before either was done
    store.put("run", "k", FILES)
    monkeypatch.undo()
    assert store.get("run", "k") == FILES
    assert list((store.root / "tmp").iterdir()) == []


def test_telemetry_survives_a_cut_off_line(store):
    store.log({"event": "one"})
    with (store.root / "telemetry.jsonl").open("a") as file:
        file.write('{"event": "cut of')
    assert [record["event"] for record in store.telemetry()] == ["one"]
    assert json.loads((store.root / "telemetry.jsonl").read_text().splitlines()[0])["host"]
