"""`simlaw claims`: what a table says of the claims that its sweep is about."""

import json

import click

from simlaw.claims import CLAIMS, Beside, Verdicts, judge
from simlaw.cli.analysis import table_sha256
from simlaw.cli.options import json_option, own_option, print_json, source_argument, where_option
from simlaw.cli.source import open_beside, open_source
from simlaw.errors import SimlawError
from simlaw.files import write_file
from simlaw.table import Table


@click.command()
@source_argument
@click.option(
    "--claim", "names", multiple=True, metavar="NAME", help="A claim of the register; by default those of the sweep."
)
@click.option("--write", is_flag=True, help="Write them to the sweep's verdicts.json, the one that is committed.")
@json_option
@own_option
@where_option
def command(
    source: str, names: tuple[str, ...], write: bool, as_json: bool, own: bool, chosen: tuple[str, ...]
) -> None:
    """Judge claims by a table: holds, fails or not identified, each with its rule, its numbers and 95 % intervals.

    A sweep names its claims itself, Sweep(claims=…); a table by itself is asked about all of the register.

    \b
    Example:
      simlaw claims ptq_grid
    """
    found = open_source(source, own, chosen)
    if write and (found.file is None or names or chosen):
        raise SimlawError("--write is for all claims of a sweep and all its rows: leave --write out, or the rest")
    declared = found.file.sweep.claims if found.file else ()
    asked = names or declared or tuple(CLAIMS)
    beside = open_beside(found, asked, own)
    verdicts = judge(found.rows, asked, beside)
    if as_json:
        print_json(verdicts.json)
    else:
        click.echo(str(verdicts))
    if write:
        assert found.file is not None
        write_file(found.file.verdicts, verdicts_file(verdicts, found.rows, beside))
        click.echo(f"\nwritten to {found.file.verdicts}", err=as_json)


def verdicts_file(verdicts: Verdicts, rows: Table, beside: Beside) -> bytes:
    """What verdicts.json holds: the verdicts, and the hashes of the table and the strata that they were made from."""
    strata = {"strata_sha256": beside.strata.sha256} if len(beside.strata) else {}
    body = {"table_sha256": table_sha256(rows), **strata, **verdicts.json}
    return (json.dumps(body, indent=1, allow_nan=False) + "\n").encode()
