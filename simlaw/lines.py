"""Lines: the rows of a table as text, checked and parsed column by column. No JAX."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from simlaw.errors import SimlawError
from simlaw.schema import KINDS

#: What reads a cell, by the kind of its column.
PARSE: dict[str, Callable[[str], Any]] = {"text": str, "int": int, "float": float}
#: The kinds of columns in words.
KIND_NAMES = {"text": "a text", "int": "a whole number", "float": "a number"}

_PLACE = {name: at for at, name in enumerate(KINDS)}
#: Rows that are parsed together: enough that what is done for each column does not count.
_TOGETHER = 1024
#: Different cells of a column that are remembered: most columns have fewer, and the others hardly repeat one.
_REMEMBERED = 4096


class Line(Mapping[str, Any]):
    """One row: its cells in the order of the schema, in a third of the memory of a dictionary.

    `text` is its line of CSV, where that is known to be the one that a table writes.
    """

    __slots__ = ("cells", "text")

    def __init__(self, cells: tuple[Any, ...], text: str | None = None) -> None:
        self.cells = cells
        self.text = text

    def __getitem__(self, name: str) -> Any:
        return self.cells[_PLACE[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(KINDS)

    def __len__(self) -> int:
        return len(KINDS)

    def __eq__(self, other: object) -> bool:
        return self.cells == other.cells if isinstance(other, Line) else super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]  # as any mapping

    def __repr__(self) -> str:
        return repr(dict(self))


def read_lines(text: Iterable[str], source: str) -> list[Line]:
    """The rows of a table in CSV; `source` names it in errors.

    Raises `SimlawError` where a column is missing, a line is cut off, or a cell is of the wrong kind.
    """
    reader = csv.reader(text)
    names = next(reader, [])
    taken = Taken(names, source)
    for number, row in enumerate(filter(None, reader), start=2):
        taken.add(row, f"{source}, line", number)
    return taken.lines()


def read_written(texts: Iterable[tuple[str, str]]) -> list[Line]:
    """The rows of texts that `Table.to_csv` made, each with the name of its source, in turn.

    They keep their text, so that writing them again is joining it. Raises `SimlawError` as `read_lines`.
    """
    taken = Taken(tuple(KINDS), "")
    for text, source in texts:
        reader = csv.reader(io.StringIO(text))
        if next(reader, []) != list(KINDS):
            raise SimlawError(f"{source} has other columns than a table of this version: make it again")
        rows = [*reader]
        lines = text.split("\n")[1:-1]
        # a cell may hold a line break: then nobody knows which lines are whose
        kept: Sequence[str | None] = lines if len(lines) == len(rows) else [None] * len(rows)
        for number, (row, line) in enumerate(zip(rows, kept, strict=True), start=2):
            taken.add(row, f"{source}, line", number, line)
    return taken.lines()


class Taken:
    """Rows as text, taken in one by one with the place where each stands, and parsed many at a time."""

    def __init__(self, names: Sequence[str], source: str) -> None:
        missing = [name for name in KINDS if name not in names]
        if missing:
            raise SimlawError(
                f"{source} lacks the column {missing[0]!r}: it is no table of this version; make it again, or name the "
                f"columns of a table of your own: `simlaw fit {source} --columns N=… --columns D=… --columns loss=…`"
            )
        at = {name: place for place, name in enumerate(names)}
        self._width = len(names)
        self._choice = None if list(names) == list(KINDS) else itemgetter(*(at[name] for name in KINDS))
        self._columns = [_Column(PARSE[kind]) for kind in KINDS.values()]
        self._rows: list[Sequence[str]] = []
        self._places: list[tuple[str, int, str | None]] = []
        self._done: list[Line] = []

    def add(self, row: Sequence[str], place: str, number: int, text: str | None = None) -> None:
        """Take in one row, which stands at the place of this number: "rows.csv, line", 2."""
        if len(row) != self._width:
            self._parse()  # an earlier line may be wrong too, and is then the one to tell of
            raise SimlawError(f"{place} {number} is cut off or too long: make the table again, or mend the line")
        self._rows.append(row if self._choice is None else self._choice(row))
        self._places.append((place, number, text))
        if len(self._rows) == _TOGETHER:
            self._parse()

    def lines(self) -> list[Line]:
        """All rows that were taken in."""
        self._parse()
        return self._done

    def _parse(self) -> None:
        try:
            columns = [
                [*map(column.__getitem__, cells)]
                for column, cells in zip(self._columns, zip(*self._rows, strict=True), strict=False)
            ]
        except ValueError:
            self._refuse()
            raise
        self._done += [
            Line(cells, text) for cells, (_, _, text) in zip(zip(*columns, strict=True), self._places, strict=True)
        ]
        self._rows, self._places = [], []

    def _refuse(self) -> None:
        """Raise `SimlawError` for the first cell of the wrong kind."""
        for row, (place, number, _) in zip(self._rows, self._places, strict=True):
            for (name, kind), cell in zip(KINDS.items(), row, strict=True):
                try:
                    PARSE[kind](cell or "0")
                except ValueError as error:
                    raise SimlawError(
                        f"{place} {number}: {name} is {cell!r}, not {KIND_NAMES[kind]}; mend the cell"
                    ) from error


class _Column(dict[str, Any]):
    """The cells of a column by their text; equal ones are one object."""

    def __init__(self, parse: Callable[[str], Any]) -> None:
        super().__init__({"": None})
        self._parse = parse

    def __missing__(self, text: str) -> Any:
        cell = self._parse(text)
        if len(self) < _REMEMBERED:
            self[text] = cell
        return cell
