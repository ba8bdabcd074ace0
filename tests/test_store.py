"""The store: whole or not at all, checked when read, leases that outlive no one."""

import errno
import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from simlaw.errors import SimlawError
from simlaw.store import Store

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
    assert [record["event"] for record in store.faults()] == ["set aside"]
    store.put("run", "k", FILES)
    assert store.get("run", "k") == FILES


def test_what_is_left_of_an_artefact_without_its_sums_stands_in_nobodys_way(store):
    """Nobody reads what is not listed, so that it must give way when the artefact is made again."""
    store.put("rows", "k", FILES)
    (store.root / "rows" / "k" / "SHA256SUMS").unlink()
    assert store.keys("rows") == []
    store.put("rows", "k", FILES)
    assert store.keys("rows") == ["k"]
    assert store.get("rows", "k") == FILES


@pytest.mark.parametrize("name", ["../../secret", "/etc/hostname", "sub/../../../secret", "a\\b", "./a.txt", ""])
def test_a_name_that_leads_out_of_an_artefact_is_not_followed(store, name):
    store.put("run", "k", FILES)
    secret = store.root / "secret"
    secret.write_text("mine")
    (store.root / "run" / "k" / "SHA256SUMS").write_text(f"{hashlib.sha256(b'mine').hexdigest()}  {name}\n")
    assert store.get("run", "k") is None
    assert secret.read_text() == "mine"


def test_small_files_are_made_once_and_written_whole(store):
    assert store.create("claims/k/1", b"one")
    assert not store.create("claims/k/1", b"two")
    assert store.read("claims/k/1") == b"one"
    store.write("claims/k/1", b"three")
    assert store.read("claims/k/1") == b"three"
    assert store.names("claims") == ["claims/k/1"]
    store.erase("claims/k/1")
    store.erase("claims/k/1")
    assert store.read("claims/k/1") is None
    assert store.names("claims") == []


@pytest.mark.parametrize("number", [errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_links_a_small_file_is_still_made_once(store, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.link", refuse)
    assert store.create("claims/k/1", b"one")
    assert not store.create("claims/k/1", b"two")
    assert store.read("claims/k/1") == b"one"


def test_a_link_that_is_answered_late_is_no_other_writers(store, monkeypatch):
    """Over NFS the answer to a link may get lost; asked for again, it is there."""
    own = os.link

    def twice(*given):
        own(*given)
        own(*given)

    monkeypatch.setattr("os.link", twice)
    assert store.create("claims/k/1", b"one")
    assert not store.create("claims/k/1", b"two")


def test_what_was_made_again_meanwhile_is_not_set_aside(store, monkeypatch):
    store.put("failure", "k", {"a.txt": b"old"})
    (store.root / "failure" / "k" / "a.txt").unlink()
    own = Store._damaged

    def late(self, kind, key, listed):
        self.remove(kind, key)
        self.put(kind, key, {"a.txt": b"new"})
        own(self, kind, key, listed)

    monkeypatch.setattr(Store, "_damaged", late)
    assert store.get("failure", "k") is None
    assert store.get("failure", "k") == {"a.txt": b"new"}


def test_faults_and_telemetry_on_a_full_disk_are_no_errors(store, monkeypatch):
    store.fault({"event": "died", "note": "one"})
    assert [record["note"] for record in store.faults()] == ["one"]

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.open", full)
    monkeypatch.setattr("os.link", full)
    store.log({"event": "trained"})
    store.fault({"event": "died", "note": "two"})
    monkeypatch.undo()
    assert len(list(store.faults())) == 1


def test_a_draft_that_was_cut_off_is_no_artefact(store):
    (store.root / "tmp" / "0123").mkdir(parents=True)
    (store.root / "tmp" / "0123" / "a.txt").write_bytes(b"alp")
    assert store.keys("run") == []


def test_a_store_that_cannot_be_written_says_so(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(SimlawError, match=r"cannot write .*: Not a directory; free space or set SIMLAW_STORE"):
        Store(root=blocked).put("run", "k", FILES)


def test_a_file_where_a_folder_is_wanted_is_told(store):
    store.root.mkdir()
    (store.root / "submissions").write_text("")
    for act in (store.write, store.create):
        with pytest.raises(SimlawError, match=r"cannot write .*submissions/a\.json"):
            act("submissions/a.json", b"{}")


def test_what_another_worker_took_is_no_error(store):
    store.set_aside("run", "not there")
    assert not store.names("faults")


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
