"""Tables, of simlaw's own and of a person's, that hold no rows to rely on."""

import csv
import gzip
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from simlaw.errors import SimlawError
from simlaw.table import read_table
from tests.bad_input.conftest import Refused, as_bytes
from tests.conftest import ROOT

TABLE = (ROOT / "sweeps" / "smoke" / "table.csv").read_text()
ROWS = list(csv.reader(io.StringIO(TABLE)))
HEADER = ROWS[0]


def text(rows: list[list[str]]) -> str:
    """Rows as CSV."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def cell(name: str, value: str) -> str:
    """The table with another cell in line 5."""
    rows = [list(row) for row in ROWS]
    rows[4][HEADER.index(name)] = value
    return text(rows)


def without(name: str) -> str:
    """The table without a column."""
    at = HEADER.index(name)
    return text([[*row[:at], *row[at + 1 :]] for row in ROWS])


def twice(name: str) -> str:
    """The table with a column twice."""
    at = HEADER.index(name)
    return text([[*row, row[at]] for row in ROWS])


#: Tables of simlaw's own, by the rule that they break.
OWN: dict[str, tuple[str | bytes, str]] = {
    "it has columns": ("", "rows.csv lacks the column 'run_id'"),
    "it has rows": (text(ROWS[:1]), "no run of rows.csv is done"),
    "it has all columns": (without("loss"), "rows.csv lacks the column 'loss'"),
    "columns are there once": (twice("loss"), "rows.csv has two columns 'loss'"),
    "lines are whole": (TABLE[:-50], "rows.csv, line 127 is cut off or too long"),
    "lines end": (TABLE + 'x"\n', "rows.csv, line 128 is cut off or too long"),
    "commas part cells": (TABLE.replace(",", ";"), "rows.csv lacks the column 'run_id'"),
    "it is UTF-8": (cell("note", "möp").encode("latin-1"), "rows.csv is no CSV in UTF-8 ('utf-8' codec can't decode"),
    "it is not UTF-16": (TABLE.encode("utf-16"), "rows.csv is no CSV in UTF-8"),
    "it is not compressed": (gzip.compress(TABLE.encode()), "rows.csv is no CSV in UTF-8"),
    "cells are short": (cell("note", "x" * 200_000), "rows.csv is no CSV in UTF-8 (field larger than field limit"),
    "cells are of their kind": (cell("loss", "three"), "line 5: loss is 'three', not a number"),
    "after a mark of UTF-8 too": (b"\xef\xbb\xbf" + cell("loss", "x").encode(), "line 5: loss is 'x', not a number"),
    "and with returns": (cell("loss", "x").replace("\n", "\r\n"), "line 5: loss is 'x', not a number"),
    "zero bytes are no numbers": (cell("seed", "\0"), "line 5: seed is '\\x00', not a whole number"),
    "counts are whole": (cell("tokens", "2560.5"), "line 5: tokens is '2560.5', not a whole number"),
    "counts can be read": (cell("tokens", "9" * 5000), "line 5: tokens is '9999"),
    "counts fit 64 bits": (cell("tokens", "9" * 400), "line 5: tokens is 9999"),
    "tokens are above 0": (cell("tokens", "0"), "line 5: tokens is 0, and it must be finite and at least 1"),
    "sizes are above 0": (cell("params_blocks", "-3"), "line 5: params_blocks is -3, and it must be finite"),
    "losses are numbers": (cell("loss", "nan"), "line 5: loss is nan, and it must be finite and above 0"),
    "losses are finite": (cell("loss", "1e999"), "line 5: loss is inf, and it must be finite and above 0"),
    "losses are above 0": (cell("loss", "-1"), "line 5: loss is -1.0, and it must be finite and above 0"),
    "penalties are finite": (cell("delta", "-inf"), "line 5: delta is -inf, and it must be finite"),
    "errors are not below 0": (cell("loss_se", "-0.1"), "line 5: loss_se is -0.1, and it must be finite and at least"),
    "bits are few": (cell("ptq_bits", "99"), "line 5: ptq_bits is 99, and it must be finite and from 1 to 32"),
    "bytes are above 0": (cell("bytes_blocks", "-1"), "line 5: bytes_blocks is -1.0, and it must be finite and above"),
    "runs have ids": (cell("run_id", ""), "line 5: run_id is empty, and every row has one"),
    "trunks have ids": (cell("trunk_id", ""), "line 5: trunk_id is empty, and every row has one"),
    "ids lead nowhere": (cell("run_id", "../../x"), "line 5: run_id is '../../x', and ids are letters, digits"),
    "a status is known": (
        cell("status", "maybe"),
        "line 5: status is 'maybe', and it is one of done, diverged, failed",
    ),
    "what is done has a loss": (cell("loss", ""), "line 5: status is 'done' with no loss"),
    "what diverged has none": (cell("status", "diverged"), "line 5: status is 'diverged' with the loss 1."),
    "evaluations are there once": (TABLE + text(ROWS[4:5]), "rows.csv has the evaluation 87542c7e652265c8 twice"),
}
GOOD = "n,d,l\n1e4,1e6,3.0\n2e4,1e6,2.9\n1e4,2e6,2.8\n2e4,2e6,2.7\n4e4,4e6,2.5\n8e4,8e6,2.4\n"
#: Tables of a person's own, by the rule that they break.
OTHERS: dict[str, tuple[str, str | bytes, str]] = {
    "it holds rows": ("own.csv", "n,d,l\n", "own.csv holds no row"),
    "columns are where they are said": ("own.csv", "a,b\n1,2\n", "own.csv has no column 'n' for N"),
    "names are there once": ("own.csv", "n,d,l,l\n1,2,3,4\n", "own.csv has two columns 'l'"),
    "text is UTF-8": ("own.csv", GOOD.replace("l\n", "ñ\n", 1).encode("latin-1"), "own.csv is no CSV in UTF-8"),
    "rows are whole": ("own.csv", GOOD + "1e4,", "own.csv, line 8 is cut off or too long"),
    "rows differ": ("own.csv", GOOD + "8e4,8e6,2.4\n", "row 7 repeats row 6 to the last digit"),
    "N is above 0": ("own.csv", GOOD.replace("8e4", "-8e4"), "row 6: 'n' is -80000, and N is above 0 and finite"),
    "D is finite": ("own.csv", GOOD.replace("8e6", "inf"), "row 6: 'd' is inf, and D is above 0 and finite"),
    "a loss is a number": ("own.csv", GOOD.replace("2.9", "many"), "row 2: 'l' is 'many', not a number"),
    "a loss is above 0": ("own.csv", GOOD.replace("2.9", "0"), "row 2: 'l' is 0, and a loss is above 0"),
    "the suffix is known": ("own.xls", GOOD, "own.xls ends in '.xls'"),
    "JSON lines are JSON": ("own.jsonl", "{\n", "own.jsonl, line 1 is no JSON"),
    "JSON lines are objects": ("own.jsonl", "[1]\n", "own.jsonl, line 1 holds no object"),
    "JSON lines are not deep": ("own.jsonl", "[" * 100_000 + "\n", "own.jsonl, line 1 is no JSON"),
    "JSON lines are text": ("own.jsonl", b"\xff\xfe\n", "own.jsonl, line 1 is no JSON"),
    "JSON numbers are floats": ("own.jsonl", '{"n": %s, "d": 1, "l": 2}\n' % ("9" * 400), "row 1: 'n' is 999999999…"),
    "JSON cells are numbers": ("own.jsonl", '{"n": [1], "d": 1, "l": 2}\n', "row 1: 'n' is [1], not a number"),
}


@pytest.mark.parametrize("rule", OWN)
def test_a_broken_table_is_refused(rule: str, project: Path, refused: Refused) -> None:
    content, words = OWN[rule]
    (project / "rows.csv").write_bytes(as_bytes(content))
    refused(words, "claims", "rows.csv")


def test_a_broken_table_of_a_sweep_is_refused(project: Path, refused: Refused) -> None:
    (project / "sweeps" / "smoke" / "table.csv").write_text(cell("loss", "nan"))
    for command in (["status"], ["plan"], ["table", "--write"], ["claims"]):
        refused("sweeps/smoke/table.csv, line 5: loss is nan", command[0], "smoke", *command[1:])


@pytest.mark.parametrize("rule", OTHERS)
def test_a_broken_table_of_ones_own_is_refused(rule: str, project: Path, refused: Refused) -> None:
    name, content, words = OTHERS[rule]
    (project / name).write_bytes(as_bytes(content))
    columns = ("-c", "N=n", "-c", "D=d", "-c", "loss=l")
    refused(words, "fit", name, "--form", "Chinchilla", *columns)


def test_a_table_must_be_a_file(project: Path, refused: Refused) -> None:
    (project / "folder.csv").mkdir()
    (project / "loop.csv").symlink_to("loop.csv")
    for name in ("folder.csv", "loop.csv", "none.csv"):
        refused(f"there is no table at {name}", "claims", name)
    refused("(File name too long)", "claims", "a" * 5000 + ".csv")


#: What is done to the cells of a good table before they are written as Parquet, with words of the sentence.
PARQUET: dict[str, tuple[Callable[[dict[str, list[object]]], dict[str, list[object]]], str]] = {
    "columns are all there": (lambda cells: {k: v for k, v in cells.items() if k != "loss"}, "lacks the column 'loss'"),
    "cells are numbers": (lambda cells: {**cells, "loss": ["x"] * 126}, "row 1: loss is 'x', not a number"),
    "cells are no lists": (lambda cells: {**cells, "loss": [[1.0]] * 126}, "row 1: loss is '[1.0]', not a number"),
    "numbers are finite": (lambda cells: {**cells, "loss": [float("inf")] * 126}, "row 1: loss is inf"),
    "counts are whole numbers": (lambda cells: {**cells, "tokens": [2.5] * 126}, "tokens is '2.5', not a whole number"),
    "there is a column": (lambda _: {}, "rows.parquet has no column"),
}


@pytest.mark.parametrize("rule", PARQUET)
def test_a_broken_parquet_table_is_refused(rule: str, project: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow, which simlaw does not depend on")
    from pyarrow import parquet

    change, words = PARQUET[rule]
    cells = read_table(ROOT / "sweeps" / "smoke" / "table.csv").cells()
    parquet.write_table(pyarrow.table(change(cells)), project / "rows.parquet")
    with pytest.raises(SimlawError) as said:
        read_table(project / "rows.parquet")
    assert words in str(said.value)


@pytest.mark.parametrize("content", [b"", b"PAR1xxxx", b"\0" * 1000, TABLE.encode()])
def test_what_is_no_parquet_is_refused(content: bytes, project: Path, refused: Refused) -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow, which simlaw does not depend on")
    (project / "rows.parquet").write_bytes(content)
    refused("rows.parquet is no Parquet file", "claims", "rows.parquet")
