"""`simlaw table`: the rows of a sweep as CSV or Parquet."""

from pathlib import Path

import click

from simlaw.cli.options import own_option, sweep_argument
from simlaw.errors import SimlawError
from simlaw.losscurves import LossCurves, read_curves
from simlaw.matrices import Matrices
from simlaw.run.curves import stored_curves
from simlaw.run.found import stored_details
from simlaw.run.session import Session
from simlaw.strata import Strata
from simlaw.table import Table


@click.command()
@sweep_argument
@own_option
@click.option("--write", is_flag=True, help="Merge rows and loss curves into the sweep's own table.csv and curves.csv.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write them to this file, .csv or .parquet."
)
@click.option(
    "--matrices",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write what each quantization did to each matrix, layer by layer, to this file, .csv or .parquet.",
)
def command(sweep: str, own: bool, write: bool, out: Path | None, matrices: Path | None) -> None:
    """Print or write the table of a sweep: committed rows that still match, and those made in this store.

    Of matrices the table has means; --matrices writes their own numbers, of the rows that were made in this store.

    With --write, committed rows that do not match (another corpus, an older definition) stay in the file, and the loss
    curves of the runs whose histories are in this store go into curves.csv beside it; `simlaw health` reads them. Where
    the corpus has items of several kinds, the losses on each go into strata.csv.

    \b
    Example:
      simlaw table quickstart --out rows.parquet
    """
    session = Session.open(sweep, ahead=False)
    rows = session.status(own).rows
    target = session.file.table if write else out
    if not rows:
        raise SimlawError(f"no run of {session.file.name} is done: `simlaw run {session.file.name}` first")
    if matrices is not None:
        click.echo(_write_matrices(session, rows, matrices))
    if target is None:
        if matrices is None:
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
    if write:
        click.echo(_write_curves(session, rows, own))
        if said := _write_strata(session, rows, own):
            click.echo(said)


def _write_matrices(session: Session, rows: Table, path: Path) -> str:
    """What to say of the matrices of these rows; writes them, where there are any."""
    found = stored_details(session.store, rows, Matrices)
    told, asked = len({row["eval_id"] for row in found.rows}), sum(row["ptq_bits"] is not None for row in rows)
    if not told:
        raise SimlawError(
            f"this store has no matrix of the {asked} quantized rows of {session.file.name}: with --own, "
            f"`simlaw run {session.file.name} --own` measures them here"
        )
    found.write(path)
    return f"{len(found)} matrices of {told} evaluations in {path}; the table has {asked} quantized rows"


def _write_strata(session: Session, rows: Table, own: bool) -> str:
    """What to say of the strata of these rows; writes them, where there are any."""
    from simlaw.cli.source import strata_of  # which imports the claims

    # of committed rows that stay in the table the strata stay too
    path, found = session.file.strata, strata_of(session.file, rows, own)
    if own and path.is_file():
        found = found.merged(Strata.parse(path.read_text())).of(row["eval_id"] for row in rows)
    if not len(found):
        return ""
    found.write(path)
    return f"strata of {len({row['eval_id'] for row in found.rows})} of {len(rows)} rows in {path}"


def _write_curves(session: Session, rows: Table, own: bool) -> str:
    """What to say of the curves of these rows' runs; writes them, where there are any.

    As with rows, the committed ones come before those of the store unless `own`.
    """
    path = session.file.curves
    before = read_curves(path) if path.is_file() else LossCurves()
    curves = stored_curves(session.store, rows, LossCurves() if own else before).merged(before).of(rows)
    runs = len({row["run_id"] for row in rows})
    if not len(curves):
        return f"no curve of the {runs} runs: this store has none of their histories"
    curves.write(path)
    return f"loss curves of {len(curves)} of {runs} runs in {path}"
