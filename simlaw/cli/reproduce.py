"""`simlaw reproduce`: a sweep from its definition to its figure and verdict."""

import sys
from pathlib import Path

import click

from simlaw.analysis import analyse
from simlaw.cli.analysis import answer, decision_report, fit_report
from simlaw.cli.figure import draw
from simlaw.cli.options import (
    device_option,
    memory_option,
    own_option,
    profile_option,
    sweep_argument,
    where_option,
    workers_option,
)
from simlaw.cli.run import run
from simlaw.cli.source import Source, open_curves, select
from simlaw.compare import compare
from simlaw.decision.verdict import Question
from simlaw.files import write_file
from simlaw.run.local import Local
from simlaw.run.session import Session


@click.command()
@sweep_argument
@workers_option
@memory_option
@device_option
@own_option
@profile_option
@where_option
@click.option("--figure", default="headline", show_default=True, help="The figure to draw.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to draw it; by default in the store, out/SWEEP.",
)
def command(
    sweep: str,
    workers: int,
    memory: float | None,
    device: str,
    own: bool,
    profile: Path | None,
    chosen: tuple[str, ...],
    figure: str,
    out: Path | None,
) -> None:
    """Plan, run what is missing, fit, draw and decide. Run again, it redoes nothing.

    Rows of the committed table count as done, so a fresh clone redraws without training; with --own everything is
    trained here and then compared with them. Neither the committed table nor the committed figures are overwritten:
    `simlaw table --write` and `simlaw figure` do that.

    \b
    Example:
      simlaw reproduce quickstart --own
    """
    session = Session.open(sweep)
    click.echo(f"{session.file.name}: {session.file.claim.splitlines()[0] if session.file.claim else ''}")
    click.echo(f"corpus: {session.corpus.describe()}")
    if not run(session, Local(workers=workers, device=device), own, memory, profile):
        sys.exit(1)
    rows = session.status(own).rows
    mine = session.store.root / "out" / session.file.name
    write_file(mine / "table.csv", rows.to_csv().encode())
    click.echo(f"table: {mine / 'table.csv'}")
    analysis = analyse(select(rows, chosen))
    click.echo(f"\n{fit_report(analysis)}\n")
    source = Source(name=sweep, rows=analysis.table, file=session.file)
    drawn = draw(
        figure,
        session.file,
        analysis.table,
        out or mine,
        analysis=lambda: analysis,
        curves=lambda: open_curves(sweep, source, own),
    )
    for path in drawn:
        click.echo(f"figure: {path}")
    if own and session.committed is not None and session.file.sweep.tolerance is not None:
        click.echo(f"committed table: {compare(rows, session.committed, session.file.sweep.tolerance).sentence}")
    budget = session.file.sweep.budget
    if not budget:
        click.echo(
            f"no verdict: the sweep declares no budget; add Sweep(budget=Budget(…)), or ask "
            f"`simlaw decide {sweep} --bytes … --flops …`"
        )
    if budget:
        tokens = Question(bytes=budget.bytes, amount=budget.tokens, convention="tokens")
        click.echo(f"\nThe other convention. {answer(analysis, tokens).sentence}")
        click.echo(f"\n{decision_report(answer(analysis, Question(bytes=budget.bytes, amount=budget.flops)))}")
