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

#: How many tasks may be at work at once, where nobody said: enough to keep packs small.
_MANY = 100

_RAY = (
    click.option(
        "--address", metavar="HOST:PORT", help="The Ray cluster.  [default: auto, the one this machine belongs to]"
    ),
    click.option("--gpus-per-pack", type=click.IntRange(0), help="GPUs of each pack; with one it trains on that."),
    click.option(
        "--cpus-per-pack", type=click.IntRange(1), help="Cores that Ray sets aside for each pack.  [default: 1]"
    ),
)
#: The fields of `Ray` that these options give.
_OF_RAY = {"address": "address", "gpus_per_pack": "gpus", "cpus_per_pack": "cpus"}
_CHOICE = click.option(
    "--engine",
    "chosen",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where to run: on this machine, or as tasks of a Ray cluster whose nodes see the store.",
)


def engine_choice(command: Callable[..., None]) -> Callable[..., None]:
    """A command of `engine_options` with --engine and the options of each engine: its `engine` is the one chosen."""

    @functools.wraps(command)
    def wrapped(*, chosen: str, engine: Local, **others: Any) -> None:
        given = {name: others.pop(name) for name in _OF_RAY}
        if chosen == "ray":
            command(engine=_ray(engine, given), **others)
            return
        for name, value in given.items():
            if value is not None:
                option = f"--{name.replace('_', '-')}"
                raise SimlawError(f"{option} says how Ray is to run packs: add --engine ray, or leave it out")
        command(engine=engine, **others)

    for option in reversed((_CHOICE, *_RAY)):
        wrapped = option(wrapped)
    return wrapped


def _ray(shared: Local, given: dict[str, Any]) -> AbstractEngine:
    """The Ray engine for what the options say."""
    from simlaw.run.rays import Ray

    if shared.asked:
        raise SimlawError(f"--workers {shared.workers} is of --engine local: what Ray has decides how many packs run")
    said = click.get_current_context().get_parameter_source("device")
    gpu = bool(given["gpus_per_pack"]) and said is ParameterSource.DEFAULT
    common = {each.name: getattr(shared, each.name) for each in fields(shared)} | {"workers": _MANY}
    if gpu:
        common["device"] = "gpu"
    return Ray(**common, **{field: given[name] for name, field in _OF_RAY.items() if given[name] is not None})
