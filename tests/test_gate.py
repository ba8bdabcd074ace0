"""Sweeps at the gate: what cannot be identified is refused on the command line, with its reason and what mends it."""

import json

import pytest
from click.testing import CliRunner

from simlaw.cli import cli
from tests.conftest import ROOT


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.setenv("SIMLAW_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "sweeps" / "smoke" / "sweep.py").read_text()

    def run(*args, **changes):
        changed = text
        for old, new in changes.values():
            assert old in changed
            changed = changed.replace(old, new)
        (tmp_path / "sweep.py").write_text(changed)
        return CliRunner().invoke(cli, ["plan", "sweep.py", *args])

    return run


EXCUSE = ('    unidentified="two sizes: a test of the loop, and of the verdict where no fit can hold the law",\n', "")
RATIO = ("tokens=(20 * BATCH_TOKENS, 40 * BATCH_TOKENS, 80 * BATCH_TOKENS)", "tokens=TokensPerParameter(ratios=(4.0,))")


def test_a_sweep_that_says_why_is_planned(call):
    said = call()
    assert said.exit_code == 0
    assert "refused: Chinchilla: 2 levels of N cannot hold its term, which needs 3: add 1 of N" in said.output
    assert said.output.endswith(
        "not refused, since the sweep says why: "
        "two sizes: a test of the loop, and of the verdict where no fit can hold the law\n"
    )


def test_a_refused_sweep_is_shown_and_refused_in_one_line(call, tmp_path):
    said = call("--manifest", excuse=EXCUSE)
    assert said.exit_code == 2
    assert "18 runs, 126 evaluations" in said.stdout
    assert "cheapest extra cells" in said.stdout
    assert said.stderr.startswith("simlaw: ")
    assert " is refused, Chinchilla: 2 levels of N cannot hold its term" in said.stderr
    assert "--force" in said.stderr
    assert said.stderr.count("\n") == 1
    assert "manifest:" not in said.stdout
    assert not list(tmp_path.glob("store/manifest*"))


def test_a_refused_sweep_is_planned_by_force(call):
    said = call("--manifest", "--force", excuse=EXCUSE)
    assert said.exit_code == 0
    assert "manifest: " in said.stdout
    assert "refused: Chinchilla: 2 levels of N" in said.stdout


def test_a_proportional_sweep_is_named(call):
    widths = ("widths=(8, 16)", "widths=(8, 16, 32, 64, 128, 256)")
    imports = ("Sweep, Tolerance", "Sweep, TokensPerParameter, Tolerance")
    said = call(excuse=EXCUSE, ratio=RATIO, widths=widths, imports=imports)
    assert said.exit_code == 2
    assert "D is proportional to N in every cell (D/N = 4)" in said.stderr


def test_a_sweep_without_rows_to_fit_is_refused(call):
    said = call(excuse=EXCUSE, rates=("seeds=(0, 1, 2)", "rate_multiples=(0.5,)"))
    assert said.exit_code == 2
    assert "no run is one that the fits take" in said.stderr
    assert "6 at other learning rates than the recipe's" in said.stdout


def test_a_program_gets_the_verdict_too(call):
    said = call("--json", excuse=EXCUSE)
    assert said.exit_code == 2
    found = json.loads(said.stdout)["identification"]
    assert found["refused"][0].startswith("Chinchilla: 2 levels of N")
    assert [(one["form"], one["rank"], one["parameters"]) for one in found["forms"]] == [
        ("Chinchilla", 4, 5),
        ("StepPenalty", 3, 3),
        ("ExponentialPenalty", 4, 4),
    ]
    assert found["forms"][0]["error"]["alpha"] is None
    assert found["extra_cells"][0]["flops_train_6nd"] > 0


def test_power_on_the_command_line(call):
    third = ("widths=(8, 16)", "widths=(8, 16, 32)")
    found = call("--power", "--draws", "2", "--force", "--json", excuse=EXCUSE, widths=third)
    assert [one["form"] for one in json.loads(found.stdout)["identification"]["power"]] == [
        "Chinchilla",
        "StepPenalty",
        "ExponentialPenalty",
    ]


def test_sweeps_that_are_shipped_plan():
    for name in ("quickstart", "smoke"):
        path = ROOT / "sweeps" / name / "sweep.py"
        assert CliRunner().invoke(cli, ["plan", str(path)]).exit_code == 0
