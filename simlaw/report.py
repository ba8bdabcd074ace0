"""Numbers and results as text for people: functions of plain fields."""

import math
import textwrap
from collections.abc import Sequence


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
    return textwrap.fill(text, 100)


def fit_text(
    *,
    form: str,
    health: str,
    sentence: str,
    numbers: Sequence[tuple[str, float, float | None]],
    facts: Sequence[tuple[str, str]],
) -> str:
    """The report of a fit: its health first, then parameters with errors, then what it rests on."""
    lines = [f"{form}: {health} ({sentence})"]
    width = max(map(len, (*(name for name, _, _ in numbers), *(label for label, _ in facts))))
    for name, value, error in numbers:
        lines.append(f"  {name.ljust(width)}  {with_error(value, error) if error else f'{value:.4g}'}")
    lines += [f"  {label.ljust(width)}  {text}" for label, text in facts]
    return "\n".join(lines)
