"""`simlaw allocate`: how to spend FLOPs on size and data."""

import dataclasses
from pathlib import Path

import click

from simlaw.cli.options import json_option, print_json
from simlaw.decision.allocate import allocate
from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit
from simlaw.fitting.quantized import QuantizedFit
from simlaw.lawfile import load_law
from simlaw.published import PUBLISHED, Published


@click.command()
@click.argument("law", metavar="LAW")
@click.option("--flops", type=float, required=True, help="The budget: 6·N·D for training, 2·N for each served token.")
@click.option("--serve-tokens", type=float, default=0.0, show_default=True, help="Tokens to serve.")
@click.option("--bits", type=float, help="P_post: weight bits after training, the same for all candidates.")
@click.option("--force", is_flag=True, help="Answer even more than ten times outside the rows of the fit.")
@json_option
def command(law: str, flops: float, serve_tokens: float, bits: float | None, force: bool, as_json: bool) -> None:
    """Say how many parameters and tokens a budget of FLOPs is best spent on.

    LAW is a published law (`simlaw laws` lists them) or a law file.

    \b
    Example:
      simlaw allocate besiroglu2024 --flops 1e21 --serve-tokens 1e12
    """
    precisions = {} if bits is None else {"P_post": bits}
    found = allocate(open_law(law), flops=flops, serve_tokens=serve_tokens, force=force, **precisions)
    if as_json:
        print_json(dataclasses.asdict(found))
    else:
        click.echo(str(found))


def is_law(name: str) -> bool:
    """Whether this names a published law or a law file, and not a sweep or a table."""
    return name in PUBLISHED or name.endswith(".json")


def open_law(name: str) -> Fit | QuantizedFit | Published:
    """The published law of this name, or the law in this file."""
    if name in PUBLISHED:
        return PUBLISHED[name]
    if not Path(name).exists():
        raise SimlawError(f"{name!r} is neither a law file nor a published law: there are {', '.join(PUBLISHED)}")
    return load_law(name)
