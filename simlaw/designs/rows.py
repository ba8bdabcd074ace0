"""Rows: the variables of planned measurements with the trunks that they belong to, and what of them a form sees."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from simlaw.errors import SimlawError
from simlaw.law import AbstractLaw, AbstractPenalty
from simlaw.laws import ZERO


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Planned rows: the variables of laws by name, and each row's trunk, whose noise its rows share."""

    x: Mapping[str, Float[np.ndarray, " n"]]
    trunk: tuple[str, ...]

    def of(self, form: type[AbstractLaw]) -> "Rows":
        """The rows that a fit of the form takes: in no precision that it does not know; of a penalty, quantized ones.

        Variables that the form does not take are dropped.
        """
        keep = np.ones(len(self.trunk), bool)
        accepted = (*form.needs, *form.takes)
        for name, values in self.x.items():
            if name.startswith("P_") and name not in accepted:
                keep &= np.isinf(values)
        if issubclass(form, AbstractPenalty) and "P_post" in self.x:
            keep &= np.isfinite(self.x["P_post"])
        return Rows(
            x={name: values[keep] for name, values in self.x.items() if name in accepted},
            trunk=tuple(trunk for trunk, kept in zip(self.trunk, keep, strict=True) if kept),
        )

    def joined(self, more: "Rows") -> "Rows":
        """These rows and more of the same variables."""
        return Rows(
            x={name: np.concatenate([values, more.x[name]]) for name, values in self.x.items()},
            trunk=(*self.trunk, *more.trunk),
        )


def planned(x: Mapping[str, ArrayLike], trunk: Sequence[object] | None) -> Rows:
    """The rows of some variables, broadcast; without `trunk` every row is one of its own.

    Raises `SimlawError` for values that are no numbers, lengths that differ, and sizes, tokens or bits that are not
    above 0.
    """
    columns = []
    for name, value in x.items():
        try:
            columns.append(np.atleast_1d(np.asarray(value, np.float64)))
        except (TypeError, ValueError, OverflowError) as error:
            raise SimlawError(
                f"{name} is {value!r:.60}: give a number for each row, infinite bits as math.inf"
            ) from error
    try:
        each = np.broadcast_arrays(*columns)
    except ValueError as error:
        lengths = ", ".join(f"{name} {np.size(value)}" for name, value in x.items())
        raise SimlawError(f"the variables differ in length ({lengths}): give one value for each row") from error
    if not each or each[0].ndim != 1 or not each[0].size:
        raise SimlawError("a design needs rows: give x={'N': …, 'D': …} with one value for each planned run")
    for name, values in zip(x, each, strict=True):
        wrong = np.isnan(values) | (values < 0 if name in ZERO else values <= 0)
        if wrong.any():
            raise SimlawError(
                f"row {int(np.flatnonzero(wrong)[0]) + 1} has {name} = {values[wrong][0]:g}: sizes, tokens and bits "
                "are above 0; an unquantized tensor has infinite bits"
            )
    names = [str(name) for name in (range(each[0].size) if trunk is None else trunk)]
    if len(names) != each[0].size:
        raise SimlawError(f"{len(names)} trunks for {each[0].size} rows: give one for each row")
    return Rows(x=dict(zip(x, each, strict=True)), trunk=tuple(names))
