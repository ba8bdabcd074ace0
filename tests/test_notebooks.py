"""Notebooks run from top to bottom, as a planner would run them."""

import json

import matplotlib.pyplot as plt
import pytest

from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "paper" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_its_results(path, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(path.parent)
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    names = {}
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    for cell in cells:
        exec("".join(cell["source"]).replace('"law.json"', repr(str(tmp_path / "law.json"))), names)
    plt.close("all")
    said = capsys.readouterr().out
    assert "quantize N=129M in int5 g128" in said
    assert "PrecisionWeights: VALID" in said
    assert len(shown) == 6
    # what is committed was printed by this code
    printed = "".join(text for cell in cells for output in cell["outputs"] for text in output.get("text", []))
    assert "quantize N=129M in int5 g128" in printed
    assert "PrecisionWeights: VALID" in printed
