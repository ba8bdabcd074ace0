"""`simlaw teach`: a corpus with an exact floor, sampled from a trained model."""

import re
from pathlib import Path
from typing import Any

import click

from simlaw.cli.progress import progress
from simlaw.config import Average, RunSpec
from simlaw.corpora.lessons import make_lessons
from simlaw.corpora.teach import TeachCorpus
from simlaw.corpora.tokenizer import tokenizer_of
from simlaw.errors import SimlawError
from simlaw.run.stored import find_run, read_run
from simlaw.run.work import weights_of
from simlaw.store import open_store
from simlaw.teacher import Teacher

_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9}


class _Tokens(click.ParamType[int]):
    """A number of tokens with a unit: 200k, 4M, 1e6."""

    name = "tokens"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = re.fullmatch(r"([0-9.]+(?:e[0-9]+)?)([kMB]?)", str(value))
        try:
            number = round(float(found[1]) * _UNITS[found[2]]) if found else 0
        except (ValueError, OverflowError):
            number = 0
        if number < 1:
            self.fail(f"{value!r} is no number of tokens, such as 200k, 4M or 1e6", param, ctx)
        return number


@click.command()
@click.argument("run", metavar="RUN")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="FOLDER", help="The new folder to write to."
)
@click.option("--tokens", type=_Tokens(), default="4M", show_default=True, help="Tokens to train on.")
@click.option("--held-out", type=_Tokens(), default="200k", show_default=True, help="Tokens to evaluate on.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of what is drawn.")
@click.option(
    "--average", metavar="AVERAGE", help='An average of the weights that the run kept, as in "EMA(tokens=65536)".'
)
def command(run: str, out: Path, tokens: int, held_out: int, seed: int, average: str | None) -> None:
    """Sample a corpus from a trained model, whose own loss is then the corpus's exact floor.

    RUN is a run id in the store, or the first digits of one. The folder needs no store afterwards: a sweep reads it
    with Teach(folder=…, vocab=…) as its corpus. The model draws at temperature 1, window by window of its own context.

    \b
    Example:
      simlaw teach 3fa9 --out lessons --tokens 4M --held-out 200k
    """
    store = open_store()
    if not store.root.is_dir():
        raise SimlawError(f"there is no store at {store.root}: set SIMLAW_STORE, or run a sweep first")
    found = read_run(store, find_run(store, run))
    if found.note is not None:
        raise SimlawError(f"run {found.run_id} diverged and has no model: {found.note}")
    chosen = None if average is None else _average(found.spec, average)
    teacher = Teacher.of(
        found.run_id,
        found.spec,
        weights_of(found.spec, found.files, chosen, found.run_id),
        tokenizer_of(found.spec.corpus, found.spec.model.vocab).start,
    )
    with progress(f"run {found.run_id} writes", tokens + held_out) as tell:
        lessons = make_lessons(teacher, out, tokens, held_out, seed, chosen, tell)
    corpus = TeachCorpus.of(lessons)
    context = teacher.model.context
    corpus.held_out(context, context)  # which says where many windows repeat
    click.echo(
        f"{out}: {corpus.describe()}\nentropy {corpus.entropy:.4f} nats per token; as the corpus of a sweep:\n"
        f'  Teach(folder="{out}", vocab={corpus.vocab}, run="{found.run_id}")'
    )


def _average(spec: RunSpec, given: str) -> Average:
    """The average that a run kept, by the name that it is declared with."""
    for average in spec.averages:
        if str(average).replace(" ", "") == given.replace(" ", ""):
            return average
    kept = ", ".join(map(str, spec.averages)) or "none"
    raise SimlawError(f"the run kept no average {given}, but {kept}: name one as it is written here")
