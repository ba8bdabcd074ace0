"""`simlaw figure`: draw a figure from a sweep's table."""

import runpy
from pathlib import Path

import click
import matplotlib.style

from simlaw.analysis import Analysis
from simlaw.cli.analysis import analyse_rows, table_sha256
from simlaw.cli.options import own_option
from simlaw.declared import digest
from simlaw.errors import SimlawError
from simlaw.plot.save import save
from simlaw.run.session import Session
from simlaw.sweep import SweepFile


@click.command()
@click.argument("name", metavar="FIGURE")
@click.option("--sweep", default="quickstart", show_default=True, help="Whose table to draw.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Where to; by default figures/out.")
@own_option
def command(name: str, sweep: str, out: Path | None, own: bool) -> None:
    """Draw figures/FIGURE.py from a sweep's table, as PNG and SVG; the same table gives the same bytes.

    \b
    Example:
      simlaw figure headline --sweep quickstart
    """
    session = Session.open(sweep)
    analysis = analyse_rows(session.status(own).rows, session.file.name)
    for path in draw(name, session.file, analysis, out or folder(session.file) / "out"):
        click.echo(str(path))


def folder(file: SweepFile) -> Path:
    """The figures folder of the project that a sweep belongs to: beside its `sweeps`."""
    return file.folder.parent.parent / "figures"


def draw(name: str, file: SweepFile, analysis: Analysis, out: Path) -> list[Path]:
    """The files of a drawn figure; raises `SimlawError` where there is no such script."""
    script = folder(file) / f"{name}.py"
    if not script.is_file():
        there = sorted(path.stem for path in folder(file).glob("*.py"))
        raise SimlawError(f"there is no figure script {script}: the figures here are {', '.join(there) or 'none'}")
    with matplotlib.style.context(str(folder(file) / "simlaw.mplstyle")):
        figure = runpy.run_path(str(script))["draw"](analysis)
        facts = {"sweep": digest(file.sweep), "table": table_sha256(analysis.table)}
        return save(figure, out, name, facts)
