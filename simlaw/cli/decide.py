"""`simlaw decide`: which size at which precision, under a budget."""

import dataclasses
import math

import click

from simlaw.analysis import analyse
from simlaw.cli.analysis import answer, decision_report
from simlaw.cli.options import json_option, own_option, print_json, source_argument, where_option
from simlaw.cli.source import open_source
from simlaw.decision import Question
from simlaw.errors import SimlawError


@click.command()
@source_argument
@click.option("--bytes", "size", type=float, help="Stored bytes; by default the sweep's own budget.")
@click.option("--flops", type=float, help="Training FLOPs, 6·N·D with the block parameters; by default the sweep's.")
@click.option("--tokens", type=float, help="Compare at equal training tokens instead of equal FLOPs.")
@click.option(
    "--total", is_flag=True, help="Count all stored bytes, embeddings and head too, and not the blocks alone."
)
@own_option
@where_option
@json_option
def command(
    source: str,
    size: float | None,
    flops: float | None,
    tokens: float | None,
    total: bool,
    own: bool,
    chosen: tuple[str, ...],
    as_json: bool,
) -> None:
    """Rank the precisions at equal stored bytes and equal training compute (or tokens), with a verdict in words.

    \b
    Example:
      simlaw decide quickstart --bytes 29e3 --flops 1e12
    """
    if flops is not None and tokens is not None:
        raise SimlawError("--flops and --tokens are two conventions: give one of them")
    for name, value in (("--bytes", size), ("--flops", flops), ("--tokens", tokens)):
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise SimlawError(f"{name} is {value:g}: a budget is a number above 0")
    found = open_source(source, own, chosen)
    budget = found.file.sweep.budget if found.file else None
    if budget:
        size = budget.bytes if size is None else size
        flops = budget.flops if flops is None and tokens is None else flops
    amount = flops if tokens is None else tokens
    if size is None or amount is None:
        raise SimlawError(f"{found.name} declares no budget: give --bytes and --flops (or --tokens)")
    question = Question(
        bytes=size,
        amount=amount,
        convention="tokens" if tokens is not None else "compute",
        bytes_column="bytes_total" if total else "bytes_blocks",
    )
    decision = answer(analyse(found.rows), question)
    if as_json:
        print_json(dataclasses.asdict(decision))
    else:
        click.echo(decision_report(decision))
