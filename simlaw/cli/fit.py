"""`simlaw fit`: the laws of a sweep's table."""

import click

from simlaw.cli.analysis import analyse_rows, fit_report, table_sha256
from simlaw.cli.options import own_option, sweep_argument
from simlaw.lawfile import analysis_json
from simlaw.run.session import Session
from simlaw.store import write_file


@click.command()
@sweep_argument
@own_option
@click.option("--repeats", is_flag=True, help="Fit runs beyond one epoch of their corpus too.")
@click.option("--write", is_flag=True, help="Write the fits to the sweep's law.json, the one that is committed.")
def command(sweep: str, own: bool, repeats: bool, write: bool) -> None:
    """Fit the loss and the penalty of quantization to a sweep's rows; health first, then numbers with errors.

    \b
    Example:
      simlaw fit quickstart
    """
    session = Session.open(sweep)
    rows = session.status(own).rows
    analysis = analyse_rows(rows, session.file.name, repeats)
    click.echo(fit_report(analysis))
    if write:
        write_file(session.file.law, analysis_json(analysis, table_sha256(rows)).encode())
        click.echo(f"\nwritten to {session.file.law}")
