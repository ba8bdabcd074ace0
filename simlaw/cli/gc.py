"""`simlaw gc`: free the store of what no sweep here uses."""

import shutil
from collections import Counter
from pathlib import Path

import click

from simlaw.config import trunk_id
from simlaw.corpora.bpe import KIND
from simlaw.errors import SimlawError
from simlaw.report import size
from simlaw.run.session import Session
from simlaw.run.submissions import queued
from simlaw.store import held, open_store


@click.command()
@click.option("--yes", is_flag=True, help="Remove it; without this, only say what would go.")
def command(yes: bool) -> None:
    """Remove runs, rows, states, histories and leftovers that no sweep below sweeps/ uses.

    \b
    Example:
      simlaw gc --yes
    """
    store = open_store()
    runs, trunks, corpora, tokenized = set(), set(), set(), set()
    sweeps = sorted(Path("sweeps").glob("*/sweep.py"))
    if not sweeps:
        raise SimlawError(
            "there is no sweep below sweeps/ here, so everything would go: run it from the project's folder"
        )
    for path in sweeps:
        session = Session.open(str(path))
        corpora |= set(session.fingerprints.values())
        tokenized |= {key for corpus in session.corpora.values() for key in corpus.kept}
        runs |= {cell.run_id for cell in session.plan.cells}
        trunks |= {trunk_id(cell.spec.trunk, cell.fingerprint) for cell in session.plan.cells}
    if busy := [key for key, lease in held(store).items() if not lease.gone]:
        raise SimlawError(
            f"workers are at work here (on {', '.join(sorted(busy)[:3])}): wait for them, or stop them first"
        )
    if places := queued(store).places:
        raise SimlawError(
            f"jobs of this store are in the queue ({next(iter(places.values()))}): wait for them, or cancel them"
        )
    folders = ("aside", "claims", "leases", "logs", "tmp", "manifests", "submissions")
    doomed: list[Path] = [store.root / name for name in folders]
    for kind, used in (
        ("corpus", corpora),
        (KIND, tokenized),
        ("run", runs),
        ("rows", runs),
        ("failure", runs),
        ("trunk", trunks),
        ("partial", trunks | runs),
    ):
        folder = store.root / kind
        doomed += [path for path in sorted(folder.glob("*")) if path.name not in used] if folder.is_dir() else []
    history = store.root / "history"
    doomed += [path for path in sorted(history.glob("*.jsonl")) if path.stem not in runs]
    doomed += [path for path in sorted(history.glob("trunk/*.jsonl")) if path.stem not in trunks]
    doomed = [path for path in doomed if path.exists()]
    files = [file for path in doomed for file in (path, *path.rglob("*")) if file.is_file()]
    freed = sum(file.stat().st_size for file in files)
    if yes:
        for file in files:
            file.unlink()
        for path in doomed:
            shutil.rmtree(path, ignore_errors=True)
    kinds = Counter(path.name if path.parent == store.root else path.parent.name for path in doomed)
    what = f"{size(freed)}: {', '.join(f'{n} {kind}' for kind, n in kinds.items())}" if doomed else "nothing"
    click.echo(f"removed {what}" if yes else f"would remove {what}; `simlaw gc --yes` does")
