"""Sessions: what is wrong for every run is said before any of them starts."""

import pytest

from simlaw.errors import SimlawError
from simlaw.run.session import Session
from tests.conftest import ROOT


@pytest.fixture
def write(tmp_path, store):
    """Write the smoke sweep on 60 files of 300 bytes, with these passes; gives back its path."""
    for i in range(60):
        (tmp_path / "text").mkdir(exist_ok=True)
        (tmp_path / "text" / f"{i}.py").write_text("x = 1\n" * 50)
    smoke = (ROOT / "sweeps" / "smoke" / "sweep.py").read_text().replace("import WSD, Graph", "import WSD, Text")

    def sweep(**fields):
        given = "".join(f", {name}={value}" for name, value in fields.items())
        corpus = f'Text(folder="{tmp_path / "text"}", held_out=0.2{given})'
        (tmp_path / "sweep.py").write_text(smoke.replace("Graph(nodes=16, out=4)", corpus).replace("80 *", "400 *"))
        return str(tmp_path / "sweep.py")

    return sweep


def test_a_text_shorter_than_the_longest_run_is_refused(write):
    sweep = write()
    with pytest.raises(SimlawError) as refusal:
        Session.open(sweep)
    (corpus,) = Session.open(write(epochs=100)).corpora.values()
    epoch = corpus.epoch_tokens(16)
    assert 10_000 < epoch < 18_000
    passes = -(-100 * 400 * 128 // epoch) / 100
    assert str(refusal.value) == (
        f"the longest run wants 51200 tokens of the text, and one pass over it gives {epoch}: plan fewer tokens, add "
        f"text, or allow repeats with Text(epochs={passes:g})"
    )
    Session.open(write(epochs=passes))  # what it says to do, does it
    with pytest.raises(SimlawError, match=r"and 1\.5 passes over it give"):
        Session.open(write(epochs=1.5))


@pytest.mark.parametrize("name", ["smoke", "quickstart", "learning_rate", "ptq_grid"])
def test_the_committed_sweeps_open(name, store, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert Session.open(name).plan.cells
