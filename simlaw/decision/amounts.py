"""Amounts that a person gives: numbers above 0, one or several, checked in one place; and the lead that is none."""

from typing import Any

import numpy as np
from jaxtyping import Float

from simlaw.errors import SimlawError

#: A lead of less than half a thousandth nat is none: reports do not show it, and no run does.
NOTHING = 5e-4


def require_amount(name: str, value: Any, *, zero: bool = False) -> float:
    """The value as a finite number above 0, or 0 where `zero` allows it; raises `SimlawError` for anything else."""
    rule = "it must be a number above 0" + (", or 0" if zero else "")
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise SimlawError(f"{name}={value!r}: {rule}")
    number = float(value)
    if not (np.isfinite(number) and (number > 0 or (zero and number == 0))):
        raise SimlawError(f"{name}={number:g}: {rule}")
    return number


def require_amounts(name: str, values: Any) -> Float[np.ndarray, " m"]:
    """The values, or the one value, as an array of finite numbers above 0; raises `SimlawError` for anything else."""
    rule = "give one number above 0, or a list of them"
    if isinstance(values, str | bytes):
        raise SimlawError(f"{name}={values!r}: {rule}")
    try:
        found = np.atleast_1d(np.asarray(values, np.float64))
    except (TypeError, ValueError) as error:
        raise SimlawError(f"{name}={values!r}: {rule}") from error
    if found.ndim > 1 or not found.size:
        raise SimlawError(f"{name} has the shape {found.shape}: {rule}")
    if bad := [value for value in found.tolist() if not (np.isfinite(value) and value > 0)]:
        raise SimlawError(f"{name} has {bad[0]:g} in it: {rule}")
    return found
