"""What is committed belongs together: figures and fits were made from the committed tables."""

import hashlib
import json

import pytest

from simlaw.declared import digest
from simlaw.rates.study import rate_study
from simlaw.sweep import load_sweep
from simlaw.table import read_table
from tests.conftest import ROOT

QUICKSTART = ROOT / "sweeps" / "quickstart"
SHA256 = hashlib.sha256((QUICKSTART / "table.csv").read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_headline_shows_the_committed_table_of_the_sweep_as_it_is(kind):
    facts = f"sweep {digest(load_sweep(str(QUICKSTART)).sweep)}; table {SHA256}"
    assert facts.encode() in (ROOT / "figures" / "out" / f"headline.{kind}").read_bytes()


def test_the_fits_are_those_of_the_committed_table():
    assert json.loads((QUICKSTART / "law.json").read_text())["table_sha256"] == SHA256


def test_the_study_and_the_figure_of_learning_rates_are_those_of_the_committed_table():
    folder = ROOT / "sweeps" / "learning_rate"
    sha256 = hashlib.sha256((folder / "table.csv").read_bytes()).hexdigest()
    written = json.loads((folder / "rates.json").read_text())
    assert written["table_sha256"] == sha256
    facts = f"sweep {digest(load_sweep(str(folder)).sweep)}; table {sha256}"
    for kind in ("png", "svg"):
        assert facts.encode() in (ROOT / "figures" / "out" / f"learning_rate.{kind}").read_bytes()
    found = rate_study(read_table(folder / "table.csv"))
    assert found.rule == written["rule"]
    assert found.sentence == written["sentence"]
    assert found.line.exponent == pytest.approx(written["line"]["exponent"], rel=1e-9)
