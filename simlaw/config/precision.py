"""Training precision, as declared: which tensor roles are on which format, how gradients pass, and from when on.

Quantization is simulated: values are put on a format's levels and multiplied in `RunSpec.dtype`, so it costs time and
never saves any. Master weights, queries, softmax weights, norms, embedding and head stay as they are.
"""

import functools
from dataclasses import dataclass, fields, replace
from typing import Literal

from simlaw.declared import Declared, option
from simlaw.errors import SimlawError
from simlaw.formats import NF4, Float8, Int, PerBlock, PerChannel, PerTensor, PerToken, Quantizer

#: What becomes of a gradient at a value that was rounded: it goes through ("straight_through"); it is zero beyond the
#: levels ("clipped"), or where rounding moved the value by more than half the widest step ("trust", 2502.05003).
Estimator = Literal["straight_through", "clipped", "trust"]

#: The tensor roles: block matrices, their inputs, keys (after their rotation) and values, gradients of their outputs.
RoleName = Literal["weights", "activations", "kv", "gradients"]
ROLES: tuple[RoleName, ...] = ("weights", "activations", "kv", "gradients")


@dataclass(frozen=True, kw_only=True)
class Precision(Declared):
    """The quantizer of each tensor role during training; None is unquantised, which laws treat as P = infinity.

    Gradients are those of the outputs of block matrices, on their format before both products of the backward pass. One
    scale PerTensor is that of a whole batch, as in Kumar et al. (2411.04330); PerToken each token, and each head of it,
    has its own. With `rotate` a Hadamard matrix turns weights and inputs before they are rounded; with `learned_steps`
    the scales of the weights are parameters (LSQ, 1902.08153).

    `begins` is the share of the run's tokens that are trained at full precision first, or "cooldown": then the run
    leaves a trunk of full precision, which it shares with the unquantised runs.
    """

    weights: Quantizer | None = None
    activations: Quantizer | None = None
    kv: Quantizer | None = None
    gradients: Quantizer | None = option(None)
    estimator: Estimator = option("straight_through")
    rotate: bool = option(False)
    learned_steps: bool = option(False)
    begins: float | Literal["cooldown"] | None = option(None)

    def check(self) -> None:
        for role in ROLES:
            quantizer = getattr(self, role)
            if quantizer is not None:
                _check_granularity(role, quantizer)
                _check_format(role, quantizer)
        if isinstance(self.begins, float | int) and not 0 < self.begins < 1:
            raise SimlawError(
                f"Precision.begins is {self.begins:g}: it is a share of the tokens above 0 and below 1; leave it out "
                "for precision from the start"
            )
        self._check_roles()
        if self.learned_steps:
            self._check_learned()

    def _check_roles(self) -> None:
        """What settings ask of the roles."""
        plain, own = Precision, [f.name for f in fields(self) if f.name not in ROLES]
        set_ = [name for name in own if getattr(self, name) != plain.__dataclass_fields__[name].default]
        if set_ and self.unquantised:
            raise SimlawError(
                f"Precision.{set_[0]} is {getattr(self, set_[0])!r}, and no role is quantized: give weights=, "
                "activations=, kv= or gradients=Quantizer(…)"
            )
        if self.rotate and self.weights is None and self.activations is None:
            raise SimlawError(
                "Precision.rotate turns weights and inputs, and neither is quantized: give weights=Quantizer(…), or "
                "leave rotate out"
            )

    def _check_learned(self) -> None:
        weights = self.weights
        if weights is None:
            raise SimlawError("Precision.learned_steps are those of the weights: give weights=Quantizer(…)")
        grid = weights.format.grid if isinstance(weights.format, Int) else None
        if grid in ("asymmetric", "sign") or isinstance(weights.format, NF4):
            raise SimlawError(
                f"Precision.weights is {weights.format.name}{f' on the grid {grid!r}' if grid else ''}, which has no "
                f"step to learn: the nearest that has is Int(bits={max(2, weights.format.bits)})"
            )
        plain = Quantizer(format=weights.format, granularity=weights.granularity)
        if weights != plain or self.estimator != "straight_through" or self.rotate:
            raise SimlawError(
                "Precision.learned_steps have gradients of their own and no stored scales: leave scale, calibration, "
                "rounding, estimator and rotate as they are by default"
            )
        if self.begins is not None:
            raise SimlawError(
                "Precision.learned_steps are there from the first step on, and begins is set: leave one of them out"
            )

    @property
    def unquantised(self) -> bool:
        """Whether no role is quantized."""
        return all(getattr(self, role) is None for role in ROLES)

    @property
    def name(self) -> str | None:
        """What screens call it: W4 A8 KV8, formats that are no integers by their names; None where unquantised."""
        found = []
        for letter, role in zip(("W", "A", "KV", "G"), ROLES, strict=True):
            quantizer = getattr(self, role)
            if quantizer is not None:
                form = quantizer.format
                found.append(f"{letter}{form.bits}" if isinstance(form, Int) else f"{letter}-{form.name}")
        if self.begins is not None and found:
            found.append(f"from {self.begins:g}" if self.begins != "cooldown" else "in the cool-down")
        return " ".join(found) or None

    @functools.cached_property
    def kind(self) -> "Precision":
        """The declaration with one format in place of each kind: what of it is static in compiled code."""
        roles = {role: getattr(self, role) for role in ROLES}
        return replace(self, begins=None, **{role: q.kind for role, q in roles.items() if q is not None})

    @property
    def weights_alone(self) -> bool:
        """Whether at most the weights are quantized, and from the first step on."""
        return self.activations is None and self.kv is None and self.gradients is None and self.begins is None

    @property
    def of_batch(self) -> bool:
        """Whether what a token gives depends on its batch: one scale, or one float32 of all scales, is of all of it."""
        roles = [role for role in (self.activations, self.kv, self.gradients) if role is not None]
        return any(isinstance(role.granularity, PerTensor) or isinstance(role.scale, Float8) for role in roles)


def _check_granularity(role: RoleName, quantizer: Quantizer) -> None:
    given = quantizer.granularity
    if role == "weights":
        if isinstance(given, PerToken):
            raise SimlawError(
                "Precision.weights has scales PerToken, and weights have no tokens: the nearest is PerChannel(), one "
                "for each output channel"
            )
    elif isinstance(given, PerChannel | PerBlock):
        nearest = "PerToken()" if isinstance(given, PerChannel) else f"PerGroup(size={given.inputs})"
        raise SimlawError(
            f"Precision.{role} has scales {type(given).__name__}, which are of weights: the nearest is {nearest}; "
            "there are PerTensor(), PerToken() and PerGroup(size=…)"
        )


def _check_format(role: RoleName, quantizer: Quantizer) -> None:
    form = quantizer.format
    if role == "weights":
        return
    if isinstance(form, Int) and form.grid == "sign":
        raise SimlawError(
            f"Precision.{role} has one bit, which has no level for 0: the nearest that has is Int(bits=2)"
        )
    if isinstance(form, NF4) and role != "kv":
        raise SimlawError(
            f"Precision.{role} is {form.name}, a table for what is stored and looked up, and not for factors of a "
            "product: the nearest is FLOATS['e2m1']"
        )
