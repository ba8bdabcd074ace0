"""`simlaw mirror`: the histories of a sweep for TensorBoard or Weights & Biases."""

from pathlib import Path

import click

from simlaw.cli.options import sweep_argument
from simlaw.errors import SimlawError
from simlaw.run.mirror import mirror, tensorboard, wandb
from simlaw.run.session import Session

_folder = click.Path(path_type=Path, file_okay=False)


@click.command()
@sweep_argument
@click.option(
    "--tensorboard", "events", type=_folder, metavar="FOLDER", help="Write event files here, one folder a run."
)
@click.option("--wandb", "offline", type=_folder, metavar="FOLDER", help="Write offline runs of W&B here; no account.")
def command(sweep: str, events: Path | None, offline: Path | None) -> None:
    """Write the training histories of a sweep's runs for TensorBoard or W&B, while it runs or afterwards.

    Written again, a run takes the place of what was there. Each needs its library: pip install 'simlaw[tensorboard]' or
    'simlaw[wandb]'.

    \b
    Example:
      simlaw mirror quickstart --tensorboard events
    """
    if events is None and offline is None:
        raise SimlawError("nothing to write: give --tensorboard FOLDER, or --wandb FOLDER")
    session = Session.open(sweep)
    runs = [(cell.run_id, cell.spec) for cell in session.plan.cells]
    for folder, write, then in (
        (events, tensorboard, f"tensorboard --logdir {events}"),
        (offline, wandb, f"wandb sync --sync-all in {offline} uploads them"),
    ):
        if folder is not None:
            made = mirror(session.store, runs, folder, write)
            if not made:
                raise SimlawError(f"no run of {sweep} has a history in {session.store.root}: run it first")
            click.echo(f"{made} of {len(runs)} runs in {folder}: {then}")
