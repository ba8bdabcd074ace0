"""A fit of the loss and a fit of the penalty together: what a decision about quantization rests on."""

from collections.abc import Mapping
from dataclasses import dataclass

from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit
from simlaw.law import AbstractLossLaw, AbstractPenalty, QuantizedLaw


@dataclass(frozen=True, kw_only=True)
class QuantizedFit:
    """A loss fit and a penalty fit of the same rows; their draws are paired in their order (the same trunks).

    Raises `SimlawError` where they are not a law of the loss and one of the penalty.
    """

    base: Fit
    penalty: Fit

    def __post_init__(self) -> None:
        base, penalty = self.base.law, self.penalty.law
        if not isinstance(base, AbstractLossLaw) or not isinstance(penalty, AbstractPenalty):
            raise SimlawError(
                f"{type(base).__name__} and {type(penalty).__name__} are no law of the loss and law of the penalty: "
                "give a fit of each, in this order"
            )

    @property
    def law(self) -> QuantizedLaw:
        """The law of the loss after quantization."""
        assert isinstance(self.base.law, AbstractLossLaw)
        assert isinstance(self.penalty.law, AbstractPenalty)
        return QuantizedLaw(base=self.base.law, penalty=self.penalty.law)

    @property
    def draws(self) -> QuantizedLaw | None:
        """The law of every draw; a part that has no draws keeps its estimate, and None where neither has any."""
        if self.base.draws is None and self.penalty.draws is None:
            return None
        base, penalty = self.base.draws or self.base.law, self.penalty.draws or self.penalty.law
        assert isinstance(base, AbstractLossLaw)
        assert isinstance(penalty, AbstractPenalty)
        return QuantizedLaw(base=base, penalty=penalty)

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """The ranges of the rows, by variable; those of the loss where both fits have one."""
        return {**self.penalty.ranges, **self.base.ranges}

    @property
    def sick(self) -> Fit | None:
        """The first fit that is not valid, if there is one."""
        return next((fit for fit in (self.base, self.penalty) if fit.health != "VALID"), None)

    def __str__(self) -> str:
        return f"{self.base}\n\n{self.penalty}"


def fits_of(found: Fit | QuantizedFit) -> tuple[Fit, ...]:
    """The fits that a law file holds: one, or those of the loss and of the penalty."""
    return (found.base, found.penalty) if isinstance(found, QuantizedFit) else (found,)
