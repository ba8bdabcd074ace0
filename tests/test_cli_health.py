"""`simlaw health` and its figure: the report, JSON, what is refused, and everything judged is drawn."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure

from simlaw.analysis import analyse
from simlaw.claims import Beside
from simlaw.cli import cli
from simlaw.cli.figure import draw
from simlaw.health.collapse import Collapse
from simlaw.plot import plot_deviations, plot_losses, plot_normalised
from tests.conftest import ROOT
from tests.test_collapse import RUNGS, SIZES, drawn, judged


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table with curves of which one size is bent, in a project with the figures."""
    place = tmp_path_factory.mktemp("project")
    (place / "figures").symlink_to(ROOT / "figures")
    (place / "sweep").mkdir()
    curves, table = drawn(bent={SIZES[2]: 0.2})
    table.write(place / "sweep" / "table.csv")
    curves.write(place / "sweep" / "curves.csv")
    return place


def call(folder, monkeypatch, *args):
    monkeypatch.chdir(folder)
    return CliRunner().invoke(cli, args)


def test_it_names_the_size_that_stands_off(folder, monkeypatch):
    said = call(folder, monkeypatch, "health", "sweep/table.csv")
    assert said.exit_code == 0, said.output
    lines = said.output.splitlines()
    assert lines[0].split()[:2] == ["size", "tokens"]
    assert [line.split()[0] for line in lines[1:5]] == ["6.66k", "26.6k", "106k", "426k"]
    assert ["stands off" in line for line in lines[1:5]] == [False, False, True, False]
    assert "nats by Chinchilla, 90 % of its draws" in said.output


def test_json_holds_the_verdict_and_every_place(folder, monkeypatch):
    said = call(folder, monkeypatch, "health", "sweep/table.csv", "--gamma", "0.7", "--irreducible", "1.2", "--json")
    found = json.loads(said.stdout)
    assert found["worst"] == SIZES[2]
    assert found["irreducible_source"] == "as given"
    assert [size["tokens"] for size in found["sizes"]] == list(RUNGS)
    assert all(len(size["deviation"]) == len(found["x"]) for size in found["sizes"])
    assert found["sizes"][0]["deviation"][-1] is None  # x = 1 is not scored


def test_what_cannot_be_judged_ends_with_a_sentence(folder, monkeypatch, tmp_path):
    known = ("--gamma", "0.7", "--irreducible", "1.2")
    (tmp_path / "table.csv").write_text((folder / "sweep" / "table.csv").read_text())
    for args, sentence in [
        (("sweep/table.csv", *known, "--tolerance", "0.9"), "--tolerance 0.9: it is the factor that a rung may miss"),
        (("sweep/table.csv", "--where", "seed=0"), "--gamma and --irreducible are needed, for no law can be fitted: "),
        ((str(tmp_path / "table.csv"), *known), "none of the 48 runs of the table has a loss curve"),
    ]:
        said = call(folder, monkeypatch, "health", *args)
        assert said.exit_code == 2
        assert sentence in said.stderr
        assert len(said.stderr.splitlines()) == 1


def test_the_figure_is_the_same_bytes_for_the_same_curves(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(folder)
    curves, table = drawn(bent={SIZES[2]: 0.2})
    analysis = analyse(table)
    first, again = (
        [
            path.read_bytes()
            for path in draw(
                "collapse",
                None,
                table,
                tmp_path / name,
                analysis=lambda: analysis,
                curves=lambda: curves,
                beside=Beside,
            )
        ]
        for name in ("a", "b")
    )
    assert first == again
    assert b"curves " in first[1]


def test_every_size_is_drawn_in_every_panel_with_units():
    found: Collapse = judged(draws=60)
    for plot, values, x_label in [
        (plot_losses, lambda size: size.loss, "training tokens"),
        (plot_normalised, lambda size: size.normalised, ""),
        (plot_deviations, lambda size: size.deviation, "share of the run's tokens, x"),
    ]:
        ax = Figure().subplots()
        artists = plot(found, ax)
        lines = [artist.get_ydata() for artist in artists if hasattr(artist, "get_ydata")]
        for size in found.sizes:
            assert any(np.array_equal(line, values(size), equal_nan=True) for line in lines)
        assert ax.get_xlabel() == x_label
        assert ax.get_ylabel()
    ax = Figure().subplots()
    plot_losses(found, ax)
    assert [text.get_text() for text in ax.texts] == ["6.66k", "26.6k", "106k", "426k", "E = 1.20"]
    assert ax.get_ylabel() == "training loss (nats per token)"
