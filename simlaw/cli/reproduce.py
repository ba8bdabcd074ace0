"""`simlaw reproduce`: a sweep from its definition to its figure and verdict."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import click

from simlaw.analysis import OF_PRECISION, Analysis, analyse
from simlaw.claims import Beside, judge
from simlaw.cli.analysis import answer, decision_report, fit_report, precision_report
from simlaw.cli.claims import verdicts_file
from simlaw.cli.figure import draw, folder
from simlaw.cli.options import (
    engine_options,
    own_option,
    profile_option,
    sweep_argument,
    where_option,
)
from simlaw.cli.rates import study_file
from simlaw.cli.run import run
from simlaw.cli.source import Source, open_beside, open_curves, select
from simlaw.compare import compare
from simlaw.decision.verdict import Question
from simlaw.files import write_file
from simlaw.rates.study import rate_study
from simlaw.run.engine import AbstractEngine
from simlaw.run.session import Session
from simlaw.table import Table


@click.command()
@sweep_argument
@engine_options
@own_option
@profile_option
@where_option
@click.option("--figure", help="The figure to draw; by default headline, of a sweep of learning rates learning_rate.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to draw it; by default in the store, out/SWEEP.",
)
def command(
    sweep: str,
    engine: AbstractEngine,
    memory: float | None,
    own: bool,
    profile: Path | None,
    chosen: tuple[str, ...],
    figure: str | None,
    out: Path | None,
) -> None:
    """Plan, run what is missing, fit, draw and decide. Run again, it redoes nothing.

    A sweep of learning rates, Sweep(analysis="rates"), gets its best rates and their rule, and no laws and verdict; one
    with analysis="claims" is judged and drawn alone. One
    with claims, Sweep(claims=…), gets a verdict on each, and the figure of its own name beside the headline.

    Rows of the committed table count as done, so a fresh clone redraws without training; with --own everything is
    trained here and then compared with them. Neither the committed table nor the committed figures are overwritten:
    `simlaw table --write` and `simlaw figure` do that.

    \b
    Example:
      simlaw reproduce quickstart --own
    """
    session = Session.open(sweep)
    click.echo(f"{session.file.name}: {session.file.claim.splitlines()[0] if session.file.claim else ''}")
    click.echo(session.on)
    if not run(session, engine, own, memory, profile):
        sys.exit(1)
    rows = session.status(own).rows
    mine = session.store.root / "out" / session.file.name
    write_file(mine / "table.csv", rows.to_csv().encode())
    click.echo(f"table: {mine / 'table.csv'}")
    made = {"rates": _rates, "claims": _claims}.get(session.file.sweep.analysis, _laws)
    end = made(session, select(rows, chosen), out or mine, mine, figure, own)
    if own and session.committed is not None and session.file.sweep.tolerance is not None:
        click.echo(f"committed table: {compare(rows, session.committed, session.file.sweep.tolerance).sentence}")
    if end:
        click.echo(end)


def _laws(session: Session, rows: Table, out: Path, mine: Path, figure: str | None, own: bool) -> str:
    """Fit the laws of the rows, judge the sweep's claims, and draw; the verdict, or why there is none."""
    fitted = select(rows, session.file.sweep.where)
    if session.file.sweep.analysis in OF_PRECISION:
        of_precision = OF_PRECISION[session.file.sweep.analysis](fitted)
        click.echo(f"\n{precision_report(of_precision, fitted)}\n")
        _judged(session, rows, mine, own)
        _draw(figure or session.file.figure, session, rows, out, own, lambda: analyse(fitted))
        return ""
    analysis = analyse(fitted)
    click.echo(f"\n{fit_report(analysis)}\n")
    _judged(session, rows, mine, own)
    named = (folder(session.file) / f"{session.file.figure}.py").is_file()
    for name in (figure,) if figure else ("headline", *((session.file.figure,) if named else ())):
        _draw(name, session, rows, out, own, lambda: analysis)
    budget = session.file.sweep.budget
    if not budget:
        return (
            "no verdict: the sweep declares no budget; add Sweep(budget=Budget(…)), or ask "
            f"`simlaw decide {session.file.name} --bytes … --flops …`"
        )
    tokens = Question(bytes=budget.bytes, amount=budget.tokens, convention="tokens")
    other = f"\nThe other convention. {answer(analysis, tokens).sentence}"
    return f"{other}\n\n{decision_report(answer(analysis, Question(bytes=budget.bytes, amount=budget.flops)))}"


def _judged(session: Session, rows: Table, mine: Path, own: bool) -> None:
    """Say what the rows say of the sweep's claims, where it has any."""
    if session.file.sweep.claims:
        beside = _beside(session, rows, own)
        verdicts = judge(rows, session.file.sweep.claims, beside)
        click.echo(f"{verdicts}\n")
        write_file(mine / "verdicts.json", verdicts_file(verdicts, rows, beside))
        click.echo(f"verdicts: {mine / 'verdicts.json'}")


def _claims(session: Session, rows: Table, out: Path, mine: Path, figure: str | None, own: bool) -> str:
    """Judge the sweep's claims by the rows, and draw them where there is a figure for it."""
    _judged(session, rows, mine, own)
    name = figure or session.file.figure
    if figure or (folder(session.file) / f"{name}.py").is_file():
        _draw(name, session, rows, out, own, lambda: analyse(rows))
    return ""


def _rates(session: Session, rows: Table, out: Path, mine: Path, figure: str | None, own: bool) -> str:
    """Find the best rates of the rows and draw them; how their rule compares with the committed one."""
    study = rate_study(rows)
    click.echo(f"\n{study}\n")
    write_file(mine / "rates.json", study_file(study, rows))
    click.echo(f"study: {mine / 'rates.json'}")
    _draw(figure or "learning_rate", session, rows, out, own, lambda: analyse(rows))
    committed = session.file.rates
    if not committed.is_file():
        return ""
    rule = json.loads(committed.read_text())["rule"]
    if rule == study.rule:
        return f"committed study: {'the same rule' if rule else 'no rule either'}"
    return f"committed study: {rule or 'no rule'}, and here {study.rule or 'no rule'}"


def _draw(figure: str, session: Session, rows: Table, out: Path, own: bool, analysis: Callable[[], Analysis]) -> None:
    source = Source(name=session.file.name, rows=rows, file=session.file)
    where = str(session.file.folder)
    for path in draw(
        figure,
        session.file,
        rows,
        out,
        analysis=analysis,
        curves=lambda: open_curves(where, source, own),
        beside=lambda: _beside(session, rows, own),
    ):
        click.echo(f"figure: {path}")


def _beside(session: Session, rows: Table, own: bool) -> Beside:
    """What lies beside the rows, where a claim of the sweep looks there."""
    source = Source(name=session.file.name, rows=rows, file=session.file)
    return open_beside(source, session.file.sweep.claims, own)
