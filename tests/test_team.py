"""Teams: two processes in step leave what one leaves, once, and a signal to one of them stops both."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from simlaw.config import run_id, trunk_id
from simlaw.errors import SimlawError
from simlaw.plan import Pack
from simlaw.run.found import stored_rows
from simlaw.run.manifest import Manifest, submit
from simlaw.run.team import TeamStore, anybody, leads, together, told
from simlaw.run.work import Desk, work
from simlaw.store import Store, held
from simlaw.train import shape_of
from tests.conftest import ROOT, tiny_eval, tiny_run
from tests.stores import in_memory

#: The second is far from its end when the first is stored.
RUNS = (tiny_run(tokens=80 * 128), tiny_run(tokens=8000 * 128, seed=1))
PACKS = tuple(Pack(members=((run,),), evals=(tiny_eval(),)) for run in RUNS)
#: Nats per token: sums over processes add up in another order, and 80 steps amplify it.
TOLERANCE = 1e-4


def team(store, manifest):
    """Two processes on one mesh, each with one device; the batch is divided."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    env = {"SIMLAW_STORE": str(store.root), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "simlaw", "work", "--manifest", str(manifest), "--mesh", "1", "2", "1"]
    command += ["--coordinator", place, "--processes", "2", "--process"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [subprocess.Popen([*command, str(i)], cwd=ROOT, env=os.environ | env, **pipes) for i in (0, 1)]


def test_two_processes_leave_what_one_leaves_and_stop_together(store, corpus, program, tmp_path):
    manifest = submit(store, Manifest(corpora=(RUNS[0].corpus,), fingerprints=(corpus.fingerprint,), packs=PACKS))
    done, left = (run_id(run, corpus.fingerprint) for run in RUNS)
    first, second = team(store, manifest)
    while not store.keys("rows") and first.poll() is None:
        time.sleep(0.1)
    second.send_signal(signal.SIGTERM)
    said = [process.communicate(timeout=240) for process in (first, second)]
    assert [first.returncode, second.returncode] == [1, 1], said
    assert "flops" in said[0][0]
    assert "flops" not in said[1][0]  # process 0 alone speaks
    assert held(store) == {}
    assert not stored_rows(store, left)  # both stopped in the second run
    trunk = trunk_id(RUNS[0].trunk, corpus.fingerprint)
    assert set(store.get("trunk", f"{trunk}/{RUNS[0].branch_step:08d}")) > {"about.json"}  # each stored its share

    other = Store(root=tmp_path / "other")
    desk = Desk(store=other, corpus=corpus, tell=lambda _: None, stop=lambda: False)
    work(PACKS[0], desk, {shape_of(RUNS[0]): program})
    assert len(store.keys("rows")) == 1
    (mine,), (theirs,) = (list(stored_rows(one, done).values()) for one in (store, other))
    assert {name for name in mine if mine[name] != theirs[name]} <= {"loss", "loss_se", "excess"}
    assert mine["loss"] == pytest.approx(theirs["loss"], abs=TOLERANCE)


def test_alone_a_process_leads_and_decides(store):
    assert leads()
    assert anybody(True)
    assert not anybody(False)
    assert together(lambda: 3) == 3
    assert told({"a": [1, None]}) == {"a": [1, None]}
    with pytest.raises(SimlawError, match="no good"):
        together(lambda: (_ for _ in ()).throw(SimlawError("no good")))


def test_a_team_store_answers_as_its_store_does(store, tmp_path):
    shared = TeamStore(store=store)
    assert shared.get("run", "k") is None
    shared.put("run", "k", {"a.bin": bytes(range(256))})
    assert shared.get("run", "k") == store.get("run", "k") == {"a.bin": bytes(range(256))}
    assert shared.locate("run", "k") == (store.root / "run" / "k").resolve()
    assert shared.has("run", "k")
    assert shared.keys("run") == ["k"]
    assert shared.foldered
    assert not TeamStore(store=in_memory(tmp_path)).foldered
    shared.remove("run", "k")
    assert shared.keys("run") == []
    (store.root / "aside").write_text("")
    with pytest.raises(SimlawError, match="File exists"):
        shared.set_aside("run", "k")
