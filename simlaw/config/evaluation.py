"""What is measured of a checkpoint, as declared."""

from dataclasses import dataclass

from simlaw.config.schedule import Average
from simlaw.declared import Count, Declared, digest, option
from simlaw.formats import Quantizer


@dataclass(frozen=True, kw_only=True)
class RTN(Declared):
    """Round to nearest: every block matrix on its grid, nothing else changed."""


Method = RTN


@dataclass(frozen=True, kw_only=True)
class PTQ(Declared):
    """Post-training quantization of a checkpoint's block matrices."""

    method: Method = RTN()
    quantizer: Quantizer


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
