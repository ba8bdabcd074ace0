"""`simlaw table`: the rows of a sweep as CSV or Parquet."""

from pathlib import Path

import click

from simlaw.cli.options import own_option, sweep_argument
from simlaw.errors import SimlawError
from simlaw.run.session import Session


@click.command()
@sweep_argument
@own_option
@click.option("--write", is_flag=True, help="Merge the rows into the sweep's own table.csv, the one that is committed.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write them to this file, .csv or .parquet."
)
def command(sweep: str, own: bool, write: bool, out: Path | None) -> None:
    """Print or write the table of a sweep: committed rows that still match, and those made in this store.

    With --write, committed rows that do not match (another corpus, an older definition) stay in the file.

    \b
    Example:
      simlaw table quickstart --out rows.parquet
    """
    session = Session.open(sweep)
    rows = session.status(own).rows
    target = session.file.table if write else out
    if not rows:
        raise SimlawError(f"no run of {session.file.name} is done: `simlaw run {session.file.name}` first")
    if target is None:
        click.echo(rows.to_csv(), nl=False)
        return
    others = 0
    if write and session.committed is not None:
        whole = rows.merged(session.committed)
        others, rows = len(whole) - len(rows), whole
    rows.write(target)
    click.echo(
        f"{len(rows)} rows in {target}" + (f", {others} of them not of the sweep as it is now" if others else "")
    )
