"""`simlaw work`: the contract between a sweep and any scheduler."""

import sys
from pathlib import Path

import click

from simlaw.cli.options import mesh_option, remat_option, rules_options
from simlaw.errors import SimlawError
from simlaw.run.rules import Rules


@click.command()
@click.option("--manifest", metavar="M", required=True, help="What to work on: a file, or its address in a bucket.")
@click.option("--index", type=int, help="Do this entry alone; else every entry that no other worker has.")
@click.option("--core", type=int, help="Stay on this core.")
@click.option("--device", type=click.Choice(["cpu", "gpu", "tpu"]), help="Refuse to run on anything else.")
@mesh_option
@remat_option
@rules_options
@click.option("--coordinator", metavar="HOST:PORT", help="Work in a team on one mesh: where its process 0 listens.")
@click.option("--processes", type=click.IntRange(2), help="How many processes the team has.")
@click.option("--process", type=click.IntRange(0), help="Which of them this one is, from 0; process 0 writes.")
@click.option(
    "--profile", type=click.Path(path_type=Path), help="Leave JAX's trace of a few dispatches in this folder."
)
@click.option("--parent", type=int, hidden=True, help="Stop when this process, which started the worker, is gone.")
def command(
    manifest: str,
    index: int | None,
    core: int | None,
    device: str | None,
    mesh: tuple[int, int, int] | None,
    remat: bool,
    rules: Rules,
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    profile: Path | None,
    parent: int | None,
) -> None:
    """Work through a manifest that `simlaw plan --manifest` wrote: what a batch job calls.

    Processes on several hosts form a team: the same call on each, with its own --process. All see one store, work on
    the same pack in step, and stop together when one of them is asked to.

    \b
    Example:
      simlaw work --manifest .simlaw/manifests/0f3a.json --index 3
      simlaw work --manifest M --mesh 1 8 2 --coordinator host0:9876 --processes 4 --process 0
    """
    # each import in its place: the process must be pinned, and join its team, before JAX starts its threads
    from simlaw.run.cores import pin

    if core is not None:
        pin(core)
    if coordinator is not None and processes is not None and process is not None and mesh is not None:
        if process >= processes:
            raise SimlawError(f"--process {process}: a team of {processes} has the processes 0 to {processes - 1}")
        from simlaw.run.team import join

        join(coordinator, processes, process)
    elif (coordinator, processes, process) != (None, None, None):
        raise SimlawError("a team wants all of --mesh, --coordinator, --processes and --process: give those left out")
    from simlaw.run.worker import mesh_of, prepare, run_worker
    from simlaw.store import open_store

    store = open_store()
    prepare(store, device)
    sys.exit(0 if run_worker(store, manifest, index, parent, mesh_of(mesh), remat, profile, rules) else 1)
