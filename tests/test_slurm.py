"""SLURM: what is asked of it, its errors, and a real cluster of one node on which tasks are killed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from simlaw.cli import cli
from simlaw.errors import SimlawError
from simlaw.run.batch import requeue
from simlaw.run.submissions import queued
from simlaw.store import Store
from tests.conftest import ROOT

#: Three trunks of two ends each, which train for some seconds: long enough to be killed at work.
SWEEP = """
from simlaw.config import WSD, Graph
from simlaw.formats import PerChannel
from simlaw.recipe import Family, RateRule
from simlaw.sweep import Grid, PTQGrid, Sweep

SWEEP = Sweep(
    corpus=Graph(nodes=16, out=4),
    family=Family(layers=1, head_dim=8, hidden_ratio=3, context=16),
    rate=RateRule(rate=0.02, width=16, exponent=-1.0),
    schedule=WSD(warmup_tokens=512, cooldown=0.2),
    batch=8,
    grids=(Grid(widths=(8,), tokens=(2560, {steps} * 128), seeds=(0, 1, 2)),),
    ptq=(PTQGrid(bits=(4,), granularities=(PerChannel(),)),),
    eval_tokens=2048,
    unidentified="a test of the engine",
)
"""
STEPS = 5_000
DAEMONS = ("munged", "slurmctld", "slurmd")
MISSING = [name for name in DAEMONS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")]
real = pytest.mark.skipif(
    bool(MISSING), reason=f"{', '.join(MISSING)} is not here: `make components` as root on Debian installs it"
)


@pytest.fixture(scope="module")
def cluster():
    """The configuration of a cluster of one node that allows arrays of two tasks."""
    folder = Path(tempfile.mkdtemp(prefix="slurm"))  # not pytest's, whose path is too long for a socket
    try:
        up = [ROOT / "tests/slurm/up.sh", folder / "state", "MaxArraySize=2", "KillWait=5"]
        subprocess.run(up, check=True, timeout=30)
        yield str(folder / "state/slurm.conf")
    finally:
        subprocess.run([ROOT / "tests/slurm/down.sh", folder / "state"], check=False, timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def on_cluster(cluster, monkeypatch):
    """Commands of SLURM reach the cluster."""
    monkeypatch.setenv("SLURM_CONF", cluster)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with the sweep, in which commands are called."""
    (tmp_path / "sweeps/tiny").mkdir(parents=True)
    (tmp_path / "sweeps/tiny/sweep.py").write_text(SWEEP.format(steps=STEPS))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # of the tasks
    monkeypatch.setenv("SIMLAW_STORE", str(tmp_path / "store"))
    return tmp_path


def simlaw(*args):
    """What a command says, which ends well."""
    done = CliRunner().invoke(cli, args)
    assert done.exit_code == 0, done.output
    return done.output


def wait(what, condition, seconds=60):
    """Wait until something is so."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"{what}: not so after {seconds} seconds"
        time.sleep(0.1)


def ask(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def over():
    return not ask("squeue", "--noheader")


def trains(project, task):
    """Whether a task has trained some steps, and not all."""

    def look():
        log = project / f"store/logs/{task}.log"
        steps = [int(found) for found in re.findall(r'"step": (\d+)', log.read_text())] if log.exists() else [0]
        return max(steps, default=0) > 100

    return look


def process_of(task):
    """The number of the process that does a task."""
    job, _, index = task.partition("_")
    wanted = {f"SLURM_ARRAY_JOB_ID={job}".encode(), f"SLURM_ARRAY_TASK_ID={index}".encode()}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            about = (folder / "environ").read_bytes().split(b"\0")
            if wanted <= set(about) and b"simlaw" in (folder / "cmdline").read_bytes():
                return int(folder.name)
        except OSError:
            continue  # it has ended, or is another's
    raise AssertionError(f"no process does {task}")


def submitted(said):
    """The jobs that a command submitted."""
    (jobs,) = re.findall(r"as SLURM job arrays? ([\d, ]+)", said)
    return jobs.strip(", ").split(", ")


#: Stands for SLURM's commands: keeps its arguments and what the script is, and says what the test wants.
FAKE = """#!{python}
import json, os, sys
name = os.path.basename(sys.argv[0])
scripts = [open(one).read() for one in sys.argv[1:] if one.endswith(".sh")]
with open({calls!r}, "a+") as file:
    file.seek(0)
    before = sum(json.loads(line)[0] == name for line in file)
    file.write(json.dumps([name, sys.argv[1:], scripts]) + "\\n")
says = json.load(open({says!r})).get(name, [["", "", 0]])
said, error, status = says[min(before, len(says) - 1)]
sys.stdout.write(said)
sys.stderr.write(error)
sys.exit(status)
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """SLURM's commands that only keep how they were called, and say what is set for each: words, error, status."""
    calls, says, folder = tmp_path / "calls", tmp_path / "says", tmp_path / "commands"
    folder.mkdir()
    for name in ("sbatch", "squeue", "scontrol"):
        (folder / name).write_text(FAKE.format(python=sys.executable, calls=str(calls), says=str(says)))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def says_what(**words):  # one of these for each call, the last one for all further ones
        calls.unlink(missing_ok=True)
        says.write_text(json.dumps(words))

    def called():
        return [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []

    says_what(sbatch=[["7\n", "", 0]])
    return says_what, called


def test_what_a_person_writes_is_an_argument_and_never_shell(project, fake):
    options = ["--partition", "gpu", "--gres", "gpu:1", "--time", "02:00:00", "--array-limit", "32", "--account", "a b"]
    said = CliRunner().invoke(cli, ["run", "tiny", "--engine", "slurm", *options])
    assert (said.exit_code, fake[1]()) == (2, [])
    assert said.stderr == "simlaw: --account 'a b': SLURM knows no such value; for example --account physics\n"
    options[-1] = "physics"
    said = simlaw(
        "run", "tiny", "--engine", "slurm", *options, "--sbatch", "mail-user=$(rm *)", "--sbatch", "exclusive"
    )
    (config, (name, arguments, (script,))) = fake[1]()
    assert (config[0], name) == ("scontrol", "sbatch")
    assert script == '#!/bin/sh\nexec "$@"\n'
    at = arguments.index("env")
    (mark,) = (one for one in arguments if one.startswith("--comment=simlaw:"))
    assert arguments[: at - 1] == [
        *("--parsable", "--job-name=simlaw", "--array=0-0%32", mark, "--requeue", "--open-mode=append"),
        *("--signal=B:USR1@120", f"--output={project}/store/logs/%A_%a.log", "--partition=gpu", "--gres=gpu:1"),
        *("--time=02:00:00", "--account=physics", "--mail-user=$(rm *)", "--exclusive"),
    ]
    assert arguments[at : at + 3] == ["env", "--unset=JAX_PLATFORMS", f"SIMLAW_STORE={project}/store"]
    assert arguments[at + 3 : at + 8] == [sys.executable, "-m", "simlaw", "work", "--manifest"]
    assert arguments[at + 9 :] == ["--device", "gpu", "--offset", "0"]
    assert "submitted 1 pack as SLURM job array 7, at most 32 at once" in said
    assert f"task I of job J writes {project}/store/logs/J_I.log" in said


def test_tasks_on_a_cpu_have_one_thread_and_arrays_their_offset(project, fake):
    fake[0](sbatch=[["7;cluster\n", "", 0]], scontrol=[["Other = 3\nMaxArraySize            = 2\n", "", 0]])
    simlaw("run", "tiny", "--engine", "slurm", "--mem", "2G", "--profile", "traces", "--cpus-per-task", "1")
    first, second = (call[1] for call in fake[1]()[1:])
    assert {"--array=0-1", "--mem=2G", "--cpus-per-task=1"} <= set(first)
    assert {"JAX_PLATFORMS=cpu", "OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1"} <= set(first)
    assert first[-4:] == ["--offset", "0", "--profile", f"{project}/traces"]
    assert "--array=0-0" in second
    assert second[-4:-2] == ["--offset", "2"]
    assert not [one for one in second if "dependency" in one]


def test_what_sbatch_says_against_it_is_said(project, fake):
    fake[0](sbatch=[["", "sbatch: error: invalid partition specified: x\nsbatch: error: Batch job failed\n", 1]])
    said = CliRunner().invoke(cli, ["run", "tiny", "--engine", "slurm"])
    assert said.exit_code == 2
    assert said.stderr.endswith("simlaw: sbatch: invalid partition specified: x; Batch job failed\n")
    assert not list((project / "store").glob("submissions/*"))
    fake[0](sbatch=[["nothing\n", "", 0]])
    said = CliRunner().invoke(cli, ["run", "tiny", "--engine", "slurm"])
    assert said.stderr.endswith("sbatch said 'nothing' and no job's id: look with `squeue`, and submit again\n")


def test_a_place_without_slurm_says_so(project, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    said = CliRunner().invoke(cli, ["run", "tiny", "--engine", "slurm"])
    words = "cannot call sbatch here (No such file or directory): call simlaw on a login node of the cluster"
    assert (said.exit_code, words in said.stderr) == (2, True)


def test_arrays_that_were_taken_stay_known_where_a_later_one_is_refused(project, fake):
    fake[0](sbatch=[["7\n", "", 0], ["", "full", 1]], scontrol=[["MaxArraySize = 2\n", "", 0]])
    said = CliRunner().invoke(cli, ["run", "tiny", "--engine", "slurm"])
    assert said.exit_code == 2
    assert (
        "sbatch: full; 2 of 3 packs were submitted before (7), and the same command submits the others" in said.stderr
    )
    assert len(list((project / "store").glob("submissions/*"))) == 1


@pytest.mark.usefixtures("project", "fake")
def test_an_array_that_was_taken_and_cannot_be_recorded_is_named(monkeypatch):
    def full(store, made):
        raise SimlawError("cannot write it: the disk is full")

    monkeypatch.setattr("simlaw.run.slurm.record", full)
    said = CliRunner().invoke(cli, ["run", "tiny", "--engine", "slurm"])
    assert said.exit_code == 2
    assert said.stderr.endswith(
        "simlaw: cannot write it: the disk is full; SLURM has taken job 7 all the same, of which simlaw keeps no "
        "record: `scancel 7` before you submit again\n"
    )


def test_the_queue_is_told_by_the_mark_of_a_job(project, fake, store):
    simlaw("run", "tiny", "--engine", "slurm")
    (made,) = (project / "store/submissions").glob("*.json")
    mark = json.loads(made.read_text())["mark"]
    store = Store(root=project / "store")

    def places(line, status=0, error=""):
        fake[0](squeue=[[line, error, status]])
        return queued(store)

    lines = ["7|1|PENDING|Resources|{}", "8|0|RUNNING|None|{}", "7|3|RUNNING|None|{}", "7|0|RUNNING|None|another", "7|"]
    found = places("\n".join(lines).format(*[mark] * 3)).places
    assert set(found.values()) == {"slurm 7_1, pending (Resources)"}
    assert len(found) == 2
    log = project / "store/logs/7_2.log"
    log.write_text("{}\nsimlaw: the fingerprint differs\n")
    said = simlaw("status", "tiny")
    assert "2 of the missing are queued (slurm 7_1, pending (Resources))" in said
    assert (
        "4 of the missing were submitted (slurm 7_0, 7_2), and are in the queue no more: `simlaw run tiny --en" in said
    )
    assert "    simlaw: the fingerprint differs\n" in said
    cells = json.loads(simlaw("status", "tiny", "--json"))["cells"]
    assert {cell["run_id"] for cell in cells if cell["queued"]} == set(found)
    assert [cell["last_task"] for cell in cells if not cell["queued"]].count("slurm 7_2") == 2
    forgotten = places("", 1, "slurm_load_jobs error: Invalid job id specified")
    assert (forgotten.note, len(forgotten.gone)) == (None, 6)
    assert places(f"7|1|RUNNING|None|{mark}").places[next(iter(found))] == "slurm 7_1, running"
    assert places("", 1, "squeue: error: Unable to contact slurm controller").note == (
        "what is in the queue is not known (squeue: Unable to contact slurm controller)"
    )
    fake[0](sbatch=[["9\n", "", 0]], squeue=[["", "down", 1]])
    said = CliRunner().invoke(cli, ["run", "tiny", "--engine", "slurm"])
    assert said.exit_code == 0
    assert "note: what is in the queue is not known (squeue: down); what is in it is submitted twice" in said.stderr
    made.write_text("{")  # a record that is damaged is none
    (other,) = set((project / "store/submissions").glob("*.json")) - {made}
    other.unlink()
    assert places(f"7|1|PENDING|Priority|{mark}").places == {}


def test_what_waiting_jobs_need_is_not_collected(project, fake):
    simlaw("run", "tiny", "--engine", "slurm")
    (made,) = (project / "store/submissions").glob("*.json")
    fake[0](squeue=[[f"7|1|PENDING|Priority|{json.loads(made.read_text())['mark']}", "", 0], ["", "", 0]])
    said = CliRunner().invoke(cli, ["gc", "--yes"])
    assert said.exit_code == 2
    assert (
        "jobs of this store are in the queue (slurm 7_1, pending (Priority)): wait for them, or cancel them"
        in said.stderr
    )
    assert made.exists()
    simlaw("gc", "--yes")
    assert not made.exists()


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("RUNNING", "the state is stored, and task 9_3 goes back into the queue"),
        ("COMPLETING", "the state is stored; SLURM says that task 9_3 is completing: cancelled or preempted, so it is"),
        ("", "the state is stored; SLURM knows no task 9_3 any more: cancelled or preempted, so it is not for simlaw"),
    ],
)
def test_only_a_running_task_goes_back_into_the_queue(fake, capsys, state, said):
    fake[0](squeue=[[f"{state}\n", "", 0]])
    requeue({"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "9", "SLURM_ARRAY_TASK_ID": "3"})  # the task that starts last
    assert [call[:2] for call in fake[1]()] == [
        ["squeue", ["--noheader", "--format=%T", "--jobs=9_3"]],
        *([["scontrol", ["requeue", "9_3"]]] if state == "RUNNING" else []),
    ]
    assert capsys.readouterr().err.startswith(f"simlaw: {said}")


def test_a_task_that_cannot_go_back_says_why(fake, capsys):
    fake[0](squeue=[["RUNNING\n", "", 0]], scontrol=[["", "Requested operation is presently disabled\n", 1]])
    requeue({"SLURM_ARRAY_JOB_ID": "9", "SLURM_ARRAY_TASK_ID": "3"})
    said = capsys.readouterr().err
    assert "task 9_3 stays out of the queue (scontrol: Requested operation is presently disabled): submit again" in said


def test_what_is_no_task_of_an_array_is_left_alone(fake):
    requeue({"SLURM_JOB_ID": "12"})  # as within salloc
    requeue({})
    assert fake[1]() == []


def test_options_of_slurm_want_slurm(project):
    said = CliRunner().invoke(cli, ["run", "tiny", "--array-limit", "3"])
    assert said.exit_code == 2
    assert said.stderr == "simlaw: --array-limit says how SLURM is to run packs: add --engine slurm, or leave it out\n"
    said = CliRunner().invoke(cli, ["run", "tiny", "--engine", "slurm", "--workers", "3"])
    assert said.stderr.startswith("simlaw: --workers 3 is of --engine local")
    said = CliRunner().invoke(cli, ["run", "tiny", "--engine", "slurm", "--memory", "3e9"])
    assert said.stderr == "simlaw: --memory is of --engine local: --mem says what a task has\n"


@real
@pytest.mark.usefixtures("on_cluster")
def test_killed_tasks_leave_the_table_of_a_local_run(project, monkeypatch):
    monkeypatch.setenv("SIMLAW_STORE", ".local")
    simlaw("run", "tiny")
    expected = simlaw("table", "tiny")
    assert expected.count("\n") == 13
    monkeypatch.setenv("SIMLAW_STORE", str(project / "store"))

    first, second = submitted(simlaw("run", "tiny", "--engine", "slurm"))  # three packs, by twos
    for task in (f"{first}_0", f"{first}_1"):
        wait(f"{task} trains", trains(project, task))
        ask("scancel", "--batch", "--signal=TERM", task)  # as in preemption
        log = project / f"store/logs/{task}.log"
        wait(f"{task} goes back", lambda log=log, task=task: f"task {task} goes back into the queue" in log.read_text())
    last = ask("scontrol", "show", "job", f"{first}_1")
    assert last.startswith(f"JobId={first} ArrayJobId={first} ArrayTaskId=1 ")  # an id that means all of the array too
    wait("the third trains", trains(project, f"{second}_0"))
    os.kill(process_of(f"{second}_0"), signal.SIGKILL)
    wait("it is gone", lambda: f"{second}_0 " not in ask("squeue", "--array", "--noheader", "--format=%i "))
    said = simlaw("run", "tiny", "--engine", "slurm")
    assert re.search(r"of 6 runs are in the queue already, the first as slurm \d+_[01], [a-z]+( \(\w+\))?\n", said)
    (again,) = submitted(said)
    wait("all tasks have ended", over)
    for task in (f"{first}_0", f"{first}_1"):
        assert "Restarts=1" in ask("scontrol", "show", "job", task)
    for task in (f"{first}_0", f"{first}_1", f"{again}_0"):
        assert "JobState=COMPLETED" in ask("scontrol", "show", "job", task)
    assert simlaw("table", "tiny") == expected
    assert "nothing to do" in simlaw("run", "tiny", "--engine", "slurm")


@real
@pytest.mark.usefixtures("on_cluster")
def test_what_was_cancelled_stays_so_until_it_is_launched_again(project):
    first, second = submitted(simlaw("run", "tiny", "--engine", "slurm", "--array-limit", "1"))
    waits = ask("squeue", "--noheader", "--format=%E", f"--jobs={second}")
    assert waits.startswith(f"afterany:{first}_*")  # the limit is that of all arrays together
    assert "nothing to submit" in simlaw("run", "tiny", "--engine", "slurm")
    wait("task 0 trains", trains(project, f"{first}_0"))
    ask("scancel", first, second)
    wait("all tasks have ended", over)
    assert "goes back" not in (project / f"store/logs/{first}_0.log").read_text()
    said = simlaw("run", "tiny", "--engine", "slurm", "--sbatch", "hold")
    assert "in the queue already" not in said
    ask("scancel", *submitted(said))
