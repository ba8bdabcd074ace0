"""Which rows of a table are quantized how: by plain rounding, or by something that differs from it."""

from collections import Counter
from types import MappingProxyType
from typing import Any

from simlaw.table import Row, Table

#: What plain rounding has: symmetric integers to nearest, float16 scales by absmax, inputs and caches as they are.
PLAIN = MappingProxyType(
    {
        **{"ptq_method": "rtn", "ptq_format": "int", "ptq_grid": "symmetric", "ptq_scale": "float16"},
        **{"ptq_calibration": "absmax", "ptq_rounding": "nearest", "ptq_settings": None, "ptq_rotate": 0},
        **{"ptq_activations_bits": None, "ptq_kv_bits": None, "ptq_outliers": None},
        **{"calibration_sequences": None, "calibration_seed": None},
    }
)
#: What the calibration text of a method is by default: the same for every method that looks at one.
_TEXT = ("calibration_sequences", "calibration_seed")


#: For a column that may hold anything.
ANY = object()


def quantized_as(table: Table, **columns: Any) -> Table:
    """The rows that are quantized like plain rounding but for these columns; None asks for an empty cell, ANY for all.

    Runs that failed are left out. A method other than plain rounding may have looked at any text, unless the columns
    say at which.
    """
    wanted = {**PLAIN, **columns}
    if wanted["ptq_method"] != "rtn":
        wanted = {name: value for name, value in wanted.items() if name not in _TEXT or name in columns}
    return table.where(lambda row: row["status"] == "done" and row["ptq_bits"] is not None and _has(row, wanted))


def plainest(table: Table) -> tuple[Table, Counter[str]]:
    """The rows as trained and those of plain rounding, and how many others there are.

    All rows where none is of plain rounding: then it is for the caller to choose.
    """
    kept = table.where(lambda row: row["ptq_bits"] is None or _has(row, PLAIN))
    left = len(table) - len(kept)
    if not left or all(row["ptq_bits"] is None for row in kept):
        return table, Counter()
    return kept, Counter({"quantized otherwise (--where ptq_method=gptq and others)": left})


def _has(row: Row, wanted: Any) -> bool:
    return all(value is ANY or row[name] == value for name, value in wanted.items())
