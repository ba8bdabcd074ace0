"""`simlaw plan`: what a sweep would run, and what it would cost."""

from collections.abc import Sequence

import click

from simlaw.cli.options import device_option, json_option, own_option, print_json, sweep_argument, workers_option
from simlaw.errors import SimlawError
from simlaw.plan import Cell
from simlaw.report import columns, count, duration, power_of_ten, size
from simlaw.run.estimate import estimate
from simlaw.run.local import Local
from simlaw.run.session import Session


@click.command()
@sweep_argument
@workers_option
@device_option
@own_option
@click.option("--manifest", is_flag=True, help="Write the work that is left for `simlaw work`, and print where.")
@json_option
def command(sweep: str, workers: int, device: str, own: bool, manifest: bool, as_json: bool) -> None:
    """Show a sweep's cells and their cost; nothing is run.

    With --manifest, a scheduler's jobs can do the work: job I calls `simlaw work --manifest PATH --index I`.

    \b
    Example:
      simlaw plan quickstart
    """
    session = Session.open(sweep)
    cells, status = session.plan.cells, session.status(own)
    engine = Local(workers=workers, device=device)
    packs = session.packs(status, engine)
    left = estimate(packs, session.plan.fingerprint, engine, session.store)
    whole = {
        "runs": len(cells),
        "evaluations": sum(len(cell.evals) for cell in cells),
        "tokens": sum(cell.spec.tokens for cell in cells),
        "flops_train_6nd": sum(cell.flops_train for cell in cells),
        "flops_eval": sum(cell.flops_eval for cell in cells),
        "missing": len(status.todo),
        "seconds_left": left.seconds,
        "seconds_basis": left.basis,
    }
    if manifest and not packs:
        raise SimlawError(f"all runs of {session.file.name} are there, so there is nothing to submit: try --own")
    if manifest:
        whole |= {"manifest": str(session.submit(packs)), "entries": len(packs)}
    if as_json:
        listed = [
            {
                "run_id": cell.run_id,
                "width": cell.spec.model.width,
                "params_blocks": cell.counts.blocks,
                "params_total": cell.counts.total,
                "tokens": cell.spec.tokens,
                "seed": cell.spec.seed,
                "peak_rate": cell.spec.optimizer.peak_rate,
                "flops_train_6nd": cell.flops_train,
                "flops_eval": cell.flops_eval,
                "bytes_total": cell.bytes,
                "evaluations": len(cell.evals),
            }
            for cell in cells
        ]
        print_json({**whole, "cells": listed})
        return
    click.echo(f"{session.file.name}: {session.file.claim.splitlines()[0] if session.file.claim else 'no claim'}")
    click.echo(f"corpus: {session.corpus.describe()}\n")
    click.echo(columns(_HEAD, [*_lines(cells), _total(cells)]))
    click.echo(
        f"\n{whole['runs']} runs, {whole['evaluations']} evaluations; {len(cells) - len(status.todo)} runs are done, "
        f"{len(status.todo)} are left{status.remark}: "
        + (f"about {duration(left.seconds)} here ({left.basis})" if status.todo else "nothing to do")
    )
    if manifest:
        click.echo(f"manifest: {whole['manifest']}, entries 0 to {len(packs) - 1}")
    for warning in _warnings(cells):
        click.echo(f"note: {warning}")
    epoch = session.corpus.epoch_tokens(session.file.sweep.family.context)
    repeats = sum(epoch is not None and cell.spec.tokens > epoch for cell in cells)
    if repeats:
        click.echo(f"{repeats} runs go over the corpus more than once; fits leave them out unless asked")


def _warnings(cells: Sequence[Cell]) -> list[str]:
    """What the fits will refuse or not identify, said before anything is run."""
    recipe = [cell for cell in cells if cell.spec.optimizer.rate_multiple == 1]
    seeds: dict[tuple[int, int], set[int]] = {}
    for cell in recipe:
        seeds.setdefault((cell.spec.model.width, cell.spec.tokens), set()).add(cell.spec.seed)
    sizes, tokens = ({key[i] for key in seeds} for i in (0, 1))
    found = []
    if all(len(each) < 2 for each in seeds.values()):
        found.append("no size and token count has two seeds, so no fit will know the noise: add seeds")
    if min(len(sizes), len(tokens)) < 3:
        found.append(
            f"{len(sizes)} sizes and {len(tokens)} token counts cannot hold Chinchilla's five parameters: take three "
            "of each or more"
        )
    return found


_HEAD = ("width", "N blocks", "N all", "tokens", "rates", "runs", "train FLOPs", "eval FLOPs", "bytes at 16 bit")


def _lines(cells: Sequence[Cell]) -> list[tuple[str, ...]]:
    """One line for each size."""
    lines: list[tuple[str, ...]] = []
    for width in dict.fromkeys(cell.spec.model.width for cell in cells):
        these = [cell for cell in cells if cell.spec.model.width == width]
        tokens = sorted({cell.spec.tokens for cell in these})
        rates = sorted({cell.spec.optimizer.peak_rate for cell in these})
        lines.append(
            (
                str(width),
                count(these[0].counts.blocks),
                count(these[0].counts.total),
                count(tokens[0]) if len(tokens) == 1 else f"{count(tokens[0])} to {count(tokens[-1])}",
                ", ".join(f"{rate:.2g}" for rate in rates),
                str(len(these)),
                power_of_ten(sum(cell.flops_train for cell in these)),
                power_of_ten(sum(cell.flops_eval for cell in these)),
                size(these[0].bytes),
            )
        )
    return lines


def _total(cells: Sequence[Cell]) -> tuple[str, ...]:
    train, evaluation = sum(cell.flops_train for cell in cells), sum(cell.flops_eval for cell in cells)
    return ("all", "", "", "", "", str(len(cells)), power_of_ten(train), power_of_ten(evaluation), "")
