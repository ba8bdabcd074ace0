"""What is measured of a checkpoint, as declared."""

from dataclasses import dataclass

from simlaw.config.ptq import PTQ
from simlaw.config.schedule import Average
from simlaw.declared import Count, Declared, digest, option


@dataclass(frozen=True, kw_only=True)
class EvalSpec(Declared):
    """One measurement of one checkpoint: held-out loss over `tokens`, after `ptq` (None: as trained).

    `average` measures an average of the weights in place of the last ones; the run must have kept it.
    """

    tokens: Count
    ptq: PTQ | None = None
    average: Average | None = option(None)


def eval_id(run: str, spec: EvalSpec) -> str:
    """The identity of an evaluation, and of its row."""
    return digest(run, spec)
