"""Figures: everything measured is drawn, labels carry units, and the same table gives the same bytes anywhere."""

import math
import subprocess
import sys

import matplotlib.style
import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from simlaw.analysis import analyse
from simlaw.curves import penalty_curves
from simlaw.decision import Question
from simlaw.frontier import frontier
from simlaw.observations import penalty_cells
from simlaw.plot import plot_frontier, plot_penalty
from simlaw.plot.palette import GREY, PRECISION, colour, keys
from simlaw.plot.save import save
from tests.conftest import ROOT
from tests.planted import BITS, SIZES, planted

TABLE = planted(log_loss=0.01, relative=0.2, token=5e-4)
ANALYSIS = analyse(TABLE, draws=100)


def luminance(hexadecimal):
    r, g, b = (int(hexadecimal[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return 0.2126 * r**2.2 + 0.7152 * g**2.2 + 0.0722 * b**2.2


def test_precisions_are_told_apart_in_grey_too():
    shades = [luminance(PRECISION[bits]) for bits in sorted(PRECISION)]
    assert shades == sorted(shades)
    assert min(np.diff(shades)) > 0.005
    assert max(shades) < 0.5  # dark enough on white paper
    assert colour(math.inf) == "#000000"


def test_penalties_are_all_drawn_and_those_under_the_floor_are_grey():
    cells = penalty_cells(TABLE)
    ax = Figure().subplots()
    artists = plot_penalty(cells, penalty_curves(cells, ANALYSIS.penalty, BITS), ax)
    bars = [artist for artist in artists if isinstance(artist, ErrorbarContainer)]
    drawn = [(x * n, y) for n in SIZES for bar in bars for x, y in zip(*bar[0].get_data(), strict=True)]
    for cell in cells:
        if cell.delta > 0:
            assert any(np.allclose(point, (cell.tokens, cell.delta)) for point in drawn)
    below = sum(cell.delta <= 0 for cell in cells)
    assert below == 0 or [text.get_text() for text in ax.texts] == [f"{below} more at or below 0"]
    grey = sum(len(bar[0].get_xdata()) for bar in bars if bar[0].get_color() == GREY)
    assert grey == sum(not cell.visible and cell.delta > 0 for cell in cells) > 0
    assert ax.get_xlabel() == "tokens per block parameter, D / N"
    assert ax.get_ylabel().endswith("(nats per token)")


def test_the_frontier_shows_cells_curves_and_the_best_precision():
    found = frontier(Question(bytes=np.inf, amount=8.4e11), TABLE, ANALYSIS.base, ANALYSIS.penalty)
    ax = Figure().subplots()
    artists = plot_frontier(found, ax, sizes=SIZES)
    bars = [artist for artist in artists if isinstance(artist, ErrorbarContainer)]
    assert sorted(bar[0].get_xdata()[0] for bar in bars) == sorted(cell.bytes / 1e3 for cell in found.measured)
    changes = (found.winner[1:] != found.winner[:-1]).sum()
    marks = next(line for line in ax.lines if line.get_marker() == "v")
    assert len(marks.get_xdata()) == changes > 0
    assert set(marks.get_xdata()) <= set(found.bytes / 1e3)
    strip = [text.get_text() for text in ax.texts]
    assert len(strip) == changes + 1
    assert ax.get_xlabel() == "stored bytes (kB)"


def test_every_mark_is_explained():
    labels = [entry.get_label() for entry in keys(SIZES, (3, 4, math.inf))]
    assert labels[:3] == ["N = 6.66k", "N = 26.6k", "N = 106k"]
    assert labels[3:6] == ["int3", "int4", "16 bit"]
    assert {"under the noise floor", "tokens outside the data", "best within the bytes"} <= set(labels)


DRAW = """
import sys
from pathlib import Path
import matplotlib.style
sys.path.insert(0, {root!r})
from simlaw.analysis import analyse
from simlaw.plot.save import save
from tests.planted import planted
import runpy
with matplotlib.style.context({style!r}):
    figure = runpy.run_path({script!r})["draw"](analyse(planted(log_loss=0.01, relative=0.2, token=5e-4), draws=100))
    save(figure, Path("out"), "headline", {{"table": "abc"}})
"""


@pytest.fixture(scope="module")
def headline(tmp_path_factory):
    """The headline figure drawn in two other processes, each in a folder of its own."""
    folders = []
    for name in ("one", "two"):
        folder = tmp_path_factory.mktemp(name)
        script, style = ROOT / "figures" / "headline.py", ROOT / "figures" / "simlaw.mplstyle"
        code = DRAW.format(root=str(ROOT), script=str(script), style=str(style))
        subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
        folders.append(folder / "out")
    return folders


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_same_table_gives_the_same_bytes_in_another_folder_and_process(headline, kind):
    one, two = ((folder / f"headline.{kind}").read_bytes() for folder in headline)
    assert one == two
    assert b"table abc" in one
    assert b"Matplotlib v" not in one


def test_saving_names_what_was_drawn(tmp_path):
    with matplotlib.style.context(str(ROOT / "figures" / "simlaw.mplstyle")):
        figure = Figure()
        figure.subplots().plot([1, 2])
        paths = save(figure, tmp_path, "line", {"sweep": "s1", "table": "t1"})
    assert [path.name for path in paths] == ["line.png", "line.svg"]
    assert all(b"sweep s1; table t1" in path.read_bytes() for path in paths)
