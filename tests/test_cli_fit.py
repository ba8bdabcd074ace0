"""`simlaw fit` on a person's own table: the shell twin of load_table, fit and save."""

import json
import re
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

import simlaw as sl
from simlaw.cli import cli
from tests.conftest import ROOT

TRUTH = sl.laws.Chinchilla(E=1.7, A=400.0, B=1500.0, alpha=0.35, beta=0.37)
MAP = ("-c", "N=params", "-c", "D=tokens", "-c", "loss=val", "-c", "trunk=run", "-c", "status=state")
FORM = ("--form", "Chinchilla")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Runs of a known law with 0.1 % of noise, three seeds a cell and one run that crashed."""
    rng = np.random.default_rng(0)
    lines = ["params,tokens,val,run,state", "1e7,1e8,9.9,crash,crashed"]
    for n in (1e7, 3e7, 1e8, 3e8):
        for d in (5e8, 2e9, 8e9, 3.2e10):
            for seed in range(3):
                loss = float(TRUTH.loss(N=n, D=d)) * np.exp(1e-3 * rng.normal())
                lines.append(f"{n:g},{d:g},{float(loss)!r},{n:g}-{seed},finished")
    (tmp_path / "runs.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*args):
    return CliRunner().invoke(cli, ["fit", *args])


def test_the_shell_says_and_saves_what_a_notebook_would(folder):
    said = call(
        "runs.csv", *MAP, "--form", "Chinchilla", "--counts", "non-embedding", "--bootstrap", "50", "--save", "l.json"
    )
    assert said.exit_code == 0, said.output
    runs = sl.load_table(
        "runs.csv", N="params", D="tokens", loss="val", trunk="run", status="state", counts="non-embedding"
    )
    found = sl.fit(sl.laws.Chinchilla, runs, bootstrap=50)
    assert said.output == f"{found}\n\nwritten to l.json\n"
    assert said.output.startswith("Chinchilla: VALID")
    assert " 1e+07 to 3e+08 (non-embedding)\n" in said.output
    assert "1 failed" in said.output
    saved = sl.load_law("l.json")
    assert saved.law == found.law
    assert saved.counts == json.loads((folder / "l.json").read_text())["N"] == "non-embedding"
    for name, value in TRUTH.values.items():
        assert abs(saved.law.values[name] - value) < 4 * saved.error[name], name


def test_forms_compete_on_a_holdout_with_parameters_held_and_bounded(folder):
    said = call(
        *("runs.csv", *MAP, "--form", "Chinchilla", "--form", "Overtrained", "--holdout", "LargestN"),
        *("--fix", "E=1.7", "--bound", "beta=0.2:0.6", "--bootstrap", "0"),
    )
    assert said.exit_code == 0, said.output
    runs = sl.load_table("runs.csv", N="params", D="tokens", loss="val", trunk="run", status="state")
    found = sl.fit(
        [sl.laws.Chinchilla, sl.laws.Overtrained],
        runs,
        holdout=sl.LargestN(),
        fixed={"E": 1.7},
        bounds={"beta": (0.2, 0.6)},
        bootstrap=0,
    )
    assert said.output == f"{found}\n"
    assert "fixed" in said.output


def test_another_objective_and_seed_are_those_of_a_notebook(folder):
    said = call("runs.csv", *MAP, *FORM, "--objective", "log", "--seed", "7", "--bootstrap", "20")
    assert said.exit_code == 0, said.output
    runs = sl.load_table("runs.csv", N="params", D="tokens", loss="val", trunk="run", status="state")
    found = sl.fit(sl.laws.Chinchilla, runs, objective="log", seed=7, bootstrap=20)
    assert said.output == f"{found}\n"
    assert said.output != call("runs.csv", *MAP, *FORM, "--bootstrap", "20").output
    assert "squares of log residuals" in said.output


def test_json_lines_without_columns_are_told_to_name_them(folder):
    (folder / "runs.jsonl").write_text('{"n": 1}\n')
    said = call("runs.jsonl")
    assert said.exit_code == 2
    assert said.stderr == (
        "simlaw: runs.jsonl is a table of your own: name its columns to `simlaw fit`, for example -c N=params "
        "-c D=tokens -c loss=val_loss\n"
    )


def test_bits_per_byte_and_json_lines(folder):
    rows = [
        {"n": float(n), "d": 20.0 * n, "bpb": float(TRUTH.loss(N=n, D=20 * n)) / np.log(2) / 4} for n in (1e7, 1e8, 1e9)
    ]
    (folder / "runs.jsonl").write_text("\n".join(map(json.dumps, [{"x": row} for row in rows])))
    fixed = [text for name in ("E", "alpha", "beta", "A") for text in ("--fix", f"{name}={TRUTH.values[name]}")]
    said = call(
        *("runs.jsonl", "-c", "N=x.n", "-c", "D=x.d", "-c", "loss=x.bpb", "--unit", "bpb", "--bytes-per-token", "4"),
        *("--form", "Chinchilla", "--bootstrap", "0", *fixed),
    )
    assert said.exit_code == 0, said.output
    assert re.search(r"  B +1500\n", said.output)


def test_tables_of_a_sweep_are_parquet_too(folder):
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow, which simlaw does not depend on")
    shutil.copy(ROOT / "sweeps" / "quickstart" / "table.csv", "rows.csv")
    sl.read_table("rows.csv").write("rows.parquet")
    assert call("rows.parquet").output == call("rows.csv").output != ""
    columns = ("-c", "N=params_blocks", "-c", "D=tokens", "-c", "loss=loss", "--form", "Chinchilla", "--bootstrap", "0")
    assert call("rows.parquet", *columns).output == call("rows.csv", *columns).output != ""


def test_the_help_shows_each_kind_of_rows_apart():
    said = call("--help").output
    assert said.index("A sweep or its table:") < said.index("--write") < said.index("A table of your own:")
    assert (
        said.index("A table of your own:") < said.index("--columns") < said.index("--save FILE") < said.index("Other:")
    )
    assert f"simlaw fit runs.csv {' '.join(MAP[:4])} -c loss=val_loss" in said


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (
            (),
            "runs.csv lacks the column 'run_id': it is no table of this version; make it again, or name the columns of",
        ),
        (MAP, "name a form by --form: there are Chinchilla, DataConstrained, "),
        ((*MAP, "--form", "Mine"), "there is no form 'Mine': there are Chinchilla, "),
        ((*MAP, *FORM, "--where", "seed=0"), "--where is for a sweep and its table: leave it out with --columns"),
        ((*MAP, *FORM, "--write"), "--write is for a sweep and its table: leave it out with --columns"),
        (
            ("--save", "law.json"),
            "--save is for a table of your own: name its columns, for example -c N=params -c D=tok",
        ),
        (("--seed", "1"), "--seed is for a table of your own: name its columns, for example -c N=params -c D=tok"),
        (("--objective", "log"), "--objective is for a table of your own: name its columns, for example -c N=params"),
        (("-c", "N"), "--columns N: it must read NAME=VALUE, for example N=params"),
        (("-c", "N=params", "-c", "N=tokens"), "--columns gives N twice, params and tokens: give it once"),
        (("-c", "unit=val", *FORM), "--columns names unit, which is no column: leave it out; see `simlaw fit --help`"),
        (("-c", "N=params", *FORM), "name the column of the loss, loss=…, or that of the penalty, delta=…"),
        (
            (*MAP[:-1], "status=ended", *FORM),
            "runs.csv has no column 'ended' for status: its columns are 'params', 'tokens', ",
        ),
        (
            (*MAP, *FORM, "--holdout", "Random"),
            "--holdout Random: it must read LargestN, LargestD, LargestC, or LowestBits=",
        ),
        (
            (*MAP, *FORM, "--holdout", "LowestBits"),
            "--holdout LowestBits: it must read LargestN, LargestD, LargestC, or",
        ),
        ((*MAP, *FORM, "--holdout", "LowestBits=P_w"), "the rows have no P_w to hold out: they have N, D"),
        ((*MAP, *FORM, "--fix", "beta"), "--fix beta: it must read NAME=VALUE, for example beta=0.3"),
        ((*MAP, *FORM, "--fix", "beta=small"), "--fix beta=small: 'small' is not a number; give one"),
        ((*MAP, *FORM, "--fix", "gamma=1"), "Chinchilla has no parameter gamma: it has "),
        ((*MAP, *FORM, "--bound", "beta=0.3"), "--bound beta=0.3: it must read NAME=LOW:HIGH, for example alpha=0.1:1"),
        ((*MAP, *FORM, "--bound", "beta=0.3:x"), "--bound beta=0.3:x: 'x' is not a number; give one"),
        (
            (*MAP, *FORM, "--unit", "bpb"),
            "unit='bpb': bits per byte become nats per token by the length of a token; give",
        ),
    ],
)
def test_bad_arguments_get_one_sentence_and_exit_status_2(folder, args, sentence):
    said = call("runs.csv", *args)
    assert said.exit_code == 2
    assert said.stderr.startswith(f"simlaw: {sentence}")
    assert said.stderr.count("\n") == 1


def test_a_form_of_ones_own_is_for_a_notebook(folder):
    said = call("runs.csv", *MAP, "--form", "Mine")
    assert said.stderr.endswith(
        "a form of your own is a Python class, which a shell cannot name: fit it in a notebook, by simlaw.fit\n"
    )
