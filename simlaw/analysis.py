"""The analysis of one table: its fits and their joint bootstrap, ready for decisions and figures."""

from dataclasses import dataclass

from simlaw.fit import Fit, bits_error, fit
from simlaw.laws import Chinchilla, ExponentialPenalty, PowerPenalty, StepPenalty
from simlaw.observations import loss_observations, penalty_observations
from simlaw.table import Table
from simlaw.uncertainty import trunk_weights

#: The bit terms that are compared, the simplest first.
PENALTIES = (StepPenalty, ExponentialPenalty, PowerPenalty)


@dataclass(frozen=True, kw_only=True)
class Rival:
    """One form of the penalty and how it fares on the lowest bits when it is fitted to the others."""

    fit: Fit
    held_out: float


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """A table with its loss fit and its penalty fit; `rivals` are all penalty forms, in the order of `PENALTIES`."""

    table: Table
    base: Fit
    penalty: Fit
    rivals: tuple[Rival, ...]


def analyse(table: Table, *, granularity: str = "channel", repeats: bool = False, draws: int = 1000) -> Analysis:
    """The analysis of a table: Chinchilla for the loss, and the penalty form that predicts the lowest bits best.

    Runs that went over their data more than once stay out unless `repeats`.

    Raises `SimlawError` where the table has too few sizes, seeds or quantised rows.
    """
    losses = loss_observations(table, repeats=repeats)
    penalties = penalty_observations(table, granularity=granularity, repeats=repeats)
    weights = trunk_weights(losses.trunk, losses.x["N"], draws=draws)
    rivals = tuple(Rival(fit=fit(f, penalties, weights), held_out=bits_error(f, penalties)) for f in PENALTIES)
    return Analysis(
        table=table,
        base=fit(Chinchilla, losses, weights),
        penalty=min(rivals, key=lambda rival: rival.held_out).fit,
        rivals=rivals,
    )
