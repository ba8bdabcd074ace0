"""Power: a design drawn many times from plausible laws and fitted, to see what fits of it would find."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simlaw.designs.plausible import law_at
from simlaw.designs.prospect import exponents
from simlaw.designs.rows import Rows
from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit, fit
from simlaw.fitting.uncertainty import COVERAGE, bootstrap, interval
from simlaw.law import AbstractLaw
from simlaw.report import columns
from simlaw.simulation import Noise, simulate

#: Standard errors above 0 from which an effect counts as seen.
SEEN = 2.0
#: Bootstrap draws of each simulated fit.
_RESAMPLES = 200


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """How fits find one planted parameter.

    `spread` is half of what holds the middle 68 % of estimate - truth, over all fits. Of the valid fits, `coverage` is
    the share whose 90 % interval holds the truth. `seen` is the share of all fits that are valid and put the parameter
    more than two of their own standard errors above 0. NaN where there is no fit or no bootstrap to tell.
    """

    name: str
    spread: float
    coverage: float
    seen: float


@dataclass(frozen=True, kw_only=True)
class Power:
    """What `draws` simulated fits of a form to a design come to; `why` is the commonest reason of those not valid."""

    form: type[AbstractLaw]
    draws: int
    valid: float
    why: str
    parameters: tuple[Recovered, ...]


def power(
    laws: AbstractLaw,
    rows: Rows,
    noise: Noise,
    *,
    draws: int = 50,
    seed: int = 0,
    tell: Callable[[float], None] = lambda _: None,
) -> Power:
    """What fits find of the form of the plausible `laws` (draws on a leading axis) in the rows that it sees.

    Each of `draws` simulations plants the next of the laws. `tell` is called with 1 after each.
    """
    form = type(laws)
    planted, fits = [], []
    for i in range(draws):
        truth = law_at(laws, i)
        planted.append(truth)
        fits.append(_fit(truth, rows, noise, seed + i))
        tell(1.0)
    valid = [one is not None and one.health == "VALID" for one in fits]
    reasons = [one.sentence if one is not None else "no fit" for one, good in zip(fits, valid, strict=True) if not good]
    return Power(
        form=form,
        draws=draws,
        valid=float(np.mean(valid)),
        why=max(set(reasons), key=reasons.count) if reasons else "",
        parameters=tuple(_recovered(name, planted, fits) for name in form.parameters()),
    )


def power_table(found: list[Power]) -> str:
    """One line for each form: valid fits, and what they find of the exponents."""
    lines = []
    for one in found:
        for i, each in enumerate(each for each in one.parameters if each.name in exponents(one.form)):
            first = (one.form.__name__, f"{one.valid:.0%}") if i == 0 else ("", "")
            share = [f"{value:.0%}" if np.isfinite(value) else "unknown" for value in (each.coverage, each.seen)]
            lines.append((*first, each.name, f"{each.spread:.2g}" if np.isfinite(each.spread) else "unknown", *share))
    head = ("simulated", "valid fits", "", "spread", f"{COVERAGE:.0%} intervals hold it", "seen at 2 errors")
    return columns(head, lines)


def _fit(truth: AbstractLaw, rows: Rows, noise: Noise, seed: int) -> Fit | None:
    """A fit of one simulation, with a bootstrap where the design has the trunks for it; None where it cannot be."""
    seen = simulate(truth, rows.x, rows.trunk, noise=noise, seed=seed)
    try:
        weights = bootstrap(seen.trunk, seen.x.get("N"), draws=_RESAMPLES, seed=seed)
    except SimlawError:
        weights = None
    try:
        return fit(type(truth), seen, weights, seed=seed)
    except SimlawError:
        return None


def _recovered(name: str, planted: list[AbstractLaw], fits: list[Fit | None]) -> Recovered:
    pairs = [(one, float(truth.values[name])) for one, truth in zip(fits, planted, strict=True) if one is not None]
    pairs = [(one, truth) for one, truth in pairs if name not in one.unknown]
    if not pairs:
        return Recovered(name=name, spread=np.nan, coverage=np.nan, seen=np.nan)
    away = np.array([float(one.law.values[name]) - truth for one, truth in pairs])
    low, high = np.quantile(away, [0.16, 0.84])
    held, seen = [], []
    for one, truth in pairs:
        if one.draws is not None:
            ends = interval(np.asarray(one.draws.values[name]))
            if one.health == "VALID":
                held.append(ends[0] <= truth <= ends[1])
            seen.append(one.health == "VALID" and float(one.law.values[name]) > SEEN * one.error[name])
    return Recovered(
        name=name,
        spread=float(high - low) / 2,
        coverage=float(np.mean(held)) if held else np.nan,
        seen=float(np.mean(seen)) if seen else np.nan,
    )
