"""`simlaw fit`: the laws of a sweep's table."""

import click

from simlaw.analysis import analyse
from simlaw.cli.analysis import fit_report, table_sha256
from simlaw.cli.options import own_option, source_argument, where_option
from simlaw.cli.source import open_source
from simlaw.errors import SimlawError
from simlaw.files import write_file
from simlaw.lawfile import analysis_json


@click.command()
@source_argument
@own_option
@where_option
@click.option("--repeats", is_flag=True, help="Fit runs beyond one epoch of their corpus too.")
@click.option("--write", is_flag=True, help="Write the fits to the sweep's law.json, the one that is committed.")
def command(source: str, own: bool, chosen: tuple[str, ...], repeats: bool, write: bool) -> None:
    """Fit the loss and the penalty of quantization to the rows of a sweep or table; health first, then numbers.

    \b
    Example:
      simlaw fit quickstart
    """
    found = open_source(source, own, chosen)
    analysis = analyse(found.rows, repeats=repeats)
    click.echo(fit_report(analysis))
    if write:
        if found.file is None:
            raise SimlawError(f"--write: {source} belongs to no sweep, so it has no law.json; leave --write out")
        write_file(found.file.law, analysis_json(analysis, table_sha256(found.rows)).encode())
        click.echo(f"\nwritten to {found.file.law}")
