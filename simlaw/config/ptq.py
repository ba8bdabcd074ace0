"""Post-training quantization, as declared: a method, what it puts on which format, and what it looks at first."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from simlaw.declared import Above, Between, Count, Declared, Fraction, Natural, option
from simlaw.errors import SimlawError
from simlaw.formats import Float8, Int, PerGroup, PerTensor, PerToken, Quantizer


@dataclass(frozen=True, kw_only=True)
class RTN(Declared):
    """Round to nearest: every block matrix on its grid, nothing else changed."""


@dataclass(frozen=True, kw_only=True)
class GPTQ(Declared):
    """Inputs rounded one after the other, later ones making up for the error (2210.17323).

    `order` is that of the inputs: as they lie, or the largest Hessian diagonal first. The scales of groups come from
    the weights as they were ("static"), or as earlier corrections left them ("refreshed").
    """

    order: Literal["given", "activations"] = "given"
    groups: Literal["static", "refreshed"] = "static"
    damping: Annotated[float, Above(0)] = 0.01

    def check(self) -> None:
        if self.order == "activations" and self.groups == "refreshed":
            raise SimlawError(
                "GPTQ cannot refresh the scales of groups whose inputs it takes in another order: take "
                "groups='static', or order='given'"
            )


@dataclass(frozen=True, kw_only=True)
class AWQ(Declared):
    """Inputs scaled up by a power of their mean magnitude before rounding to nearest (2306.00978).

    The power is the best of `steps` from 0 to 1 by the error of the outputs; then, with `clip`, each group's largest
    magnitude is lowered where that helps the outputs.
    """

    steps: Count = 20
    clip: bool = True


@dataclass(frozen=True, kw_only=True)
class SmoothQuant(Declared):
    """Inputs divided by max|x|^alpha / max|w|^(1 - alpha), weights multiplied (2211.10438).

    Where a norm precedes alone: of the inputs of attention and of the feed-forward layer. `alpha` None takes the best
    of 0.05 to 0.95 by the error of the outputs, for each matrix.
    """

    alpha: Fraction | None = 0.5


@dataclass(frozen=True, kw_only=True)
class Tender(Declared):
    """Inputs in `groups` of channels whose scales are powers of two apart, so that sums only shift (2406.12930)."""

    groups: Annotated[int, Between(1, 16)] = 8


@dataclass(frozen=True, kw_only=True)
class Noise(Declared):
    """No method: normal noise with the variance that rounding to nearest has in each matrix. A control."""

    seed: Natural = 0


@dataclass(frozen=True, kw_only=True)
class RateDistortion(Declared):
    """No method: the noise of an ideal code of the format's bits per weight, under the inputs' covariance.

    Reverse water-filling over the eigenvectors of the covariance, for normal weights: about what layer-wise
    quantization could reach at best.
    """

    seed: Natural = 0


Method = RTN | GPTQ | AWQ | SmoothQuant | Tender | Noise | RateDistortion

#: Methods that quantize inputs too, and mean little without it.
OF_INPUTS = (SmoothQuant, Tender)
#: Matrices whose inputs SmoothQuant divides: those behind a norm.
SMOOTHED = ("qkv", "gate_up", "up")
#: Methods that look at no text.
BLIND = (RTN, Noise)


@dataclass(frozen=True, kw_only=True)
class CalibrationText(Declared):
    """What a method looks at: windows of the training part of the run's corpus, drawn by a seed."""

    sequences: Count = 128
    seed: Natural = 0


@dataclass(frozen=True, kw_only=True)
class Outliers(Declared):
    """Outliers planted in a checkpoint without changing what it computes: a control for what methods do about them.

    In both norms of every block this `share` of the channels, drawn by a seed and one at least, has its gain multiplied
    by `factor`; the matrix behind the norm is divided. A power of two changes no bit of the logits.
    """

    share: Fraction = 0.02
    factor: Annotated[float, Above(0)] = 64.0
    seed: Natural = 0


@dataclass(frozen=True, kw_only=True)
class PTQ(Declared):
    """Post-training quantization of a checkpoint: its block matrices, and, where given, their inputs, keys and values.

    With `rotate` a Hadamard matrix turns the inputs of every block matrix before either is rounded; `outliers` are
    planted before anything else. Methods that look at no text take a `calibration` to have the error of each matrix's
    outputs measured on it, and make the same of the checkpoint.
    """

    method: Method = RTN()
    quantizer: Quantizer
    activations: Quantizer | None = option(None)
    kv: Quantizer | None = option(None)
    rotate: bool = option(False)
    calibration: CalibrationText | None = option(None)
    outliers: Outliers | None = option(None)

    def check(self) -> None:
        name = type(self.method).__name__
        if isinstance(self.quantizer.granularity, PerToken):
            raise SimlawError(
                "PTQ.quantizer has scales PerToken, and weights have no tokens: take PerChannel(), PerGroup(size=…), "
                "PerBlock(…) or PerTensor()"
            )
        if isinstance(self.method, OF_INPUTS) and self.activations is None:
            raise SimlawError(
                f"PTQ.method is {name}, which is for quantized inputs, and activations is None: give "
                "activations=Quantizer(…, granularity=PerToken()), or take RTN() or GPTQ()"
            )
        refreshed = isinstance(self.method, GPTQ) and self.method.groups == "refreshed"
        if refreshed and isinstance(self.quantizer.scale, Float8):
            raise SimlawError(
                "a scale stored as Float8() shares one number with the whole matrix, which refreshed groups do not "
                "know: take GPTQ(groups='static'), or Float16()"
            )
        if isinstance(self.method, Tender):
            self._check_tender()
        if isinstance(self.method, GPTQ | AWQ | RateDistortion) and self.quantizer.rounding == "stochastic":
            raise SimlawError(f"{name} chooses how it rounds: leave rounding='nearest', or take RTN()")
        for role, quantizer in (("activations", self.activations), ("kv", self.kv)):
            if quantizer is not None:
                _check_role(role, quantizer)

    @property
    def looks_at(self) -> CalibrationText | None:
        """What is looked at: what the method needs, and what is declared."""
        blind = isinstance(self.method, BLIND) and not self.static_inputs
        return self.calibration or (None if blind else CalibrationText())

    @property
    def kind(self) -> "PTQ":
        """The declaration with one format in place of each kind: what of it is static in compiled code."""
        roles = {role: getattr(self, role) for role in ("quantizer", "activations", "kv")}
        return replace(self, **{role: q.kind for role, q in roles.items() if q is not None})

    @property
    def static_inputs(self) -> bool:
        """Whether one scale for all tokens has to be found before any is seen."""
        return self.activations is not None and isinstance(self.activations.granularity, PerTensor)

    def _check_tender(self) -> None:
        assert self.activations is not None
        for role, quantizer in (("quantizer", self.quantizer), ("activations", self.activations)):
            form = quantizer.format
            if not isinstance(form, Int) or form.grid not in ("symmetric", "full_range"):
                raise SimlawError(
                    f"Tender adds whole numbers, and PTQ.{role} has the format {form.name}"
                    f"{f' with the grid {form.grid!r}' if isinstance(form, Int) else ''}: the nearest it takes is "
                    f"Int(bits={max(2, min(8, form.bits))})"
                )
        if self.rotate:
            raise SimlawError("Tender groups channels by their range, which a rotation makes equal: leave rotate out")


def _check_role(role: str, quantizer: Quantizer) -> None:
    if not isinstance(quantizer.granularity, PerToken | PerGroup | PerTensor):
        raise SimlawError(
            f"PTQ.{role} has scales {type(quantizer.granularity).__name__}, which are of weights: take PerToken(), "
            "PerGroup(size=…) or PerTensor()"
        )
    if quantizer.format.bits == 1:
        raise SimlawError(f"PTQ.{role} has one bit, which has no level for 0: take 2 bits or more")
    if quantizer.rounding == "stochastic":
        raise SimlawError(f"PTQ.{role} rounds at random, and an evaluation is to be the same again: take 'nearest'")
