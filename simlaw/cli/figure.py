"""`simlaw figure`: draw a figure from a sweep's table."""

import hashlib
import inspect
import os
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import matplotlib.style

from simlaw.analysis import Analysis, analyse
from simlaw.claims import Beside
from simlaw.cli.analysis import table_sha256
from simlaw.cli.options import own_option, where_option
from simlaw.cli.source import open_beside, open_curves, open_source
from simlaw.declared import digest
from simlaw.errors import SimlawError
from simlaw.losscurves import LossCurves
from simlaw.plot.save import save
from simlaw.sweep import SweepFile
from simlaw.table import Table


@click.command()
@click.argument("name", metavar="FIGURE")
@click.option("--sweep", default="quickstart", show_default=True, help="Whose table to draw: a sweep or a TABLE.csv.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Where to; by default figures/out.")
@own_option
@where_option
def command(name: str, sweep: str, out: Path | None, own: bool, chosen: tuple[str, ...]) -> None:
    """Draw figures/FIGURE.py from a sweep's table, as PNG and SVG; the same table gives the same bytes.

    headline draws penalties and frontiers, collapse the loss curves that `simlaw health` judges, learning_rate what
    `simlaw rates` finds.

    \b
    Example:
      simlaw figure headline --sweep quickstart
    """
    found = open_source(sweep, own, chosen)
    place = out or folder(found.file) / "out"
    drawn = draw(
        name,
        found.file,
        found.rows,
        place,
        analysis=lambda: analyse(found.fitted),
        curves=lambda: open_curves(sweep, found, own),
        beside=lambda: open_beside(found, found.file.sweep.claims if found.file else (), own),
    )
    for path in drawn:
        click.echo(str(path))


def folder(file: SweepFile | None) -> Path:
    """The figures folder of the project that a sweep belongs to, beside its `sweeps`; without a sweep, the one here."""
    project = Path() if file is None else Path(os.path.relpath(file.folder.resolve().parent.parent))
    return project / "figures"


def draw(
    name: str,
    file: SweepFile | None,
    rows: Table,
    out: Path,
    *,
    analysis: Callable[[], Analysis],
    curves: Callable[[], LossCurves],
    beside: Callable[[], Beside],
) -> list[Path]:
    """The files of a drawn figure; raises `SimlawError` where there is no such script.

    The arguments of a script's `draw` name what it shows: the `table`, its `analysis`, its loss `curves`, what lies
    `beside` it.
    """
    script = folder(file) / f"{name}.py"
    if not script.is_file():
        there = sorted(path.stem for path in folder(file).glob("*.py"))
        raise SimlawError(f"there is no figure script {script}: the figures here are {', '.join(there) or 'none'}")
    with matplotlib.style.context(str(folder(file) / "simlaw.mplstyle"), after_reset=True):
        drawing = runpy.run_path(str(script))["draw"]
        facts = {"sweep": digest(file.sweep)} if file else {}
        facts["table"] = table_sha256(rows)
        shown: dict[str, Any] = {}
        for wanted in inspect.signature(drawing).parameters:
            given = {"table": lambda: rows, "analysis": analysis, "curves": curves, "beside": beside}
            shown[wanted] = given[wanted]()
        if "curves" in shown:
            facts["curves"] = hashlib.sha256(shown["curves"].to_csv().encode()).hexdigest()
        if "beside" in shown and len(shown["beside"].strata):
            facts["strata"] = shown["beside"].strata.sha256
        return save(drawing(**shown), out, name, facts)
