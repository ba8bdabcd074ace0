"""A person's own table: columns mapped, what is wrong named by its row, what failed counted and left out."""

import numpy as np
import pytest

from simlaw.errors import SimlawError
from simlaw.external import load_table

GOOD = """params,tokens,val,bits,state,run
1e6,1e8,3.5,4,finished,a
1e6,2e8,3.3,,finished,b
2e6,1e8,3.2,8,crashed,c
2e6,2e8,,8,finished,d
4e6,1e8,3.0,8,finished,e
"""
MAP = {"loss": "val", "N": "params", "D": "tokens", "P_w": "bits"}


@pytest.fixture
def path(tmp_path):
    (tmp_path / "runs.csv").write_text(GOOD)
    return tmp_path / "runs.csv"


def test_columns_are_mapped_and_failures_counted(path):
    seen = load_table(path, status="state", trunk="run", **MAP)
    assert seen.x["N"].tolist() == [1e6, 1e6, 4e6]
    assert seen.x["P_w"].tolist() == [4, np.inf, 8]  # an empty precision is no quantization
    assert seen.y.tolist() == [3.5, 3.3, 3.0]
    assert seen.trunk == ("a", "b", "e")
    assert dict(seen.left_out) == {"failed": 1, "without a loss": 1}
    assert np.isnan(seen.sigma).all()  # no cell is repeated, so nobody knows the noise


def test_arrays_and_frames_are_tables_too(path):
    columns = {"params": [1e6, 2e6], "tokens": [1e8, 1e8], "val": [3.5, np.nan], "bits": [np.nan, 4]}

    class Frame:
        columns = ("params", "tokens", "val", "bits")

        def __getitem__(self, name):
            return np.array(columns[name])

    for source in (columns, Frame()):
        seen = load_table(source, **MAP)
        assert seen.y.tolist() == [3.5]
        assert seen.x["P_w"].tolist() == [np.inf]


def test_replicates_give_the_noise():
    rng = np.random.default_rng(0)
    n = np.repeat([1e6, 2e6, 4e6], 200)
    loss = 3 * np.exp(0.02 * rng.normal(size=600))
    seen = load_table({"n": n, "l": loss}, loss="l", N="n")
    assert np.allclose(seen.sigma / seen.y, 0.02, rtol=0.1)
    assert np.allclose(load_table({"n": n, "l": loss, "s": loss * 0 + 0.1}, loss="l", N="n", sigma="s").sigma, 0.1)


def test_bits_per_token_become_nats(path):
    assert load_table(path, status="state", unit="bits", **MAP).y[0] == pytest.approx(3.5 * np.log(2))


@pytest.mark.parametrize(
    ("old", "new", "changes", "sentence"),
    [
        (
            "",
            "",
            {"loss": "loss"},
            "has no column 'loss' for loss: its columns are params, tokens, val, bits, state, run",
        ),
        ("3.3", "high", {}, "runs.csv, row 2: val is 'high', not a number; mend the cell"),
        ("1e6,2e8", "-3,2e8", {}, "runs.csv, row 2: params is -3, and N is above 0; mend or drop the row"),
        ("1e6,2e8", ",2e8", {}, "runs.csv, row 2: params is nan, and N is above 0"),
        (
            "3.5,4",
            "3.5,64",
            {},
            "runs.csv, row 1: bits is 64 bits: give at most 32, or an empty cell for an unquantized",
        ),
        ("1e6,2e8,3.3,", "1e6,1e8,3.5,4", {}, "row 2 repeats row 1 to the last digit; drop one of them"),
        ("3.3", "-3.3", {}, "runs.csv, row 2: val is -3.3, and a loss is above 0"),
        ("4e6,1e8,3.0,8,finished,e", "4e6,1e8", {}, "runs.csv, line 6 is cut off or too long: mend the line"),
        ("", "", {"unit": "dB"}, "unit='dB': losses are in 'nats' or 'bits' per token"),
        ("", "", {"loss": None}, "name the column of the loss, loss=…, or that of the penalty, delta=…, or both"),
        (
            "",
            "",
            {"delta": "val"},
            "a table of losses and penalties needs the bits of each penalty: name their column, P_post=…",
        ),
    ],
)
def test_refusals(path, old, new, changes, sentence):
    path.write_text(GOOD.replace(old, new) if old else GOOD)
    with pytest.raises(SimlawError) as caught:
        load_table(path, **{"status": "state", **MAP, **changes})
    assert sentence in str(caught.value)


def test_what_is_no_table(tmp_path):
    with pytest.raises(SimlawError, match="there is no table at"):
        load_table(tmp_path / "none.csv", **MAP)
    with pytest.raises(SimlawError, match="int is no table: give a path, a data frame, or arrays by name"):
        load_table(3, **MAP)
    with pytest.raises(SimlawError, match="the columns differ in length"):
        load_table({"n": [1, 2], "l": [1]}, loss="l", N="n")


def test_losses_and_penalties_in_one_table():
    columns = {
        "n": [1e6, 1e6, 1e6, 2e6],
        "bits": [np.nan, 4, np.nan, 3],
        "loss": [3.5, 3.6, 3.4, np.nan],
        "added": [np.nan, 0.1, 0.0, -0.01],
    }
    seen = load_table(columns, loss="loss", delta="added", N="n", P_post="bits")
    assert seen.pairs.tolist() == [False, True, False, True]
    assert seen.y.tolist() == [3.5, 0.1, 3.4, -0.01]  # small penalties may be negative
    # the noise of losses and that of penalties are told apart: two losses of one cell, no repeated penalty
    assert np.isfinite(seen.sigma).tolist() == [True, False, True, False]
    assert seen.keep(seen.pairs).pairs.all()
