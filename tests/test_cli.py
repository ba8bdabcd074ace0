"""The command line as a user meets it: the whole loop once on the smoke sweep, and every kind of bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from simlaw.cli import cli
from simlaw.cli.show import rows_shown
from simlaw.losscurves import read_curves
from simlaw.matrices import Matrices
from simlaw.run.journal import TIMED
from simlaw.run.session import Session
from simlaw.store import Leases, Store
from simlaw.table import read_table
from tests.conftest import ROOT

COMMANDS = (
    "corpus",
    "plan",
    "simulate",
    "run",
    "manifest",
    "status",
    "show",
    "teach",
    "table",
    "fit",
    "health",
    "rates",
    "claims",
    "decide",
    "next",
    "laws",
    "allocate",
    "figure",
    "reproduce",
    "mirror",
    "gc",
    "work",
)


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """A copy of the project's sweeps and figures, with the smoke sweep run by one command in a process of its own."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("sweeps/smoke", "figures"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("out", "__pycache__"))
    done = simlaw(folder, "reproduce", "smoke", "--own", XLA_FLAGS="")
    assert done.returncode == 0, done.stderr
    (folder / "said.txt").write_text(done.stdout)
    return folder


def simlaw(folder, *args, **environment):
    return subprocess.run(
        [sys.executable, "-m", "simlaw", *args],
        cwd=folder,
        env={**os.environ, "SIMLAW_STORE": str(folder / ".simlaw"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def call(project, monkeypatch):
    """Call a command in this process, inside the project; gives back its output and exit status."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("SIMLAW_STORE", str(project / ".simlaw"))
    return lambda *args: CliRunner().invoke(cli, args)


def test_reproduce_goes_from_the_definition_to_the_verdict(project):
    said = (project / "said.txt").read_text()
    assert "graph of 16 nodes with 4 successors each: entropy 1.2425 nats per token" in said
    assert "18 of 18 runs to do" in said
    assert "all 18 runs of smoke are there" in said
    assert "Chinchilla: NOT_IDENTIFIED" in said
    verdict = " ".join(said.rstrip().split("\n\n")[-1].split())
    assert verdict.startswith("not identified: the fit of Chinchilla is NOT_IDENTIFIED")
    mine = project / ".simlaw" / "out" / "smoke"
    assert sorted(path.name for path in mine.iterdir()) == ["headline.png", "headline.svg", "table.csv"]
    assert not (project / "figures" / "out").exists()  # --own draws into the store


def test_reproduce_compares_with_the_committed_rows(project):
    said = (project / "said.txt").read_text()
    assert "committed table: 126 of 126 rows made here have committed twins, and agree with them" in said


def test_run_again_it_redoes_nothing(call):
    said = call("reproduce", "smoke", "--own")
    assert said.exit_code == 0
    assert "all 18 runs of smoke are there; nothing to do" in said.output


def test_matrices_are_written_layer_by_layer(call, project, tmp_path):
    path = tmp_path / "matrices.csv"
    said = call("table", "smoke", "--own", "--matrices", str(path))
    assert said.exit_code == 0, said.output
    quantized = [row for row in read_table(project / ".simlaw" / "out" / "smoke" / "table.csv") if row["ptq_bits"]]
    found = Matrices.parse(path.read_text())
    assert said.output == f"{len(found)} matrices of 108 evaluations in {path}; the table has 108 quantized rows\n"
    assert {row["eval_id"] for row in found.rows} == {row["eval_id"] for row in quantized}
    one = [row for row in found.rows if row["eval_id"] == quantized[0]["eval_id"]]
    mean = sum(row["params"] * row["error"] for row in one) / quantized[0]["params_blocks"]
    assert mean == pytest.approx(quantized[0]["weight_error"], rel=1e-5)


def test_a_fresh_clone_redraws_without_training(project, tmp_path):
    for name in ("sweeps", "figures"):
        shutil.copytree(project / name, tmp_path / name)
    said = simlaw(tmp_path, "reproduce", "smoke", SIMLAW_STORE=str(tmp_path / "empty"))
    assert said.returncode == 0, said.stderr
    assert "all 18 runs of smoke are there; nothing to do" in said.stdout
    assert (tmp_path / "empty" / "out" / "smoke" / "headline.png").stat().st_size > 10_000
    assert not (tmp_path / "empty" / "run").exists()
    assert not (tmp_path / "figures" / "out").exists()  # only `simlaw figure` writes what is committed


def test_plan(call):
    said = call("plan", "smoke")
    assert "18 runs, 126 evaluations; 18 runs are done, 0 are left (18 done by the committed table; " in said.output
    plan = json.loads(call("plan", "smoke", "--json").stdout)
    assert (plan["runs"], plan["evaluations"], plan["missing"]) == (18, 126, 0)
    assert plan["flops_train_6nd"] == sum(cell["flops_train_6nd"] for cell in plan["cells"])
    assert {cell["params_blocks"] for cell in plan["cells"]} == {832, 3328}
    assert "sharing trunks takes 66% of the training FLOPs of independent runs" in said.output
    assert plan["shared_work"] == pytest.approx((64 + 4 + 8 + 16) / 140)
    left = json.loads(call("plan", "smoke", "--own", "--json", "--workers", "3", "--memory", "1.2e9").stdout)
    assert (left["workers"], left["pack_size"], left["memory_bytes"]) == (3, 1, 1.2e9)  # nothing is left to lay out


def test_a_layout_is_planned_and_refused(call, monkeypatch, tmp_path):
    monkeypatch.setenv("SIMLAW_STORE", str(tmp_path))
    said = call("plan", "smoke", "--own", "--workers", "3", "--memory", "1.4e9")
    assert "layout: 2 workers, each" in said.output
    assert "of 1.4 GB for all; 3 workers would not fit in memory" in said.output
    for command in ("plan", "run"):
        said = call(command, "smoke", "--own", "--memory", "1e6")
        assert said.exit_code == 2
        assert said.stderr.startswith("simlaw: a run of width 16 needs about 662 MB of memory, and a worker has 1 MB")
        assert said.stderr.count("\n") == 1
    assert not (tmp_path / "manifests").exists()


def test_what_the_committed_table_stands_for_is_said(call, monkeypatch, tmp_path):
    monkeypatch.setenv("SIMLAW_STORE", str(tmp_path))
    remark = "18 done by the committed table; --own counts what is made here alone"
    assert remark in call("run", "smoke").output
    assert remark in call("status", "smoke").output
    assert "0 runs are done, 18 are left: about" in call("plan", "smoke", "--own").output
    assert call("plan", "smoke", "--manifest").stderr == (
        "simlaw: all runs of smoke are there, so there is nothing to submit: try --own\n"
    )


def test_status(call):
    status = json.loads(call("status", "smoke", "--own", "--json").stdout)
    assert (status["done"], status["missing"], status["failed"]) == (18, 0, 0)
    assert "832" in call("status", "smoke").output


def test_show(call):
    run = json.loads(call("status", "smoke", "--json").stdout)["cells"][-1]["run_id"]
    shown = call("show", run[:6], "--length", "12")
    assert shown.exit_code == 0, shown.exception
    said = shown.output
    assert f"run {run}" in said
    assert '"tokens": 10240' in said
    assert "training loss " in said
    assert "rtn int3" in said
    assert "sample, from node 0: " in said


def test_show_says_which_average_a_row_is_of():
    plain = next(iter(read_table(ROOT / "sweeps" / "smoke" / "table.csv")))
    ema = {"average": "ema", "average_tokens": 8192}
    lawa = {"average": "lawa", "average_tokens": 512, "average_count": 3, "ptq_method": "rtn", "ptq_bits": 4}
    lines = rows_shown([{**plain, **lawa}, {**plain, **ema}, plain]).splitlines()
    assert [line.split("  ")[1] for line in lines[1:]] == [
        "as trained",
        "as trained, ema of 8.19k tokens",
        "rtn int4, lawa of 3 x 512 tokens",
    ]


def test_show_prints_the_history_as_json_lines(call, project):
    run = json.loads(call("status", "smoke", "--json").stdout)["cells"][-1]["run_id"]
    path = project / ".simlaw" / "history" / f"{run}.jsonl"
    assert f"every 16 steps as JSON lines: {project / '.simlaw' / 'history' / run}.jsonl" in call("show", run).output
    lines = [json.loads(line) for line in call("show", run[:8], "--history").stdout.splitlines()]
    assert lines == [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [16, 32, 48, 64, 80]
    kept = path.read_bytes()
    path.unlink()  # as in a store of version 0.1: the same without times
    again = [json.loads(line) for line in call("show", run, "--history").stdout.splitlines()]
    path.write_bytes(kept)
    assert again == [{**line, **dict.fromkeys(TIMED)} for line in lines]


def test_show_draws_a_run_that_is_not_finished(call, project):
    path = project / ".simlaw" / "history" / "fedcba9876543210.jsonl"
    path.write_text("".join(json.dumps({"step": s, "loss": 1 / s, "gradient_norm": 0.5}) + "\n" for s in (16, 32)))
    said = call("show", "fedc").output
    path.unlink()
    assert said.startswith("run fedcba9876543210 trains, or was stopped, at step 32: ")
    assert "training loss █▁ from 0.062 to 0.031 nats per token\ngradient norm ▁▁ from 0.500 to 0.500\n" in said


def test_table_writes_what_it_prints(call, project):
    text = call("table", "smoke", "--own").stdout
    said = call("table", "smoke", "--own", "--out", "rows.csv")
    assert said.output == "126 rows in rows.csv\n"
    assert (project / "rows.csv").read_text() == text
    assert len(read_table(project / "rows.csv")) == 126


def test_fit_and_decide(call):
    assert "trend of the penalty" in call("fit", "smoke").output
    decision = json.loads(call("decide", "smoke", "--json", "--bytes", "1500", "--flops", "1e8").stdout)
    assert decision["identified"] is False
    assert {plan["bits"] for plan in decision["plans"]} <= {3, 4, 8, None}
    assert call("decide", "smoke", "--tokens", "1e4", "--total").exit_code == 0
    assert call("next", "smoke", "--bytes", "1500", "--flops", "1e8").stderr.startswith(
        "simlaw: there are no two plans to tell apart: not identified: "
    )


def test_a_table_by_itself_is_fitted_without_corpus_or_jax(project, tmp_path):
    shutil.copy(project / "sweeps" / "smoke" / "table.csv", tmp_path / "rows.csv")
    code = (
        "import sys; from simlaw.cli import cli; cli(['decide', 'rows.csv', '--bytes', '1500', '--flops', '1e8'], "
        "standalone_mode=False); print(sorted({'jax', 'flax', 'optax'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[-1] == "[]"
    assert "not identified: the fit of Chinchilla is" in said.stdout
    assert simlaw(tmp_path, "decide", "rows.csv").stderr.startswith("simlaw: rows.csv declares no budget: give --bytes")


def test_rows_are_chosen_by_their_cells(call):
    said = call("fit", "smoke", "--where", "ptq_granularity=group").output
    assert "P_post    3 to 8" in said
    assert said != call("fit", "smoke").output
    assert call("fit", "smoke", "--where", "tokens=10240").stderr.startswith("simlaw: Chinchilla has 5 parameters and ")


def test_committed_rows_of_another_corpus_are_taken_as_they_are(project, tmp_path):
    for name in ("sweeps", "figures"):
        shutil.copytree(project / name, tmp_path / name)
    path = tmp_path / "sweeps" / "smoke" / "sweep.py"
    path.write_text(path.read_text().replace("out=4", "out=5"))
    said = simlaw(tmp_path, "fit", "smoke")
    assert said.returncode == 0
    assert "none of the committed rows is of this sweep on the corpus here (graph of 16 nodes with 5" in said.stderr
    assert simlaw(tmp_path, "fit", "smoke", "--own").returncode == 2


def test_writing_the_table_merges(call, project):
    path = project / "sweeps" / "smoke" / "table.csv"
    before = path.read_text()
    lines = before.splitlines(keepends=True)
    old = [line.replace(line.split(",")[1], f"{i:016x}") for i, line in enumerate(lines[1:4])]
    path.write_text("".join(lines[:1] + old))
    said = call("table", "smoke", "--write")
    assert said.output.splitlines() == [
        "129 rows in sweeps/smoke/table.csv, 3 of them not of the sweep as it is now",
        "loss curves of 18 of 18 runs in sweeps/smoke/curves.csv",
    ]
    assert len(read_table(path)) == 129
    path.write_text(before)


def test_curves_go_beside_the_table_and_stay_without_the_store(call, project, monkeypatch, tmp_path):
    call("table", "smoke", "--write")
    path = project / "sweeps" / "smoke" / "curves.csv"
    before = path.read_text()
    history = {row["run_id"]: row["tokens"] for row in read_table(project / "sweeps" / "smoke" / "table.csv")}
    ends = {curve.run_id: curve.tokens[-1] for curve in read_curves(path)}
    assert ends == history
    monkeypatch.setenv("SIMLAW_STORE", str(tmp_path))  # a fresh clone: committed curves, no histories
    assert "loss curves of 18 of 18 runs" in call("table", "smoke", "--write").output
    assert path.read_text() == before
    path.unlink()
    said = call("table", "smoke", "--write").output
    assert said.endswith("no curve of the 18 runs: this store has none of their histories\n")
    assert not path.exists()


def test_fit_writes_the_law_file(call, project):
    said = call("fit", "smoke", "--write")
    assert said.output.endswith("written to sweeps/smoke/law.json\n")
    law = json.loads((project / "sweeps" / "smoke" / "law.json").read_text())
    assert law["loss"]["form"] == "Chinchilla"
    assert law["penalty"]["parameters"].keys() == law["penalty"]["draws"].keys()


def test_a_manifest_without_running_is_what_a_job_works_on(call, project, tmp_path, monkeypatch):
    monkeypatch.setenv("SIMLAW_STORE", str(tmp_path))
    plan = json.loads(call("plan", "smoke", "--own", "--manifest", "--json").stdout)
    assert plan["entries"] == 6
    said = simlaw(project, "work", "--manifest", plan["manifest"], "--index", "6", SIMLAW_STORE=str(tmp_path))
    assert said.returncode == 2
    assert said.stderr.startswith("simlaw: --index 6: the manifest has the entries 0 to 5; take one")
    assert (
        simlaw(project, "work", "--manifest", plan["manifest"], "--index", "5", SIMLAW_STORE=str(tmp_path)).returncode
        == 0
    )
    assert len(list((tmp_path / "run").iterdir())) == 3
    assert (tmp_path / "corpus").is_dir()


def test_a_damaged_run_is_named(call, project):
    run = next((project / ".simlaw" / "run").iterdir())
    (run / "history.safetensors").write_bytes(b"short")
    said = call("show", run.name).output
    assert said.startswith(f"run {run.name}: its checkpoint was damaged and is set aside in ")
    assert "rtn int3" in said
    assert "its checkpoint is not in this store; these are its rows" in call("show", run.name).output


def test_gc_waits_for_workers(call, project, monkeypatch):
    leases = Leases(Store(root=project / ".simlaw"))
    assert leases.claim("0123456789abcdef")
    said = call("gc", "--yes")
    assert said.exit_code == 2
    assert said.stderr == "simlaw: workers are at work here (on 0123456789abcdef): wait for them, or stop them first\n"
    monkeypatch.setattr("simlaw.cli.gc.time", SimpleNamespace(time=lambda: time.time() + 3700))
    assert call("gc").exit_code == 0  # a holder that has been silent for so long is gone, wherever it ran
    leases.release("0123456789abcdef")


def test_ctrl_c_anywhere_says_how_to_go_on(call, monkeypatch):
    monkeypatch.setattr(Session, "open", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    said = call("plan", "smoke")
    assert said.exit_code == 130
    assert said.stderr == "stopped; whatever was finished is kept, and the same command goes on from there\n"


def test_a_figure_is_drawn_from_inside_the_sweeps_folder(call, project, monkeypatch):
    monkeypatch.chdir(project / "sweeps" / "smoke")
    said = call("figure", "headline", "--sweep", ".", "--out", str(project / "inside"))
    assert said.exit_code == 0, said.stderr
    assert (project / "inside" / "headline.png").is_file()


def test_figure(call, project, tmp_path):
    said = call("figure", "headline", "--sweep", "smoke", "--out", str(tmp_path))
    assert said.output.split() == [str(tmp_path / "headline.png"), str(tmp_path / "headline.svg")]


def test_gc_keeps_what_sweeps_use_and_frees_the_rest(call, project):
    Store(root=project / ".simlaw").put("run", "0123456789abcdef", {"old": b"x" * 1000})
    journals = project / ".simlaw" / "history"
    kept = sorted(journals.rglob("*.jsonl"))
    assert len(kept) == 18 + 6  # runs and trunks
    for name in ("0123456789abcdef.jsonl", "trunk/0123456789abcdef.jsonl"):
        (journals / name).write_text("{}\n")
    assert "would remove" in call("gc").output
    assert (project / ".simlaw" / "run" / "0123456789abcdef").exists()
    assert "removed" in call("gc", "--yes").output
    assert not (project / ".simlaw" / "run" / "0123456789abcdef").exists()
    assert sorted(journals.rglob("*.jsonl")) == kept
    assert json.loads(call("status", "smoke", "--own", "--json").stdout)["done"] == 18


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_shows_an_example(name):
    said = CliRunner().invoke(cli, [name, "--help"])
    assert said.exit_code == 0
    assert f"Example:\n    simlaw {name}" in said.output


def test_the_overview_lists_every_command():
    said = CliRunner().invoke(cli, ["--help"]).output
    assert [line.split()[0] for line in said.split("Commands:\n")[1].splitlines() if line[2:3] != " "] == list(COMMANDS)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("plan", "smok"), "simlaw: there is no sweep 'smok': the sweeps here are smoke"),
        (("show", "zzz"), "simlaw: 'zzz' is no run here: `simlaw status SWEEP --json` lists the runs"),
        (("decide", "smoke", "--bytes", "-3"), "simlaw: --bytes is -3: a budget is a number above 0"),
        (("decide", "smoke", "--bytes", "0"), "simlaw: --bytes is 0: a budget is a number above 0"),
        (("decide", "smoke", "--tokens", "0"), "simlaw: --tokens is 0: a budget is a number above 0"),
        (("decide", "smoke", "--flops", "nan"), "simlaw: --flops is nan: a budget is a number above 0"),
        (("fit", "smoke", "--where", "seed"), "simlaw: --where seed: it must read COLUMN=VALUE, for example cooldown="),
        (("fit", "smoke", "--where", "seed=9"), "simlaw: no row has seed=9: the table has 0, 1, 2"),
        (("fit", "none.csv"), "simlaw: there is no table at none.csv: run `simlaw run` and `simlaw table` first"),
        (
            ("table", "smoke", "--own", "--out", "rows.txt"),
            "simlaw: rows.txt ends in '.txt': a table is written as .csv, ",
        ),
        (("decide", "smoke", "--flops", "1e8", "--tokens", "1e4"), "simlaw: --flops and --tokens are two conventions"),
        (("decide", "smoke", "--bytes", "1"), "simlaw: no measured size fits 1 bytes: the smallest takes "),
        (
            ("figure", "none", "--sweep", "smoke"),
            "simlaw: there is no figure script figures/none.py: the figures here are best_precision, collapse",
        ),
        (
            ("health", "smoke", "--gamma", "0.5"),
            "simlaw: 2 sizes have a rung within 1.25 x of one ladder D = c·N^0.5, ",
        ),
        (("mirror", "smoke"), "simlaw: nothing to write: give --tensorboard FOLDER, or --wandb FOLDER"),
        (("work", "--manifest", "none.json"), "simlaw: none.json is no manifest"),
        (("--bogus",), "simlaw: no such option '--bogus': `simlaw --help` shows what there is"),
        (("run",), "simlaw: missing argument 'SWEEP': `simlaw run --help` shows what there is"),
        (("run", "smoke", "--mesh", "0", "1", "1"), "simlaw: invalid value for '--mesh': 0 is not in the range x>=1: "),
        (("run", "smoke", "--mesh", "2"), "simlaw: option '--mesh' requires 3 arguments: `simlaw run --help` shows "),
        (("train", "smoke"), "simlaw: no such command 'train': `simlaw --help` shows what there is"),
    ],
)
def test_bad_arguments_get_one_sentence_and_exit_status_2(call, args, sentence):
    said = call(*args)
    assert said.exit_code == 2
    assert said.stderr.startswith(sentence)
    assert said.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("Graph(nodes=16, out=4)", 'Text(folder="nowhere")', "the corpus folder 'nowhere' does not exist"),
        ("Graph(nodes=16, out=4)", 'Text(folder="empty")', "holds no UTF-8 file ending in .py to train on"),
        ("Graph(nodes=16, out=4)", 'Text(folder="tiny", held_out=0.5)', "the evaluation wants 2048 tokens"),
        ("batch=8", "bach=8", "Sweep has no field 'bach': did you mean 'batch'?"),
        ("tokens=(20 *", "tokens=(1, 20 *", "RunSpec.tokens is 1: a run needs at least one batch of 8 x 16 = 128"),
        ("bits=(3, 4, 8)", "bits=(0, 4)", "item 0 is 0, it must be from 1 to 16"),
        ("seeds=(0, 1, 2)", "seeds=()", "Grid.seeds is empty, so the grid holds no run"),
        ("batch=8", "batch=1 // 0", "raises ZeroDivisionError"),
    ],
)
def test_a_bad_sweep_gets_one_sentence_and_exit_status_2(tmp_path, monkeypatch, old, new, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "tiny").mkdir()
    for i in range(8):
        (tmp_path / "tiny" / f"{i}.py").write_text("x = 1\n")
    text = (ROOT / "sweeps" / "smoke" / "sweep.py").read_text()
    (tmp_path / "sweep.py").write_text(text.replace("import WSD, Graph", "import WSD, Graph, Text").replace(old, new))
    for command in ("plan", "run"):
        said = CliRunner().invoke(cli, [command, "sweep.py"])
        assert said.exit_code == 2
        assert sentence in said.stderr
        assert said.stderr.count("\n") == 1


LONG = """
from simlaw.config import WSD, Graph
from simlaw.recipe import Family, RateRule
from simlaw.sweep import Grid, PTQGrid, Sweep

SWEEP = Sweep(
    corpus=Graph(nodes=16, out=4),
    family=Family(layers=1, head_dim=8, context=16),
    rate=RateRule(rate=0.02, width=16, exponent=-1.0),
    schedule=WSD(warmup_tokens=512),
    batch=8,
    grids=(Grid(widths=(16,), tokens=(1000 * 128, 3000 * 128), seeds=(0, 1)),),
    ptq=(PTQGrid(bits=(3, 8)),),
    eval_tokens=1024,
)
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a sweep that was run in one go."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "sweep.py").write_text(LONG)
    done = simlaw(folder, "run", "sweep.py", SIMLAW_STORE=str(folder / "store"))
    assert done.returncode == 0, done.stderr
    return folder


def test_a_run_stopped_half_way_and_started_again_gives_the_identical_table(tmp_path, whole):
    """By Ctrl-C; the tests of faults kill."""
    (tmp_path / "sweep.py").write_text(LONG)
    environment = {**os.environ, "SIMLAW_STORE": str(tmp_path / "cut")}
    command = [sys.executable, "-m", "simlaw", "run", "sweep.py", "--save-seconds", "0"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "cut").glob("partial/*/*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 1
    assert "the same command goes on" in said
    again = simlaw(tmp_path, "run", "sweep.py", SIMLAW_STORE=str(tmp_path / "cut"))
    assert again.returncode == 0, again.stderr
    assert "4 of 4 runs to do" in again.stdout
    stores = (tmp_path / "cut", whole / "store")
    tables = [simlaw(tmp_path, "table", "sweep.py", SIMLAW_STORE=str(store)).stdout for store in stores]
    assert tables[0] == tables[1]
    assert len(tables[0].splitlines()) == 1 + 4 * 3
    events = [json.loads(line) for line in (tmp_path / "cut" / "telemetry.jsonl").read_text().splitlines()]
    all_over = [json.loads(line) for line in (whole / "store" / "telemetry.jsonl").read_text().splitlines()]
    redone = sum(e.get("flops", 0) for e in events) / sum(e.get("flops", 0) for e in all_over)
    assert redone < 1.5  # it went on from its last state, and did not begin again
