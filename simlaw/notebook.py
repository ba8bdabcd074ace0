"""What `import simlaw as sl` offers a planning notebook; no trainer, no JAX, no matplotlib."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal

from simlaw.errors import SimlawError
from simlaw.fitting.contest import contest
from simlaw.fitting.fit import Fit
from simlaw.fitting.fit import fit as fit_one
from simlaw.fitting.holdout import Holdout
from simlaw.fitting.objective import Objective
from simlaw.fitting.uncertainty import bootstrap as draw
from simlaw.law import AbstractLaw, AbstractPenalty
from simlaw.observations import Observations, joint_observations, loss_observations, penalty_observations
from simlaw.table import Table


def fit(
    forms: type[AbstractLaw] | Sequence[type[AbstractLaw]],
    table: Observations | Table,
    *,
    holdout: Holdout | Sequence[Holdout] = (),
    bootstrap: int = 1000,
    fixed: Mapping[str, float | Literal["floor"]] = MappingProxyType({}),
    bounds: Mapping[str, tuple[float, float]] = MappingProxyType({}),
    objective: Objective | None = None,
    threshold: float | None = None,
    seed: int = 0,
) -> Fit:
    """The fit of a form to a table, or of the simplest of several forms that is not beaten beyond noise.

    `table` is what `load_table` gives, or a table of simlaw's own, of which laws of the loss take the losses as
    trained, laws of the penalty the paired penalties, and laws that know P_post both at once. Several forms are
    compared by their error on `holdout` (such as `LargestN()`, or several), or by AICc without one; the comparison is
    in `Fit.contest`. `bootstrap` is the number of draws, 0 for none; its cluster is the trunk. `fixed` and `bounds` are
    by the parameters' names; `fixed={"E": "floor"}` holds E at the table's exact floor. `objective` is "huber" for
    losses (the default), or least squares of log losses, "log", or of losses, "nats"; `threshold` is that of the Huber
    function on log losses, by default 1e-3, or 1.345 standard deviations of the noise where replicates show that this
    is more. Raises `SimlawError` where the table cannot hold a form.
    """
    each: list[Any] = list(forms) if isinstance(forms, list | tuple) else [forms]
    for form in each:
        if not (isinstance(form, type) and issubclass(form, AbstractLaw)):
            what = repr(form) if isinstance(form, type | str) else f"a {type(form).__name__}"
            raise SimlawError(f"{what} is no form of law: give a class, such as sl.laws.Chinchilla")
    if not each:
        raise SimlawError("no form was given: fit(sl.laws.Chinchilla, …)")
    holdouts: tuple[Any, ...] = tuple(holdout) if isinstance(holdout, list | tuple) else (holdout,)
    for one in holdouts:
        if not isinstance(one, Holdout):
            raise SimlawError(f"holdout={getattr(one, '__name__', one)!r} is no holdout: give one, as sl.LargestN()")
    if not isinstance(table, Table | Observations):
        raise SimlawError(
            f"{type(table).__name__} is no table of runs: give what sl.load_table or sl.read_table returns"
        )
    if not (isinstance(seed, int) and seed >= 0):
        raise SimlawError(f"seed={seed!r}: give a whole number from 0")
    seen = _taken(each, table) if isinstance(table, Table) else table
    weights = draw(seen.trunk, seen.x.get("N"), draws=bootstrap, seed=seed) if bootstrap else None
    held = {
        name: _floor(seen, name) if value == "floor" else _number(f"fixed {name}", value)
        for name, value in fixed.items()
    }
    limits = {name: _ends(name, ends) for name, ends in bounds.items()}
    given: dict[str, Any] = {"fixed": held, "bounds": limits, "objective": objective, "threshold": threshold}
    if len(each) == 1 and not holdouts:
        return fit_one(each[0], seen, weights, **given, seed=seed)
    found = contest(each, seen, weights, holdouts, **given, seed=seed)
    return replace(found.chosen.fit, contest=found)


def _taken(forms: Sequence[type[AbstractLaw]], table: Table) -> Observations:
    """What forms take of a table of simlaw's own."""
    if any(issubclass(form, AbstractPenalty) for form in forms):
        return penalty_observations(table)
    knows = any("P_post" in (*form.needs, *form.takes) for form in forms)
    return joint_observations(table) if knows else loss_observations(table)


def _floor(seen: Observations, name: str) -> float:
    if name != "E":
        raise SimlawError(f'fixed={{"{name}": "floor"}}: the floor is the entropy, which is E: give {name} as a number')
    if seen.floor is None:
        raise SimlawError(
            'fixed={"E": "floor"}: these rows have no floor that all share; name its column (floor=…, or -c floor=…) '
            "where the entropy of the text is known, or give E as a number"
        )
    return seen.floor


def _number(what: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise SimlawError(f"{what}={value!r} is no number: give one") from error


def _ends(name: str, ends: Any) -> tuple[float, float]:
    try:
        low, high = ends
    except (TypeError, ValueError) as error:
        raise SimlawError(f"bounds {name}={ends!r}: give two numbers, the lower end first") from error
    return _number(f"bounds {name}", low), _number(f"bounds {name}", high)
