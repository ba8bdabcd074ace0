"""`simlaw laws`: what is published, with sources."""

import inspect

import click

from simlaw.errors import SimlawError
from simlaw.published import PUBLISHED, Published
from simlaw.report import columns


@click.command()
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the published laws, or show one with its numbers, source and range.

    \b
    Example:
      simlaw laws kumar2024
    """
    if name is None:
        rows = [(key, form(law), law.source) for key, law in PUBLISHED.items()]
        click.echo(columns(("law", "form", "source"), rows))
        return
    if name not in PUBLISHED:
        raise SimlawError(f"there is no published law {name!r}: there are {', '.join(PUBLISHED)}")
    law = PUBLISHED[name]
    click.echo(f"{name}: {form(law)}\nsource  {law.source}\nN       {law.counts}")
    for variable, (low, high) in law.ranges.items():
        click.echo(f"{variable:<7} {low:.4g} to {high:.4g}")
    if law.note:
        click.echo(f"note    {law.note}")
    for part in law.parts:
        click.echo(f"\n{inspect.getdoc(type(part))}\n")
        for key, value in part.values.items():
            click.echo(f"  {key:<10} {float(value):.8g}")


def form(law: Published) -> str:
    """The form of a law by its class; of a loss with a penalty, both."""
    return " + ".join(type(part).__name__ for part in law.parts)
