"""Lines: the rows of a table as text, checked and parsed column by column. No JAX."""

import csv
import functools
import io
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from simlaw.columns import once
from simlaw.declared import Above, Between
from simlaw.errors import SimlawError
from simlaw.schema import BOUNDS, COLUMNS, IDS, KINDS, REQUIRED, STATUSES, Column

#: What reads a cell, by the kind of its column.
PARSE: dict[str, Callable[[str], Any]] = {"text": str, "int": int, "float": float}
#: The kinds of columns in words.
KIND_NAMES = {"text": "a text", "int": "a whole number", "float": "a number"}

_ID = re.compile(r"[\w-]+")
_PLACE = {name: at for at, name in enumerate(KINDS)}
#: Rows that are parsed together: enough that what is done for each column does not count.
_TOGETHER = 1024
#: Different cells of a column that are remembered at once: most have fewer, and the others hardly repeat one.
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
    try:
        reader = csv.reader(text)
        taken = Taken(next(reader, []), source)
        for number, row in enumerate(filter(None, reader), start=2):
            taken.add(row, f"{source}, line", number)
    except (UnicodeDecodeError, csv.Error) as error:
        raise SimlawError(f"{source} is no CSV in UTF-8 ({error}): save it as that") from error
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
        place = f"{source}, line"
        for number, (row, line) in enumerate(zip(rows, kept, strict=True), start=2):
            taken.add(row, place, number, line)
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
        once(names, source or "the table")
        self._columns = [_Known(_reader(column)) for column in COLUMNS]
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
                known.read(cells) for known, cells in zip(self._columns, zip(*self._rows, strict=True), strict=False)
            ]
            if columns and (
                any(None in columns[_PLACE[name]] for name in REQUIRED)
                or any(
                    (loss is None) == (status == "done")
                    for loss, status in zip(columns[_PLACE["loss"]], columns[_PLACE["status"]], strict=True)
                )
            ):
                raise ValueError("a row lacks what each has")
        except ValueError:
            self._refuse()
            raise
        self._done += [
            Line(cells, text) for cells, (_, _, text) in zip(zip(*columns, strict=True), self._places, strict=True)
        ]
        self._rows, self._places = [], []

    def _refuse(self) -> None:
        """Raise `SimlawError` for the first cell that no row can have."""
        for row, (place, number, _) in zip(self._rows, self._places, strict=True):
            for column, cell in zip(COLUMNS, row, strict=True):
                try:
                    if cell:
                        _reader(column)([cell])
                except _Unfit as error:
                    raise SimlawError(
                        f"{place} {number}: {column.name} is {error}; mend the cell, or make the table again"
                    ) from error
                except ValueError as error:
                    wanted = KIND_NAMES[column.kind]
                    raise SimlawError(
                        f"{place} {number}: {column.name} is {cell!r:.60}, not {wanted}; mend the cell"
                    ) from error
                if not cell and column.name in REQUIRED:
                    raise SimlawError(f"{place} {number}: {column.name} is empty, and every row has one; mend the cell")
            status, loss = row[_PLACE["status"]], row[_PLACE["loss"]]
            if (not loss) == (status == "done"):
                has = f"the loss {loss}" if loss else "no loss"
                raise SimlawError(
                    f"{place} {number}: status is {status!r} with {has}, and a row has one if it is done; mend the cell"
                )


class _Unfit(ValueError):
    """A cell of the right kind that is out of its bounds: half a sentence."""


#: What reads some cells of a column.
_Reader = Callable[[Iterable[str]], list[Any]]


@functools.cache
def _reader(column: Column) -> _Reader:
    """What reads cells of a column; raises `ValueError` where one is of another kind, or out of its bounds."""
    parse = PARSE[column.kind]
    if column.name in IDS:
        return _checked(parse, _ID.fullmatch, "ids are letters, digits, - and _")
    if column.name == "status":
        return _checked(parse, STATUSES.__contains__, f"it is one of {', '.join(STATUSES)}")
    if column.kind == "text":
        return list
    bound, most = BOUNDS.get(column.name), 2**63 - 1 if column.kind == "int" else sys.float_info.max
    low = -most if bound is None else math.nextafter(bound.low, math.inf) if isinstance(bound, Above) else bound.low
    high = min(bound.high, most) if isinstance(bound, Between) else most
    # of NaN neither comparison holds
    return _checked(
        parse, lambda value: low <= value <= high, " and ".join(["it must be finite", *([str(bound)] if bound else [])])
    )


def _checked(parse: Callable[[str], Any], good: Callable[[Any], object], rule: str) -> _Reader:
    def read(cells: Iterable[str]) -> list[Any]:
        values = [*map(parse, cells)]
        if not all(map(good, values)):
            wrong = next(value for value in values if not good(value))
            raise _Unfit(f"{wrong!r:.60}, and {rule}")
        return values

    return read


class _Known:
    """Reads the cells of a column, each text once; equal ones are one object."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self._cells: dict[str, Any] = {"": None}

    def read(self, texts: Sequence[str]) -> list[Any]:
        """The cells of these texts; raises `ValueError` as the reader."""
        # most columns are the same in all rows of a grid, and to compare texts is quicker than to look them up
        if texts and texts.count(texts[0]) == len(texts) > 1:
            return self.read(texts[:1]) * len(texts)
        if new := set(texts).difference(self._cells):
            self._cells.update(zip(new, self._reader(new), strict=True))
        found = [*map(self._cells.__getitem__, texts)]
        if len(self._cells) > _REMEMBERED:
            self._cells = {"": None}
        return found
