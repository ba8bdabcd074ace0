"""What is committed belongs together: figures and fits were made from the committed tables."""

import hashlib
import json

import pytest

from simlaw.declared import digest
from simlaw.sweep import load_sweep
from tests.conftest import ROOT

QUICKSTART = ROOT / "sweeps" / "quickstart"
SHA256 = hashlib.sha256((QUICKSTART / "table.csv").read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_headline_shows_the_committed_table_of_the_sweep_as_it_is(kind):
    facts = f"sweep {digest(load_sweep(str(QUICKSTART)).sweep)}; table {SHA256}"
    assert facts.encode() in (ROOT / "figures" / "out" / f"headline.{kind}").read_bytes()


def test_the_fits_are_those_of_the_committed_table():
    assert json.loads((QUICKSTART / "law.json").read_text())["table_sha256"] == SHA256
