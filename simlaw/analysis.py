"""The analysis of one table: its fits and their joint bootstrap, ready for decisions and figures."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from simlaw.errors import SimlawError
from simlaw.fitting.contest import Contest, contest
from simlaw.fitting.fit import Fit, fit
from simlaw.fitting.holdout import LargestN, LowestBits, SeveralRoles
from simlaw.fitting.uncertainty import TrunkWeights, trunk_weights
from simlaw.law import AbstractPenalty
from simlaw.laws import (
    Chinchilla,
    EffectiveStep,
    EffectiveTokens,
    ExponentialPenalty,
    PowerPenalty,
    PrecisionExponential,
    PrecisionGrowing,
    PrecisionSum,
    PrecisionUnified,
    StepPenalty,
)
from simlaw.observations import Observations, granularities, loss_observations, penalty_observations
from simlaw.precisions import BITS, of_roles, precision_observations, unified_observations
from simlaw.quantizations import plainest
from simlaw.table import Table

#: The bit terms that are compared, the simplest first.
PENALTIES = (StepPenalty, ExponentialPenalty, PowerPenalty)
#: The forms of what training in low precision costs, each with its own idea of what is lost.
PRECISIONS = (PrecisionExponential, EffectiveStep, EffectiveTokens, PrecisionSum, PrecisionGrowing)

#: Laws of training in low precision and of rounding afterwards.
UNIFIED = (PrecisionUnified, PrecisionExponential)
#: How much training in each role's precision prepares for rounding.
_PREPARED = ("C_w", "C_a", "C_kv")
#: A constant beyond which training at one bit more than rounding leaves takes less than 2 % off the penalty.
_NOTHING = 4.0


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """A table with its loss fit and its penalty fit; `rivals` is the contest of the penalty forms.

    A table without quantized rows has no penalty, and one with too few bit-widths no rivals. `granularity` is what
    shares a scale in the rows that the penalty is fitted to. `losses` and `penalties` are the rows of the fits.
    """

    table: Table
    losses: Observations
    penalties: Observations | None
    base: Fit
    penalty: Fit | None
    rivals: Contest | None
    granularity: str


def analyse(table: Table, *, repeats: bool = False, draws: int = 1000) -> Analysis:
    """The analysis of a table: Chinchilla for the loss, and the simplest penalty form that predicts the lowest bits.

    That is the one which no other beats there beyond noise, and the simplest of all where bits are too few to hold the
    lowest out. Of several quantizations it is that of plain rounding, with scales per output channel where the table
    has them. Runs that went over their data more than once stay out unless `repeats`. Raises `SimlawError` where
    the table has too few sizes or seeds.
    """
    table, others = plainest(table)
    losses, weights, base = loss_fit(table, repeats=repeats, draws=draws)
    kinds = granularities(table)
    if not kinds:
        return Analysis(
            table=table, losses=losses, penalties=None, base=base, penalty=None, rivals=None, granularity="channel"
        )
    first = penalty_observations(table, granularity=kinds[0], repeats=repeats)
    pilot = fit(PENALTIES[0], first).law
    assert isinstance(pilot, AbstractPenalty)
    seen = penalty_observations(table, granularity=kinds[0], repeats=repeats, expected=pilot)
    seen = replace(seen, left_out={**seen.left_out, **others})
    try:
        rivals = contest(PENALTIES, seen, weights, (LowestBits(),), fixed={}, bounds={})
    except SimlawError:
        rivals = None
    return Analysis(
        table=table,
        losses=losses,
        penalties=seen,
        base=base,
        penalty=fit(PENALTIES[0], seen, weights) if rivals is None else rivals.chosen.fit,
        rivals=rivals,
        granularity=kinds[0],
    )


@dataclass(frozen=True, kw_only=True)
class PrecisionAnalysis:
    """What training in low precision costs: the contests of forms on each role alone, and on all of them.

    `chosen` is a form fitted with draws to all rows, which one, the analysis says. The forms of one role predict the
    largest size and the lowest bits; those of all roles runs with several of them quantized, and the largest size.
    `roles` are those of each role and family of formats: integers ("int"), floats with two bits of exponent ("e2m").
    """

    observations: Observations
    roles: Mapping[tuple[str, str], Contest]
    together: Contest
    chosen: Fit


def analyse_precision(table: Table, *, draws: int = 400) -> PrecisionAnalysis:
    """The analysis of a table of runs in low precision: which form of what integers cost predicts best, and its fit.

    All forms take full precision as `full_precision` has it; the simplest within the noise of the best is fitted with
    all of its parameters free where that fit is valid. Of a role with fewer than three bit-widths there is no contest;
    without runs that have several roles quantized the forms of all roles predict the largest size and the lowest bits
    of each role. Raises `SimlawError` where nothing is paired with full precision.
    """
    seen, held = precision_observations(table), full_precision(table)
    meet = (np.isfinite([seen.x[name] for name in BITS]).sum(axis=0) > 1).any()
    lowest = (LowestBits(role) for role in BITS if _many(seen, role))
    away = (SeveralRoles(), LargestN()) if meet else (LargestN(), *lowest)
    together = contest(PRECISIONS, seen, None, away, fixed=held, bounds={})
    roles = {(role, "int"): role_contest(seen, role, held) for role in BITS if _many(seen, role)}
    with contextlib.suppress(SimlawError):  # no floats
        floats = precision_observations(table, "e2m")
        roles |= {(role, "e2m"): role_contest(floats, role, held) for role in BITS if _many(floats, role)}
    form, weights = type(together.chosen.fit.law), trunk_weights(seen.trunk, seen.x["N"], draws=draws)
    chosen = fit(form, seen, weights)
    if chosen.health != "VALID":
        chosen = fit(form, seen, weights, fixed=held)
    return PrecisionAnalysis(observations=seen, roles=roles, together=together, chosen=chosen)


def full_precision(table: Table) -> dict[str, float]:
    """E, A, B, alpha and beta of a Chinchilla fit to the runs at full precision alone, by name.

    Left free beside what low precision costs, E runs to 0 in forms of N_eff where costs do not fall with size as these
    have them, and of three sizes the two that remain where one is held out do not hold E.
    """
    return {name: float(value) for name, value in fit(Chinchilla, loss_observations(table)).law.values.items()}


def role_contest(seen: Observations, role: str, held: Mapping[str, float]) -> Contest:
    """The contest of forms on the runs with one role quantized, on the largest size and the lowest bits held out."""
    return contest(PRECISIONS, of_roles(seen, (role,)), None, (LargestN(), LowestBits(role)), fixed=held, bounds={})


def _many(seen: Observations, role: str) -> bool:
    """Whether a role alone has three bit-widths."""
    return len(np.unique(of_roles(seen, (role,)).x[role])) > 3


def analyse_unified(table: Table, *, draws: int = 400) -> PrecisionAnalysis:
    """The analysis of a table of runs in low precision that were quantized afterwards: one law for both.

    The fit is that of the unified law of Kumar et al., whatever the contest says: that asks, on the largest size and
    the lowest bits, whether the law predicts better than one in which what rounding costs does not depend on how a
    model was trained. What is given to both is that of `held_in_unified`. Raises `SimlawError` as
    `unified_observations`.
    """
    seen = unified_observations(table)
    held = held_in_unified(table, seen)
    together = contest(UNIFIED, seen, None, (LargestN(), LowestBits("P_post")), fixed=held, bounds={})
    weights = trunk_weights(seen.trunk, seen.x["N"], draws=draws)
    chosen = fit(PrecisionUnified, seen, weights, fixed=held)
    return PrecisionAnalysis(observations=seen, roles={}, together=together, chosen=chosen)


def held_in_unified(table: Table, seen: Observations) -> dict[str, float]:
    """The parameters of the unified law that are given to its fit, by name: those of `full_precision`, and others.

    The offset b and C_T are one number. Where training in a role changes what rounding costs by less than 2 %, no C_x
    is too large: it is held at the end of its range, by a fit to all rows.
    """
    held = {"b": 0.0, **full_precision(table)}
    pilot = fit(PrecisionUnified, seen, fixed=held).law
    ends = {name: one.bounds[1] for name, one in pilot.parameters().items() if name in _PREPARED}
    return held | {name: end for name, end in ends.items() if pilot.values[name] > _NOTHING}


def loss_fit(table: Table, *, repeats: bool = False, draws: int = 1000) -> tuple[Observations, TrunkWeights, Fit]:
    """The losses of a table, the weights of their bootstrap, and their fit by Chinchilla; errors as of `analyse`."""
    losses = loss_observations(table, repeats=repeats)
    weights = trunk_weights(losses.trunk, losses.x["N"], draws=draws)
    return losses, weights, fit(Chinchilla, losses, weights)


#: The analyses of sweeps that train in low precision, by what `Sweep.analysis` calls them.
OF_PRECISION = MappingProxyType({"precision": analyse_precision, "unified": analyse_unified})
