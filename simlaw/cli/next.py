"""`simlaw next`: the runs that would narrow a decision most."""

import dataclasses

import click

from simlaw.analysis import analyse
from simlaw.cli.allocate import is_law, open_law
from simlaw.cli.analysis import answer
from simlaw.cli.decide import ask
from simlaw.cli.options import json_option, print_json
from simlaw.decision.choice import decide as decide_by_law
from simlaw.decision.choice import rival_of
from simlaw.decision.nextruns import next_runs
from simlaw.errors import SimlawError
from simlaw.fitting.quantized import QuantizedFit


@click.command()
@click.argument("source", metavar="SWEEP|TABLE.csv|LAW.json")
@click.option("--bytes", "size", type=float, help="Stored bytes; by default the sweep's own budget.")
@click.option("--flops", type=float, help="Training FLOPs of the decision; by default the sweep's.")
@click.option("--most", type=float, help="Training FLOPs that one run may cost at most.")
@click.option("--count", default=3, show_default=True, type=click.IntRange(1), help="How many runs.")
@click.option("--per-flop", is_flag=True, help="Rank by what each FLOP narrows.")
@json_option
def command(
    source: str,
    size: float | None,
    flops: float | None,
    most: float | None,
    count: int,
    per_flop: bool,
    as_json: bool,
) -> None:
    """Name the runs that would narrow the gap between the best plan and its rival most.

    The rival is the runner-up at another precision; by a law file, the best one quantized at another time, or not.

    \b
    Example:
      simlaw next quickstart
    """
    if is_law(source):
        law = open_law(source)
        choice = decide_by_law(law, bytes=size, flops=flops)
        other = rival_of(choice.candidates) if choice.candidates else None
        if other is None:
            raise SimlawError(f"there are no two plans to tell apart: {choice.sentence}")
        best, rival = ({"N": c.params, "D": c.tokens, **c.option.precisions} for c in (choice.candidates[0], other))
    else:
        question, found = ask(source, size, flops)
        analysis = analyse(found.rows)
        decision = answer(analysis, question)
        if len(decision.plans) < 2 or analysis.penalty is None:
            raise SimlawError(f"there are no two plans to tell apart: {decision.sentence}")
        law = QuantizedFit(base=analysis.base, penalty=analysis.penalty)
        best, rival = ({"N": p.params, "D": p.tokens, "P_post": p.bits} for p in decision.plans[:2])
    runs = next_runs(law, best, rival, flops=most, count=count, per_flop=per_flop)
    if as_json:
        print_json(dataclasses.asdict(runs))
    else:
        click.echo(str(runs))
