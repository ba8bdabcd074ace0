"""Buckets: artefacts are there once their checksums are, one writer of several succeeds, errors are one sentence."""

import importlib.util
import json
import os
import sys
import threading

import obstore
import pytest

from simlaw.config import run_id
from simlaw.errors import SimlawError
from simlaw.run.found import stored_rows
from simlaw.run.manifest import Manifest, read_manifest, submit
from simlaw.run.worker import run_worker
from simlaw.store import BucketStore, Leases, Store, held, open_store
from simlaw.store.bucket import scratch
from tests.stores import S3, in_memory
from tests.test_work import LADDER, PACK

FILES = {"a.txt": b"alpha", "sub/b.bin": bytes(range(256))}
COMPONENTS = importlib.util.find_spec("moto") and importlib.util.find_spec("flask_cors")


@pytest.fixture(scope="module")
def s3():
    if not COMPONENTS:
        pytest.skip("there is no S3 here: `make components` installs one")
    with S3() as server:
        yield server


@pytest.fixture(params=["memory", "s3"])
def bucket(request, tmp_path, monkeypatch):
    monkeypatch.setenv("SIMLAW_SCRATCH", str(tmp_path / "scratch"))
    if request.param == "memory":
        return in_memory(tmp_path)
    request.getfixturevalue("s3")
    return open_store(f"s3://simlaw-tests/{tmp_path.name}")


def test_artefacts_are_whole_and_listed(bucket):
    assert bucket.get("run", "k/1") is None
    assert not bucket.has("run", "k/1")
    bucket.put("run", "k/1", FILES)
    bucket.put("run", "k/1", {"a.txt": b"other"})
    assert bucket.get("run", "k/1") == FILES
    assert bucket.has("run", "k/1")
    assert bucket.keys("run") == bucket.keys("run", "k") == ["k/1"]
    assert bucket.keys("run", "other") == []
    folder = bucket.locate("run", "k/1")
    assert (folder / "sub" / "b.bin").read_bytes() == FILES["sub/b.bin"]
    assert bucket.locate("run", "k/1") == folder
    bucket.remove("run", "k/1")
    bucket.remove("run", "k/1")
    assert bucket.names("run") == []
    assert bucket.locate("run", "k/1") is None


def test_a_folder_is_adopted_whole(bucket):
    draft = bucket.draft()
    (draft / "sub").mkdir()
    (draft / "sub" / "a.txt").write_bytes(b"alpha")
    bucket.adopt("run", "k", draft)
    assert not draft.exists()
    assert bucket.get("run", "k") == {"sub/a.txt": b"alpha"}


def test_of_two_writers_one_succeeds_and_nothing_is_mixed(bucket):
    others = [{"a.txt": bytes([i]) * 1000, "b.txt": bytes([i]) * 1000} for i in range(6)]
    threads = [threading.Thread(target=bucket.put, args=("run", "k", files)) for files in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bucket.get("run", "k") in others
    assert len(bucket.names("run/k")) == 3  # the losers took theirs away


def test_an_upload_that_was_cut_off_is_no_artefact(bucket):
    bucket.write("run/k/0123/a.txt", b"alp")
    assert bucket.keys("run") == []
    assert bucket.get("run", "k") is None
    bucket.put("run", "k", FILES)
    assert bucket.get("run", "k") == FILES


@pytest.mark.parametrize("damage", ["altered", "gone", "sums", "leads out"])
def test_a_damaged_artefact_is_set_aside_and_can_be_made_again(bucket, damage):
    bucket.put("run", "k", FILES)
    victim = next(
        name for name in bucket.names("run/k") if name.endswith("SHA256SUMS") == (damage in ("sums", "leads out"))
    )
    if damage == "gone":
        bucket.erase(victim)
    else:
        text = {"altered": b"alphA", "sums": b"nonsense", "leads out": f"{'0' * 64}  ../../x\n".encode()}[damage]
        bucket.write(victim, text)
    assert bucket.get("run", "k") is None
    assert not bucket.has("run", "k")
    assert bucket.names("aside")
    assert [record["event"] for record in bucket.faults()] == ["set aside"]
    bucket.put("run", "k", FILES)
    assert bucket.get("run", "k") == FILES


def test_what_was_made_again_meanwhile_is_not_set_aside(bucket, monkeypatch):
    bucket.put("run", "k", FILES)
    (victim,) = (name for name in bucket.names("run/k") if name.endswith("a.txt"))
    bucket.write(victim, b"alphA")
    bucket.write("run/k/4567/a.txt", b"alp")  # somebody uploads just now
    read, first = BucketStore.read, []

    def reads(store, name):
        data = read(store, name)
        if name == victim and not first:  # who looked at the same time is quicker
            first.append(name)
            assert other.get("run", "k") is None
            other.put("run", "k", FILES)
        return data

    other = BucketStore(url=bucket.url, objects=bucket.objects, root=bucket.root)
    monkeypatch.setattr(BucketStore, "read", reads)
    assert bucket.get("run", "k") == FILES
    assert first
    assert bucket.get("run", "k") == FILES
    assert bucket.read("run/k/4567/a.txt") == b"alp"
    assert len({name.split("/")[1] for name in bucket.names("aside")}) == 1
    assert [record["event"] for record in bucket.faults()] == ["set aside"]


def test_a_put_that_is_answered_with_an_error_and_sent_again_is_still_this_writers(bucket, monkeypatch):
    put = obstore.put

    def twice(objects, name, data, **how):
        put(objects, name, data, **how)
        return put(objects, name, data, **how)  # as the library does where the answer to the first is a 503

    monkeypatch.setattr(obstore, "put", twice)
    bucket.put("run", "k", FILES)
    assert bucket.get("run", "k") == FILES
    assert bucket.create("claims/k/1", b"mine")
    assert not bucket.create("claims/k/1", b"another's")
    assert bucket.read("claims/k/1") == b"mine"


def test_a_small_file_is_made_by_one_of_all_who_try(bucket):
    made = []
    threads = [
        threading.Thread(target=lambda i=i: made.append(bucket.create("claims/k/1", bytes([i])))) for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False] * 7 + [True]
    assert bucket.read("claims/k/2") is None


def test_leases_are_held_in_a_bucket(bucket):
    leases = Leases(bucket)
    assert leases.claim("k")
    assert Leases(bucket).claim("k") is None
    leases.renew({"doing": "training"})
    assert held(bucket)["k"].beats == 1
    leases.release("k")
    assert held(bucket) == {}


def test_work_in_a_bucket_leaves_what_it_leaves_in_a_folder(bucket, tmp_path, corpus, capsys):
    manifest = Manifest(corpora=(LADDER[0].corpus,), fingerprints=(corpus.fingerprint,), packs=(PACK,))
    where = submit(bucket, manifest)
    assert where.startswith(f"{bucket.address}/manifests/")
    assert read_manifest(where, bucket) == manifest
    assert run_worker(bucket, where, 0, None)
    folder = Store(root=tmp_path / "folder")
    assert run_worker(folder, submit(folder, manifest), None, None)
    for spec in LADDER:
        run = run_id(spec, corpus.fingerprint)
        assert stored_rows(bucket, run) == stored_rows(folder, run)
        assert bucket.get("run", run) == folder.get("run", run)
    assert bucket.keys("partial") == []
    assert held(bucket) == {}
    assert not list(bucket.root.glob("run"))  # on this machine are only journals, logs and records
    assert run_worker(bucket, where, None, None)
    capsys.readouterr()


def test_a_bucket_that_is_not_there_is_told_in_one_sentence_without_secrets(s3, tmp_path, monkeypatch):
    monkeypatch.setenv("SIMLAW_SCRATCH", str(tmp_path))
    store = open_store("s3://no-such-bucket/x")
    with pytest.raises(SimlawError) as caught:
        store.put("run", "k", FILES)
    said = str(caught.value)
    assert said == "s3://no-such-bucket/x/run/k: there is no such bucket; mend SIMLAW_STORE"
    monkeypatch.setenv("AWS_ALLOW_HTTP", "false")  # as where nobody answers
    with pytest.raises(SimlawError, match="look at the bucket's name, and at your credentials") as caught:
        open_store("s3://simlaw-tests/x").put("run", "k", FILES)
    said += str(caught.value)
    assert "\n" not in said
    assert s3.environment["AWS_SECRET_ACCESS_KEY"] not in said


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3://name:pass-word@bucket/x",
        "s3://bucket:80/x",
        "s3://bucket/x?token=pass-word",
        "s3://bucket/../x",
        "ftp://bucket/x",
        "http://bucket/x",
    ],
)
def test_an_address_that_is_none_is_refused_and_shows_no_secret(url):
    with pytest.raises(SimlawError, match="a store") as caught:
        open_store(url)
    assert "pass-word" not in str(caught.value)


def test_without_the_library_a_bucket_is_refused_and_a_folder_is_not(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "obstore", None)
    assert open_store(tmp_path).address == str(tmp_path)
    with pytest.raises(SimlawError, match=r"pip install 'simlaw\[buckets\]'"):
        open_store("gs://bucket/x")


def test_what_is_of_this_machine_alone_lies_where_nobody_else_writes(monkeypatch, tmp_path):
    monkeypatch.delenv("SIMLAW_SCRATCH", raising=False)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    one, other = scratch("s3://a/x"), scratch("s3://a/y")
    assert one != other
    assert one.parent.stat().st_mode & 0o077 == 0
    somebody = os.getuid() + 1
    one.parent.rename(tmp_path / f"simlaw-{somebody}")
    monkeypatch.setattr(os, "getuid", lambda: somebody)
    with pytest.raises(SimlawError, match=r"no folder of yours .*, or set SIMLAW_SCRATCH"):
        scratch("s3://a/x")
    monkeypatch.setenv("SIMLAW_SCRATCH", str(tmp_path))
    with pytest.raises(SimlawError, match="belongs to somebody else: set SIMLAW_SCRATCH"):
        scratch("s3://a/x")


def test_a_link_in_place_of_the_folder_of_this_machine_is_not_followed(monkeypatch, tmp_path):
    monkeypatch.delenv("SIMLAW_SCRATCH", raising=False)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    (tmp_path / "mine").mkdir(0o700)
    (tmp_path / f"simlaw-{os.getuid()}").symlink_to(tmp_path / "mine")
    with pytest.raises(SimlawError, match=r"no folder of yours .*, or set SIMLAW_SCRATCH"):
        scratch("s3://a/x")


def test_records_of_a_bucket_stay_on_this_machine(bucket):
    assert isinstance(bucket, BucketStore)
    bucket.log({"event": "one"})
    assert [record["event"] for record in bucket.telemetry()] == ["one"]
    assert json.loads((bucket.root / "telemetry.jsonl").read_text())["host"]
    assert bucket.names("") == []
