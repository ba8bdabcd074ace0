"""One training, as declared: a corpus, a model, a precision, an optimizer, a schedule, a seed; and its identity."""

import functools
from dataclasses import dataclass
from typing import Annotated, Literal

from simlaw.config.mixture import Corpus
from simlaw.config.model import ModelSpec
from simlaw.config.optimizer import SGD, Optimizer
from simlaw.config.precision import Precision
from simlaw.config.schedule import LAWA, Average, Cosine, Schedule
from simlaw.declared import Between, Count, Declared, Natural, digest, option
from simlaw.errors import SimlawError

#: Raised by hand whenever the numbers of a run change on purpose; part of every run's identity.
NUMERICS = 1

#: Steps are counted in 32 bits.
_MOST_STEPS = 2**31 - 1

#: The arithmetic of matrix products; sums, norms, master weights and the optimizer are float32 in either.
Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class TrunkSpec(Declared):
    """The constant-rate run that branches of every D leave: a run without its tokens and cool-down.

    A schedule that falls from the start leaves its trunk at step 0, and `horizon` keeps its runs apart.
    """

    corpus: Corpus
    model: ModelSpec
    precision: Precision
    optimizer: Optimizer
    warmup_tokens: Natural
    batch: Count
    seed: Natural
    dtype: Dtype = option("float32")
    z_loss: Annotated[float, Between(0)] = option(0.0)
    averages: tuple[Average, ...] = option(())
    horizon: Count | None = option(None)


@dataclass(frozen=True, kw_only=True)
class RunSpec(Declared):
    """One training: D = `tokens` is all tokens that the cooled model saw; `batch` is in sequences.

    `z_loss` weighs the squared logarithm of the softmax's normaliser (2204.02311, section 5); `averages` of the weights
    are kept beside the weights, to be evaluated.
    """

    corpus: Corpus
    model: ModelSpec
    precision: Precision = Precision()
    optimizer: Optimizer
    schedule: Schedule
    batch: Count
    tokens: Count
    seed: Natural = 0
    dtype: Dtype = option("float32")
    z_loss: Annotated[float, Between(0)] = option(0.0)
    averages: tuple[Average, ...] = option(())

    def check(self) -> None:
        if self.tokens < self.batch_tokens:
            raise SimlawError(
                f"RunSpec.tokens is {self.tokens}: a run needs at least one batch of {self.batch} x "
                f"{self.model.context} = {self.batch_tokens} tokens; raise tokens or lower batch"
            )
        if self.tokens % self.batch_tokens:
            near = round(self.tokens / self.batch_tokens) * self.batch_tokens
            raise SimlawError(
                f"RunSpec.tokens is {self.tokens}: it must be whole batches of {self.batch_tokens}; take {near}"
            )
        if self.steps > _MOST_STEPS:
            raise SimlawError(
                f"RunSpec.tokens is {self.tokens}: batches of {self.batch_tokens} would be more than {_MOST_STEPS} "
                "steps; lower tokens or raise batch"
            )
        for average in self.averages:
            self._check_average(average)
        if self.model.mup and isinstance(self.optimizer, SGD):
            raise SimlawError(
                "RunSpec.optimizer is SGD and the model has muP, whose rates here are those of Adam and Muon: "
                "take one of them, or no muP"
            )
        self._check_begin()
        warmup, before = self.schedule.warmup_tokens, (self.cooldown_step or self.steps) * self.batch_tokens
        if warmup > before:
            raise SimlawError(
                f"the warm-up of {warmup} tokens is longer than the {before} before the "
                f"cool-down of a run of {self.tokens}: lower warmup_tokens or raise tokens"
            )

    def _check_begin(self) -> None:
        begins = self.precision.begins
        if begins == "cooldown" and self.cooldown_step in (0, self.steps):
            raise SimlawError(
                f"Precision.begins is 'cooldown', and {self.schedule} has none: take a WSD with one, or a share of the "
                "tokens such as begins=0.8"
            )
        if begins is not None and not 0 < self.begin_step < self.steps:
            raise SimlawError(
                f"Precision.begins is {begins}, which is step {self.begin_step} of {self.steps}: it must leave a step "
                "before and one behind; raise tokens, or take another share"
            )

    def _check_average(self, average: Average) -> None:
        if self.averages.count(average) > 1:
            raise SimlawError(f"RunSpec.averages holds {average} twice: name it once")
        if isinstance(average, LAWA) and (
            average.every_tokens % self.batch_tokens or average.every_tokens > self.tokens
        ):
            raise SimlawError(
                f"LAWA.every_tokens is {average.every_tokens}: snapshots are taken after whole batches of "
                f"{self.batch_tokens} tokens and within the run's {self.tokens}; take a multiple of the former, at "
                "most the latter"
            )

    @property
    def batch_tokens(self) -> int:
        """Tokens in one step."""
        return self.batch * self.model.context

    @functools.cached_property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.tokens // self.batch_tokens

    @functools.cached_property
    def cooldown_step(self) -> int:
        """The step at which the cool-down begins; 0 for a schedule that falls from the start."""
        return 0 if isinstance(self.schedule, Cosine) else self.steps - round(self.schedule.cooldown * self.steps)

    @functools.cached_property
    def begin_step(self) -> int:
        """The first step of the run's precision; those before it are at full precision."""
        begins = self.precision.begins
        if begins is None:
            return 0
        return self.cooldown_step if begins == "cooldown" else round(begins * self.steps)

    @functools.cached_property
    def branch_step(self) -> int:
        """The step at which the run leaves its trunk: where it cools down, or changes its precision before."""
        return self.cooldown_step if self.precision.begins is None else min(self.cooldown_step, self.begin_step)

    @functools.cached_property
    def trunk(self) -> TrunkSpec:
        """The trunk that this run shares with the runs of other D."""
        return TrunkSpec(
            corpus=self.corpus,
            model=self.model,
            precision=self.precision if self.precision.begins is None else Precision(),
            optimizer=self.optimizer,
            warmup_tokens=self.schedule.warmup_tokens,
            batch=self.batch,
            seed=self.seed,
            dtype=self.dtype,
            z_loss=self.z_loss,
            averages=self.averages,
            horizon=self.tokens if isinstance(self.schedule, Cosine) else None,
        )


def run_id(spec: RunSpec, fingerprint: str) -> str:
    """The identity of a run: its spec, the fingerprint of its corpus, and `NUMERICS`."""
    return digest(spec, fingerprint, NUMERICS)


def trunk_id(spec: TrunkSpec, fingerprint: str) -> str:
    """The identity of a trunk; the bootstrap's cluster."""
    return digest(spec, fingerprint, NUMERICS)
