"""`simlaw reproduce` makes of a table what its sweep declares; the loop with laws is in test_cli.py."""

import json
import shutil

import pytest
from click.testing import CliRunner

from simlaw.cli import cli
from simlaw.declared import digest
from simlaw.plan import packs
from simlaw.run.session import Session
from simlaw.run.work import Desk, work
from simlaw.train import shape_of
from tests.conftest import ROOT, tiny_run

#: Ten runs of the one shape that the tests compile.
RATES = """
from simlaw.config import WSD, Graph
from simlaw.recipe import Family, RateRule
from simlaw.sweep import Grid, Sweep

SWEEP = Sweep(
    corpus=Graph(nodes=16, out=4),
    family=Family(layers=1, head_dim=8, hidden_ratio=3, context=16),
    rate=RateRule(rate=0.02, width=16, exponent=-1.0),
    schedule=WSD(warmup_tokens=256),
    batch=8,
    grids=(Grid(widths=(16,), tokens=(20 * 128,), rate_multiples=(0.0625, 0.25, 1.0, 4.0, 16.0), seeds=(0, 1)),),
    eval_tokens=1024,
    analysis="rates",
    unidentified="one size",
)
"""


@pytest.fixture
def call(tmp_path, store, corpus, program, monkeypatch):
    """Call a command beside a sweep of learning rates whose runs are done."""
    folder = tmp_path / "sweeps" / "tiny"
    folder.mkdir(parents=True)
    (folder / "sweep.py").write_text(RATES)
    shutil.copytree(ROOT / "figures", tmp_path / "figures", ignore=shutil.ignore_patterns("out", "__pycache__"))
    monkeypatch.chdir(tmp_path)
    session = Session.open("tiny")
    assert {shape_of(cell.spec) for cell in session.plan.cells} == {shape_of(tiny_run())}
    desk = Desk(store=store, corpus=corpus, tell=lambda _: None, stop=lambda: False)
    for pack in packs(session.plan.cells, 1):
        work(pack, desk, {shape_of(tiny_run()): program})
    return lambda *args: CliRunner().invoke(cli, args)


def test_a_sweep_of_learning_rates_ends_in_its_study_and_figure(call, store, tmp_path):
    said = call("reproduce", "tiny", "--own")
    assert said.exit_code == 0, said.output
    assert "all 10 runs of tiny are there; nothing to do" in said.output
    assert "best rates lie between the rates that were run" in " ".join(said.output.split())
    assert "verdict" not in said.output
    mine = store.root / "out" / "tiny"
    assert sorted(path.name for path in mine.iterdir()) == [
        "learning_rate.png", "learning_rate.svg", "rates.json", "table.csv",
    ]  # fmt: skip
    # what `simlaw rates --write` writes, which it does not do by itself
    assert not (tmp_path / "sweeps" / "tiny" / "rates.json").exists()
    call("table", "tiny", "--write")
    assert call("rates", "tiny", "--write").exit_code == 0
    committed = tmp_path / "sweeps" / "tiny" / "rates.json"
    assert committed.read_bytes() == (mine / "rates.json").read_bytes()
    # from the committed table alone, in a store that is empty
    for path in store.root.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    again = call("reproduce", "tiny", "--figure", "learning_rate")
    assert again.exit_code == 0, again.output
    assert again.output.endswith("committed study: no rule either\n")
    assert committed.read_bytes() == (mine / "rates.json").read_bytes()
    committed.write_text(json.dumps({"rule": "RateRule(rate=7)"}))
    assert "committed study: RateRule(rate=7), and here no rule" in call("reproduce", "tiny").output


def test_a_sweep_that_asks_claims_alone_is_judged_and_fits_no_law(call, store, tmp_path):
    sweep = tmp_path / "sweeps" / "tiny" / "sweep.py"
    sweep.write_text(RATES.replace('analysis="rates"', 'analysis="claims", claims=("A12",)'))
    said = call("reproduce", "tiny", "--own")
    assert said.exit_code == 0, said.output
    assert "A12 NOT IDENTIFIED" in said.output
    assert "the rows are of one architecture" in " ".join(said.output.split())
    assert sorted(path.name for path in (store.root / "out" / "tiny").iterdir()) == ["table.csv", "verdicts.json"]
    refused = call("fit", "tiny", "--own")
    assert refused.exit_code == 2
    assert refused.output == (
        "simlaw: tiny asks claims alone, and its rows are for no law: `simlaw claims tiny` judges them\n"
    )


def test_what_is_made_of_a_table_is_no_part_of_a_sweeps_identity(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ids = []
    for text in (RATES, RATES.replace('analysis="rates"', 'analysis="law"')):
        (tmp_path / "sweep.py").write_text(text)
        session = Session.open("sweep.py")
        ids.append((digest(session.file.sweep), *(cell.run_id for cell in session.plan.cells)))
    assert ids[0] == ids[1]
