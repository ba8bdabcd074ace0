"""`simlaw run`: compute what is missing of a sweep."""

import sys

import click

from simlaw.cli.gate import gate
from simlaw.cli.options import device_option, mesh_option, own_option, remat_option, sweep_argument, workers_option
from simlaw.cli.progress import progress
from simlaw.report import duration, power_of_ten
from simlaw.run.estimate import estimate
from simlaw.run.local import Local
from simlaw.run.session import Session


@click.command()
@sweep_argument
@workers_option
@device_option
@mesh_option
@remat_option
@own_option
def command(sweep: str, workers: int, device: str, mesh: tuple[int, int, int] | None, remat: bool, own: bool) -> None:
    """Train and evaluate whatever of a sweep is not done; Ctrl-C stops at the next boundary, and nothing is lost.

    \b
    Example:
      simlaw run quickstart --workers 2
    """
    if not run(Session.open(sweep), Local(workers=workers, device=device, mesh=mesh, remat=remat), own):
        sys.exit(1)


def run(session: Session, engine: Local, own: bool) -> bool:
    """Compute what is missing, with a bar; whether everything is there afterwards."""
    status = session.status(own)
    if not status.todo:
        click.echo(f"all {len(status.cells)} runs of {session.file.name} are there; nothing to do{status.remark}")
        return True
    if (verdict := gate(session, own)).closed:
        # a sweep may grow, and no run of it is lost: whoever runs it has decided
        click.echo(f"note: as it stands no fit will hold it: {verdict.refusals[0]}", err=True)
    todo = session.packs(status, engine)
    work = estimate(todo, session.plan.fingerprint, engine, session.store)
    click.echo(
        f"{len(status.todo)} of {len(status.cells)} runs to do{status.remark}: {power_of_ten(work.flops)} FLOPs, "
        f"about {duration(work.seconds)} here ({work.basis})"
    )
    with progress(session.file.name, work.flops) as tell:
        outcome = session.run(todo, engine, tell)
    after = session.status(own)
    for failure in outcome.failures:
        click.echo(f"failed: {failure}", err=True)
    for note in dict.fromkeys(cell.note for cell in after.cells if cell.condition == "diverged"):
        click.echo(f"diverged: {note}", err=True)
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
    return not after.todo
