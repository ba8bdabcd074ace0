"""Arguments and options that several commands share, so that they read and behave alike."""

import functools
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from simlaw.errors import SimlawError
from simlaw.run.cores import usable_cores
from simlaw.run.local import Local
from simlaw.run.rules import RETRIES, SAVE_SECONDS, Rules
from simlaw.store import LEASE_SECONDS


class _Bytes(click.FloatRange):
    """A finite number of bytes; the library's own range lets NaN through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no number of bytes", param, ctx)
        return number


sweep_argument = click.argument("sweep", metavar="SWEEP")
source_argument = click.argument("source", metavar="SWEEP|TABLE.csv")
where_option = click.option(
    "--where",
    "chosen",
    multiple=True,
    metavar="COLUMN=VALUE",
    help="Use only rows with this value, for example cooldown=0.2; may be given again.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program instead of text.")
own_option = click.option(
    "--own", is_flag=True, help="Use only rows made in this store, as if the sweep had no committed table."
)
memory_option = click.option(
    "--memory",
    type=_Bytes(0, min_open=True),
    metavar="BYTES",
    help="What all workers may take together; by default most of what the machine has.",
)
mesh_option = click.option(
    "--mesh",
    type=click.IntRange(1),
    nargs=3,
    metavar="PACK DATA MODEL",
    help="Divide the runs of a pack, each batch and each model over so many devices; one worker uses all there are.",
)
remat_option = click.option(
    "--remat", is_flag=True, help="Compute the insides of blocks again instead of keeping them: less memory, more time."
)

_RULES = (
    click.option(
        "--save-seconds",
        type=click.FloatRange(0),
        default=SAVE_SECONDS,
        show_default=True,
        help="Store what trains so often: at most so much is lost where a worker is killed.",
    ),
    click.option(
        "--lease-seconds",
        type=click.FloatRange(0, min_open=True),
        default=LEASE_SECONDS,
        show_default=True,
        help="A worker without a sign of life for so long counts as dead, and another takes over what it had.",
    ),
    click.option(
        "--retries",
        type=click.IntRange(0),
        default=RETRIES,
        show_default=True,
        help="Try a pack that fails so many times more.",
    ),
)

_ENGINE = (
    click.option(
        "--workers",
        type=click.IntRange(1),
        show_default="one for every core, or fewer where they were measured to be as fast",
        help="Worker processes, each on a core of its own; fewer where memory does not suffice.",
    ),
    memory_option,
    click.option(
        "--device",
        type=click.Choice(["cpu", "gpu", "tpu"]),
        default="cpu",
        show_default=True,
        help="What to train on; an accelerator has one worker, which packs runs of one shape.",
    ),
    mesh_option,
    remat_option,
)

profile_option = click.option(
    "--profile",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Leave JAX's trace of a few dispatches of each worker here, for Perfetto or TensorBoard.",
)


def rules_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options of how a worker goes about its work, which come to it as `rules`."""

    @functools.wraps(command)
    def wrapped(*, save_seconds: float, lease_seconds: float, retries: int, **others: Any) -> None:
        command(rules=Rules(save_seconds=save_seconds, lease_seconds=lease_seconds, retries=retries), **others)

    for option in reversed(_RULES):
        wrapped = option(wrapped)
    return wrapped


def engine_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options of where work is done, which come to it as `engine` and `memory`."""

    @functools.wraps(command)
    def wrapped(
        *, workers: int | None, device: str, mesh: tuple[int, int, int] | None, remat: bool, **others: Any
    ) -> None:
        asked = workers is not None
        engine = Local(workers=workers or usable_cores(), asked=asked, device=device, mesh=mesh, remat=remat)
        command(engine=engine, **others)

    for option in reversed(_ENGINE):
        wrapped = option(wrapped)
    return wrapped


def named(option: str, given: Sequence[str], example: str) -> dict[str, str]:
    """The values of an option that is given as NAME=VALUE, again for each; raises `SimlawError` for other texts."""
    found: dict[str, str] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not (name and sign and value):
            raise SimlawError(f"{option} {text}: it must read NAME=VALUE, for example {example}")
        if name in found:
            raise SimlawError(f"{option} gives {name} twice, {found[name]} and {value}: give it once")
        found[name] = value
    return found


def in_options(message: str, command: click.Command | None) -> str:
    """An error of the package in the words of the command line: its arguments are the command's options.

    "flops=-1" becomes "--flops -1", and "force=True" "--force". What rows have is a column, and stays as it is.
    """
    options = {"bootstrap": "--bootstrap"}  # of `simlaw fit`, which other commands send people to
    for one in command.params if command else ():
        options |= {text[2:].replace("-", "_"): text for text in one.opts if text.startswith("--")}

    def replaced(found: re.Match[str]) -> str:
        option, value = options.get(found[1]), found[2]
        if option is None:
            return found[0]
        return option if value in ("…", "True") else f"{option} {value}"

    return re.sub(r"(?<!has )(?<!--where )\b([a-z_]+)=(…|[-+.\w]+)", replaced, message)


def print_json(data: Mapping[str, Any]) -> None:
    """Print a JSON object; infinities, which JSON does not have, become null."""
    click.echo(json.dumps(_plain(data), indent=1, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
