"""`simlaw decide`: which size at which precision, under a budget."""

import dataclasses
import json
import math
from pathlib import Path

import click

from simlaw.analysis import analyse
from simlaw.cli.allocate import is_law, open_law
from simlaw.cli.analysis import answer, decision_report
from simlaw.cli.options import json_option, own_option, print_json, where_option
from simlaw.cli.source import Source, open_source
from simlaw.decision.cache import Cache
from simlaw.decision.choice import Choice
from simlaw.decision.choice import decide as decide_by_law
from simlaw.decision.cost import COSTS, CostTable, cost_table
from simlaw.decision.named import FORMAT_LISTS, TRAININGS
from simlaw.decision.verdict import Question
from simlaw.errors import SimlawError


@click.command()
@click.argument("source", metavar="SWEEP|TABLE.csv|LAW")
@click.option("--bytes", "size", type=float, help="Stored bytes; by default the sweep's own budget.")
@click.option("--flops", type=float, help="Training FLOPs, 6·N·D (of a sweep: its block parameters, its budget).")
@click.option("--tokens", type=float, help="Compare at equal training tokens instead of equal FLOPs.")
@click.option("--total", is_flag=True, help="SWEEP: count embeddings and head too, and not the blocks alone.")
@own_option
@where_option
@click.option("--serve-tokens", type=float, default=0.0, help="LAW: tokens to serve, paid from --flops.")
@click.option("--serve-flops", type=float, help="LAW: pay serving from a budget of its own.")
@click.option("--batch", type=float, help="LAW: sequences served at once; their cache counts as bytes.")
@click.option("--context", type=float, help="LAW: tokens of each sequence in the cache.")
@click.option("--cost", "cost", metavar="NAME|FILE", help=f"LAW: a cost table: {', '.join(COSTS)}, or a JSON file.")
@click.option("--formats", type=click.Choice(list(FORMAT_LISTS)), default="shipped", help="LAW: the formats to weigh.")
@click.option("--training", type=click.Choice(list(TRAININGS)), help="LAW: what may be trained in low precision.")
@click.option("--force", is_flag=True, help="LAW: answer even more than ten times outside the rows of the fit.")
@json_option
def command(
    source: str,
    size: float | None,
    flops: float | None,
    tokens: float | None,
    total: bool,
    own: bool,
    chosen: tuple[str, ...],
    serve_tokens: float,
    serve_flops: float | None,
    batch: float | None,
    context: float | None,
    cost: str | None,
    formats: str,
    training: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Rank the precisions at equal stored bytes and equal training compute (or tokens), with a verdict in words.

    A sweep or a table is fitted first, and answers at its measured sizes. LAW is a law file (a sweep's law.json is one)
    or a published law (`simlaw laws` lists them), and answers at any size.

    \b
    Example:
      simlaw decide quickstart --bytes 29e3 --flops 1e12
      simlaw decide kumar2024 --bytes 1e9 --flops 1e20 --serve-tokens 1e10 --cost H200 --batch 8 --context 2048
    """
    if flops is not None and tokens is not None:
        raise SimlawError("--flops and --tokens are two conventions: give one of them")
    budgets = {"--bytes": size, "--flops": flops, "--tokens": tokens}
    for name, value in budgets.items():
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise SimlawError(f"{name} is {value:g}: a budget is a number above 0")
    for_laws: dict[str, object] = {
        "--serve-tokens": serve_tokens,
        "--serve-flops": serve_flops,
        "--batch": batch,
        "--context": context,
        "--cost": cost,
        "--formats": formats != "shipped",
        "--training": training,
        "--force": force,
    }
    for_sweeps: dict[str, object] = {"--total": total, "--own": own, "--where": chosen}
    law = is_law(source)
    for name, given in (for_sweeps if law else for_laws).items():
        if given:
            kind = "a sweep or table" if law else "a law (a sweep's law.json is one)"
            raise SimlawError(f"{name} belongs to {kind}, and {source} is none: leave it out")
    if law:
        if (batch is None) != (context is None):
            raise SimlawError("--batch and --context make a cache together: give both")
        choice: Choice = decide_by_law(
            open_law(source),
            bytes=size,
            flops=flops,
            tokens=tokens,
            serve_tokens=serve_tokens,
            serve_flops=serve_flops,
            cache=None if batch is None or context is None else Cache(batch=batch, context=context),
            cost=_cost(cost),
            formats=formats,
            training=training,
            force=force,
        )
        if as_json:
            print_json(dataclasses.asdict(choice))
        else:
            click.echo(str(choice))
        return
    question, found = ask(source, size, flops, tokens, total, own, chosen)
    decision = answer(analyse(found.fitted), question)
    if as_json:
        print_json(dataclasses.asdict(decision))
    else:
        click.echo(decision_report(decision))


def ask(
    source: str,
    size: float | None,
    flops: float | None,
    tokens: float | None = None,
    total: bool = False,
    own: bool = False,
    chosen: tuple[str, ...] = (),
) -> tuple[Question, Source]:
    """The question to a sweep or table, by its own budget where none is given, and its rows."""
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
    return question, found


def _cost(name: str | None) -> CostTable:
    """The cost table of this name, or in this JSON file."""
    if name is None:
        return COSTS["flops"]
    if name in COSTS:
        return COSTS[name]
    if not Path(name).is_file():
        raise SimlawError(f"--cost {name}: there is no such table or file; the tables are {', '.join(COSTS)}")
    try:
        plain = json.loads(Path(name).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise SimlawError(f"--cost {name}: line {error.lineno} is no JSON; mend the file") from error
    except UnicodeDecodeError as error:
        raise SimlawError(f"--cost {name}: byte {error.start} is no UTF-8 text; save the file as UTF-8") from error
    if not isinstance(plain, dict):
        raise SimlawError(f"--cost {name}: it holds no object: give the fields of a cost table by name")
    return cost_table(plain)
