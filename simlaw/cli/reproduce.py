"""`simlaw reproduce`: a sweep from its definition to its figure and verdict."""

import sys
from pathlib import Path

import click

from simlaw.cli.analysis import analyse_rows, answer, decision_report, fit_report
from simlaw.cli.figure import draw
from simlaw.cli.figure import folder as figures_folder
from simlaw.cli.options import device_option, own_option, sweep_argument, workers_option
from simlaw.cli.run import run
from simlaw.compare import compare
from simlaw.decide import Question
from simlaw.run.local import Local
from simlaw.run.session import Session
from simlaw.store import write_file


@click.command()
@sweep_argument
@workers_option
@device_option
@own_option
@click.option("--figure", default="headline", show_default=True, help="The figure to draw.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Where to draw it.")
def command(sweep: str, workers: int, device: str, own: bool, figure: str, out: Path | None) -> None:
    """Plan, run what is missing, fit, draw and decide. Run again, it redoes nothing.

    Rows of the committed table count as done, so a fresh clone redraws without training; with --own everything is
    trained here and then compared with them. The committed table is never overwritten.

    \b
    Example:
      simlaw reproduce quickstart --own
    """
    session = Session.open(sweep)
    click.echo(f"{session.file.name}: {session.file.claim.splitlines()[0] if session.file.claim else ''}")
    click.echo(f"corpus: {session.corpus.describe()}")
    complete = run(session, Local(workers=workers, device=device), own)
    status = session.status(own)
    if not complete and session.file.sweep.grids and status.todo:
        sys.exit(1)
    rows = status.rows
    mine = session.store.root / "out" / session.file.name
    write_file(mine / "table.csv", rows.to_csv().encode())
    analysis = analyse_rows(rows, session.file.name)
    click.echo(f"\n{fit_report(analysis)}\n")
    place = out or (mine if own else figures_folder(session.file) / "out")
    for path in draw(figure, session.file, analysis, place):
        click.echo(f"figure: {path}")
    click.echo(f"table: {mine / 'table.csv'}")
    if own and session.committed is not None and session.file.sweep.tolerance is not None:
        click.echo(f"committed table: {compare(rows, session.committed, session.file.sweep.tolerance).sentence}")
    budget = session.file.sweep.budget
    if budget:
        tokens = Question(bytes=budget.bytes, amount=budget.tokens, convention="tokens")
        click.echo(f"\nThe other convention. {answer(analysis, tokens).sentence}")
        click.echo(f"\n{decision_report(answer(analysis, Question(bytes=budget.bytes, amount=budget.flops)))}")
