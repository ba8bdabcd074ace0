"""Figures: everything measured is drawn, labels carry units, and the same table gives the same bytes anywhere."""

import math
import subprocess
import sys
from dataclasses import replace

import matplotlib.style
import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from simlaw.analysis import analyse
from simlaw.curves import bands, penalty_curves
from simlaw.decision.frontier import frontier
from simlaw.decision.maps import best_bits_map, loss_map
from simlaw.decision.verdict import Question
from simlaw.errors import SimlawError
from simlaw.fitting.fit import fit
from simlaw.fitting.residuals import residuals
from simlaw.laws import PrecisionExponential
from simlaw.observations import joint_observations, loss_observations, penalty_cells, penalty_observations
from simlaw.plot import plot_bands, plot_bits, plot_frontier, plot_penalty, plot_residuals, plot_surface
from simlaw.plot.palette import GREY, PRECISION, SIZE_SHADES, colour, keys, shade
from simlaw.plot.save import save
from simlaw.published import kumar2024
from simlaw.report import count, precision
from tests.conftest import ROOT
from tests.planted import BITS, SIZES, planted

TABLE = planted(log_loss=0.01, relative=0.2, token=5e-4)
ANALYSIS = analyse(TABLE, draws=100)
JOINT = fit(PrecisionExponential, joint_observations(TABLE), fixed={"b": 0.0})


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
    figure = runpy.run_path({script!r})["draw"](analyse(planted(log_loss=0.01, relative=0.2, token=5e-4), draws=20))
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


def test_residuals_are_all_drawn_with_the_means_of_their_levels():
    seen = loss_observations(TABLE)
    bits = np.where(np.arange(len(seen.y)) % 2, 4.0, np.inf)
    found = residuals(ANALYSIS.base, replace(seen, x={**seen.x, "P_w": bits}))
    for axis in found.axes:
        ax = Figure().subplots()
        artists = plot_residuals(found, axis.name, ax)
        points = next(line for line in ax.lines if line.get_color() == GREY)
        assert np.array_equal(points.get_ydata(), found.standard)
        bar = next(artist for artist in artists if isinstance(artist, ErrorbarContainer))
        assert np.allclose(bar[0].get_ydata(), [level.mean for level in axis.levels])
        low, high = np.array([segment[:, 1] for segment in bar[2][0].get_segments()]).T
        assert np.allclose(high - low, [4 * level.error for level in axis.levels])
        assert ax.xaxis.label.get_fontweight() == ("bold" if axis.sentence else "normal")
        assert ax.get_ylabel() == "residual (s.d. of the noise)"
    assert [text.get_text() for text in ax.get_xticklabels()] == ["4", "16"]


@pytest.mark.parametrize("along", ["D", "N"])
def test_bands_are_dashed_beyond_their_rows_and_show_every_cell(along):
    seen = loss_observations(TABLE)
    found = bands(ANALYSIS.base, seen, along=along)
    ax = Figure().subplots()
    artists = plot_bands(found, ax)
    for band in found:
        rows = np.all([seen.x[name] == value for name, value in band.fixed.items()], axis=0)
        at = {along: band.cells, **band.fixed}
        for cell, mean, error in zip(band.cells, band.means, band.errors, strict=True):
            here = rows & (seen.x[along] == cell)
            assert mean == pytest.approx(seen.y[here].mean())
            assert error == pytest.approx(seen.sigma[here].mean() / np.sqrt(here.sum()), rel=0.01)
        assert np.allclose(np.interp(band.cells, band.x, band.law), ANALYSIS.base.law.loss(**at), rtol=1e-3)
        assert (band.low <= band.high).all()
        assert band.x[band.inside].min() >= band.cells[0]
        assert band.x[band.inside].max() <= band.cells[-1]
        assert not band.inside.all()
    drawn = [artist for artist in artists if isinstance(artist, ErrorbarContainer)]
    assert [tuple(bar[0].get_ydata()) for bar in drawn] == [tuple(band.means) for band in found]
    dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert len(dashed) == len(found)
    other = "N" if along == "D" else "D"
    labels = [text.get_text() for text in ax.texts]
    assert sorted(labels) == sorted(f"{other} = {count(band.fixed[other])}" for band in found)
    assert ax.get_ylabel() == "loss (nats per token)"


def test_bands_of_a_joint_fit_show_its_losses_alone():
    joint, losses = joint_observations(TABLE), loss_observations(TABLE)
    found = bands(JOINT, joint)
    assert {band.fixed["P_post"] for band in found} == {math.inf}
    apart = bands(ANALYSIS.base, losses)
    assert len(found) == len(apart)
    for one, other in zip(found, apart, strict=True):
        assert np.allclose(one.means, other.means)
        assert np.allclose(np.interp(one.cells, one.x, one.law), one.means, rtol=0.05)
    with pytest.raises(
        SimlawError, match="no row that is a loss has a finite P_post, so nothing can be drawn along it"
    ):
        bands(JOINT, joint, along="P_post")
    with pytest.raises(SimlawError, match="no row that is a loss has a finite D"):
        bands(ANALYSIS.base, penalty_observations(TABLE))


def test_labels_of_close_curves_do_not_touch():
    seen = loss_observations(TABLE)
    tokens = seen.x["D"] * np.where(np.arange(len(seen.y)) % 2, 1.0, 1.02)
    found = bands(ANALYSIS.base, replace(seen, x={**seen.x, "D": tokens}), along="N")
    figure = Figure(figsize=(3.3, 2.6))
    ax = figure.subplots()
    plot_bands(found, ax)
    heights = np.array(sorted(text.get_position()[1] for text in ax.texts))
    assert len(heights) == 12
    assert (np.diff(heights) * ax.get_position().height * 2.6 * 72 > 6.5).all()
    assert 0 <= heights.min() < heights.max() <= 1


def test_bands_of_a_penalty_take_the_colours_of_its_bits():
    seen = penalty_observations(TABLE)
    found = bands(ANALYSIS.penalty, seen.keep(seen.x["N"] == SIZES[0]))
    ax = Figure().subplots()
    artists = plot_bands(found, ax)
    drawn = [artist for artist in artists if isinstance(artist, ErrorbarContainer)]
    assert [bar[0].get_color() for bar in drawn] == [colour(bits) for bits in BITS]
    assert ax.get_yscale() == "log"
    along = bands(
        ANALYSIS.penalty, seen.keep((seen.x["N"] == SIZES[0]) & (seen.x["D"] == seen.x["D"].max())), along="P_post"
    )
    assert len(along) == 1
    assert along[0].x[0] == 2
    with pytest.raises(SimlawError, match="the rows have no P_w: they have N, D, P_post"):
        bands(ANALYSIS.penalty, seen, along="P_w")


def test_the_surface_shows_every_size_and_token_count_and_the_best_of_each_budget():
    seen = loss_observations(TABLE)
    noise = np.random.default_rng(0).normal(0, 0.03, len(seen.y))
    found = loss_map(ANALYSIS.base, replace(seen, y=seen.y * np.exp(noise)))
    ax = Figure().subplots()
    plot_surface(found, ax)
    points = [line for line in ax.lines if line.get_marker() in "o^v"]
    places = {(line.get_xdata()[0], line.get_ydata()[0]) for line in points}
    assert places == set(zip(seen.x["N"], seen.x["D"], strict=True))
    for line, point in zip(points, found.measured, strict=True):
        expected = "o" if abs(point.residual) <= 1 else "^" if point.residual > 0 else "v"
        assert line.get_marker() == expected
    assert {line.get_marker() for line in points} == {"o", "^", "v"}
    thick = max(ax.lines, key=lambda line: line.get_linewidth())
    assert np.allclose(6 * thick.get_xdata() * thick.get_ydata(), found.flops)
    hatched = next(patch for patch in ax.patches if patch.get_hatch())
    outer, hole = hatched.get_path().vertices[:5], hatched.get_path().vertices[5:]
    assert {tuple(corner) for corner in hole} == {(n, d) for n in found.ranges["N"] for d in found.ranges["D"]}
    assert outer.max(axis=0) == pytest.approx(hole.max(axis=0) * 4)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("parameters, N", "training tokens, D")


def test_the_map_of_bits_names_its_regions_and_marks_doubt():
    found = best_bits_map(
        ANALYSIS.base, penalty=ANALYSIS.penalty, bytes=np.geomspace(3e3, 4e5, 40), flops=np.geomspace(3e10, 1e13, 40)
    )
    ax = Figure().subplots()
    plot_bits(found, ax)
    names = {text.get_text() for text in ax.texts}
    assert "16 bit" in names
    assert names <= {precision(bits) for bits in np.unique(found.bits)}
    hatches = {hatch for drawn in ax.collections for hatch in getattr(drawn, "hatches", [])} - {None}
    assert hatches == {"////", ".."}
    above = ax.child_axes[0]
    assert above.get_xlabel() == "parameters that fit at 16 bits"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("bytes of weights", "training FLOPs, 6·N·D")


def test_a_winner_that_leads_by_nothing_is_marked_as_unsettled_without_any_draws():
    found = best_bits_map(kumar2024, bytes=np.geomspace(5e7, 2e9, 30), flops=np.geomspace(1e18, 1e19, 30))
    ax = Figure().subplots()
    plot_bits(found, ax)
    assert found.share is None
    assert np.isinf(found.bits).any()  # where bytes do not bind, by 1e-5 nat
    assert ".." in [hatch for drawn in ax.collections for hatch in getattr(drawn, "hatches", [])]


def test_shades_of_sizes_are_told_apart_in_grey_too():
    shades = [luminance(one) for one in SIZE_SHADES]
    assert shades == sorted(shades, reverse=True)
    assert min(-np.diff(shades)) > 0.02
    assert [shade(i, 3) for i in range(3)] == [SIZE_SHADES[0], SIZE_SHADES[3], SIZE_SHADES[6]]
