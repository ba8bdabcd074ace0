"""What is measured of a checkpoint, as declared."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from simlaw.config.ptq import PTQ
from simlaw.config.schedule import Average
from simlaw.declared import Between, Count, Declared, Natural, digest, digests, option

#: Windows of an evaluation are drawn at once: so many tokens take a GB.
MOST_EVAL_TOKENS = 2**28


@dataclass(frozen=True, kw_only=True)
class Curvature(Declared):
    """The trace of the loss's Hessian in the block matrices, by `probes` random signs drawn by a seed.

    On the first `windows` of the held-out ones that are measured.
    """

    probes: Annotated[int, Between(2)] = 8
    windows: Count = 64
    seed: Natural = 0


@dataclass(frozen=True, kw_only=True)
class EvalSpec(Declared):
    """One measurement of one checkpoint: held-out loss over `tokens`, after `ptq` (None: as trained).

    `average` measures an average of the weights in place of the last ones; the run must have kept it. `curvature` is
    that of the checkpoint as trained (with the outliers of `ptq`), and says what penalty small errors would have.
    """

    tokens: Annotated[int, Between(1, MOST_EVAL_TOKENS)]
    ptq: PTQ | None = None
    average: Average | None = option(None)
    curvature: Curvature | None = option(None)


def eval_id(run: str, spec: EvalSpec) -> str:
    """The identity of an evaluation, and of its row."""
    return digest(run, spec)


def eval_ids(run: str, specs: Iterable[EvalSpec]) -> tuple[str, ...]:
    """The identities of several evaluations of a run."""
    return digests(run, specs)
