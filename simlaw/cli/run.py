"""`simlaw run`: compute what is missing of a sweep."""

import sys
from dataclasses import replace
from pathlib import Path

import click

from simlaw.cli.board import Board, shown
from simlaw.cli.engines import engine_choice
from simlaw.cli.gate import gate
from simlaw.cli.options import (
    engine_options,
    own_option,
    profile_option,
    rules_options,
    sweep_argument,
)
from simlaw.report import power_of_ten
from simlaw.run.engine import AbstractEngine
from simlaw.run.estimate import estimate
from simlaw.run.rules import Rules
from simlaw.run.session import Session
from simlaw.run.status import Status
from simlaw.train import DISPATCH_STEPS


@click.command()
@sweep_argument
@engine_options
@rules_options
@engine_choice
@own_option
@profile_option
def command(
    sweep: str,
    engine: AbstractEngine,
    memory: float | None,
    own: bool,
    profile: Path | None,
    rules: Rules,
) -> None:
    """Train and evaluate whatever of a sweep is not done; Ctrl-C stops at the next boundary, and nothing is lost.

    With --engine slurm what is neither done nor in the queue already is submitted, and the command returns at once;
    `simlaw status` says how far it is, and the same command submits what has failed or was cancelled.

    \b
    Example:
      simlaw run quickstart --workers 2
      simlaw run quickstart --engine slurm --partition gpu --gres gpu:1 --time 02:00:00 --array-limit 32
      simlaw run quickstart --engine ray --address auto --gpus-per-pack 1
    """
    if not run(Session.open(sweep), replace(engine, rules=rules), own, memory, profile):
        sys.exit(1)


def run(
    session: Session, engine: AbstractEngine, own: bool, memory: float | None = None, profile: Path | None = None
) -> bool:
    """Compute what is missing while the screen shows how it goes; whether everything is there afterwards.

    What a batch system takes is only submitted, and then that is all there is to do here.
    """
    status = session.status(own)
    if not status.todo:
        click.echo(f"all {len(status.cells)} runs of {session.file.name} are there; nothing to do{status.remark}")
        return True
    total, status = len(status.cells), _free(session, engine, status)
    if not status.todo:
        click.echo(
            f"nothing to submit; `simlaw status {session.file.name}` says how far they are, and what is to have other "
            "options must be cancelled first"
        )
        return True
    if (verdict := gate(session, own)).closed:
        # a sweep may grow, and no run of it is lost: whoever runs it has decided
        click.echo(f"note: as it stands no fit will hold it: {verdict.refusals[0]}", err=True)
    layout = session.layout(status, engine, memory)
    engine = layout.engine
    for note in layout.notes:
        click.echo(f"note: {note}", err=True)
    todo = session.packs(status, layout)
    work = estimate(todo, session.fingerprints, engine, session.store)
    packs = f"in {len(todo)} pack{'s' * (len(todo) > 1)}"
    click.echo(
        f"{len(status.todo)} of {total} runs to do {packs}{status.remark}: {power_of_ten(work.flops)} FLOPs, {work}"
    )
    if not engine.attended:
        click.echo(session.run(todo, engine, lambda *_: None, profile).submitted)
        click.echo(
            f"`simlaw status {session.file.name}` says how far it is; the same command submits what is missing then"
        )
        return True
    board = Board(
        what=session.file.name,
        flops=work.flops,
        seconds=work.seconds,
        fixed=work.fixed,
        runs=total,
        done=total - len(status.todo),
    )
    with shown(board) as tell:
        outcome = session.run(todo, engine, tell, profile)
    after = session.status(own)
    for failure in outcome.failures:
        click.echo(f"failed: {failure}", err=True)
    for note in dict.fromkeys(cell.note for cell in after.cells if cell.condition == "diverged"):
        click.echo(f"diverged: {note}", err=True)
    if profile is not None:
        click.echo(_traces(profile), err=True)
    if outcome.stopped:
        click.echo(
            f"stopped; {len(status.todo) - len(after.todo)} more runs are done and the others keep their last state: "
            "the same command goes on",
            err=True,
        )
    elif after.todo:
        click.echo(
            f"{len(after.todo)} runs are still missing: the same command tries again; "
            f"`simlaw status {session.file.name}` names those that failed",
            err=True,
        )
    else:
        click.echo(f"all {len(after.cells)} runs of {session.file.name} are there{after.remark}")
    return not after.todo


def _free(session: Session, engine: AbstractEngine, status: Status) -> Status:
    """The status without the runs that a batch system has already; says which those are."""
    queue = engine.queued(session.store)
    if queue.note:
        click.echo(f"note: {queue.note}; what is in it is submitted twice, which costs time and nothing else", err=True)
    todo = {cell.run_id for cell in status.todo}
    waiting = [queue.places[run] for run in queue.places if run in todo]
    if waiting:
        click.echo(f"{len(waiting)} of {len(status.cells)} runs are in the queue already, the first as {waiting[0]}")
    return replace(status, cells=tuple(cell for cell in status.cells if cell.cell.run_id not in queue.places))


def _traces(folder: Path) -> str:
    found = sorted(folder.glob("*/plugins/profile/*/*.xplane.pb"))
    if not found:
        return f"no trace in {folder}: every dispatch compiled a program; train for more than {DISPATCH_STEPS} steps"
    return (
        f"traces of {len(found)} workers: open a perfetto_trace.json.gz below {folder} at https://ui.perfetto.dev, "
        f"or `tensorboard --logdir {folder}`"
    )
