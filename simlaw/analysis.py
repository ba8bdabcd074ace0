"""The analysis of one table: its fits and their joint bootstrap, ready for decisions and figures."""

from dataclasses import dataclass, replace

from simlaw.errors import SimlawError
from simlaw.fitting.contest import Contest, contest
from simlaw.fitting.fit import Fit, fit
from simlaw.fitting.holdout import LowestBits
from simlaw.fitting.uncertainty import TrunkWeights, trunk_weights
from simlaw.law import AbstractPenalty
from simlaw.laws import Chinchilla, ExponentialPenalty, PowerPenalty, StepPenalty
from simlaw.observations import Observations, granularities, loss_observations, penalty_observations
from simlaw.quantizations import plainest
from simlaw.table import Table

#: The bit terms that are compared, the simplest first.
PENALTIES = (StepPenalty, ExponentialPenalty, PowerPenalty)


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


def loss_fit(table: Table, *, repeats: bool = False, draws: int = 1000) -> tuple[Observations, TrunkWeights, Fit]:
    """The losses of a table, the weights of their bootstrap, and their fit by Chinchilla; errors as of `analyse`."""
    losses = loss_observations(table, repeats=repeats)
    weights = trunk_weights(losses.trunk, losses.x["N"], draws=draws)
    return losses, weights, fit(Chinchilla, losses, weights)
