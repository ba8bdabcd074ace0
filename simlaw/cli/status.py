"""`simlaw status`: what is done, running, failed and missing."""

import click

from simlaw.cli.options import json_option, own_option, print_json, sweep_argument
from simlaw.report import columns, count
from simlaw.run.session import Session
from simlaw.run.status import CellStatus
from simlaw.run.submissions import queued

#: How many tasks of a queue are named.
_NAMED = 3
_CONDITIONS = ("done", "running", "failed", "diverged", "missing")


@click.command()
@sweep_argument
@own_option
@json_option
def command(sweep: str, own: bool, as_json: bool) -> None:
    """Count a sweep's runs by condition, and name those that are running, failed or diverged.

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
                **_facts(c),
            }
            for c in status.cells
        ]
        print_json({**{name: status.count(name) for name in _CONDITIONS}, "cells": cells})  # type: ignore[arg-type]
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
        tasks = ", ".join(sorted(waiting)[:_NAMED]) + (f" and {len(waiting) - _NAMED} more" * (len(waiting) > _NAMED))
        click.echo(f"{len(missing & queue.places.keys())} of the missing are queued ({tasks})")
    if queue.note:
        click.echo(f"note: {queue.note}", err=True)
    for c in status.cells:
        if c.condition in ("running", "failed", "diverged"):
            spec = c.cell.spec
            click.echo(
                f"{c.cell.run_id}  {c.condition}: width {spec.model.width}, {count(spec.tokens)} tokens, "
                f"seed {spec.seed}: {c.note}"
            )


def _facts(c: CellStatus) -> dict[str, object]:
    return {"width": c.cell.spec.model.width, "tokens": c.cell.spec.tokens, "seed": c.cell.spec.seed}
