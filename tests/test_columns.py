"""Tables of every kind read alike, and what is none gets one sentence."""

import json
import sys

import numpy as np
import pytest

from simlaw.columns import Columns, read_columns
from simlaw.errors import SimlawError

ROWS = [
    {"id": "a", "config": {"n_params": 1e6, "model": {"depth": 2}}, "summary": {"eval/loss": 3.5}},
    {"id": "b", "config": {"n_params": 2e6}, "summary": {"eval/loss": "NaN", "lr.max": 0.1}},
]
FLAT = {
    "id": ["a", "b"],
    "config.n_params": [1e6, 2e6],
    "config.model.depth": [2, None],
    "summary.eval/loss": [3.5, "NaN"],
    "summary.lr.max": [None, 0.1],
}


def test_rows_that_nest_become_columns_with_dotted_names(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)) + "\n\n")
    by_column = {name: [row[name] for row in ROWS] for name in ("id", "config", "summary")}
    for source in (ROWS, by_column, path):
        assert dict(read_columns(source).cells) == FLAT
    assert read_columns(path).name == str(path)


def test_a_plain_cell_beside_nested_ones_stays():
    cells = read_columns([{"config": 3, "x": 1}, {"config": {"n": 4}, "x": {}}]).cells
    assert cells == {"config": [3, None], "config.n": [None, 4], "x": [1, None]}


def test_columns_are_read_once():
    table = Columns(cells={"n": [1]}, name="runs")
    assert read_columns(table) is table


def test_csv_may_begin_with_a_byte_order_mark_and_hold_blank_lines(tmp_path):
    path = tmp_path / "runs.CSV"
    path.write_bytes("\ufeffn,l\n1,2\n\n3,4\n".encode())
    assert read_columns(path).cells == {"n": ["1", "3"], "l": ["2", "4"]}


def test_a_missing_column_is_named_with_the_nearest_of_many():
    table = Columns(cells={"val": [1], **{f"eval/{i}/CrossEntropyLoss": [1] for i in range(40)}}, name="run.csv")
    with pytest.raises(
        SimlawError, match=r"run.csv has no column 'eval/7/Loss' for loss: the nearest of its 41 are "
    ) as e:
        table.cell("eval/7/Loss", "loss")
    assert "eval/7/CrossEntropyLoss" in str(e.value)
    assert str(e.value).count("eval/") == 13


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("runs.xlsx", "PK", "runs.xlsx ends in '.xlsx': give a table as .csv, .parquet, .pq, .jsonl"),
        ("runs.csv", "n,l\n", "runs.csv holds no row"),
        ("runs.csv", "", "runs.csv holds no row"),
        ("runs.csv", "n,l,n\n1,2,3\n", "runs.csv has two columns 'n': rename one"),
        ("runs.csv", "n,l\n1\n", "runs.csv, line 2 is cut off or too long: mend the line"),
        # of the file, whatever is blank or holds a line's end in quotes
        ("runs.csv", "n,l\n\n1,2\n\n3\n", "runs.csv, line 5 is cut off or too long: mend the line"),
        ("runs.csv", 'n,l\n"1\n",2\n3\n', "runs.csv, line 4 is cut off or too long: mend the line"),
        ("runs.csv", b"n,l\n\xff,1\n", "runs.csv is no CSV in UTF-8 ("),
        ("runs.jsonl", "", "runs.jsonl holds no row"),
        ("runs.jsonl", '{"n": 1}\n{"n": \n', "runs.jsonl, line 2 is no JSON: mend the line"),
        ("runs.jsonl", b'{"n": "\xff"}\n', "runs.jsonl, line 1 is no JSON: mend the line"),
        (
            "runs.jsonl",
            "[1, 2]\n",
            "runs.jsonl, line 1 holds no object: give one for each run, with columns as its keys",
        ),
        ("runs.jsonl", '{"a.b": 1, "a": {"b": 2}}', "runs.jsonl has two columns 'a.b', one of them nested: rename one"),
    ],
)
def test_what_is_no_table_gets_one_sentence(tmp_path, name, text, sentence):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SimlawError) as caught:
        read_columns(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path}/{sentence}")


def test_lists_of_anything_else_are_no_table():
    for source in ([1, 2], 3, None):
        with pytest.raises(SimlawError, match="is no table: give a path, a data frame, or arrays by name"):
            read_columns(source)
    for source in ({}, []):
        with pytest.raises(SimlawError, match="the table holds no row"):
            read_columns(source)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "runs.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        SimlawError, match=r"runs.parquet is Parquet, which needs pyarrow: `pip install pyarrow`, or save"
    ):
        read_columns(tmp_path / "runs.parquet")


def test_parquet_with_nested_columns(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow, which simlaw does not depend on")
    from pyarrow import parquet

    rows = [{**row, "summary": {"eval/loss": 3.5}} for row in ROWS]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "runs.parquet")
    for source in (tmp_path / "runs.parquet", pyarrow.Table.from_pylist(rows)):
        cells = read_columns(source).cells
        assert cells["config.model.depth"] == [2, None]
        assert cells["summary.eval/loss"] == [3.5, 3.5]
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(SimlawError, match=r"broken.parquet is no Parquet file: "):
        read_columns(tmp_path / "broken.parquet")


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_with_every_kind_of_nothing(library):
    module = pytest.importorskip(library, reason=f"frames of {library} need it, and simlaw does not depend on it")
    columns = {"id": ["a", None], "n": [1, None], "l": [3.5, np.nan], "config": [{"depth": 2}, {"depth": 4}]}
    frame = module.DataFrame(columns)
    if library == "pandas":
        frame = frame.astype({"id": "string", "n": "Int64"})  # whose nothing refuses to be compared
    cells = read_columns(frame).cells
    assert cells["id"] == ["a", None]
    assert cells["n"] == [1, None]
    assert cells["config.depth"] == [2, 4]
    assert cells["l"][0] == 3.5
    assert cells["l"][1] is None or np.isnan(cells["l"][1])
