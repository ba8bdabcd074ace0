"""Details: rows that say more of evaluations than the table does, joined to it by eval_id. No JAX."""

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from simlaw.errors import SimlawError
from simlaw.export import Cells, csv_text, write_columns
from simlaw.schema import Column

#: One row: a value or None for every column.
Detail = Mapping[str, Any]

_Same = TypeVar("_Same", bound="AbstractDetails")


@dataclass(frozen=True, kw_only=True)
class AbstractDetails:
    """Rows of one kind of detail, in the order in which they were measured."""

    COLUMNS: ClassVar[tuple[Column, ...]]
    KIND: ClassVar[str]
    """What the file of the store that holds them is called, without its suffix."""

    rows: tuple[Detail, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def of(self: _Same, evals: Iterable[str]) -> _Same:
        """The rows of some evaluations, in the order in which these are given."""
        place = {each: i for i, each in enumerate(evals)}
        mine = (row for row in self.rows if row["eval_id"] in place)
        return type(self)(rows=tuple(sorted(mine, key=lambda row: place[row["eval_id"]])))

    def merged(self: _Same, other: _Same) -> _Same:
        """Both, of each evaluation these rows where there are any."""
        mine = {row["eval_id"] for row in self.rows}
        return type(self)(rows=(*self.rows, *(row for row in other.rows if row["eval_id"] not in mine)))

    def to_csv(self) -> str:
        """The rows as CSV text."""
        return csv_text(self.COLUMNS, self._cells())

    @property
    def sha256(self) -> str:
        """The hash of the rows' CSV."""
        return hashlib.sha256(self.to_csv().encode()).hexdigest()

    def write(self, path: str | Path) -> None:
        """Nothing; writes the rows as CSV or Parquet, by the suffix.

        Raises `SimlawError` for another suffix, where it cannot write, and for Parquet without pyarrow.
        """
        write_columns(path, self.COLUMNS, self._cells())

    @classmethod
    def parse(cls: type[_Same], text: str) -> _Same:
        """The rows in CSV text that `to_csv` made."""
        read = {"text": str, "int": int, "float": float}
        kinds = {column.name: read[column.kind] for column in cls.COLUMNS}
        lines = csv.DictReader(io.StringIO(text))
        if lines.fieldnames is None or set(lines.fieldnames) != set(kinds):
            raise SimlawError(
                f"the {cls.KIND} have the columns {', '.join(lines.fieldnames or ())}, not those of this version: "
                f"{', '.join(kinds)}; write them again"
            )
        return cls(
            rows=tuple({name: kinds[name](cell) if cell else None for name, cell in line.items()} for line in lines)
        )

    def _cells(self) -> Cells:
        return {column.name: [row[column.name] for row in self.rows] for column in self.COLUMNS}
