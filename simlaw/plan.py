"""The plan of a sweep: its expansion into runs, evaluations and packs, with their cost. Pure; nothing is launched."""

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from simlaw.accounting import Parameters, bytes_total, flops_6nd, flops_forward_per_token, parameters
from simlaw.config import PTQ, Corpus, EvalSpec, Mix, ModelSpec, Precision, RunSpec, eval_ids, run_id
from simlaw.declared import Declared, option
from simlaw.errors import SimlawError
from simlaw.model import Params, shapes
from simlaw.ptq import check_plantable
from simlaw.sweep import Grid, Sweep, TokensPerParameter
from simlaw.train import Shape, shape_of


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of a plan with its evaluations, their identities and their cost in FLOPs."""

    run_id: str
    fingerprint: str
    """That of its corpus."""
    spec: RunSpec
    evals: tuple[EvalSpec, ...]
    eval_ids: tuple[str, ...]
    counts: Parameters
    flops_train: float
    flops_eval: float
    bytes: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A sweep's cells in a fixed order, each run once."""

    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Pack(Declared):
    """Work for one process: trunks of one shape, each with the runs that branch from it, and what to measure.

    Every member has the same tokens, so that all advance together. A frozen manifest of packs is what a job works on.
    """

    members: tuple[tuple[RunSpec, ...], ...]
    evals: tuple[EvalSpec, ...]
    also: tuple[tuple[EvalSpec, ...], ...] = option(())
    """What to measure besides, of each of a member's runs in turn; empty where of all the same."""

    @property
    def corpus(self) -> Corpus:
        """The corpus of all its runs."""
        return self.members[0][0].corpus

    def measured(self, rung: int) -> tuple[EvalSpec, ...]:
        """What to measure of a member's run with this number."""
        return self.evals + (self.also[rung] if self.also else ())

    def check(self) -> None:
        """Raises `SimlawError` where there is no run, and for an average to be evaluated that a run does not keep."""
        rungs = {len(runs) for runs in self.members}
        if len(rungs) != 1 or 0 in rungs:
            raise SimlawError(
                f"Pack.members have {sorted(rungs)} runs: give one member or more, each with as many runs, 1 or more"
            )
        if self.also and {len(self.also)} != rungs:
            raise SimlawError(
                f"Pack.also has {len(self.also)} items for {rungs.pop()} runs of a member: give one of each"
            )
        if len({spec.corpus for runs in self.members for spec in runs}) > 1:
            raise SimlawError("Pack.members are on several corpora: give each corpus packs of its own")
        for spec in (spec for runs in self.members for spec in runs):
            if spec.model.vocab < spec.corpus.vocab:
                raise SimlawError(
                    f"ModelSpec.vocab is {spec.model.vocab}, and the corpus has {spec.corpus.vocab} tokens: raise it"
                )
        if any([spec.tokens for spec in runs] != [spec.tokens for spec in self.members[0]] for runs in self.members):
            raise SimlawError("Pack.members differ in their tokens: all members of a pack advance together")
        for rung, spec in (pair for runs in self.members for pair in enumerate(runs)):
            for evaluation in self.measured(rung):
                if evaluation.average is not None and evaluation.average not in spec.averages:
                    raise SimlawError(
                        f"the evaluation wants {evaluation.average}, which the run of {spec.tokens} tokens does not "
                        "keep: add it to RunSpec.averages (a sweep's averages are kept and evaluated together)"
                    )


def expand(sweep: Sweep, fingerprint: str, others: Mapping[Corpus, str] = MappingProxyType({})) -> Plan:
    """The plan of a sweep on a corpus with this fingerprint, and on the `others` that its grids have.

    Raises `SimlawError` where a size, token count or group does not fit.
    """
    fingerprints = {**others, sweep.corpus: fingerprint}
    wanted: dict[RunSpec, tuple[PTQ | None, ...]] = {}
    for grid in sweep.grids:
        each = tuple(dict.fromkeys((None, *(ptq for quantized in (*sweep.ptq, *grid.ptq) for ptq in quantized.each))))
        for spec in _runs(sweep, grid):
            wanted[spec] = tuple(dict.fromkeys((*wanted[spec], *each))) if spec in wanted else each

    @functools.cache
    def evals(quantizations: tuple[PTQ | None, ...]) -> tuple[EvalSpec, ...]:
        return tuple(
            EvalSpec(tokens=sweep.eval_tokens, ptq=ptq, average=average, curvature=sweep.curvature)
            for average in (None, *sweep.averages)
            for ptq in quantizations
        )

    @functools.cache
    def check(model: ModelSpec, quantizations: tuple[PTQ | None, ...]) -> None:
        if any(ptq is not None and ptq.outliers is not None for ptq in quantizations):
            check_plantable(model)

    cells = []
    for spec, quantizations in wanted.items():
        check(spec.model, quantizations)
        cells.append(_cell(spec, evals(quantizations), fingerprints[spec.corpus]))
    return Plan(cells=tuple(cells))


@dataclass(frozen=True, kw_only=True)
class Alike:
    """Trunks that can share packs: of one shape, with branches and ends at the same steps, and measured alike.

    Seeds, rates, warm-ups and bits may differ. `cost` is the FLOPs of each.
    """

    shape: Shape
    trunks: tuple[tuple[RunSpec, ...], ...]
    evals: tuple[EvalSpec, ...]
    also: tuple[tuple[EvalSpec, ...], ...]
    cost: float


def alike(cells: Iterable[Cell]) -> tuple[Alike, ...]:
    """The trunks of some cells, put together where they can share packs."""
    found: dict[tuple[Shape, object], list[list[Cell]]] = {}
    number = _numbered()
    for trunk in _trunks(cells):
        # runs that change their precision on the way have a trunk of another shape
        ladder = tuple(
            (cell.spec.branch_step, cell.spec.begin_step, cell.spec.steps, shape_of(cell.spec), number(cell.evals))
            for cell in trunk
        )
        found.setdefault((shape_of(trunk[0].spec), ladder), []).append(trunk)
    made = []
    for (shape, _), same in found.items():
        shared, also = _measured(same[0])
        trunks = tuple(tuple(cell.spec for cell in trunk) for trunk in same)
        made.append(Alike(shape=shape, trunks=trunks, evals=shared, also=also, cost=_cost(same[0])))
    return tuple(made)


def packs(cells: Iterable[Cell], size: int | Mapping[Shape, int]) -> tuple[Pack, ...]:
    """The cells as packs of up to `size` trunks, or sizes by shape; the costliest first, so that workers end together.

    Packs of one kind are as equal as can be: a program is compiled for every number of members.
    """
    return divided(alike(cells), size)


def divided(trunks: Iterable[Alike], size: int | Mapping[Shape, int]) -> tuple[Pack, ...]:
    """As `packs`, of trunks that were put together before."""
    made = []
    for one in trunks:
        most, there = size if isinstance(size, int) else size[one.shape], len(one.trunks)
        each = math.ceil(there / math.ceil(there / most))
        for members in (one.trunks[at : at + each] for at in range(0, there, each)):
            made.append((one.cost * len(members), Pack(members=members, evals=one.evals, also=one.also)))
    return tuple(pack for _, pack in sorted(made, key=lambda pair: -pair[0]))


def steps_left(
    runs: Sequence[RunSpec], stored: Iterable[int], begun: Mapping[RunSpec, int] = MappingProxyType({})
) -> int:
    """Optimizer steps that a trunk's runs take, the trunk once and every branch.

    States of the trunk are `stored` at these steps, and branches have `begun` up to those.
    """
    stored, at, total = set(stored), 0, 0
    for spec in runs:
        start = max([at, begun.get(spec, 0), *(step for step in stored if step <= spec.branch_step)])
        total += spec.steps - start
        at = spec.branch_step
    return total


def shared_work(cells: Iterable[Cell]) -> float:
    """Training FLOPs with shared trunks, as a share of those of independent runs: optimizer steps, weighed by size."""
    shared = alone = 0.0
    for trunk in _trunks(cells):
        each = _step_flops(trunk[0])
        shared += each * steps_left([cell.spec for cell in trunk], ())
        alone += each * sum(cell.spec.steps for cell in trunk)
    return shared / alone


@functools.cache
def shapes_of(model: ModelSpec) -> Params:
    """The shapes of a model's parameters, by group."""
    return shapes(model)


@functools.cache
def _stored(model: ModelSpec) -> tuple[Parameters, float]:
    """The parameters of a model, and its bytes at 16 bits."""
    tree = shapes_of(model)
    return parameters(tree), bytes_total(tree, None)


def _runs(sweep: Sweep, grid: Grid) -> Iterable[RunSpec]:
    recipes = grid.recipes or (sweep.recipe,)
    corpora = grid.corpora or (sweep.corpus,)
    axes = (corpora, recipes, grid.widths, grid.precisions, grid.rate_multiples, grid.seeds, grid.schedules or (None,))
    for corpus, recipe, width, declared, multiple, seed, schedule in itertools.product(*axes):
        if recipe.needs == "teacher":
            raise SimlawError(
                "the recipe needs a teacher, which nothing in this version gives: take a recipe without needs"
            )
        if recipe.needs == "mixture" and not isinstance(corpus, Mix):
            raise SimlawError(
                f"the recipe needs a mixture, and the corpus is {type(corpus).__name__}: give a Mix of "
                "simlaw.config, or take another recipe"
            )
        model = sweep.family.model(width, corpus.vocab, recipe.architecture, recipe.mup)
        precision = recipe.precision if declared == Precision() else declared
        optimizer = sweep.optimizer(recipe, width, precision, multiple)
        for tokens in _tokens(grid, model, sweep.batch * model.context):
            yield RunSpec(
                corpus=corpus,
                model=model,
                precision=precision,
                optimizer=optimizer,
                schedule=schedule or recipe.scheduled(sweep.schedule),
                batch=sweep.batch,
                tokens=tokens,
                seed=seed,
                dtype=recipe.dtype,
                z_loss=recipe.z_loss,
                averages=sweep.averages,
            )


def _tokens(grid: Grid, model: ModelSpec, batch_tokens: int) -> Sequence[int]:
    if not isinstance(grid.tokens, TokensPerParameter):
        return grid.tokens
    n = parameters(shapes_of(model)).blocks
    return [max(1, round(ratio * n / batch_tokens)) * batch_tokens for ratio in grid.tokens.ratios]


def _cell(spec: RunSpec, evals: tuple[EvalSpec, ...], fingerprint: str) -> Cell:
    counts, bytes_ = _stored(spec.model)
    run = run_id(spec, fingerprint)
    return Cell(
        run_id=run,
        fingerprint=fingerprint,
        spec=spec,
        evals=evals,
        eval_ids=eval_ids(run, evals),
        counts=counts,
        flops_train=flops_6nd(counts.blocks, spec.tokens),
        flops_eval=sum(e.tokens for e in evals) * flops_forward_per_token(spec.model, counts),
        bytes=bytes_,
    )


def _trunks(cells: Iterable[Cell]) -> list[list[Cell]]:
    """The cells of each trunk, by the steps at which they leave it and end."""
    trunks: dict[object, list[Cell]] = {}
    for cell in cells:
        trunks.setdefault(cell.spec.trunk, []).append(cell)
    return [sorted(trunk, key=lambda cell: (cell.spec.branch_step, cell.spec.steps)) for trunk in trunks.values()]


def _numbered() -> Callable[[tuple[EvalSpec, ...]], int]:
    """What gives equal evaluations equal numbers; most cells of a plan have the very same ones."""
    by_id: dict[int, int] = {}
    by_value: dict[tuple[EvalSpec, ...], int] = {}

    def number(evals: tuple[EvalSpec, ...]) -> int:
        if id(evals) not in by_id:
            by_id[id(evals)] = by_value.setdefault(evals, len(by_value))
        return by_id[id(evals)]

    return number


def _measured(trunk: Sequence[Cell]) -> tuple[tuple[EvalSpec, ...], tuple[tuple[EvalSpec, ...], ...]]:
    """What to measure of all runs of a trunk, and besides of each; the latter empty where there is nothing else."""
    each = {id(cell.evals): frozenset(cell.evals) for cell in trunk}
    shared = tuple(e for e in trunk[0].evals if all(e in evals for evals in each.values()))
    among = frozenset(shared)
    also = tuple(tuple(e for e in cell.evals if e not in among) for cell in trunk)
    return shared, also if any(also) else ()


def _cost(trunk: Sequence[Cell]) -> float:
    """FLOPs of a trunk's runs, what they share counted once."""
    return steps_left([c.spec for c in trunk], ()) * _step_flops(trunk[0]) + sum(c.flops_eval for c in trunk)


def _step_flops(cell: Cell) -> float:
    return 3 * flops_forward_per_token(cell.spec.model, cell.counts) * cell.spec.batch_tokens
