"""A sweep at work: its plan, its store, and what is there of it already."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from simlaw.config import Corpus, Teach, Text, Tokens
from simlaw.corpora import AbstractCorpus, MixCorpus, open_corpus
from simlaw.corpora.mix import of_part
from simlaw.errors import SimlawError
from simlaw.plan import Pack, Plan, expand, packs
from simlaw.run.engine import AbstractEngine, Listener, Outcome
from simlaw.run.layout import Layout, lay_out
from simlaw.run.manifest import Manifest, submit
from simlaw.run.status import Status, status_of
from simlaw.run.stored import TOKENIZER
from simlaw.run.worker import fit_packs, mesh_of
from simlaw.store import AbstractStore, open_store
from simlaw.sweep import SweepFile, load_sweep
from simlaw.table import Table, read_table


@dataclass(frozen=True, kw_only=True)
class Session:
    """A sweep file with its corpora opened and its plan expanded, beside a store."""

    file: SweepFile
    corpora: Mapping[Corpus, AbstractCorpus]
    plan: Plan
    store: AbstractStore

    @classmethod
    def open(cls, where: str, *, ahead: bool = True) -> "Session":
        """The session of a sweep given by name or path; raises `SimlawError` where anything declared is wrong.

        Not `ahead`, it is only looked at what is there, and not whether the corpora have enough for every run.
        """
        file = load_sweep(where)
        corpora = {spec: open_corpus(spec) for spec in file.sweep.corpora}
        own, others = file.sweep.corpus, {spec: each.fingerprint for spec, each in corpora.items()}
        try:
            plan = expand(file.sweep, corpora[own].fingerprint, others)
        except SimlawError as error:
            raise SimlawError(f"{file.folder / (file.variant or 'sweep')}.py: {error}") from error
        found = cls(file=file, corpora=corpora, plan=plan, store=open_store())
        if ahead:
            found._check()
        return found

    def _check(self) -> None:
        """Raise `SimlawError` for what is wrong for every run, before any of them starts."""
        context = self.file.sweep.family.context
        for spec, corpus in self.corpora.items():
            runs = [cell.spec for cell in self.plan.cells if cell.spec.corpus == spec]
            corpus.held_out(self.file.sweep.eval_tokens, context)
            for seed in {run.seed for run in runs}:
                corpus.seed_data(seed, context)
            _enough(corpus, context, max((run.tokens for run in runs), default=0))
            if not self.store.has("corpus", corpus.fingerprint):  # what is in the store was looked through before
                corpus.check_apart()

    @property
    def fingerprints(self) -> Mapping[Corpus, str]:
        """The fingerprint of each corpus."""
        return {spec: corpus.fingerprint for spec, corpus in self.corpora.items()}

    @property
    def on(self) -> str:
        """Each corpus in a line for people."""
        return "\n".join(f"corpus: {corpus.describe()}" for corpus in self.corpora.values())

    @property
    def committed(self) -> Table | None:
        """The table beside the sweep file, if there is one."""
        return read_table(self.file.table) if self.file.table.is_file() else None

    def status(self, own: bool = False) -> Status:
        """What is done and what is missing; with `own`, rows of the committed table do not count."""
        return status_of(self.plan, self.store, None if own else self.committed)

    def layout(self, status: Status, engine: AbstractEngine, memory: float | None = None) -> Layout:
        """How the work that is left is laid out on this machine; raises `SimlawError` where a run does not fit."""
        corpora = tuple(self.corpora.values())
        return lay_out(status.todo, self.file.sweep.family, corpora, engine, self.store, memory)

    def packs(self, status: Status, layout: Layout) -> tuple[Pack, ...]:
        """The work that is left; raises `SimlawError` where the engine's mesh does not divide it."""
        todo = packs(status.todo, layout.sizes)
        if (mesh := mesh_of(layout.engine.mesh)) is not None:
            fit_packs(mesh, todo)
        return todo

    def run(
        self, todo: tuple[Pack, ...], engine: AbstractEngine, tell: Listener, profile: Path | None = None
    ) -> Outcome:
        """Compute some packs; `tell` gets what workers say, the folder `profile` their traces."""
        return engine.run(self.store, self.submit(todo), len(todo), tell, profile)

    def submit(self, todo: tuple[Pack, ...]) -> str:
        """The address of a manifest of some packs, for workers; what corpora are made of goes into the store too."""
        used = tuple(dict.fromkeys(pack.corpus for pack in todo))
        for spec in used:
            corpus = self.corpora[spec]
            files = {"listing": corpus.listing().encode()}
            if corpus.tokenizer is not None:
                files[TOKENIZER] = corpus.tokenizer.encode()
            self.store.put("corpus", corpus.fingerprint, files)
        fingerprints = tuple(self.corpora[spec].fingerprint for spec in used)
        return submit(self.store, Manifest(corpora=used, fingerprints=fingerprints, packs=todo))


def _enough(corpus: AbstractCorpus, context: int, wanted: int) -> None:
    """Raise `SimlawError` where the longest run takes more passes over the text than the corpus declares."""
    if isinstance(corpus, MixCorpus):
        for tag, share, part in zip(corpus.spec.tags, corpus.shares, corpus.corpora, strict=True):
            with of_part(tag):
                _enough(part, context, round(share * wanted))
        return
    epoch, spec = corpus.epoch_tokens(context), corpus.spec
    if epoch is None or not isinstance(spec, Text | Tokens | Teach):
        return
    if wanted > epoch * spec.epochs:
        passes = "one pass over it gives" if spec.epochs == 1 else f"{spec.epochs:g} passes over it give"
        raise SimlawError(
            f"the longest run wants {wanted} tokens of the text, and {passes} "
            f"{int(epoch * spec.epochs)}: plan fewer tokens, add text, or allow repeats with "
            f"{type(spec).__name__}(epochs={math.ceil(100 * wanted / epoch) / 100:g})"
        )
