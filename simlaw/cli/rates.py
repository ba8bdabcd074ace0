"""`simlaw rates`: the best learning rate of every size and training precision, and the rule that they amount to."""

import json

import click

from simlaw.cli.analysis import table_sha256
from simlaw.cli.options import json_option, own_option, print_json, source_argument, where_option
from simlaw.cli.source import open_source
from simlaw.errors import SimlawError
from simlaw.files import write_file
from simlaw.rates.study import RateStudy, rate_study
from simlaw.table import Table


@click.command()
@source_argument
@click.option("--write", is_flag=True, help="Write the study to the sweep's rates.json, the one that is committed.")
@json_option
@own_option
@where_option
def command(source: str, write: bool, as_json: bool, own: bool, chosen: tuple[str, ...]) -> None:
    """Say which peak learning rate each size and training precision wants, and what the sweep's own rule gives away.

    Needs a sweep of learning rates: Grid(rate_multiples=…), three rates or more, a size or more with two seeds. A best
    rate at an end of the rates is said to be unknown; `simlaw figure learning_rate` draws all of it.

    \b
    Example:
      simlaw rates learning_rate
    """
    found = open_source(source, own, chosen)
    study = rate_study(found.rows)
    if as_json:
        print_json(study.json)
    else:
        click.echo(str(study))
    if write:
        if found.file is None:
            raise SimlawError(f"--write: {source} belongs to no sweep, so it has no rates.json; leave --write out")
        write_file(found.file.rates, study_file(study, found.rows))
        click.echo(f"\nwritten to {found.file.rates}", err=as_json)


def study_file(study: RateStudy, rows: Table) -> bytes:
    """What rates.json holds: the study, and the hash of the table that it was made from."""
    body = {"table_sha256": table_sha256(rows), **study.json}
    return (json.dumps(body, indent=1, allow_nan=False) + "\n").encode()
