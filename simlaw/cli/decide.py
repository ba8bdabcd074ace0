"""`simlaw decide`: which size at which precision, under a budget."""

import dataclasses

import click

from simlaw.cli.analysis import analyse_rows, answer, decision_report
from simlaw.cli.options import json_option, own_option, print_json, sweep_argument
from simlaw.decide import Question
from simlaw.errors import SimlawError
from simlaw.run.session import Session


@click.command()
@sweep_argument
@click.option("--bytes", "size", type=float, help="Stored bytes; by default the sweep's own budget.")
@click.option("--flops", type=float, help="Training FLOPs, 6·N·D with the block parameters; by default the sweep's.")
@click.option("--tokens", type=float, help="Compare at equal training tokens instead of equal FLOPs.")
@click.option(
    "--total", is_flag=True, help="Count all stored bytes, embeddings and head too, and not the blocks alone."
)
@own_option
@json_option
def command(
    sweep: str, size: float | None, flops: float | None, tokens: float | None, total: bool, own: bool, as_json: bool
) -> None:
    """Rank the precisions at equal stored bytes and equal training compute (or tokens), with a verdict in words.

    \b
    Example:
      simlaw decide quickstart --bytes 29e3 --flops 1e12
    """
    session = Session.open(sweep)
    if flops is not None and tokens is not None:
        raise SimlawError("--flops and --tokens are two conventions: give one of them")
    budget = session.file.sweep.budget
    size = size or (budget.bytes if budget else None)
    amount = tokens or flops or (budget.flops if budget else None)
    if size is None or amount is None:
        raise SimlawError(f"{session.file.name} declares no budget: give --bytes and --flops (or --tokens)")
    for name, value in (("--bytes", size), ("--flops or --tokens", amount)):
        if not value > 0:
            raise SimlawError(f"{name} is {value:g}: a budget is above 0")
    question = Question(
        bytes=size,
        amount=amount,
        convention="tokens" if tokens is not None else "compute",
        bytes_column="bytes_total" if total else "bytes_blocks",
    )
    decision = answer(analyse_rows(session.status(own).rows, session.file.name), question)
    if as_json:
        print_json(dataclasses.asdict(decision))
    else:
        click.echo(decision_report(decision))
