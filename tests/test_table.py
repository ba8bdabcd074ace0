"""The table: exact round trip, canonical order, and refusals that name line and column."""

import math
import sys

import numpy as np
import pytest

from simlaw.errors import SimlawError
from simlaw.export import cell_text
from simlaw.lines import read_written
from simlaw.schema import KINDS
from simlaw.table import make_table, parse_table, read_table


def row(**values: object) -> dict[str, object]:
    blank: dict[str, object] = dict.fromkeys(KINDS)
    base = {"run_id": "r", "eval_id": "e", "trunk_id": "t", "params_blocks": 10, "tokens": 100, "seed": 0}
    status = {"status": "done" if values.get("loss") is not None else "diverged"}
    return {**blank, **base, **status, "rate_multiple": 1.0, **values}


def test_round_trip_is_exact():
    table = make_table([row(loss=0.1 + 0.2, eval_id="a"), row(note='with "quotes", commas', loss=None, eval_id="b")])
    back = parse_table(table.to_csv(), "text")
    assert back.rows == table.rows
    assert back.to_csv() == table.to_csv()


def test_a_file_gives_back_the_same_rows(tmp_path):
    table = make_table([row(loss=0.1 + 0.2, eval_id="a"), row(note='with "quotes", commas', loss=None, eval_id="b")])
    table.write(tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text() == table.to_csv()
    assert read_table(tmp_path / "rows.csv").rows == table.rows
    with pytest.raises(SimlawError, match=r"rows.txt ends in '.txt': a table is written as .csv, .parquet, .pq"):
        table.write(tmp_path / "rows.txt")


def test_parquet_gives_back_the_same_rows_and_says_the_units(tmp_path):
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow, which simlaw does not depend on")
    from pyarrow import parquet

    rows = [
        row(loss=0.1 + 0.2, delta=-0.0, vocab=2**62, eval_id="a"),
        row(note="ü, \n", loss=None, bytes_total=1e300, eval_id="b"),
    ]
    table = make_table(rows)
    table.write(tmp_path / "rows.parquet")
    back = read_table(tmp_path / "rows.parquet")
    assert back.rows == table.rows
    assert back.to_csv() == table.to_csv()  # the sign of a zero too
    assert [type(cell) for cell in back.rows[0].values()] == [type(cell) for cell in table.rows[0].values()]
    schema = parquet.read_schema(tmp_path / "rows.parquet")
    assert schema.field("loss").metadata == {b"holds": b"nats per token"}
    assert {name: str(schema.field(name).type) for name in ("note", "tokens", "loss")} == {
        "note": "string",
        "tokens": "int64",
        "loss": "double",
    }


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_frame_has_the_kinds_of_the_columns_and_comes_back(library, tmp_path):
    module = pytest.importorskip(library, reason=f"frames of {library} need it, and simlaw does not depend on it")
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow, which simlaw does not depend on")
    table = make_table([row(loss=0.5, ptq_bits=4, eval_id="a"), row(note="cut", eval_id="b")])
    frame = table.frame(library)
    assert [str(frame[name].dtype).lower()[:3] for name in ("note", "tokens", "loss")] == ["str", "int", "flo"]
    # as a notebook would write it; a plain frame makes floats of whole numbers with an empty cell
    path = tmp_path / "frame.parquet"
    frame.to_parquet(path) if library == "pandas" else frame.write_parquet(path)
    assert read_table(path).rows == table.rows
    (tmp_path / "rows.csv").write_text(table.to_csv())
    plain = module.read_csv(tmp_path / "rows.csv")
    plain.to_parquet(path) if library == "pandas" else plain.write_parquet(path)
    assert read_table(path).rows == table.rows


def test_what_is_not_installed_is_named(tmp_path, monkeypatch):
    table = make_table([row(loss=0.5)])
    for name in ("pandas", "polars", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        SimlawError, match="a frame needs pandas: `pip install pandas`, or take the arrays or write CSV"
    ):
        table.frame()
    with pytest.raises(SimlawError, match="a frame needs polars: `pip install polars`"):
        table.frame("polars")
    with pytest.raises(SimlawError, match="library='spark': frames are made by 'pandas' or 'polars'"):
        table.frame("spark")
    with pytest.raises(SimlawError, match="Parquet needs pyarrow: `pip install pyarrow`, or write CSV"):
        table.write(tmp_path / "rows.parquet")
    assert not list(tmp_path.iterdir())


def test_the_order_of_rows_does_not_depend_on_how_they_came():
    rows = [
        row(tokens=t, seed=s, ptq_bits=b, eval_id=f"{t}{s}{b}") for t in (9, 100) for s in (0, 1) for b in (None, 2, 10)
    ]
    assert make_table(rows).to_csv() == make_table(rows[::-1]).to_csv()
    assert [r["tokens"] for r in make_table(rows)][:6] == [9] * 6
    assert [r["ptq_bits"] for r in make_table(rows)][:3] == [None, 2, 10]


def test_columns_are_arrays_with_nan_for_empty():
    table = make_table([row(loss=1.5, eval_id="a"), row(loss=None, eval_id="b")])
    assert table.column("tokens").tolist() == [100, 100]
    assert [math.isnan(x) for x in table.column("loss")] == [False, True]
    assert table.column("note").tolist() == ["", ""]
    assert table.column("loss").dtype == np.float64
    with pytest.raises(SimlawError, match="the table has no column 'lose'"):
        table.column("lose")


def test_merging_keeps_the_first_of_equal_rows():
    mine, theirs = make_table([row(loss=1.0)]), make_table([row(loss=2.0), row(loss=3.0, eval_id="f")])
    assert sorted(r["loss"] for r in mine.merged(theirs)) == [1.0, 3.0]


def test_selecting_by_a_cell():
    rows = [
        row(seed=s, ptq_bits=b, ptq_group=g, eval_id=f"{s}{b}{g}")
        for s in (0, 1)
        for b, g in ((None, None), (4, 16), (4, 32))
    ]
    table = make_table(rows)
    assert {r["seed"] for r in table.select("seed", "1")} == {1}
    chosen = table.select("ptq_group", "32")  # rows as trained have no group, and stay
    assert [r["ptq_group"] for r in chosen] == [None, 32, None, 32]
    with pytest.raises(SimlawError, match=r"no row has seed=7: the table has 0, 1"):
        table.select("seed", "7")
    with pytest.raises(SimlawError, match=r"seed=one: seed holds a whole number; give one"):
        table.select("seed", "one")
    with pytest.raises(SimlawError, match="the table has no column 'sed'"):
        table.select("sed", "1")


def test_refusals(tmp_path):
    good = make_table([row(loss=1.5)]).to_csv()
    with pytest.raises(SimlawError, match=r"there is no table at .*none.csv: run `simlaw run`"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(
        SimlawError, match=r"t.csv lacks the column 'eval_id': .*or name the columns of a table of your"
    ):
        parse_table(good.replace("eval_id", "id"), "t.csv")
    with pytest.raises(SimlawError, match=r"t.csv, line 2: loss is 'high', not a number; mend the cell"):
        parse_table(good.replace("1.5", "high"), "t.csv")
    with pytest.raises(SimlawError, match=r"line 2: tokens is '1e2', not a whole number"):
        parse_table(good.replace(",100,", ",1e2,"), "t.csv")
    with pytest.raises(SimlawError, match=r"t.csv, line 2 is cut off or too long"):
        parse_table(good.rstrip().rsplit(",", 3)[0], "t.csv")
    with pytest.raises(SimlawError, match=r"t.csv, line 2 is cut off or too long"):
        parse_table(good.rstrip() + ",more\n", "t.csv")


def test_what_was_written_is_joined_and_not_put_into_text_again():
    rows = [
        row(loss=0.1 + 0.2, delta=-0.0, vocab=2**62, eval_id="a"),
        row(note='with "quotes", commas', ptq_settings='{"a": 1, "b": 2}', seed=1, eval_id="b"),
        row(note="a line\nbreak", seed=2, eval_id="c"),
    ]
    table = make_table(rows)
    texts = [(make_table([one]).to_csv(), f"artefact {i}") for i, one in enumerate(rows)]
    lines = read_written(texts)
    assert [line.text is None for line in lines] == [False, False, True]  # where a cell breaks its line
    back = make_table(lines)
    assert back.rows == table.rows
    assert back.to_csv() == table.to_csv()
    # what a line says of itself is what is written: nothing else is looked at
    lines[0].text = "as it is"
    assert make_table(lines).to_csv().splitlines()[1] == "as it is"
    assert make_table([{**one} for one in lines]).to_csv() == table.to_csv()


def test_a_line_is_the_mapping_that_it_was_made_from():
    made = row(loss=0.5, note="cut")
    (line,) = parse_table(make_table([made]).to_csv(), "t.csv")
    assert line == made
    assert made == line
    assert {**line, "seed": 7} == {**made, "seed": 7}
    assert list(line) == list(KINDS)
    assert repr(line) == repr(made)
    with pytest.raises(KeyError):
        line["los"]


def test_a_table_of_more_different_cells_than_are_remembered_reads_the_same():
    rows = [row(loss=1.0 + i, loss_se=None if i % 2 else 0.1 + i, eval_id=f"{i:05d}") for i in range(12000)]
    assert parse_table(make_table(rows).to_csv(), "t.csv") == make_table(rows)


def test_the_first_wrong_line_is_told_of_wherever_it_stands():
    good = make_table([row(loss=1.0 + i, eval_id=f"{i:05d}") for i in range(3000)]).to_csv().splitlines()
    wrong = [*good[:2500], good[2500].replace(",100,", ",1e2,"), *good[2501:2600], good[2600] + ",more"]
    with pytest.raises(SimlawError, match=r"t.csv, line 2501: tokens is '1e2', not a whole number; mend the cell"):
        parse_table("\n".join(wrong) + "\n", "t.csv")
    with pytest.raises(SimlawError, match=r"t.csv, line 2601 is cut off or too long"):
        parse_table("\n".join([*good[:2600], wrong[-1]]) + "\n", "t.csv")
    with pytest.raises(SimlawError, match=r"the stored rows a/b, line 2 is cut off or too long"):
        read_written(
            [("\n".join(good[:2]) + "\n", "the stored rows a/a"), (f"{good[0]}\nr,e\n", "the stored rows a/b")]
        )


def test_columns_in_another_order_and_more_of_them_read_the_same():
    table = make_table([row(loss=0.5, eval_id="a"), row(note="cut", eval_id="b")])
    names = ["mine", *reversed(KINDS)]
    text = "\n".join([",".join(names), *(",".join(["x", *(cell_text(r[n]) for n in names[1:])]) for r in table)])
    assert parse_table(text, "t.csv").rows == table.rows
