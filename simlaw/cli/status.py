"""`simlaw status`: what is done, running, failed and missing."""

from collections.abc import Sequence

import click

from simlaw.cli.options import json_option, own_option, print_json, sweep_argument
from simlaw.report import columns, count
from simlaw.run.faults import faults, tail
from simlaw.run.session import Session
from simlaw.run.status import CellStatus
from simlaw.run.submissions import queued

#: How many tasks of a queue are named.
_NAMED = 3
_CONDITIONS = ("done", "running", "failed", "diverged", "missing")


@click.command()
@sweep_argument
@own_option
@click.option("--log", type=click.IntRange(0), default=3, show_default=True, help="Show so many last lines of logs.")
@json_option
def command(sweep: str, own: bool, log: int, as_json: bool) -> None:
    """Count a sweep's runs by condition, and say where each is running, why it failed or diverged, and what was mended.

    The store is the truth; what waits in a queue is asked of SLURM where it answers. Logs are shown where this machine
    sees them.

    \b
    Example:
      simlaw status quickstart
    """
    session = Session.open(sweep, ahead=False)
    status = session.status(own)
    queue, missing = queued(session.store), {c.cell.run_id for c in status.cells if c.condition == "missing"}
    if as_json:
        cells = [
            {
                "run_id": c.cell.run_id,
                "condition": c.condition,
                "note": c.note,
                "queued": queue.places.get(c.cell.run_id),
                "last_task": f"slurm {queue.gone[c.cell.run_id]}" if c.cell.run_id in queue.gone else None,
                **_facts(c),
            }
            for c in status.cells
        ]
        each = {name: status.count(name) for name in _CONDITIONS}  # type: ignore[arg-type]
        print_json({**each, "faults": faults(session.store), "cells": cells})
        return
    lines = []
    for width in dict.fromkeys(c.cell.spec.model.width for c in status.cells):
        these = [c for c in status.cells if c.cell.spec.model.width == width]
        counts = [str(sum(c.condition == name for c in these) or "") for name in _CONDITIONS]
        lines.append((str(width), count(these[0].cell.counts.blocks), *counts))
    lines.append(("all", "", *(str(status.count(name)) for name in _CONDITIONS)))  # type: ignore[arg-type]
    click.echo(columns(("width", "N blocks", *_CONDITIONS), lines))
    if status.remark:
        click.echo(status.remark.strip())
    if waiting := {place for run, place in queue.places.items() if run in missing}:
        click.echo(f"{len(missing & queue.places.keys())} of the missing are queued ({_some(sorted(waiting))})")
    if ended := [queue.gone[c.cell.run_id] for c in status.cells if c.cell.run_id in missing & queue.gone.keys()]:
        tasks = [*dict.fromkeys(ended)]
        click.echo(
            f"{len(ended)} of the missing were submitted (slurm {_some(tasks)}), and are in the queue no more: `simlaw "
            f"run {sweep} --engine slurm` with its options submits them again"
        )
        logs = (tail(str(session.store.root / "logs" / f"{task}.log"), log) for task in reversed(tasks))
        for line in next(filter(None, logs), []):  # of the last one that said anything
            click.echo(f"    {line}")
    if queue.note:
        click.echo(f"note: {queue.note}", err=True)
    for c in status.cells:
        if c.condition in ("running", "failed", "diverged") or c.log_path:
            spec = c.cell.spec
            click.echo(
                f"{c.cell.run_id}  {c.condition}: width {spec.model.width}, {count(spec.tokens)} tokens, "
                f"seed {spec.seed}: {c.note}"
            )
            for line in c.log[-log:] if log and c.log else tail(c.log_path, log):
                click.echo(f"    {line}")
    for fault in faults(session.store):
        click.echo(fault)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + f" and {len(names) - _NAMED} more" * (len(names) > _NAMED)


def _facts(c: CellStatus) -> dict[str, object]:
    return {"width": c.cell.spec.model.width, "tokens": c.cell.spec.tokens, "seed": c.cell.spec.seed}
