"""The options of `simlaw run` that choose an engine, and those that only one engine has."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import click
from click.core import ParameterSource

from simlaw.errors import SimlawError
from simlaw.run.engine import AbstractEngine
from simlaw.run.local import Local

#: How many tasks may be at work at once, where nobody said: enough to keep packs small.
_MANY = 100

_SLURM = (
    click.option("--partition", metavar="NAME", help="SLURM: the partition of the cluster to submit to."),
    click.option(
        "--gres",
        metavar="NAME:COUNT",
        help="SLURM: what a task needs, as gpu:1; with a gpu, here or as gpus of --sbatch, it trains on that, unless "
        "--device.",
    ),
    click.option(
        "--time", metavar="HH:MM:SS", help="SLURM: the time limit of a task; one that needs more goes on in another."
    ),
    click.option("--account", metavar="NAME", help="SLURM: whom the cluster charges."),
    click.option("--qos", metavar="NAME", help="SLURM: the quality of service."),
    click.option("--constraint", metavar="FEATURES", help="SLURM: which features a node must have."),
    click.option(
        "--cpus-per-task", type=click.IntRange(1), help="SLURM: cores of a task; one on a CPU is all it uses."
    ),
    click.option(
        "--mem",
        metavar="SIZE",
        help="SLURM: memory of a task's host, as 16G; on a CPU packs are laid out to fit into it.",
    ),
    click.option(
        "--array-limit", type=click.IntRange(1), metavar="N", help="SLURM: run at most so many tasks at once."
    ),
    click.option(
        "--sbatch",
        multiple=True,
        metavar="NAME=VALUE",
        help="SLURM: any further option of sbatch, as reservation=maint; may be given again.",
    ),
)
_RAY = (
    click.option(
        "--address",
        metavar="HOST:PORT",
        help="Ray: the cluster.  [default: auto, the one this machine belongs to]",
    ),
    click.option("--gpus-per-pack", type=click.IntRange(0), help="Ray: GPUs of each pack; with one it trains on that."),
    click.option(
        "--cpus-per-pack", type=click.IntRange(1), help="Ray: cores that are set aside for each pack.  [default: 1]"
    ),
)
#: The fields of each engine that its own options give, by the options' names.
_OF: Mapping[str, Mapping[str, str]] = {
    "slurm": {
        name: name
        for name in (
            *("partition", "gres", "time", "account", "qos", "constraint", "cpus_per_task", "mem"),
            *("array_limit", "sbatch"),
        )
    },
    "ray": {"address": "address", "gpus_per_pack": "gpus", "cpus_per_pack": "cpus"},
}
_TITLES = {"slurm": "SLURM", "ray": "Ray"}
_CHOICE = click.option(
    "--engine",
    "chosen",
    type=click.Choice(["local", *_OF]),
    default="local",
    show_default=True,
    help="Where to run: on this machine; as job arrays of SLURM, which takes them and returns at once; or as tasks of "
    "a Ray cluster whose nodes see the store.",
)


def engine_choice(command: Callable[..., None]) -> Callable[..., None]:
    """A command of `engine_options` with --engine and the options of each engine: its `engine` is the one chosen."""

    @functools.wraps(command)
    def wrapped(*, chosen: str, engine: Local, **others: Any) -> None:
        given = {which: {name: others.pop(name) for name in names} for which, names in _OF.items()}
        for which, options in given.items():
            for name, value in options.items():
                if which != chosen and value not in (None, ()):
                    raise SimlawError(
                        f"--{name.replace('_', '-')} says how {_TITLES[which]} is to run packs: add --engine {which}, "
                        "or leave it out"
                    )
        if chosen == "slurm":
            command(engine=_slurm(engine, given[chosen]), **others)
        elif chosen == "ray":
            command(engine=_ray(engine, given[chosen]), **others)
        else:
            command(engine=engine, **others)

    for option in reversed((_CHOICE, *_SLURM, *_RAY)):
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
    gpu = _gpus(given["gres"] or "", given["sbatch"])
    return Slurm(**_common(shared, given["array_limit"] or _MANY, gpu=gpu), **given)


def _gpus(gres: str, sbatch: Sequence[str]) -> bool:
    """Whether a task of SLURM has GPUs: as an item of its `--gres`, or by `--gpus`, `--gpus-per-node` and the like.

    Items read NAME, NAME:COUNT or NAME:TYPE:COUNT in the former, COUNT or TYPE:COUNT in the latter.
    """
    named = [text.partition("=") for text in sbatch]
    items = [
        item for text in (gres, *(value for name, _, value in named if name == "gres")) for item in text.split(",")
    ]
    some = [item for item in items if item.partition(":")[0] == "gpu"]
    some += [item for name, _, value in named if name.startswith("gpus") for item in value.split(",")]
    return any(item.rpartition(":")[2] != "0" for item in some)


def _ray(shared: Local, given: dict[str, Any]) -> AbstractEngine:
    """The Ray engine for what the options say."""
    from simlaw.run.rays import Ray

    if shared.asked:
        raise SimlawError(f"--workers {shared.workers} is of --engine local: what Ray has decides how many packs run")
    mine = {field: given[name] for name, field in _OF["ray"].items() if given[name] is not None}
    return Ray(**_common(shared, _MANY, gpu=bool(given["gpus_per_pack"])), **mine)


def _common(shared: Local, workers: int, *, gpu: bool) -> dict[str, Any]:
    """What every engine has; on a `gpu` where nobody said what to train on."""
    said = click.get_current_context().get_parameter_source("device")
    common = {each.name: getattr(shared, each.name) for each in fields(shared)} | {"workers": workers}
    return common | ({"device": "gpu"} if gpu and said is ParameterSource.DEFAULT else {})
