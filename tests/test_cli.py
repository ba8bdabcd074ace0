"""The command line as a user meets it: the whole loop once on the smoke sweep, and every kind of bad input."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from simlaw.cli import cli
from simlaw.published import PUBLISHED
from simlaw.run.session import Session
from simlaw.table import read_table
from tests.conftest import ROOT

COMMANDS = (
    "plan",
    "simulate",
    "run",
    "status",
    "show",
    "table",
    "fit",
    "decide",
    "next",
    "laws",
    "allocate",
    "figure",
    "reproduce",
    "gc",
    "work",
)


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """A copy of the project's sweeps and figures, with the smoke sweep run by one command in a process of its own."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("sweeps/smoke", "figures"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("out", "__pycache__"))
    done = simlaw(folder, "reproduce", "smoke", "--own")
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
    assert "Chinchilla: NOT_IDENTIFIED" in said
    assert said.rstrip().splitlines()[-1].startswith("not identified: the fit of Chinchilla is NOT_IDENTIFIED")
    mine = project / ".simlaw" / "out" / "smoke"
    assert sorted(path.name for path in mine.iterdir()) == ["headline.png", "headline.svg", "table.csv"]
    assert not (project / "figures" / "out").exists()  # --own draws into the store


def test_reproduce_compares_with_the_committed_rows(project):
    said = (project / "said.txt").read_text()
    assert "committed table: 126 of 126 rows made here have committed twins, and agree with them" in said


def test_run_again_it_redoes_nothing(call):
    began = time.monotonic()
    said = call("reproduce", "smoke", "--own")
    assert said.exit_code == 0
    assert "all 18 runs of smoke are there; nothing to do" in said.output
    assert time.monotonic() - began < 30


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


def test_table_writes_what_it_prints(call, project):
    text = call("table", "smoke", "--own").stdout
    said = call("table", "smoke", "--own", "--out", "rows.csv")
    assert said.output == "126 rows in rows.csv\n"
    assert (project / "rows.csv").read_text() == text
    assert len(read_table(project / "rows.csv")) == 126


def test_fit_and_decide(call):
    assert "held-out lowest bits" in call("fit", "smoke").output
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
    assert said.output == "129 rows in sweeps/smoke/table.csv, 3 of them not of the sweep as it is now\n"
    assert len(read_table(path)) == 129
    path.write_text(before)


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
    assert "its checkpoint was made in another store; these are its rows" in call("show", run.name).output


def test_gc_waits_for_workers(call, project):
    lease = project / ".simlaw" / "leases" / "0123456789abcdef"
    lease.write_text(f"{socket.gethostname()} {os.getpid()}\n")
    said = call("gc", "--yes")
    lease.unlink()
    assert said.exit_code == 2
    assert said.stderr == "simlaw: workers are at work here (on 0123456789abcdef): wait for them, or stop them first\n"


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


def test_laws_and_allocate(call):
    assert "Besiroglu et al. 2024, arXiv 2404.10102" in call("laws").output
    shown = call("laws", "ouyang2024").output
    assert "JointPower + PowerPenalty" in shown
    assert "gD         0.5251" in shown
    said = call("allocate", "besiroglu2024", "--flops", "1e21", "--serve-tokens", "1e12").output
    assert said.startswith("At 1e21 FLOPs of training and serving 1T tokens the best choice is ")
    assert json.loads(call("allocate", "kumar2024", "--flops", "1e19", "--bits", "4", "--json").stdout)["params"] > 1e7
    # variables that are no bits after training, too
    at = ("--flops", "1e22", "--json", "--at")
    few, many = (json.loads(call("allocate", "muennighoff2023", *at, f"U={u}").stdout)["loss"] for u in ("1e9", "1e12"))
    assert few > many


def test_a_sweep_and_its_law_are_allocated_alike():
    def call(source):
        said = CliRunner().invoke(cli, ["allocate", source, "--flops", "1e12", "--bits", "4", "--json"])
        assert said.exit_code == 0, said.stderr
        return json.loads(said.stdout)

    table, law = (call(str(ROOT / "sweeps" / "quickstart" / name)) for name in ("table.csv", "law.json"))
    assert table["params"] == pytest.approx(law["params"], rel=0.01)
    assert table["params_interval"] == pytest.approx(law["params_interval"], rel=0.02)


def test_a_sweep_and_its_law_narrow_the_same_gap():
    def call(*args):
        said = CliRunner().invoke(cli, ["next", *args, "--json"])
        assert said.exit_code == 0, said.stderr
        return json.loads(said.stdout)

    table = call(str(ROOT / "sweeps" / "quickstart" / "table.csv"))
    law = call(str(ROOT / "sweeps" / "quickstart" / "law.json"), "--bytes", "29e3", "--flops", "1e12")
    # 16 bits lose beyond noise, so the question that is open is int5 or int6
    for found in (table, law):
        assert [found[plan]["P_post"] for plan in ("best", "rival")] == [5, 6]
    assert table["total"] == pytest.approx(law["total"], rel=0.1)
    # bits are in what a run shows: without them the runs take off less
    assert [(r["params"], r["tokens"]) for r in table["runs"]] == [(r["params"], r["tokens"]) for r in law["runs"]]


@pytest.mark.parametrize(
    "args", [("laws",), *(("laws", name) for name in PUBLISHED), ("allocate", "besiroglu2024", "--flops", "1e23")]
)
def test_what_is_printed_is_100_columns_wide_at_most(args):
    said = CliRunner().invoke(cli, args)
    assert said.exit_code == 0, said.stderr
    assert max(map(len, said.output.splitlines())) <= 100


def test_a_decision_is_100_columns_wide_at_most():
    said = CliRunner().invoke(cli, ["decide", str(ROOT / "sweeps" / "quickstart" / "table.csv")])
    assert said.exit_code == 0, said.stderr
    assert max(map(len, said.output.splitlines())) <= 100


def test_decide_by_a_law():
    def call(*args):
        return CliRunner().invoke(cli, args)

    said = call("decide", "kumar2024", "--bytes", "82.5e6", "--flops", "1.7e19").output
    assert "quantize N=129M in int5 g128, within 82.5 MB and 1.7e19 training FLOPs" in said
    served = ("--serve-tokens", "1e11", "--cost", "H200", "--batch", "8", "--context", "256", "--force", "--json")
    choice = json.loads(call("decide", "kumar2024", "--bytes", "200e6", "--flops", "1.7e19", *served).output)
    assert [one["cost"] for one in choice["by_cost"]] == ["flops", "bits", "H200", "TPU-v6e"]
    law = str(ROOT / "sweeps" / "quickstart" / "law.json")
    said = call("decide", law, "--bytes", "29e3", "--flops", "1e12", "--formats", "integers").output
    assert "90 % interval" in said
    assert "quantize N=" in said
    assert " would narrow the gap of " in call("next", law, "--bytes", "29e3", "--flops", "1e12").output


@pytest.mark.usefixtures("unchecked")
def test_a_cost_table_may_be_a_file(tmp_path):
    def call(cost):
        return CliRunner().invoke(
            cli,
            [
                "decide",
                "kumar2024",
                "--flops",
                "1e20",
                "--training",
                "all",
                "--formats",
                "integers",
                "--force",
                "--cost",
                cost,
            ],
        )

    (tmp_path / "mine.json").write_text('{"name": "mine", "source": "measured", "train": {"int4": 0.01}}')
    assert "in int4, within 1e20 training FLOPs by the cost table mine" in call(str(tmp_path / "mine.json")).output
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "null.json").write_text('{"name": "mine", "source": "measured", "unlisted": null}')
    (tmp_path / "latin.json").write_bytes('{"name": "für mich"}'.encode("latin-1"))
    (tmp_path / "named.json").write_text('{"name": "H200", "source": "measured"}')
    (tmp_path / "torn.json").write_text("{")
    for name, sentence in (
        ("none", "simlaw: --cost none: there is no such table or file; the tables are flops, bits, H200, TPU-v6e"),
        (str(tmp_path / "list.json"), f"simlaw: --cost {tmp_path / 'list.json'}: it holds no object: give the fields"),
        (str(tmp_path / "torn.json"), f"simlaw: --cost {tmp_path / 'torn.json'}: line 1 is no JSON; mend the file"),
        (str(tmp_path / "null.json"), "simlaw: cost table 'mine': unlisted=None: it must be a number above 0"),
        (str(tmp_path / "latin.json"), f"simlaw: --cost {tmp_path / 'latin.json'}: byte 11 is no UTF-8 text; save the"),
        (str(tmp_path / "named.json"), "simlaw: there is a cost table 'H200' already: give yours a name of its own"),
    ):
        said = call(name)
        assert said.exit_code == 2
        assert said.stderr.startswith(sentence)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("kumar2024", "--total"), "--total belongs to a sweep or table, and kumar2024 is none: leave it out"),
        (
            ("quickstart", "--cost", "H200"),
            "--cost belongs to a law (a sweep's law.json is one), and quickstart is none",
        ),
        (("kumar2024", "--bytes", "1e8", "--batch", "8"), "--batch and --context make a cache together: give both"),
        (("kumar2024", "--bytes", "1e8"), "give the training budget once: --flops (equal compute) or --tokens"),
        (("none.json", "--flops", "1e8"), "'none.json' is neither a law file nor a published law: there are kumar2024"),
    ],
)
def test_decisions_by_a_law_refuse_in_one_sentence(args, sentence):
    said = CliRunner().invoke(cli, ["decide", *args])
    assert said.exit_code == 2
    assert said.stderr.startswith(f"simlaw: {sentence}")


def test_figure(call, project, tmp_path):
    said = call("figure", "headline", "--sweep", "smoke", "--out", str(tmp_path))
    assert said.output.split() == [str(tmp_path / "headline.png"), str(tmp_path / "headline.svg")]


def test_gc_keeps_what_sweeps_use_and_frees_the_rest(call, project):
    (project / ".simlaw" / "run" / "0123456789abcdef").mkdir()
    (project / ".simlaw" / "run" / "0123456789abcdef" / "old").write_bytes(b"x" * 1000)
    assert "would remove" in call("gc").output
    assert (project / ".simlaw" / "run" / "0123456789abcdef").exists()
    assert "removed" in call("gc", "--yes").output
    assert not (project / ".simlaw" / "run" / "0123456789abcdef").exists()
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
            "simlaw: there is no figure script figures/none.py: the figures here are headline",
        ),
        (("laws", "kaplan"), "simlaw: there is no published law 'kaplan': there are kumar2024, "),
        (
            ("allocate", "none.json", "--flops", "1e20"),
            "simlaw: 'none.json' is neither a law file nor a published law:",
        ),
        (("allocate", "kumar2024", "--flops", "-1"), "simlaw: --flops -1: it must be a number above 0"),
        (
            ("allocate", "kumar2024", "--flops", "1e30"),
            "simlaw: the answer lies outside the rows of the fit in N by 5.66e+04 x, D by 6.66e+04 x, C by 3.77e+09 x, "
            "more than 10 x: --force gives it all the same",
        ),
        (("allocate", "kumar2024"), "simlaw: kumar2024 declares no budget: give --flops"),
        (("allocate", "smoke", "--flops", "1e8", "--at", "P_w"), "simlaw: --at P_w: it must read NAME=VALUE, for exa"),
        (("allocate", "kumar2024", "--flops", "1e20", "--at", "P_w=x"), "simlaw: --at P_w=x: 'x' is no number; give"),
        (("allocate", "kumar2024", "--flops", "1e20", "--at", "P_w=nan"), "simlaw: P_w=nan: give one number, the same"),
        (
            ("allocate", "ouyang2024", "--flops", "1e20", "--bits", "4", "--at", "P_post=3"),
            "simlaw: --bits 4 and --at P_post=3 are the same: give one of them",
        ),
        (("allocate", "kumar2024", "--flops", "1e20", "--own"), "simlaw: --own belongs to a sweep or table, and kumar"),
        (("next", "smoke", "--most", "-1"), "simlaw: --most -1: it must be a number above 0"),
        (
            ("next", "kumar2024", "--flops", "1e20"),
            "simlaw: without draws nobody knows what is uncertain: fit with --b",
        ),
        (("work", "--manifest", "none.json"), "simlaw: none.json is no manifest"),
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
from simlaw.sweep import Family, Grid, PTQGrid, RateRule, Sweep

SWEEP = Sweep(
    corpus=Graph(nodes=16, out=4),
    family=Family(layers=1, head_dim=8, context=16),
    rate=RateRule(rate=0.02, width=16, exponent=-1.0),
    schedule=WSD(warmup_tokens=512),
    batch=8,
    grids=(Grid(widths=(16,), tokens=(2000 * 128, 6000 * 128), seeds=(0, 1)),),
    ptq=(PTQGrid(bits=(3, 8)),),
    eval_tokens=1024,
)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_a_run_cut_off_half_way_and_started_again_gives_the_identical_table(tmp_path, number):
    (tmp_path / "sweep.py").write_text(LONG)
    environment = {**os.environ, "SIMLAW_STORE": str(tmp_path / "cut")}
    command = [sys.executable, "-m", "simlaw", "run", "sweep.py"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "cut").glob("partial/*/*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    if number == signal.SIGKILL:  # the workers too, each where it stands
        for lease in (tmp_path / "cut" / "leases").iterdir():
            os.kill(int(lease.read_text().split()[1]), signal.SIGKILL)
    _, said = process.communicate()
    if number == signal.SIGINT:
        assert process.returncode == 1
        assert "the same command goes on" in said
    again = simlaw(tmp_path, "run", "sweep.py", SIMLAW_STORE=str(tmp_path / "cut"))
    assert again.returncode == 0, again.stderr
    assert "4 of 4 runs to do" in again.stdout
    whole = simlaw(tmp_path, "run", "sweep.py", SIMLAW_STORE=str(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    tables = [
        simlaw(tmp_path, "table", "sweep.py", SIMLAW_STORE=str(tmp_path / name)).stdout for name in ("cut", "whole")
    ]
    assert tables[0] == tables[1]
    assert len(tables[0].splitlines()) == 1 + 4 * 3
    events = [json.loads(line) for line in (tmp_path / "cut" / "telemetry.jsonl").read_text().splitlines()]
    all_over = [json.loads(line) for line in (tmp_path / "whole" / "telemetry.jsonl").read_text().splitlines()]
    redone = sum(e.get("flops", 0) for e in events) / sum(e.get("flops", 0) for e in all_over)
    assert redone < 1.5  # it went on from its last state, and did not begin again
