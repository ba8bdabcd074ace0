"""The analysis of one table: its fits and their joint bootstrap, ready for decisions and figures."""

from dataclasses import dataclass

import numpy as np

from simlaw.fitting.fit import Fit, bits_error, fit
from simlaw.fitting.uncertainty import trunk_weights
from simlaw.law import AbstractPenalty
from simlaw.laws import Chinchilla, ExponentialPenalty, PowerPenalty, StepPenalty
from simlaw.observations import Observations, granularities, loss_observations, penalty_observations
from simlaw.table import Table

#: The bit terms that are compared, the simplest first.
PENALTIES = (StepPenalty, ExponentialPenalty, PowerPenalty)


@dataclass(frozen=True, kw_only=True)
class Rival:
    """One form of the penalty and how it fares on the lowest bits when it is fitted to the others."""

    fit: Fit
    held_out: float


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """A table with its loss fit and its penalty fit; `rivals` are all penalty forms, in the order of `PENALTIES`.

    A table without quantized rows has neither penalty nor rivals. `granularity` is what shares a scale in the rows that
    the penalty is fitted to. `losses` and `penalties` are the rows of the fits.
    """

    table: Table
    losses: Observations
    penalties: Observations | None
    base: Fit
    penalty: Fit | None
    rivals: tuple[Rival, ...]
    granularity: str


def analyse(table: Table, *, repeats: bool = False, draws: int = 1000) -> Analysis:
    """The analysis of a table: Chinchilla for the loss, and the penalty form that predicts the lowest bits best.

    The simplest form, where the table has one bit-width and nothing to predict. Scales per output channel where the
    table has them. Runs that went over their data more than once stay out unless `repeats`. Raises `SimlawError` where
    the table has too few sizes or seeds.
    """
    losses = loss_observations(table, repeats=repeats)
    weights = trunk_weights(losses.trunk, losses.x["N"], draws=draws)
    base = fit(Chinchilla, losses, weights)
    kinds = granularities(table)
    if not kinds:
        return Analysis(
            table=table, losses=losses, penalties=None, base=base, penalty=None, rivals=(), granularity="channel"
        )
    first = penalty_observations(table, granularity=kinds[0], repeats=repeats)
    pilot = fit(PENALTIES[0], first).law
    assert isinstance(pilot, AbstractPenalty)
    seen = penalty_observations(table, granularity=kinds[0], repeats=repeats, expected=pilot)
    rivals = tuple(Rival(fit=fit(f, seen, weights), held_out=bits_error(f, seen)) for f in PENALTIES)
    best = min(rivals, key=lambda rival: rival.held_out) if np.isfinite(rivals[0].held_out) else rivals[0]
    return Analysis(
        table=table,
        losses=losses,
        penalties=seen,
        base=base,
        penalty=best.fit,
        rivals=rivals,
        granularity=kinds[0],
    )
