"""Sweeps: a declared grid of runs and evaluations, written as a Python value in `sweeps/<name>/sweep.py`."""

import contextlib
import itertools
import os
import runpy
import sys
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from simlaw.config import (
    MOST_EVAL_TOKENS,
    PTQ,
    RTN,
    Average,
    CalibrationText,
    Corpus,
    Curvature,
    Method,
    Optimizer,
    Outliers,
    Precision,
    Schedule,
)
from simlaw.declared import Above, Between, Count, Declared, Natural, Positive, option
from simlaw.errors import SimlawError
from simlaw.formats import (
    AbsMax,
    Bits,
    Calibration,
    Float16,
    Format,
    Granularity,
    Int,
    PerChannel,
    Quantizer,
    Rounding,
    Scale,
)
from simlaw.formats import Grid as GridName
from simlaw.recipe import OPTIMIZERS, Family, RateRule, Recipe
from simlaw.schema import KINDS

#: Characters that are said of an error in a sweep file.
_LONGEST = 300


@dataclass(frozen=True, kw_only=True)
class TokensPerParameter(Declared):
    """Training tokens as multiples of the block parameters, rounded to whole batches."""

    ratios: tuple[Positive, ...]


@dataclass(frozen=True, kw_only=True)
class PTQGrid(Declared):
    """Post-training quantizations of every checkpoint: every combination of its axes.

    Formats are integers of so many `bits` on a `grid` (one bit on the grid that it has), and any other `formats`.
    `same_bits` puts inputs on the weights' format, with scales of this granularity. With `outputs` the errors of
    outputs are measured for methods that look at no text too.
    """

    methods: tuple[Method, ...] = (RTN(),)
    bits: tuple[Bits, ...] = ()
    granularities: tuple[Granularity, ...] = (PerChannel(),)
    grid: GridName = "symmetric"
    formats: tuple[Format, ...] = ()
    scales: tuple[Scale, ...] = (Float16(),)
    calibrations: tuple[Calibration, ...] = (AbsMax(),)
    rounding: Rounding = "nearest"
    activations: tuple[Quantizer | None, ...] = (None,)
    kv: tuple[Quantizer | None, ...] = (None,)
    same_bits: Granularity | None = None
    rotate: bool = False
    outliers: tuple[Outliers | None, ...] = option((None,))
    outputs: bool = option(False)
    calibration_sequences: Count = 128
    calibration_seeds: tuple[Natural, ...] = (0,)

    @property
    def each(self) -> tuple[PTQ, ...]:
        """The combinations."""
        axes = itertools.product(
            *(self.methods, self.granularities, self.scales, self.calibrations),
            *(self.activations, self.kv, self.calibration_seeds, self._formats),
        )
        points = list(axes)
        found = (replace(self._one(*point), outliers=outliers) for outliers in self.outliers for point in points)
        return tuple(dict.fromkeys(found))  # seeds make no difference to a method that looks at no text

    def check(self) -> None:
        if not self.each:
            raise SimlawError(
                "PTQGrid has an empty axis, so it quantizes nothing: give each axis a value, and bits or formats"
            )
        if self.same_bits is not None and self.activations != (None,):
            raise SimlawError("PTQGrid.same_bits gives the inputs their formats: leave activations out, or same_bits")

    @property
    def _formats(self) -> tuple[Format, ...]:
        """One bit has a grid of its own, whatever the others are on."""
        one: GridName = "asymmetric" if self.grid == "asymmetric" else "sign"
        return (*(Int(bits=bits, grid=one if bits == 1 else self.grid) for bits in self.bits), *self.formats)

    def _one(
        self,
        method: Method,
        granularity: Granularity,
        scale: Scale,
        calibration: Calibration,
        activations: Quantizer | None,
        kv: Quantizer | None,
        seed: int,
        form: Format,
    ) -> PTQ:
        if self.same_bits is not None:
            activations = Quantizer(format=form, granularity=self.same_bits)
        quantizer = Quantizer(
            format=form, granularity=granularity, scale=scale, calibration=calibration, rounding=self.rounding
        )
        found = PTQ(method=method, quantizer=quantizer, activations=activations, kv=kv, rotate=self.rotate)
        text = CalibrationText(sequences=self.calibration_sequences, seed=seed)
        wanted = text if self.outputs or found.looks_at is not None else None
        return found if found.looks_at == wanted else replace(found, calibration=text)


@dataclass(frozen=True, kw_only=True)
class Grid(Declared):
    """One block of a sweep: every combination of its axes. Of `schedules`, `recipes` and `corpora` None is the sweep's.

    Its runs are quantized as the sweep says, and by its own `ptq` besides.
    """

    widths: tuple[Count, ...]
    tokens: tuple[Count, ...] | TokensPerParameter
    seeds: tuple[Natural, ...] = (0,)
    schedules: tuple[Schedule, ...] | None = None
    precisions: tuple[Precision, ...] = (Precision(),)
    rate_multiples: tuple[Positive, ...] = (1.0,)
    recipes: tuple[Recipe, ...] | None = option(None)
    ptq: tuple[PTQGrid, ...] = option(())
    corpora: tuple[Corpus, ...] | None = option(None)

    def check(self) -> None:
        for axis in ("widths", "seeds", "schedules", "precisions", "rate_multiples", "recipes", "corpora"):
            if getattr(self, axis) == ():
                raise SimlawError(f"Grid.{axis} is empty, so the grid holds no run: give it at least one value")
        if not (self.tokens.ratios if isinstance(self.tokens, TokensPerParameter) else self.tokens):
            raise SimlawError("Grid.tokens is empty, so the grid holds no run: give it at least one value")


@dataclass(frozen=True, kw_only=True)
class Budget(Declared):
    """The question that a sweep's verdict answers: at these stored bytes, what is best?

    At equal training FLOPs, and, as the other convention, at equal training tokens.
    """

    bytes: Positive
    flops: Positive
    tokens: Positive


@dataclass(frozen=True, kw_only=True)
class Tolerance(Declared):
    """How far rows made elsewhere may be from the committed ones: of loss in nats, of delta_PTQ in seed spreads.

    Training amplifies rounding, so another processor or library version is like another seed with the same data.
    """

    loss: Positive
    delta: Positive


#: What is made of a sweep's table: fits, a verdict and the headline; the best learning rates and their rule; or the
#: forms of what training in low precision costs, alone or with rounding afterwards.
Analysis = Literal["law", "rates", "claims", "precision", "unified"]


@dataclass(frozen=True, kw_only=True)
class Sweep(Declared):
    """A sweep: what is trained on what, and how every checkpoint is evaluated.

    A recipe's own rate, form of schedule and weight decay come before the sweep's, and a grid's schedules before both.
    `averages` of the weights are evaluated beside the last ones; with `curvature` every evaluation has the Hessian's
    trace of its checkpoint, which is probed once for all of them. `analysis` is what `simlaw reproduce` makes of the
    table, of the rows that `where` (COLUMN=VALUE) accepts, and `claims` are what all of it is asked about; these are
    no part of the sweep's identity. With "claims" for its analysis a sweep is judged, and no law is fitted.
    `unidentified` is the reason why it may be planned although its cells cannot hold the laws.
    """

    corpus: Corpus
    family: Family = Family()
    rate: RateRule
    schedule: Schedule
    batch: Count
    weight_decay: Annotated[float, Between(0)] = 0.1
    clip: Annotated[float, Above(0)] = 1.0
    grids: tuple[Grid, ...]
    ptq: tuple[PTQGrid, ...] = ()
    eval_tokens: Annotated[int, Between(1, MOST_EVAL_TOKENS)]
    budget: Budget | None = None
    tolerance: Tolerance | None = None
    unidentified: str | None = None
    recipe: Recipe = option(Recipe())
    averages: tuple[Average, ...] = option(())
    curvature: Curvature | None = option(None)
    analysis: Analysis = field(default="law", metadata={"identity": False})
    claims: tuple[str, ...] = field(default=(), metadata={"identity": False})
    where: tuple[str, ...] = field(default=(), metadata={"identity": False})

    def check(self) -> None:
        if self.analysis == "rates" and self.grids and max(len(grid.rate_multiples) for grid in self.grids) < 3:
            raise SimlawError(
                "Sweep.analysis is 'rates', and no grid has three rates: add Grid(rate_multiples=(0.5, 1.0, 2.0))"
            )
        if self.analysis == "rates" and self.claims:
            raise SimlawError("Sweep.analysis is 'rates', which judges no Sweep.claims: leave one of them out")
        if self.analysis == "claims" and not self.claims:
            raise SimlawError("Sweep.analysis is 'claims', and there are none: add Sweep(claims=(…)), or leave it out")
        if self.analysis in ("rates", "claims") and self.budget is not None:
            raise SimlawError(
                f"Sweep.analysis is '{self.analysis}', which answers no Sweep.budget: leave one of them out"
            )
        for choice in self.where:
            name, sign, _ = choice.partition("=")
            if not sign or name not in KINDS:
                raise SimlawError(
                    f"Sweep.where has {choice!r}: each must read COLUMN=VALUE of a column of the table, for example "
                    "'cooldown=0.2'"
                )
        if not self.grids:
            raise SimlawError("Sweep.grids is empty, so there is nothing to run: give it at least one Grid")
        if self.eval_tokens < 2 * self.family.context:
            raise SimlawError(
                f"Sweep.eval_tokens is {self.eval_tokens}: errors are measured between windows of "
                f"{self.family.context} tokens, so it must be at least {2 * self.family.context}"
            )

    @property
    def corpora(self) -> tuple[Corpus, ...]:
        """Its own corpus, and those that grids have besides."""
        return tuple(dict.fromkeys((self.corpus, *(each for grid in self.grids for each in grid.corpora or ()))))

    def optimizer(self, recipe: Recipe, width: int, precision: Precision, rate_multiple: float) -> Optimizer:
        """The optimizer of a size in a recipe."""
        decay = self.weight_decay if recipe.weight_decay is None else recipe.weight_decay
        rate = (recipe.rate or self.rate).at(width, precision)
        return OPTIMIZERS[recipe.optimizer](rate=rate, rate_multiple=rate_multiple, weight_decay=decay, clip=self.clip)


@dataclass(frozen=True, kw_only=True)
class SweepFile:
    """A sweep and where it was declared: the `sweep.py` of a folder, or a `variant` of it beside that, `large.py`.

    What is committed of a sweep lies in its folder, of a variant in one of its own below.
    """

    name: str
    folder: Path
    sweep: Sweep
    claim: str
    variant: str | None = None

    @property
    def figure(self) -> str:
        """The figure that is drawn of it: that of its folder's name."""
        return self.name.partition("/")[0]

    @property
    def _place(self) -> Path:
        return self.folder / self.variant if self.variant else self.folder

    @property
    def table(self) -> Path:
        """Its committed table."""
        return self._place / "table.csv"

    @property
    def curves(self) -> Path:
        """The loss curves of its committed runs."""
        return self._place / "curves.csv"

    @property
    def strata(self) -> Path:
        """The losses of its committed rows on items of one kind, where its corpus has kinds."""
        return self._place / "strata.csv"

    @property
    def law(self) -> Path:
        """Its committed fit."""
        return self._place / "law.json"

    @property
    def rates(self) -> Path:
        """Its committed study of learning rates."""
        return self._place / "rates.json"

    @property
    def verdicts(self) -> Path:
        """What its table says of its claims."""
        return self._place / "verdicts.json"


def sweep_path(where: str) -> Path | None:
    """The file of the sweep that `load_sweep` would load, or None where there is none."""
    tried = [Path(where), Path(where, "sweep.py"), Path("sweeps", where, "sweep.py"), Path("sweeps", f"{where}.py")]
    return next((path for path in tried if os.path.isfile(path)), None)  # false of a name that is too long, too


def load_sweep(where: str) -> SweepFile:
    """The sweep at a folder or in a file, or by the name of a folder below `sweeps/`; "folder/large" is its `large.py`.

    Raises `SimlawError` where the file is missing, fails when run, or defines no `SWEEP`.
    """
    path = sweep_path(where)
    if path is None:
        there = sorted(found.parent.name for found in Path("sweeps").glob("*/sweep.py"))
        known = f"the sweeps here are {', '.join(there)}" if there else "run it from the folder that holds sweeps/"
        raise SimlawError(f"there is no sweep {where!r}: {known}")
    try:
        # what a sweep file prints must not come between what programs read of a command
        with contextlib.redirect_stdout(sys.stderr):
            names = runpy.run_path(str(path))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = lines[-1] if lines else getattr(error, "lineno", None)
        at = f"{path}, line {line}" if line else str(path)
        if isinstance(error, SimlawError):
            raise SimlawError(f"{at}: {error}") from error
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise SimlawError(f"{at} raises {what[:_LONGEST]}; mend the sweep file") from error
    sweep = names.get("SWEEP")
    if not isinstance(sweep, Sweep):
        raise SimlawError(f"{path} defines no SWEEP = Sweep(...): add one")
    name, variant = path.resolve().parent.name, None if path.name == "sweep.py" else path.stem
    return SweepFile(
        name=f"{name}/{variant}" if variant else name,
        folder=path.parent,
        sweep=sweep,
        claim=(names.get("__doc__") or "").strip(),
        variant=variant,
    )
