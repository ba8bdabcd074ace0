"""`simlaw plan`: what a sweep would run, and what it would cost."""

from collections import Counter
from collections.abc import Sequence

import click

from simlaw.cli.gate import gate, simulated
from simlaw.cli.options import (
    engine_options,
    json_option,
    own_option,
    print_json,
    sweep_argument,
)
from simlaw.errors import SimlawError
from simlaw.plan import Cell, shared_work
from simlaw.report import columns, count, power_of_ten, size, wrapped
from simlaw.run.engine import AbstractEngine
from simlaw.run.estimate import estimate
from simlaw.run.session import Session


@click.command()
@sweep_argument
@engine_options
@own_option
@click.option("--manifest", is_flag=True, help="Write the work that is left for `simlaw work`, and print where.")
@click.option("--force", is_flag=True, help="Plan a sweep that is refused all the same.")
@click.option("--power", is_flag=True, help="Simulate the sweep many times, fit it, and say what the fits find.")
@click.option("--draws", type=click.IntRange(2), default=50, show_default=True, help="Simulated sweeps of --power.")
@json_option
def command(
    sweep: str,
    engine: AbstractEngine,
    memory: float | None,
    own: bool,
    manifest: bool,
    force: bool,
    power: bool,
    draws: int,
    as_json: bool,
) -> None:
    """Show a sweep's cells, their cost, and what its fits could tell; nothing is run.

    A sweep whose cells cannot hold the laws is refused with exit status 2, and no manifest of it is written; --force
    overrules that once, and Sweep(unidentified="why") for good. Expected errors are the least that any fit can have;
    --power shows what simlaw's fits make of it.

    With --manifest, a scheduler's jobs can do the work: job I calls `simlaw work --manifest PATH --index I`.

    \b
    Example:
      simlaw plan quickstart
    """
    session = Session.open(sweep)
    cells, status = session.plan.cells, session.status(own)
    layout = session.layout(status, engine, memory)
    engine = layout.engine
    packs = session.packs(status, layout)
    left = estimate(packs, session.fingerprints, engine, session.store)
    whole = {
        "runs": len(cells),
        "evaluations": sum(len(cell.evals) for cell in cells),
        "tokens": sum(cell.spec.tokens for cell in cells),
        "flops_train_6nd": sum(cell.flops_train for cell in cells),
        "flops_eval": sum(cell.flops_eval for cell in cells),
        "shared_work": shared_work(cells),
        "missing": len(status.todo),
        "seconds_left": left.seconds,
        "seconds_basis": left.basis,
        "workers": engine.workers,
        "pack_size": layout.pack_size,
        "pack_basis": layout.basis,
        "worker_bytes": layout.worker_bytes,
        "memory_bytes": layout.memory,
    }
    verdict = gate(session, own)
    refused = SimlawError(verdict.sentence) if verdict.closed and not force else None
    if manifest and not packs:
        raise SimlawError(f"all runs of {session.file.name} are there, so there is nothing to submit: try --own")
    if manifest and not refused:
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
        recovered = simulated(verdict.design, draws)[0] if power and verdict.design else []
        print_json({**whole, "identification": verdict.plain | {"power": recovered}, "cells": listed})
        if refused:
            raise refused
        return
    click.echo(f"{session.file.name}: {session.file.claim.splitlines()[0] if session.file.claim else 'no claim'}")
    click.echo(f"{session.on}\n")
    click.echo(columns(_HEAD, [*_lines(cells), _total(cells)]))
    precisions = Counter(cell.spec.precision.name or "16 bit" for cell in cells)
    if len(precisions) > 1:
        each = ", ".join(f"{name} {runs}" for name, runs in precisions.items())
        click.echo("\n" + wrapped(f"runs by training precision: {each}"))
    click.echo(
        f"\n{whole['runs']} runs, {whole['evaluations']} evaluations; {len(cells) - len(status.todo)} runs are done, "
        f"{len(status.todo)} are left{status.remark}: " + (str(left) if status.todo else "nothing to do")
    )
    if status.todo:
        click.echo(str(layout))
    click.echo(
        f"sharing trunks takes {whole['shared_work']:.0%} of the training FLOPs of independent runs (each D is a "
        "cool-down of its own from one constant-rate trunk)"
    )
    if "manifest" in whole:
        click.echo(f"manifest: {whole['manifest']}, entries 0 to {len(packs) - 1}")
    click.echo(f"\n{verdict}")
    if power and verdict.design:
        click.echo("\n" + simulated(verdict.design, draws)[1])
    if refused:
        raise refused


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
