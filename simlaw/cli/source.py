"""Where a command's rows come from: a sweep with its table and its store, or a table by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from simlaw.claims import Beside, claim_of
from simlaw.columns import PARQUET
from simlaw.errors import SimlawError
from simlaw.losscurves import LossCurves, read_curves
from simlaw.strata import Strata
from simlaw.sweep import SweepFile, load_sweep
from simlaw.table import Table, read_table


@dataclass(frozen=True, kw_only=True)
class Source:
    """The rows to analyse, their name for people, and the sweep that they belong to, if there is one."""

    name: str
    rows: Table
    file: SweepFile | None

    @property
    def fitted(self) -> Table:
        """The rows that laws are fitted to: those that the sweep says, or all."""
        return self.rows if self.file is None else select(self.rows, self.file.sweep.where)


def open_source(where: str, own: bool, chosen: Sequence[str]) -> Source:
    """The rows of a sweep by name or path, or of a table by its path; those that `chosen` (COLUMN=VALUE) accepts.

    A table by itself needs neither corpus nor JAX. Raises `SimlawError` where there is no row, and for JSON lines,
    which are no table of simlaw's.
    """
    if where.lower().endswith(".jsonl"):
        raise SimlawError(
            f"{where} is a table of your own: name its columns to `simlaw fit`, for example -c N=params -c D=tokens "
            "-c loss=val_loss"
        )
    source = _table(Path(where)) if where.endswith((".csv", *PARQUET)) else _sweep(where, own)
    rows = source.rows
    if not rows:
        raise SimlawError(
            f"no run of {source.name} is done, so there is nothing to fit: `simlaw run {source.name}` first"
        )
    return Source(name=source.name, rows=select(rows, chosen), file=source.file)


def open_curves(where: str, found: Source, own: bool) -> LossCurves:
    """The loss curves of the rows of a source: those beside its table, and what this store holds of the other runs.

    With `own` those of the store alone.
    """
    table = where.endswith((".csv", *PARQUET))
    path = Path(where).with_name("curves.csv") if table or found.file is None else found.file.curves
    curves = LossCurves() if own or not path.is_file() else read_curves(path).of(found.rows)
    if table:
        return curves
    from simlaw.run.curves import stored_curves
    from simlaw.store import open_store

    return curves.merged(stored_curves(open_store(), found.rows, curves))


def open_beside(found: Source, claims: Sequence[str], own: bool) -> Beside:
    """What lies beside the rows, where one of these claims looks there; of a table without a sweep nothing is known."""
    if found.file is None or all(claim_of(name).beside is None for name in claims):
        return Beside()
    from simlaw.corpora import open_corpus

    return Beside(
        corpora={open_corpus(spec).fingerprint: spec for spec in found.file.sweep.corpora},
        strata=strata_of(found.file, found.rows, own),
    )


def strata_of(file: SweepFile, rows: Table, own: bool) -> Strata:
    """The strata of rows: those beside the committed table, and what this store holds of the others.

    With `own` those of the store alone.
    """
    from simlaw.run.found import stored_details
    from simlaw.store import open_store

    evals = [row["eval_id"] for row in rows]
    there = Strata() if own or not file.strata.is_file() else Strata.parse(file.strata.read_text()).of(evals)
    known = {row["eval_id"] for row in there.rows}
    others = Table(rows=tuple(row for row in rows if row["eval_id"] not in known))
    return there.merged(stored_details(open_store(), others, Strata)).of(evals)


def select(rows: Table, chosen: Sequence[str]) -> Table:
    """The rows that every COLUMN=VALUE accepts."""
    for choice in chosen:
        name, sign, value = choice.partition("=")
        if not sign:
            raise SimlawError(f"--where {choice}: it must read COLUMN=VALUE, for example cooldown=0.2")
        rows = rows.select(name, value)
    return rows


def _table(path: Path) -> Source:
    beside = path.with_name("sweep.py")
    file = load_sweep(str(beside)) if beside.is_file() else None
    return Source(name=str(path), rows=read_table(path), file=file)


def _sweep(where: str, own: bool) -> Source:
    from simlaw.run.session import Session

    session = Session.open(where)
    rows = session.status(own).rows
    committed = None if own else session.committed
    if not rows and committed:
        click.echo(
            f"none of the committed rows is of this sweep on the corpus here ({session.on.removeprefix('corpus: ')}): "
            "they are taken as they are",
            err=True,
        )
        rows = committed
    return Source(name=session.file.name, rows=rows, file=session.file)
