"""`simlaw allocate`: how to spend FLOPs on size and data."""

import dataclasses
from pathlib import Path

import click

from simlaw.analysis import analyse
from simlaw.cli.options import json_option, named, own_option, print_json, where_option
from simlaw.cli.source import open_source
from simlaw.decision.allocate import allocate
from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit
from simlaw.fitting.quantized import QuantizedFit
from simlaw.lawfile import load_law
from simlaw.published import PUBLISHED, Published


@click.command()
@click.argument("source", metavar="SWEEP|TABLE.csv|LAW")
@click.option(
    "--flops", type=float, help="The budget: 6·N·D for training, 2·N for each served token; by default the sweep's own."
)
@click.option("--serve-tokens", type=float, default=0.0, show_default=True, help="Tokens to serve.")
@click.option("--bits", type=float, help="P_post: weight bits after training, the same for all candidates.")
@click.option(
    "--at",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    help="Another variable of the law, such as P_w=4 or U=1e9, the same for all candidates; may be given again.",
)
@own_option
@where_option
@click.option("--force", is_flag=True, help="Answer even more than ten times outside the rows of the fit.")
@json_option
def command(
    source: str,
    flops: float | None,
    serve_tokens: float,
    bits: float | None,
    variables: tuple[str, ...],
    own: bool,
    chosen: tuple[str, ...],
    force: bool,
    as_json: bool,
) -> None:
    """Say how many parameters and tokens a budget of FLOPs is best spent on.

    A sweep or a table is fitted first. LAW is a published law (`simlaw laws` lists them) or a law file.

    \b
    Example:
      simlaw allocate besiroglu2024 --flops 1e21 --serve-tokens 1e12
    """
    given = {name: _number(name, value) for name, value in named("--at", variables, "P_w=4").items()}
    if bits is not None:
        if "P_post" in given:
            raise SimlawError(f"--bits {bits:g} and --at P_post={given['P_post']:g} are the same: give one of them")
        given["P_post"] = bits
    law: Fit | QuantizedFit | Published
    if is_law(source):
        for option, value in (("--own", own), ("--where", chosen)):
            if value:
                raise SimlawError(f"{option} belongs to a sweep or table, and {source} is none: leave it out")
        law = open_law(source)
    else:
        found = open_source(source, own, chosen)
        analysis = analyse(found.fitted)
        law = analysis.base
        if analysis.penalty is not None:
            law = QuantizedFit(base=analysis.base, penalty=analysis.penalty)
        budget = found.file.sweep.budget if found.file else None
        flops = budget.flops if flops is None and budget else flops
    if flops is None:
        raise SimlawError(f"{source} declares no budget: give --flops")
    answer = allocate(law, flops=flops, serve_tokens=serve_tokens, force=force, **given)
    if as_json:
        print_json(dataclasses.asdict(answer))
    else:
        click.echo(str(answer))


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise SimlawError(f"--at {name}={value}: {value!r} is no number; give one, for example P_w=4") from error


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
