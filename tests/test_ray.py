"""The Ray engine on a real cluster of two workers: stopped, one of them killed, and the table that of a local run."""

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from simlaw.cli import cli
from simlaw.errors import SimlawError
from simlaw.plan import Pack, packs
from simlaw.run import rays
from simlaw.run.job import OF_AN_ENTRY
from simlaw.run.local import Local
from simlaw.run.manifest import Manifest, submit
from simlaw.run.message import Message, Task, read_message
from simlaw.run.rays import Ray, _answering, _Attended, _connected, _core, _library, _work
from simlaw.run.rules import Rules
from simlaw.run.session import Session
from tests.conftest import ROOT, tiny_eval, tiny_run

with_ray = pytest.mark.skipif(
    not importlib.util.find_spec("ray"), reason="Ray is not here: `make components` installs it"
)
#: Runs of a second or more, so that a worker can be killed, and stopped, while it trains.
SWEEP = '''
"""Two trunks of one shape."""

from simlaw.config import WSD, Graph
from simlaw.recipe import Family, RateRule
from simlaw.sweep import Grid, PTQGrid, Sweep

SWEEP = Sweep(
    corpus=Graph(nodes=16, out=4),
    family=Family(layers=1, head_dim=8, hidden_ratio=3, context=16),
    rate=RateRule(rate=0.02, width=16, exponent=-1.0),
    schedule=WSD(warmup_tokens=512, cooldown=0.2),
    batch=8,
    grids=(Grid(widths=(16,), tokens=(8000 * 128,), seeds=(0, 1)),),
    ptq=(PTQGrid(bits=(4,)),),
    eval_tokens=2048,
    unidentified="a test",
)
'''
#: No token in the home folder, no statistics, and a node that has been silent for three seconds is dead.
SETTINGS = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}


def processes():
    """The parent and the arguments of every process."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            parent = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
            found[int(path.name)] = parent, (path / "cmdline").read_bytes().decode().split("\0")
    return found


def below(pid):
    """A process and all that it started, the first first."""
    there, tree = processes(), [pid]
    for one in tree:
        tree += [child for child, (parent, _) in there.items() if parent == one]
    return tree


def workers(pid):
    """The process of each pack that a node works on, by index."""
    there = processes()
    said = [(one, there[one][1]) for one in below(pid) if one in there]
    return {arguments[arguments.index("--index") + 1]: one for one, arguments in said if "--index" in arguments}


def kill(pid):
    """As a node does that loses its power."""
    for one in below(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def until(what, seconds=60):
    """Wait until something is so; gives it back."""
    ends = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < ends
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def cluster():
    """The address of a cluster whose head does no work, and the processes of its two nodes with a core each."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        env = os.environ | SETTINGS | {"RAY_TMPDIR": folder}
        usual = ["--node-ip-address", "127.0.0.1", "--object-store-memory", "80000000", "--block"]

        started = []

        def start(*more):
            command = [sys.executable, "-m", "ray.scripts.scripts", "start", *usual, *more]
            path = Path(folder, f"{len(started)}.log")
            with path.open("wb") as log:
                started.append(subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True))
            # one by one: two nodes that look for names of sockets at once find the same
            until(lambda: "Ray runtime started" in path.read_text() or started[-1].poll() is not None)
            assert started[-1].poll() is None, path.read_text()
            return started[-1]

        try:
            start("--head", "--port", address.split(":")[1], "--num-cpus", "0", "--include-dashboard", "false")
            yield address, [start("--address", address, "--num-cpus", "1") for _ in range(2)]
        finally:
            for process in reversed(started):
                kill(process.pid)
                process.wait()


@pytest.fixture
def launched(cluster, tmp_path):
    """Start the driver of a run on the cluster, and end it with the test."""
    (tmp_path / "sweeps" / "tiny").mkdir(parents=True)
    (tmp_path / "sweeps" / "tiny" / "sweep.py").write_text(SWEEP)
    started = []

    def start(*more):
        command = [sys.executable, "-m", "simlaw", "run", "tiny", "--own", "--engine", "ray", "--address", cluster[0]]
        env = os.environ | SETTINGS | {"SIMLAW_STORE": str(tmp_path / "store")}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([*command, *more], cwd=tmp_path, env=env, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def cut(text):
    """What the driver said, without the state that Ray prints of a node which died."""
    return "\n".join(line[:300] for line in text.splitlines() if "state-dump" not in line and "accessor.cc" not in line)


@with_ray
def test_a_killed_node_changes_no_byte_of_the_table(cluster, launched, tmp_path, monkeypatch):
    _, (stays, falls) = cluster
    driver = launched("--save-seconds", "0")
    until(lambda: driver.poll() is not None or (workers(stays.pid) and workers(falls.pid)))
    (lost,), (kept,) = workers(falls.pid), workers(stays.pid)
    until(lambda: driver.poll() is not None or len(list((tmp_path / "store").glob("history/trunk/*"))) == 2)
    kill(falls.pid)
    began = until(lambda: driver.poll() is not None or workers(stays.pid).get(lost))
    out, err = driver.communicate(timeout=120)
    print(f"pack {lost} was lost, pack {kept} was not; pack {lost} again as process {began}", cut(out), err, sep="\n")
    assert (driver.returncode, began is True) == (0, False)
    assert out.splitlines()[-1] == "all 2 runs of tiny are there"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIMLAW_STORE", "local")
    session = Session.open("tiny")
    todo = packs(session.status(own=True).todo, 1)
    session.run(todo, Local(workers=1), lambda *_: None)
    tables = []
    for store in ("store", "local"):
        monkeypatch.setenv("SIMLAW_STORE", store)
        tables.append(CliRunner().invoke(cli, ["table", "tiny", "--own"]).stdout)
    assert tables[0].count("\n") == 5  # two runs as trained and rounded, below the names of columns
    assert tables[0] == tables[1]


@with_ray
def test_ctrl_c_stops_what_other_nodes_do_and_keeps_its_state(cluster, launched, tmp_path):
    _, (stays, _) = cluster
    # so long that no trunk ends before the stop comes, however slow the machine is
    (tmp_path / "sweeps" / "tiny" / "sweep.py").write_text(SWEEP.replace("8000 * 128", "800_000 * 128"))
    driver = launched()
    until(lambda: driver.poll() is not None or list((tmp_path / "store").glob("history/trunk/*")))
    driver.send_signal(signal.SIGINT)
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 1, out
    assert "stopped; 0 more runs are done and the others keep their last state: the same command goes on" in err
    assert not workers(stays.pid)  # nobody works on behind its back
    assert list((tmp_path / "store").glob("partial/*/*"))


class Mail:
    """Keeps what is put, in place of an actor; `then` is called with every letter."""

    def __init__(self, then=lambda: None):
        self.lines, self.then, self.put = [], then, self

    def remote(self, _, lines):
        self.lines += lines
        self.then()


def worked(tmp_path, mail, *arguments):
    return _work(
        0, [*arguments], {"SIMLAW_STORE": str(tmp_path), "JAX_PLATFORMS": "cpu"}, str(tmp_path), True, 60.0, mail
    )


def test_a_task_gives_back_what_its_worker_ended_with(tmp_path):
    status, over, said = worked(tmp_path, Mail(), "work", "--manifest", "none.json")
    assert (status, over) == (2, False)
    assert said.startswith("simlaw: none.json is no manifest")


def test_a_cancelled_task_stops_its_worker_at_a_boundary(store, corpus, tmp_path):
    def cancelled():
        if len(mail.lines) > 1 and not stopped:
            stopped.append(True)
            raise KeyboardInterrupt

    stopped, mail = [], Mail(cancelled)
    pack = Pack(members=((tiny_run(tokens=80_000 * 128),),), evals=(tiny_eval(),))
    path = submit(store, Manifest(corpora=(pack.corpus,), fingerprints=(corpus.fingerprint,), packs=(pack,)))
    status, over, said = worked(store.root, mail, "work", "--manifest", path, "--index", "0")
    assert (status, over) == (1, True), said
    assert stopped
    assert read_message(mail.lines[-1]).ended
    assert store.keys("partial")


def test_a_task_that_is_cancelled_at_any_moment_stops_its_worker(tmp_path, monkeypatch):
    class Popen(subprocess.Popen):
        asked = 0

        def poll(self):
            self.asked += 1
            if self.asked == 1:
                raise KeyboardInterrupt
            return super().poll()

    monkeypatch.setattr(rays.subprocess, "Popen", Popen)
    (tmp_path / "simlaw.py").write_text("import time; time.sleep(10)")
    settings = {"PYTHONPATH": str(tmp_path)}
    assert _work(0, [], settings, str(tmp_path), False, 60.0, Mail()) == (-signal.SIGTERM, False, "")


def test_a_worker_knows_nothing_of_the_job_that_ray_was_started_in(tmp_path, monkeypatch):
    for name in (*OF_AN_ENTRY, "JAX_PLATFORMS"):
        monkeypatch.setenv(name, "of Ray's")
    (tmp_path / "simlaw.py").write_text("import os, sys; print(dict(os.environ), file=sys.stderr)")
    settings = {"PYTHONPATH": str(tmp_path), "SIMLAW_JOB": "ray 1_0"}
    status, _, said = _work(0, [], settings, str(tmp_path), False, 60.0, Mail())
    assert (status, "of Ray's" in said, "'ray 1_0'" in said) == (0, False, True)


def test_a_cluster_that_falls_silent_is_told_in_a_sentence():
    class Silent(Exception):
        pass

    ray = SimpleNamespace(exceptions=SimpleNamespace(RayError=Silent))
    sentence = r"^--address h:1: the Ray cluster answers no more \(the actor is dead\): .* the same command goes on"
    with pytest.raises(SimlawError, match=sentence) as said, _answering(ray, "h:1"):
        raise Silent("the actor\nis dead")
    assert "\n" not in str(said.value)


def test_a_worker_that_hangs_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(rays, "STARTING_SECONDS", 1)
    (tmp_path / "simlaw.py").write_text("import time; time.sleep(60)")
    settings = {"PYTHONPATH": str(tmp_path)}
    assert _work(0, [], settings, str(tmp_path), False, 1.0, Mail()) == (-signal.SIGKILL, False, "")


def test_each_task_of_a_node_has_a_core_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(rays, "cores", lambda: [5, 7])
    with _core(0) as first, _core(1) as second, _core(2) as third:
        assert (first, second, third) == (5, 7, 5)  # Ray was told of three
    with _core(9) as again:
        assert again == 5
    (folder,) = tmp_path.iterdir()
    victim = tmp_path / "victim"
    victim.write_text("a thesis")
    (folder / "5").unlink()
    (folder / "5").symlink_to(victim)
    with _core(0):
        assert victim.read_text() == "a thesis"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")  # as another user may, before the first task
    with pytest.raises(SimlawError, match=r"no folder of yours .* start Ray on this node with TMPDIR"), _core(0):
        pass
    assert _work(0, [], {}, str(tmp_path), True, 60.0, Mail())[:2] == (2, False)
    monkeypatch.setattr(rays, "cores", list)
    with _core(0) as none:
        assert none is None


class Tasks:
    """Tasks in place of Ray's: each has ended, with a status and what it said, or an error."""

    class exceptions:
        RayError = ValueError

    def wait(self, tasks, **_):
        return tasks, []

    def get(self, task):
        if isinstance(task[1], Exception):
            raise task[1]
        return task[1:]


def attended(tmp_path, tasks, **fields):
    heard = []
    found = _Attended(
        ray=Tasks(), tell=lambda *said: heard.append(said), logs=tmp_path, rules=Rules(retries=1), tasks=tasks, **fields
    )
    return found, heard


def test_a_worker_that_crashes_is_started_again_and_then_named(tmp_path):
    tasks = {
        (0, 0, True, ""): 0,
        (1, 1, True, "left"): 1,  # it has said what
        (2, 2, False, "a\nsimlaw: no good\n"): 2,
        (3, ValueError("the node is dead")): 3,
        (4, -11, False, ""): 4,
    }
    found, _ = attended(tmp_path, tasks)
    assert found.ended() == [3, 4]
    named = f"the worker of pack 2 ended with status 2: simlaw: no good (whole log: {tmp_path}/pack-2.log)"
    assert (found.tasks, found.failures) == ({}, [named])
    assert (tmp_path / "pack-2.log").read_text() == "a\nsimlaw: no good\n"
    found.tasks = {(4, -11, False, ""): 4}
    assert found.ended() == [4]
    found.tasks = {(4, -11, False, ""): 4}
    assert found.ended() == []
    assert found.failures[1].startswith("the worker of pack 4 ended with status -11: it left no message (whole log: ")
    found.hear([(5, Message(failed="nan", runs=("r",)).line())])
    assert found.failures[2:] == ["nan"]


def test_a_result_makes_up_for_the_ends_before_it(tmp_path):
    crash, settled = {(4, -11, False, ""): 4}, Message(settled="done", runs=("r",)).line()
    found, _ = attended(tmp_path, {})
    ends = []
    for said in ([], [], [(4, settled)], [], [(4, settled)]):  # the last result was known
        found.hear(said)
        found.tasks = dict(crash)
        ends.append(found.ended())
    assert ends == [[4], [4], [4], [4], []]


def test_packs_take_turns_on_the_lines_of_the_screen(tmp_path):
    found, heard = attended(tmp_path, {(8, 0, True, ""): 8})
    training, ended = Message(task=Task(doing="training", loss=1.0)), Message(ended=True)
    found.hear([(8, training.line()), (3, training.line()), (3, "noise"), (8, ended.line())])
    found.ended()
    found.hear([(9, training.line())])
    assert heard == [(0, training), (1, training), (0, ended), (0, training)]


def test_without_the_library_or_a_cluster_that_is_said(monkeypatch):
    def init(**_):
        raise ConnectionError("Could not find\nany running Ray instance")

    sentence = r"^--address auto: no Ray cluster answers \(Could not find any running"
    with pytest.raises(SimlawError, match=sentence) as said, _connected(SimpleNamespace(init=init), "auto"):
        pass
    assert "\n" not in str(said.value)
    for nowhere in ("127.0.0.1:1", "127.0.0.1:99999"):
        with pytest.raises(SimlawError, match=f"^--address {nowhere}: no Ray"), _connected(SimpleNamespace(), nowhere):
            pass
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SimlawError, match=r"--engine ray needs the library ray: pip install 'simlaw\[ray\]' here"):
        _library()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--address", "auto"), "--address says how Ray is to run packs: add --engine ray, or leave it out"),
        (("--gpus-per-pack", "0"), "--gpus-per-pack says how Ray is to run packs: add --engine ray"),
        (
            ("--engine", "ray", "--workers", "2"),
            "--workers 2 is of --engine local: what Ray has decides how many packs",
        ),
        (("--engine", "ray", "--cpus-per-pack", "0"), "invalid value for '--cpus-per-pack'"),
        (("--engine", "ray", "--address", "local"), "--address 'local': a Ray cluster is at HOST:PORT, or auto where "),
        (("--engine", "ray", "--address", "ray://h:1"), "--address 'ray://h:1': a Ray cluster is at HOST:PORT"),
        (("--engine", "ray", "--address", "h:1;rm"), "--address 'h:1;rm': a Ray cluster is at HOST:PORT"),
        (("--engine", "Ray"), "invalid value for '--engine'"),
    ],
)
def test_options_of_ray_are_for_ray(options, sentence):
    said = CliRunner().invoke(cli, ["run", "smoke", *options])
    assert said.exit_code == 2
    assert said.stderr.startswith(f"simlaw: {sentence}")
    assert said.stderr.count("\n") == 1


def test_the_options_of_ray_are_the_fields_of_its_engine(monkeypatch):
    monkeypatch.chdir(ROOT)
    seen = []
    monkeypatch.setattr("simlaw.cli.run.run", lambda _, engine, *__: seen.append(engine) or True)
    options = ("--address", "h:6379", "--gpus-per-pack", "2", "--cpus-per-pack", "4", "--retries", "0", "--remat")
    for more in ((), options, ("--gpus-per-pack", "1", "--device", "tpu")):
        assert CliRunner().invoke(cli, ["run", "smoke", "--engine", "ray", *more]).exit_code == 0
    assert seen[0] == Ray(workers=100)
    assert seen[1] == Ray(
        workers=100, device="gpu", address="h:6379", gpus=2, cpus=4, rules=Rules(retries=0), remat=True
    )
    assert seen[2].device == "tpu"
