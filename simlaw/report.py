"""Numbers and results for people, as text and as HTML: plain fields, and two ways to write them."""

import abc
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

#: The columns of a line of text.
WIDTH = 100
#: The badge of a fit's health: a colour that white text stands out from on light and dark pages, and a mark.
_HEALTHY, _SICK = ("#1a7f37", "✓"), ("#b00020", "✗")


def count(number: float) -> str:
    """A number of parameters, tokens or bytes with three digits and a unit prefix: 26.6k, 1.31M."""
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(number) >= 0.9995 * size:
            return f"{number / size:.3g}{unit}" if number < 1e15 else f"{number:.2g}"
    return f"{number:.3g}"


def size(number: float) -> str:
    """A number of bytes: 29 kB, 1.31 MB."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(number) >= 0.9995 * scale:
            return f"{number / scale:.3g} {unit}"
    return f"{number:.0f} bytes"


def precision(bits: float) -> str:
    """The name of a precision: int4; an infinite one is the unquantised 16 bit."""
    return "16 bit" if math.isinf(bits) else f"int{bits:g}"


def span(low: float, high: float) -> str:
    """A range of measured values: 3 to 8; of bits whose upper end is infinite, 3 to unquantized."""
    return f"{low:.4g} to {high:.4g}" if math.isfinite(high) else f"{low:.4g} to unquantized"


def power_of_ten(number: float) -> str:
    """A number of FLOPs: 8.4e11."""
    mantissa, exponent = f"{number:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def duration(seconds: float) -> str:
    """A time in the unit that people would use: 40 s, 3.5 min, 2.1 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def with_error(value: float, error: float) -> str:
    """A value rounded by its error, which has two digits: 0.525 ± 0.020.

    (Close to the Particle Data Group's rule, which gives one or two.)
    """
    if not (math.isfinite(error) and error > 0):
        return f"{value:.4g}"
    if error >= abs(value) * 1e3 or not 1e-4 <= error < 1e5:
        return f"{value:.3g} ± {error:.2g}"
    places = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{places}f} ± {error:.{places}f}"


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """A table as text: the first column to the left, the others to the right, two spaces between."""
    widths = [max(len(line[i]) for line in (head, *rows)) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        texts = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return (indent + "  ".join(texts)).rstrip()

    return "\n".join(map(line, (head, *rows)))


def wrapped(text: str) -> str:
    """A sentence in lines of at most 100 columns."""
    return textwrap.fill(text, WIDTH)


#: A table: its head and its rows.
TableCells = tuple[Sequence[str], Sequence[Sequence[str]]]


@dataclass(frozen=True, kw_only=True)
class TableReport:
    """Tables and the sentences that they come to; a table without rows is left out."""

    tables: Sequence[TableCells] = ()
    sentences: Sequence[str]

    def text(self) -> str:
        """The tables in columns, and the sentences below them."""
        return "\n\n".join([*(columns(head, rows) for head, rows in self.tables if rows), "\n".join(self.sentences)])

    def html(self) -> str:
        """The tables and the sentences as HTML."""
        tables = "".join(_table(head, rows) for head, rows in self.tables if rows)
        return f"<div>{tables}{''.join(f'<p>{escape(sentence)}</p>' for sentence in self.sentences)}</div>"


@dataclass(frozen=True, kw_only=True)
class FitReport:
    """What there is to say of a fit: health first, then parameters with errors (or None), then what it rests on.

    `more` is what follows, such as the comparison of forms that the fit comes from.
    """

    form: str
    health: str
    sentence: str
    numbers: Sequence[tuple[str, float, float | None]]
    facts: Sequence[tuple[str, str]]
    more: TableReport | None = None

    def text(self) -> str:
        """The report as lines of text."""
        pairs = (*self._written(), *self.facts)
        width = max(len(label) for label, _ in pairs)
        lines = [f"{self.form}: {self.health} ({self.sentence})"]
        lines += [f"  {label.ljust(width)}  {text}" for label, text in pairs]
        return "\n".join([*lines, *(["", self.more.text()] if self.more else [])])

    def html(self) -> str:
        """The report as HTML: a paragraph, the parameters, the facts."""
        colour, mark = _HEALTHY if self.health == "VALID" else _SICK
        badge = (
            f'<span style="background:{colour};color:#ffffff;border-radius:3px;padding:1px 6px">'
            f"{mark} {escape(self.health)}</span>"
        )
        head = f"<p><strong>{escape(self.form)}</strong> {badge} {escape(self.sentence)}</p>"
        tables = f"{_pairs('parameters', self._written())}{_pairs('fit', self.facts)}"
        return f"<div>{head}{tables}{self.more.html() if self.more else ''}</div>"

    def _written(self) -> list[tuple[str, str]]:
        return [(name, with_error(value, error) if error else f"{value:.4g}") for name, value, error in self.numbers]


class AbstractReported(abc.ABC):
    """A value that people read: printed, in a session and in a notebook, it is its `report`."""

    @property
    @abc.abstractmethod
    def report(self) -> TableReport | FitReport:
        """What there is to say."""

    def __repr__(self) -> str:
        return self.report.text()

    def _repr_html_(self) -> str:
        return self.report.html()


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as HTML: the first column heads its row, the others are aligned to the right."""
    left, right = ' style="text-align:left"', ' style="text-align:right"'

    def line(cells: Sequence[str]) -> str:
        first, *others = map(escape, cells)
        rest = "".join(f"<td{right}>{cell}</td>" for cell in others)
        return f'<tr><th scope="row"{left}>{first}</th>{rest}</tr>'

    tops = "".join(f'<th scope="col"{right if i else left}>{escape(cell)}</th>' for i, cell in enumerate(head))
    return f"<table><thead><tr>{tops}</tr></thead><tbody>{''.join(map(line, rows))}</tbody></table>"


def _pairs(caption: str, pairs: Sequence[tuple[str, str]]) -> str:
    """Labels and what they stand for, as a table with a caption."""
    left = ' style="text-align:left"'
    lines = "".join(
        f'<tr><th scope="row"{left}>{escape(label)}</th><td{left}>{escape(text)}</td></tr>' for label, text in pairs
    )
    return f"<table><caption{left}>{escape(caption)}</caption><tbody>{lines}</tbody></table>"
