"""The calibration in small: intervals hold planted truths as often as they say, and rows of other sources never mix."""

import math
import sys

import numpy as np
import pytest

from tests.calibration import run
from tests.calibration.designs import DESIGNS, TOKENS, Design

#: A design that is quick to fit, and how many of it are drawn.
QUICK = Design(truth=DESIGNS["StepPenalty"].truth, axes={"D": TOKENS[::2], "P_post": (3.0, 4.0, 5.0)})
COUNT = 150


def least(count):
    """The least number of `count` intervals of 90 % that hold the truth, but for 1 % of all such counts."""
    below = np.cumsum([math.comb(count, k) * 0.9**k * 0.1 ** (count - k) for k in range(count + 1)])
    return int(np.argmax(below > 0.01))


def test_intervals_hold_the_truth():
    held = {}
    for lines in run.results([(QUICK, "StepPenalty", number, 100) for number in range(COUNT)], workers=2):
        for _, _, _, health, _, quantity, truth, low, high in lines:
            assert health == "VALID"
            held.setdefault(quantity, []).append(float(low) <= float(truth) <= float(high))
    assert set(held) == {"C_T", "gD", "gN", run.PREDICTION}
    # an interval that holds it in 75 % of all designs passes in less than 1 % of such tests
    assert {name: sum(inside) for name, inside in held.items() if sum(inside) < least(COUNT)} == {}


@pytest.fixture
def quick(monkeypatch):
    """A run whose designs are answered at once; the numbers of those that were asked for."""
    asked = []

    def results(tasks, workers):
        for _, name, number, draws in tasks:
            asked.append(number)
            yield [(name, number, draws, "VALID", "0.1", "alpha", "0.3", "0.2", "0.4")]

    monkeypatch.setattr(run, "results", results)
    return asked


def call(monkeypatch, folder, designs):
    out = str(folder / "table.csv")
    options = ["--folder", str(folder), "--out", out, "--designs", str(designs), "--forms", next(iter(DESIGNS))]
    monkeypatch.setattr(sys, "argv", ["run", *options])
    run.main()


def test_finished_designs_are_not_done_again_unless_the_sources_changed(tmp_path, monkeypatch, capsys, quick):
    call(monkeypatch, tmp_path, 2)
    call(monkeypatch, tmp_path, 3)
    assert quick == [0, 1, 2]
    before = run.sources()
    monkeypatch.setattr(run, "sources", lambda: "another")
    capsys.readouterr()
    call(monkeypatch, tmp_path, 3)
    assert quick == [0, 1, 2, 0, 1, 2]
    said = capsys.readouterr().out
    assert f"rows-another.csv: 0 lines of these sources; of others, not used: rows-{before}.csv" in said
    assert (tmp_path / f"rows-{before}.csv").read_text().count("alpha") == 3


def test_any_of_the_sources_changes_their_hash(tmp_path):
    for name in run.SOURCES:
        path = tmp_path / name / "" if not name.endswith(".py") else tmp_path / name
        path = path if name.endswith(".py") else path / "one.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    first = run.sources(tmp_path)
    (tmp_path / "simlaw" / "fitting" / "one.py").write_text("changed")
    assert run.sources(tmp_path) != first
    (tmp_path / "simlaw" / "fitting" / "one.py").write_text("simlaw/fitting")
    assert run.sources(tmp_path) == first
    (tmp_path / "simlaw" / "laws" / "new.py").write_text("")
    assert run.sources(tmp_path) != first
