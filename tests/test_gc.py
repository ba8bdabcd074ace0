"""What `simlaw gc` removes, of a folder and of a bucket: what no sweep uses, and nothing that jobs wait for."""

import time
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from simlaw.cli import cli
from simlaw.run.session import Session
from simlaw.store import Leases, Store
from tests.conftest import ROOT
from tests.stores import in_folder, in_memory

DAY = 24 * 3600.0


@pytest.fixture(params=[in_folder, in_memory])
def kept(request, tmp_path, monkeypatch):
    """A store with a run that the smoke sweep uses, and that run's id."""
    made = request.param(tmp_path)
    (tmp_path / "sweeps" / "smoke").mkdir(parents=True)
    (tmp_path / "sweeps" / "smoke" / "sweep.py").write_text((ROOT / "sweeps" / "smoke" / "sweep.py").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("simlaw.cli.gc.open_store", lambda: made)
    monkeypatch.setattr("simlaw.run.session.open_store", lambda: made)
    run = Session.open("smoke").plan.cells[0].run_id
    made.put("run", run, {"a.txt": b"alpha", "b.txt": b"beta"})
    return made, run


@pytest.fixture
def gc(monkeypatch):
    """Call `simlaw gc` so many seconds from now; gives back what it says."""

    def call(*more, later=0.0):
        monkeypatch.setattr("simlaw.cli.gc.time", SimpleNamespace(time=lambda: time.time() + later))
        said = CliRunner().invoke(cli, ["gc", *more])
        assert said.exit_code == 0, said.output
        return said.stdout

    return call


def test_what_no_sweep_uses_goes_and_the_rest_stays(kept, gc):
    store, run = kept
    near = Store(root=store.root)
    store.put("run", "0123456789abcdef", {"a.txt": b"x" * 1000})
    store.put("partial", "0123456789abcdef/000016", {"a.txt": b"x" * 1000})
    store.put("partial", f"{run}/000016", {"a.txt": b"x"})
    store.write("aside/run-k-0123/a.txt", b"x")
    for name in ("logs/1.log", "tmp/0123/a.txt", "history/0123456789abcdef.jsonl", "history/trunk/0123.jsonl"):
        near.write(name, b"{}")
    for name in (f"history/{run}.jsonl", f"copies/run/{run}/a.txt"):
        near.write(name, b"{}")
    near.write("copies/run/0123456789abcdef/a.txt", b"x")
    said = gc()
    assert said.startswith("would remove 2")
    assert "1 run, 1 partial, 1 aside, 1 logs, 1 tmp, 2 history, 1 copies; `simlaw gc --yes` does" in said
    assert store.keys("run") == sorted((run, "0123456789abcdef"))
    assert gc("--yes") == said.replace("would remove", "removed").replace("; `simlaw gc --yes` does", "")
    assert store.keys("run") == [run]
    assert store.keys("partial") == [f"{run}/000016"]
    assert store.names("aside") == near.names("logs") == near.names("tmp") == []
    assert near.names("history") == [f"history/{run}.jsonl"]
    assert near.names("copies") == [f"copies/run/{run}/a.txt"]
    assert not store.has("run", "0123456789abcdef")
    assert gc() == "would remove nothing; `simlaw gc --yes` does\n"


def test_files_of_no_artefact_go_after_a_day(kept, gc):
    store, run = kept
    files = store.get("run", run)
    store.write("run/0123456789abcdef/4567/a.txt", b"x")  # cut off
    store.write(f"run/{run}/4567/a.txt", b"x")  # another was quicker, and this writer died before it took its own away
    assert gc("--yes") == "removed nothing\n"
    said = gc("--yes", later=DAY + 60)
    assert said.endswith(": 2 run cut off\n")
    assert [name for name in store.names("run") if "4567" in name] == []
    assert not store.has("run", "0123456789abcdef")
    assert store.get("run", run) == files


def test_manifests_stay_while_jobs_may_wait_for_them(kept, gc):
    store, _ = kept
    store.write("manifests/0123.json", b"{}")
    gc("--yes", later=6.9 * DAY)
    assert store.names("manifests")
    assert gc("--yes", later=7.1 * DAY).endswith(": 1 manifests\n")
    assert not store.names("manifests")


def test_workers_are_waited_for_while_they_give_signs_of_life(kept, gc, monkeypatch):
    store, _ = kept
    assert Leases(store).claim("k")
    monkeypatch.setattr("simlaw.cli.gc.time", time)
    said = CliRunner().invoke(cli, ["gc", "--yes"])
    assert said.exit_code == 2
    assert said.stderr == "simlaw: workers are at work here (on k): wait for them, or stop them first\n"
    assert gc("--yes", later=3700).endswith(": 1 claims\n")
