"""Strata: the loss of each evaluation on items of one kind alone, such as facts of some ranks. No JAX.

A corpus says which kinds there are (`AbstractCorpus.strata`); the table has the mean over what its windows hold.
"""

from dataclasses import dataclass
from typing import ClassVar

from simlaw.details import AbstractDetails
from simlaw.schema import Column

COLUMNS = (
    Column("run_id", "text", "the run"),
    Column("eval_id", "text", "the row of the table"),
    Column("axis", "text", "what the strata differ in: rank of a fact, from 1; steps or digits of a problem"),
    Column("low", "int", "the least of it in the stratum"),
    Column("high", "int", "the most of it"),
    Column("items", "int", "how many items of it the source has; empty: too many to count"),
    Column("tokens", "int", "predicted tokens that were looked at"),
    Column("loss", "float", "their mean loss, nats per token"),
    Column("loss_se", "float", "its standard error over items: facts, or problems"),
    Column("floor", "float", "exact Bayes loss of the same tokens"),
)


@dataclass(frozen=True, kw_only=True)
class Strata(AbstractDetails):
    """Rows of strata, in the order in which they were measured."""

    COLUMNS: ClassVar[tuple[Column, ...]] = COLUMNS
    KIND: ClassVar[str] = "strata"
