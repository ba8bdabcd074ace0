"""`simlaw work`: the contract between a sweep and any scheduler."""

import sys
from pathlib import Path

import click

from simlaw.cli.options import mesh_option, remat_option, rules_options
from simlaw.errors import SimlawError
from simlaw.run.rules import Rules


@click.command()
@click.option("--manifest", metavar="M", required=True, help="What to work on: a file, or its address in a bucket.")
@click.option(
    "--index",
    type=int,
    show_default="SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX, where one of them is set",
    help="Do this entry alone; else every entry that no other worker has.",
)
@click.option("--offset", type=click.IntRange(0), default=0, help="Add this to the index that a scheduler gives.")
@click.option(
    "--core",
    type=int,
    help="Stay on this core; with --device cpu and an index by default on one of those that the scheduler allows, for "
    "only then numbers are bit for bit those of every other worker.",
)
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
    offset: int,
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

    SIGTERM, SIGINT and SIGUSR1 store the state and end it; a task of a SLURM array then goes back into its queue, if
    SLURM still has it as running. The exit status is 0 where all is done, 1 where something is left (it was asked to
    stop, or a run failed), 2 where it was called wrongly.

    \b
    Example:
      simlaw work --manifest .simlaw/manifests/0f3a.json --index 3
      simlaw work --manifest M --mesh 1 8 2 --coordinator host0:9876 --processes 4 --process 0
    """
    # each import in its place: the process must be pinned, and join its team, before JAX starts its threads
    from simlaw.run.cores import cores, pin
    from simlaw.run.job import entry

    if index is None and (scheduled := entry()) is not None:
        index = scheduled + offset
        profile = profile and profile / f"worker-{index}"
    if core is None and index is not None and device == "cpu" and mesh is None and (usable := cores()):
        core = usable[index % len(usable)]
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
