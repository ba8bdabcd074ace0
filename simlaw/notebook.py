"""What `import simlaw as sl` offers a planning notebook; no trainer, no JAX, no matplotlib."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from simlaw.contest import contest
from simlaw.errors import SimlawError
from simlaw.fitting import Fit
from simlaw.fitting import fit as fit_one
from simlaw.holdout import Holdout
from simlaw.law import AbstractLaw
from simlaw.observations import Observations, loss_observations
from simlaw.table import Table
from simlaw.uncertainty import bootstrap as draw


def fit(
    forms: type[AbstractLaw] | Sequence[type[AbstractLaw]],
    table: Observations | Table,
    *,
    holdout: Holdout | None = None,
    bootstrap: int = 1000,
    fixed: Mapping[str, float] = MappingProxyType({}),
    bounds: Mapping[str, tuple[float, float]] = MappingProxyType({}),
    seed: int = 0,
) -> Fit:
    """The fit of a form to a table, or of the simplest of several forms that is not beaten beyond noise.

    `table` is what `load_table` gives, or a table of simlaw's own. Several forms are compared by their error on
    `holdout` (such as `LargestN()`), or by AICc without one; the comparison is in `Fit.contest`. `bootstrap` is the
    number of draws, 0 for none; its cluster is the trunk. Raises `SimlawError` where the table cannot hold a form.
    """
    seen = loss_observations(table) if isinstance(table, Table) else table
    each = [forms] if isinstance(forms, type) else list(forms)
    if not each:
        raise SimlawError("no form was given: fit(sl.laws.Chinchilla, …)")
    weights = draw(seen.trunk, seen.x.get("N"), draws=bootstrap, seed=seed) if bootstrap else None
    if len(each) == 1 and holdout is None:
        return fit_one(each[0], seen, weights, fixed=fixed, bounds=bounds, seed=seed)
    found = contest(each, seen, weights, holdout, fixed=fixed, bounds=bounds, seed=seed)
    return replace(found.chosen.fit, contest=found)
