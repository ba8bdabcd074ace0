"""The options of `simlaw run` that choose an engine, and those that only one engine has."""

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import click
from click.core import ParameterSource

from simlaw.errors import SimlawError
from simlaw.run.engine import AbstractEngine
from simlaw.run.local import Local

#: How many tasks of a batch system may be at work at once, where nobody said: enough to keep packs small.
_MANY = 100

_SLURM = (
    click.option("--partition", metavar="NAME", help="The partition of the cluster to submit to."),
    click.option(
        "--gres",
        metavar="NAME:COUNT",
        help="What a task needs, as gpu:1; with a gpu it trains on that, unless --device.",
    ),
    click.option(
        "--time", metavar="HH:MM:SS", help="The time limit of a task; one that needs more goes on in another."
    ),
    click.option("--account", metavar="NAME", help="Whom the cluster charges."),
    click.option("--qos", metavar="NAME", help="The quality of service."),
    click.option("--constraint", metavar="FEATURES", help="Which features a node must have."),
    click.option("--cpus-per-task", type=click.IntRange(1), help="Cores of a task; one on a CPU is all it uses."),
    click.option("--mem", metavar="SIZE", help="Memory of a task, as 16G; packs are laid out to fit into it."),
    click.option("--array-limit", type=click.IntRange(1), metavar="N", help="Run at most so many tasks at once."),
    click.option(
        "--sbatch",
        multiple=True,
        metavar="NAME=VALUE",
        help="Any further option of sbatch, as reservation=maint; may be given again.",
    ),
)
#: The fields of `Slurm` that these options give.
_OF_SLURM = (
    *("partition", "gres", "time", "account", "qos", "constraint", "cpus_per_task", "mem"),
    *("array_limit", "sbatch"),
)
_CHOICE = click.option(
    "--engine",
    "chosen",
    type=click.Choice(["local", "slurm"]),
    default="local",
    show_default=True,
    help="Where to run: on this machine, or as job arrays of SLURM, which takes them and returns at once.",
)


def engine_choice(command: Callable[..., None]) -> Callable[..., None]:
    """A command of `engine_options` with --engine and the options of each engine: its `engine` is the one chosen."""

    @functools.wraps(command)
    def wrapped(*, chosen: str, engine: Local, **others: Any) -> None:
        given = {name: others.pop(name) for name in _OF_SLURM}
        if chosen == "slurm":
            command(engine=_slurm(engine, given), **others)
            return
        for name, value in given.items():
            if value not in (None, ()):
                option = f"--{name.replace('_', '-')}"
                raise SimlawError(f"{option} says how SLURM is to run tasks: add --engine slurm, or leave it out")
        command(engine=engine, **others)

    for option in reversed((_CHOICE, *_SLURM)):
        wrapped = option(wrapped)
    return wrapped


def _slurm(shared: Local, given: dict[str, Any]) -> AbstractEngine:
    """The SLURM engine for what the options say."""
    from simlaw.run.slurm import Slurm  # which imports JAX, as no other command's help needs it

    if shared.asked:
        raise SimlawError(
            f"--workers {shared.workers} is of --engine local: of tasks --array-limit says how many run at once"
        )
    if click.get_current_context().params.get("memory") is not None:
        raise SimlawError("--memory is of --engine local: --mem says what a task has")
    said = click.get_current_context().get_parameter_source("device")
    gpu = str(given["gres"] or "").partition(":")[0] == "gpu" and said is ParameterSource.DEFAULT
    common = {each.name: getattr(shared, each.name) for each in fields(shared)}
    common |= {"workers": given["array_limit"] or _MANY} | ({"device": "gpu"} if gpu else {})
    return Slurm(**common, **given)
