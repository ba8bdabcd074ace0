"""`simlaw show`: everything about one run."""

import json
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np

from simlaw.config import Graph, RunSpec, run_id
from simlaw.corpora import open_corpus
from simlaw.corpora.tokenizer import tokenizer_of
from simlaw.errors import SimlawError
from simlaw.evaluate import Trained, as_trained
from simlaw.history import History
from simlaw.report import columns, count
from simlaw.run.found import stored_rows
from simlaw.run.journal import JOURNAL_STEPS, Journal, Line, journal_path, read_journal
from simlaw.run.stored import find_run, history_of, note_of, spec_of, trained_tokenizer
from simlaw.run.work import weights_of
from simlaw.sample import sample
from simlaw.store import AbstractStore, open_store
from simlaw.table import Row, read_table


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--length", type=click.IntRange(0), default=200, show_default=True, help="Tokens of the sample.")
@click.option("--history", is_flag=True, help="Print the training history as JSON lines, and nothing else.")
def command(run: str, length: int, history: bool) -> None:
    """Show a run's spec, its training history, its rows and a sample of what its checkpoint writes.

    RUN is a run id, or the first digits of one; `simlaw status --json` and the table list them. The history has one
    JSON object for every 16 steps, also while the run trains.

    \b
    Example:
      simlaw show 3fa9
    """
    store = open_store()
    committed = _committed()
    found = find_run(store, run, (*committed, *(path.stem for path in journal_path(store, "").parent.glob("*.jsonl"))))
    there = store.has("run", found)
    files = store.get("run", found)
    path = journal_path(store, found)
    lines = read_journal(path)
    if history:
        for line in lines or _made_again(found, files, path):
            click.echo(json.dumps(line))
        return
    here = list(stored_rows(store, found).values())
    if lines and not there and not here:
        click.echo(f"run {found} trains, or was stopped, at step {lines[-1]['step']}: {path}\n{_journal(lines)}")
        return
    if files is None:
        rows = here or committed.get(found, [])
        why = f"its checkpoint was damaged and is set aside in {store.root / 'aside'}"
        if not there:
            why = "its checkpoint is not in this store"
        if not rows:
            raise SimlawError(f"run {found}: {why}, and it has no rows: run its sweep again to make it anew")
        click.echo(f"run {found}: {why}; these are its rows\n\n{rows_shown(rows)}")
        return
    # all of it is read before any of it is printed
    spec, note = spec_of(found, files), note_of(found, files)
    shown = _history(spec, history_of(found, files, spec.steps))
    weights = weights_of(spec, files, None, found) if length and note is None else None
    click.echo(f"run {found}\n{json.dumps(json.loads(files['spec.json']), indent=1)}\n\n{shown}")
    if lines:
        click.echo(f"every {JOURNAL_STEPS} steps as JSON lines: {path}")
    if here:
        click.echo(f"\n{rows_shown(here)}")
    if note is not None:
        click.echo(f"\n{note}")
    elif weights is not None:
        click.echo(f"\n{_sample(store, found, spec, as_trained(spec, weights), length)}")


def _committed() -> dict[str, list[Row]]:
    """The rows of all committed tables below the working folder, by run."""
    runs: dict[str, list[Row]] = {}
    for path in sorted(Path("sweeps").glob("*/table.csv")):
        for row in read_table(path):
            runs.setdefault(row["run_id"], []).append(row)
    return runs


def _made_again(run: str, files: dict[str, bytes] | None, path: Path) -> list[Line]:
    """The lines of a run that has no journal, as stores of version 0.1 have none: without times."""
    if files is None:
        raise SimlawError(
            f"run {run} has no history here: it was trained in another store, or its checkpoint is damaged"
        )
    spec = spec_of(run, files)
    journal = Journal(path=path, spec=spec, cool=True)
    return journal.made(history_of(run, files, spec.steps), 0, spec.steps)


def _history(spec: RunSpec, history: History) -> str:
    """Training loss and gradient norm as lines of blocks, and at ten places as numbers."""
    losses, norms = history
    steps = np.unique(np.linspace(0, len(losses) - 1, 10).astype(int)).tolist()
    lines = []
    for s in steps:
        loss, norm = (values[max(0, s - 7) : s + 1].mean() for values in (losses, norms))
        # runs of version 0.1 have no gradient norms
        norm_text = "" if np.isfinite(loss) and np.isnan(norm) else f"{norm:.3g}"
        lines.append((str(s), count((s + 1) * spec.batch_tokens), f"{loss:.4f}", norm_text))
    table = columns(("step", "tokens", "training loss (mean of 8)", "gradient norm (mean of 8)"), lines)
    return f"{_curves(losses, norms)}\n{table}"


def _journal(lines: list[Line]) -> str:
    """The same of a journal."""
    losses, norms = (np.array([line[name] for line in lines], float) for name in ("loss", "gradient_norm"))
    return _curves(losses, norms)


def _curves(losses: np.ndarray, norms: np.ndarray) -> str:
    drawn = [f"training loss {_blocks(losses)} nats per token"]
    if np.isfinite(norms).any():
        drawn.append(f"gradient norm {_blocks(norms)}")
    return "\n".join(drawn)


def _blocks(values: np.ndarray) -> str:
    """Numbers as a line of blocks with its ends; "!" where one is not finite."""
    means = np.array([part.mean() for part in np.array_split(values, min(60, len(values))) if part.size])
    finite = means[np.isfinite(means)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    heights = np.where(np.isfinite(means), 7 * (means - low) / (high - low if high > low else 1.0), -1)
    line = "".join("!" if height < 0 else "▁▂▃▄▅▆▇█"[int(height)] for height in heights)
    return f"{line} from {means[0]:.3f} to {means[-1]:.3f}"


def rows_shown(rows: list[Row]) -> str:
    """The evaluations of a run as lines of text, those of the last weights first."""

    def cell(value: float | None, digits: int = 4) -> str:
        return "" if value is None else f"{value:.{digits}f}"

    def kind(row: Row) -> Iterator[str]:
        what = "as trained" if row["ptq_bits"] is None else f"{row['ptq_method']} int{row['ptq_bits']}"
        yield what + _average(row)
        yield "" if row["ptq_bits"] is None else f"{row['ptq_granularity']}{row['ptq_group'] or ''}"

    head = ("evaluation", "scales per", "loss", "se", "delta", "paired se", "excess", "block bytes")
    lines = [
        (
            *kind(row),
            cell(row["loss"]),
            cell(row["loss_se"]),
            cell(row["delta"]),
            cell(row["delta_se"]),
            cell(row["excess"]),
            f"{row['bytes_blocks']:.0f}",
        )
        for row in sorted(rows, key=_average)
    ]
    return columns(head, lines)


def _average(row: Row) -> str:
    """Which average of the weights a row is of; nothing where it is of the last ones."""
    if row["average"] is None:
        return ""
    snapshots = f"{row['average_count']} x " if row["average_count"] else ""
    return f", {row['average']} of {snapshots}{count(row['average_tokens'])} tokens"


def _sample(store: AbstractStore, run: str, spec: RunSpec, trained: Trained, length: int) -> str:
    if isinstance(spec.corpus, Graph):
        drawn = sample(spec.model, trained.params, [0], length, arithmetic=trained.arithmetic)
        return f"sample, from node 0: {' '.join(map(str, drawn))}"
    corpus = open_corpus(spec.corpus)
    tokenizer = tokenizer_of(spec.corpus, spec.model.vocab, trained_tokenizer(store, run, spec))
    if corpus.tokenizer is not None and run_id(spec, corpus.fingerprint) != run:
        begun, what = (
            [tokenizer.start],
            "the start of a file (the text here is another than it was trained on):",
        )
    else:
        begun = corpus.held_out(spec.model.context, spec.model.context)[0].tolist()
        what = "a held-out window:"
    drawn = sample(spec.model, trained.params, begun, length, arithmetic=trained.arithmetic)
    before, after = (
        found if isinstance(found, str) else " ".join(map(str, found))
        for found in map(tokenizer.decode, (begun, drawn))
    )
    return f"{what}\n{before}\n--- and how the model goes on:\n{after}"
