"""A sweep at work: its plan, its store, and what is there of it already."""

import math
from dataclasses import dataclass
from pathlib import Path

from simlaw.config import Teach, Text, Tokens
from simlaw.corpora import AbstractCorpus, open_corpus
from simlaw.errors import SimlawError
from simlaw.plan import Pack, Plan, expand, packs
from simlaw.run.layout import Layout, lay_out
from simlaw.run.local import Listener, Local, Outcome
from simlaw.run.status import Status, status_of
from simlaw.run.worker import Manifest, fit_packs, mesh_of, submit
from simlaw.store import Store, default_root
from simlaw.sweep import Sweep, SweepFile, load_sweep
from simlaw.table import Table, read_table


@dataclass(frozen=True, kw_only=True)
class Session:
    """A sweep file with its corpus opened and its plan expanded, beside a store."""

    file: SweepFile
    corpus: AbstractCorpus
    plan: Plan
    store: Store

    @classmethod
    def open(cls, where: str) -> "Session":
        """The session of a sweep given by name or path; raises `SimlawError` where anything declared is wrong."""
        file = load_sweep(where)
        corpus = open_corpus(file.sweep.corpus)
        try:
            plan = expand(file.sweep, corpus.fingerprint)
        except SimlawError as error:
            raise SimlawError(f"{file.folder / (file.variant or 'sweep')}.py: {error}") from error
        # wrong here is wrong for every run, so say it before any of them starts
        corpus.held_out(file.sweep.eval_tokens, file.sweep.family.context)
        for seed in {cell.spec.seed for cell in plan.cells}:
            corpus.seed_data(seed, file.sweep.family.context)
        _enough(file.sweep, corpus, plan)
        store = Store(root=default_root())
        if not store.has("corpus", corpus.fingerprint):  # what is in the store was looked through before
            corpus.check_apart()
        return cls(file=file, corpus=corpus, plan=plan, store=store)

    @property
    def committed(self) -> Table | None:
        """The table beside the sweep file, if there is one."""
        return read_table(self.file.table) if self.file.table.is_file() else None

    def status(self, own: bool = False) -> Status:
        """What is done and what is missing; with `own`, rows of the committed table do not count."""
        return status_of(self.plan, self.store, None if own else self.committed)

    def layout(self, status: Status, engine: Local, memory: float | None = None) -> Layout:
        """How the work that is left is laid out on this machine; raises `SimlawError` where a run does not fit."""
        return lay_out(status.todo, self.file.sweep.family, self.corpus, engine, self.store, memory)

    def packs(self, status: Status, layout: Layout) -> tuple[Pack, ...]:
        """The work that is left; raises `SimlawError` where the engine's mesh does not divide it."""
        todo = packs(status.todo, layout.sizes)
        if (mesh := mesh_of(layout.engine.mesh)) is not None:
            fit_packs(mesh, todo)
        return todo

    def run(self, todo: tuple[Pack, ...], engine: Local, tell: Listener, profile: Path | None = None) -> Outcome:
        """Compute some packs; `tell` gets what workers say, the folder `profile` their traces."""
        return engine.run(self.store, self.submit(todo), len(todo), tell, profile)

    def submit(self, todo: tuple[Pack, ...]) -> Path:
        """The path of a manifest of some packs, for workers; what the corpus is made of goes into the store too."""
        self.store.put("corpus", self.corpus.fingerprint, {"listing": self.corpus.listing().encode()})
        manifest = Manifest(corpus=self.file.sweep.corpus, fingerprint=self.corpus.fingerprint, packs=todo)
        return submit(self.store, manifest)


def _enough(sweep: Sweep, corpus: AbstractCorpus, plan: Plan) -> None:
    """Raise `SimlawError` where the longest run takes more passes over the text than the corpus declares."""
    epoch = corpus.epoch_tokens(sweep.family.context)
    if epoch is None or not isinstance(sweep.corpus, Text | Tokens | Teach):
        return
    wanted = max(cell.spec.tokens for cell in plan.cells)
    if wanted > epoch * sweep.corpus.epochs:
        passes = (
            "one pass over it gives" if sweep.corpus.epochs == 1 else f"{sweep.corpus.epochs:g} passes over it give"
        )
        raise SimlawError(
            f"the longest run wants {wanted} tokens of the text, and {passes} "
            f"{int(epoch * sweep.corpus.epochs)}: plan fewer tokens, add text, or allow repeats with "
            f"{type(sweep.corpus).__name__}(epochs={math.ceil(100 * wanted / epoch) / 100:g})"
        )
