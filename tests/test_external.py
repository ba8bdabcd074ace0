"""A person's own table: columns mapped, what is wrong named by its row, what failed counted and left out."""

import numpy as np
import pytest

from simlaw.errors import SimlawError
from simlaw.external import _DONE, load_table
from simlaw.fitting.fit import fit
from simlaw.laws import Chinchilla

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


def test_bits_per_byte_become_nats_per_token_by_the_length_of_a_token():
    # 4 bytes a token at 0.8 bits per byte are 3.2 bits per token
    columns = {"n": [1e6, 2e6], "l": [0.8, 0.7], "s": [0.01, 0.01]}
    seen = load_table(columns, N="n", loss="l", sigma="s", unit="bpb", bytes_per_token=4)
    assert seen.y == pytest.approx([3.2 * np.log(2), 2.8 * np.log(2)])
    assert seen.sigma == pytest.approx([0.04 * np.log(2)] * 2)


def test_losses_that_are_nan_or_infinite_are_left_out_and_counted():
    columns = {"n": [1e6] * 5, "l": [3.0, np.nan, np.inf, "NaN", 3.1], "s": ["ok", None, "ok", "done", "killed"]}
    seen = load_table(columns, N="n", loss="l", status="s")
    assert seen.y.tolist() == [3.0]
    assert dict(seen.left_out) == {"failed": 1, "without a loss": 3}
    with pytest.raises(
        SimlawError, match=r"the table: no row is left to fit \(1 failed, 1 without a loss\); give runs"
    ):
        load_table({"n": [1, 2], "l": [3.0, None], "s": ["failed", ""]}, N="n", loss="l", status="s")


@pytest.mark.parametrize("sigma", [-0.1, 0.0, np.inf])
def test_a_standard_deviation_is_above_0(sigma):
    columns = {"n": [1e6, 2e6, 4e6], "l": [3.0, 2.9, 2.8], "s": [0.1, sigma, np.nan], "state": ["ok", "ok", "ok"]}
    sentence = f"the table, row 2: 's' is {sigma:g}, and a standard deviation is above 0 and finite; mend the cell, or"
    with pytest.raises(SimlawError, match=sentence):
        load_table(columns, N="n", loss="l", sigma="s", status="state")
    columns["state"][1] = "failed"
    assert np.isnan(load_table(columns, N="n", loss="l", sigma="s", status="state").sigma).tolist() == [False, True]


def test_variables_that_a_form_allows_to_be_0_may_be_0():
    columns = {"n": [1e6, 2e6], "l": [3.0, 2.9], "e": [0, 4], "m": [3, 0]}
    seen = load_table(columns, N="n", loss="l", X="e", M="m")
    assert seen.x["X"].tolist() == [0, 4]
    assert seen.x["M"].tolist() == [3, 0]
    with pytest.raises(SimlawError, match="row 1: 'e' is -1, and X is 0 or above and finite; mend or drop the row"):
        load_table({**columns, "e": [-1, 4]}, N="n", loss="l", X="e")


def test_numbers_beyond_every_float_are_named_by_their_row():
    with pytest.raises(SimlawError, match="row 2: 'n' is 100000000…, a number of more than 308 digits; mend the cell"):
        load_table([{"n": 1, "l": 3.0}, {"n": 10**400, "l": 3.0}], N="n", loss="l")


@pytest.mark.parametrize("trunks", [np.array([1.0, np.nan, np.nan]), np.array(["a", np.nan, "b"]), ["a", None, "b"]])
def test_rows_without_a_trunk_are_refused_whatever_stands_for_nothing(trunks):
    columns = {"n": [1e6, 2e6, 4e6], "l": [3.0, 2.9, 2.8], "run": trunks}
    with pytest.raises(SimlawError, match="the table, row 2: 'run' is empty, and every row has a trunk; name it"):
        load_table(columns, N="n", loss="l", trunk="run")


@pytest.mark.parametrize("done", ["complete", "Succeeded", "FINISHED", " done ", "success", True, "", None, np.nan])
def test_statuses_that_count(done):
    columns = {"n": [1e6, 2e6], "l": [3.0, 2.9], "s": [done, "crashed"]}
    seen = load_table(columns, N="n", loss="l", status="s")
    assert seen.left_out["failed"] == 1
    assert seen.y.tolist() == [3.0]


def test_every_status_that_counts_is_in_the_documentation():
    text = " ".join(load_table.__doc__.split())
    listed = text.split("none of ")[1].split(" (in any case)")[0].replace(" or ", ", ").split(", ")
    said = {form for one in listed for form in (one.split("(")[0], one.replace("(", "").replace(")", ""))}
    assert {one or "empty" for one in _DONE} == said


def test_a_trunk_may_be_a_number():
    columns = {"n": [1e6, 2e6], "l": [3.0, 2.9], "run": np.arange(2)}
    assert load_table(columns, N="n", loss="l", trunk="run").trunk == ("0", "1")


def test_what_n_counts_stays_with_the_rows(path):
    seen = load_table(path, status="state", counts="non-embedding", **MAP)
    assert seen.counts == seen.keep(seen.y > 3.2).counts == "non-embedding"
    assert load_table(path, **MAP).counts == "as the table counts"


def test_observations_come_back_from_the_file_they_were_written_to(path, tmp_path):
    seen = load_table(path, status="state", trunk="run", counts="all", **MAP)
    seen.write(tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text().splitlines()[:2] == [
        "N,D,P_w,y,sigma,trunk",
        "1000000.0,100000000.0,4.0,3.5,,a",
    ]
    same(load_table(tmp_path / "rows.csv", **BACK), seen)
    with pytest.raises(SimlawError, match=r"rows ends in '': a table is written as .csv, .parquet, .pq"):
        seen.write(tmp_path / "rows")


def test_observations_come_back_from_parquet_and_frames(path, tmp_path):
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow, which simlaw does not depend on")
    seen = load_table(path, status="state", trunk="run", counts="all", **MAP)
    seen.write(tmp_path / "rows.parquet")
    for source in (tmp_path / "rows.parquet", *map(seen.frame, ("pandas", "polars"))):
        same(load_table(source, **BACK), seen)


def test_paired_rows_come_back_as_the_loss_and_the_delta_that_they_are(tmp_path):
    columns = {"n": [1e6, 1e6, 2e6], "l": [3.0, 3.1, 2.8], "d": [None, 0.1, None], "b": [None, 4, None]}
    seen = load_table(columns, N="n", P_post="b", loss="l", delta="d")
    seen.write(tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text().splitlines()[2] == "1000000.0,4.0,,0.1,,1"
    back = load_table(
        tmp_path / "rows.csv", N="N", P_post="P_post", loss="loss", delta="delta", sigma="sigma", trunk="trunk"
    )
    same(back, seen)
    assert back.pairs.tolist() == seen.pairs.tolist() == [False, True, False]


BACK = {"loss": "y", "N": "N", "D": "D", "P_w": "P_w", "sigma": "sigma", "trunk": "trunk", "counts": "all"}


def same(found, seen):
    assert found.y.tolist() == seen.y.tolist()
    assert {name: values.tolist() for name, values in found.x.items()} == {k: v.tolist() for k, v in seen.x.items()}
    assert (found.trunk, found.counts) == (seen.trunk, seen.counts)
    assert np.array_equal(found.sigma, seen.sigma, equal_nan=True)


@pytest.mark.parametrize(
    ("old", "new", "changes", "sentence"),
    [
        (
            "",
            "",
            {"loss": "loss"},
            "has no column 'loss' for loss: its columns are 'params', 'tokens', 'val', 'bits', 'state', 'run'",
        ),
        ("3.3", "high", {}, "runs.csv, row 2: 'val' is 'high', not a number; mend the cell"),
        ("1e6,2e8", "-3,2e8", {}, "runs.csv, row 2: 'params' is -3, and N is above 0 and finite; mend or drop the row"),
        ("1e6,2e8", ",2e8", {}, "runs.csv, row 2: 'params' is nan, and N is above 0 and finite"),
        (
            "3.5,4",
            "3.5,64",
            {},
            "runs.csv, row 1: 'bits' is 64 bits: give at most 32, or an empty cell for an unquantized",
        ),
        ("1e6,2e8,3.3,", "1e6,1e8,3.5,4", {}, "row 2 repeats row 1 to the last digit; drop one of them"),
        ("3.3", "-3.3", {}, "runs.csv, row 2: 'val' is -3.3, and a loss is above 0"),
        ("4e6,1e8,3.0,8,finished,e", "4e6,1e8", {}, "runs.csv, line 6 is cut off or too long: mend the line"),
        (
            "1e6,2e8,3.3,,finished",
            "1e6,0,3.3,,finished",
            {},
            "row 2: 'tokens' is 0, and D is above 0 and finite; mend or drop the row",
        ),
        ("finished,b", "finished,", {"trunk": "run"}, "row 2: 'run' is empty, and every row has a trunk; name it"),
        (
            "1e6,2e8",
            "1e999,2e8",
            {},
            "row 2: 'params' is inf, and N is above 0 and finite; mend or drop the row",
        ),
        ("1e6,2e8", "1e6,inf", {}, "row 2: 'tokens' is inf, and D is above 0 and finite; mend or drop the row"),
        (
            "tokens,val",
            " tokens,val",
            {},
            "has no column 'tokens' for D: its columns are 'params', ' tokens', 'val', 'bits', 'state', 'run'",
        ),
        ("3.5,4", "3.5,-4", {}, "runs.csv, row 1: 'bits' is -4, and P_w is above 0; mend or drop the row"),
        ("", "", {"unit": "dB"}, "unit='dB': losses are in 'nats' or 'bits' per token, or in bits per byte, 'bpb'"),
        (
            "",
            "",
            {"unit": "bpb"},
            "unit='bpb': bits per byte become nats per token by the length of a token; give bytes_",
        ),
        ("", "", {"unit": "bpb", "bytes_per_token": 0}, "bytes_per_token=0: a token is a number of bytes above 0"),
        (
            "",
            "",
            {"bytes_per_token": 4.5},
            "bytes_per_token=4.5 goes with unit='bpb' alone: nats are per token already",
        ),
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


def test_a_table_of_penalties_is_no_table_of_losses():
    columns = {"n": [1e6, 2e6, 4e6], "d": [1e8, 2e8, 4e8], "bits": [4, 4, 3], "added": [0.1, 0.05, 0.2]}
    seen = load_table(columns, delta="added", N="n", D="d", P_post="bits")
    assert seen.response == "delta"
    assert seen.paired is None
    assert load_table({**columns, "loss": [3, 3.1, 3.2]}, loss="loss", N="n").response == "loss"
    with pytest.raises(SimlawError, match="Chinchilla is a law of the loss, and the rows are penalties: name the col"):
        fit(Chinchilla, seen)


def test_losses_and_penalties_in_one_table():
    columns = {
        "n": [1e6, 1e6, 1e6, 2e6, 1e6, 1e6],
        "bits": [np.nan, 4, np.nan, 3, np.nan, np.nan],
        "loss": [3.5, 3.6, 3.4, np.nan, 3.45, 3.55],
        "added": [np.nan, 0.1, 0.0, -0.01, np.nan, np.nan],
    }
    seen = load_table(columns, loss="loss", delta="added", N="n", P_post="bits")
    assert seen.pairs.tolist() == [False, True, False, True, False, False]
    assert seen.y.tolist() == [3.5, 0.1, 3.4, -0.01, 3.45, 3.55]  # small penalties may be negative
    # the noise of losses and that of penalties are told apart: four losses of one cell, no repeated penalty
    assert np.isfinite(seen.sigma).tolist() == [True, False, True, False, True, True]
    assert seen.keep(seen.pairs).pairs.all()
