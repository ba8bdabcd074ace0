"""`simlaw work`: the contract between a sweep and any scheduler."""

import sys
from pathlib import Path

import click


@click.command()
@click.option("--manifest", type=click.Path(path_type=Path), required=True, help="What to work on.")
@click.option("--index", type=int, help="Do this entry alone; else every entry that no other worker has.")
@click.option("--core", type=int, help="Stay on this core.")
@click.option("--device", type=click.Choice(["cpu", "gpu", "tpu"]), help="Refuse to run on anything else.")
@click.option("--parent", type=int, hidden=True, help="Stop when this process, which started the worker, is gone.")
def command(manifest: Path, index: int | None, core: int | None, device: str | None, parent: int | None) -> None:
    """Work through a manifest that `simlaw plan --manifest` wrote: what a batch job calls.

    \b
    Example:
      simlaw work --manifest .simlaw/manifests/0f3a.json --index 3
    """
    # each import in its place: the process must be pinned before JAX starts its threads
    from simlaw.run.local import pin

    if core is not None:
        pin(core)
    from simlaw.run.worker import prepare, run_worker
    from simlaw.store import Store, default_root

    store = Store(root=default_root())
    prepare(store, device)
    sys.exit(0 if run_worker(store, manifest, index, parent) else 1)
