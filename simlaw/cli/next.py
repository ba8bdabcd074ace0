"""`simlaw next`: the runs that would narrow a decision most."""

import dataclasses

import click
import numpy as np

from simlaw.analysis import analyse
from simlaw.cli.allocate import is_law, open_law
from simlaw.cli.analysis import answer
from simlaw.cli.decide import ask
from simlaw.cli.options import json_option, print_json
from simlaw.decision.choice import Candidate
from simlaw.decision.choice import decide as decide_by_law
from simlaw.decision.nextruns import Contender, next_runs, open_rival
from simlaw.decision.surface import UNQUANTIZED
from simlaw.decision.verdict import Plan
from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit
from simlaw.fitting.quantized import QuantizedFit
from simlaw.published import Published

#: Where the rows of a fit reach to 16 bits, quantization is asked for up to this many.
_FINEST = 8


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

    The rival is the best plan of the other kind: 16 bits where the best one is quantized, or quantized at another time.
    Where that gap is beyond noise already, it is the closest plan at another precision.

    \b
    Example:
      simlaw next quickstart
    """
    law: Fit | QuantizedFit | Published
    if is_law(source):
        law = open_law(source)
        choice = decide_by_law(law, bytes=size, flops=flops)
        said, plans = choice.sentence, [_of_candidate(one) for one in choice.candidates]
        bits = _whole_bits(law.ranges.get("P_post"))
    else:
        question, found = ask(source, size, flops)
        analysis = analyse(found.fitted)
        decision = answer(analysis, question)
        said, plans = decision.sentence, [_of_plan(one) for one in decision.plans]
        assert analysis.penalty is not None  # or `answer` would have refused
        assert analysis.penalties is not None
        law = QuantizedFit(base=analysis.base, penalty=analysis.penalty)
        bits = [float(b) for b in np.unique(analysis.penalties.x["P_post"])]
    rival = open_rival(plans[0], plans[1:]) if plans else None
    if rival is None:
        raise SimlawError(f"there are no two plans to tell apart: {said}")
    runs = next_runs(law, plans[0].plan, rival.plan, bits=bits, most=most, count=count, per_flop=per_flop)
    if as_json:
        print_json(dataclasses.asdict(runs))
    else:
        click.echo(str(runs))


def _of_candidate(one: Candidate) -> Contender:
    least = one.gap_interval[0] if one.gap_interval else None
    return Contender(plan={"N": one.params, "D": one.tokens, **one.option.precisions}, how=one.option.how, least=least)


def _of_plan(one: Plan) -> Contender:
    quantized = one.bits != UNQUANTIZED
    plan = {"N": one.params, "D": one.tokens, **({"P_post": one.bits} if quantized else {})}
    return Contender(plan=plan, how="after training" if quantized else "no", least=one.gap_interval[0])


def _whole_bits(span: tuple[float, float] | None) -> list[float]:
    """The whole bits in the range of a fit's rows: a law file does not say which of them were run."""
    if span is None:
        return []
    return [float(b) for b in range(int(np.ceil(span[0])), int(min(span[1], _FINEST)) + 1)]
