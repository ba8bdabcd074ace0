"""`simlaw laws`: what is published, with sources."""

import inspect
import re
import textwrap

import click

from simlaw.errors import SimlawError
from simlaw.published import PUBLISHED, Published
from simlaw.report import WIDTH, columns, wrapped


@click.command()
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the published laws, or show one with its numbers, source and range.

    \b
    Example:
      simlaw laws kumar2024
    """
    if name is None:
        rows = [(key, form(law), paper(law)) for key, law in PUBLISHED.items()]
        click.echo(columns(("law", "form", "paper"), rows))
        return
    if name not in PUBLISHED:
        raise SimlawError(f"there is no published law {name!r}: there are {', '.join(PUBLISHED)}")
    law = PUBLISHED[name]
    click.echo(f"{name}: {form(law)}")
    ranges = [(variable, f"{low:.4g} to {high:.4g}") for variable, (low, high) in law.ranges.items()]
    # what N counts goes before where it was measured
    facts = [
        ("source", law.source),
        ("counts", f"N is {law.counts}"),
        *ranges,
        *([("note", law.note)] * bool(law.note)),
    ]
    for label, text in facts:
        click.echo(textwrap.fill(text, WIDTH, initial_indent=label.ljust(8), subsequent_indent=" " * 8))
    for part in law.parts:
        paragraphs = (inspect.getdoc(type(part)) or "").split("\n\n")
        click.echo("\n" + "\n\n".join(map(wrapped, paragraphs)) + "\n")
        for key, value in part.values.items():
            click.echo(f"  {key:<10} {float(value):.8g}")


def paper(law: Published) -> str:
    """The paper of a law by its number, without what of it was taken."""
    found = re.match(r".*?arXiv \d+\.\d+", law.source)
    return found[0] if found else law.source


def form(law: Published) -> str:
    """The form of a law by its class; of a loss with a penalty, both."""
    return " + ".join(type(part).__name__ for part in law.parts)
