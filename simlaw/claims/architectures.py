"""Where training in low precision holds, and what bits cost there, in one architecture and in another."""

import contextlib
import math
from typing import Any

from simlaw.claims.growth import COVERAGE
from simlaw.claims.training import Place, averaged, place_of
from simlaw.claims.verdict import Answer, Finding, decided
from simlaw.errors import SimlawError
from simlaw.means import Means, means_at
from simlaw.observations import precision_name, quantized_training
from simlaw.schema import TRAINING_PRECISION
from simlaw.table import Row, Table


def stable_parts_hold_at_fewer_bits(table: Table) -> Answer:
    """Whether more norms and bounded inputs hold where the plain architecture diverges (claim A12)."""
    plain, stable = architectures(table)
    judged = _of_discordant(plain, stable, "of cells that one architecture alone loses, the plain one", bits=True)
    full = _of_discordant(plain, stable, "the same at full precision", bits=False)
    findings = [finding for finding in (judged, full) if finding is not None]
    for name, each in (("plain", held(plain)), ("stable", held(stable))):
        for (multiple, precision), (done, runs) in each.items():
            if done < runs:
                what = f"{name}, {precision} at {multiple:g} x the rate: share of runs that hold"
                findings.append(Finding(what=what, value=done / runs, judged=False))
    findings += _cheaper(plain, stable)
    mine, theirs = (_lost(rows, bits=True) for rows in (plain, stable))
    lost = (
        f"{sum(mine.values())} plain and {sum(theirs.values())} stable of {len(mine)} cells in low precision are lost"
    )
    if judged is None:
        return "not identified", f"{lost}, none by one architecture alone: add rates or fewer bits", findings
    return decided(judged.above > 0.5, judged.below < 0.5), lost, findings


def _cheaper(plain: Table, stable: Table) -> list[Finding]:
    """What each precision costs more in one architecture than in the other, at the recipe's rate."""
    mine, theirs = _costs_of_precisions(plain), _costs_of_precisions(stable)
    values: dict[str, list[tuple[Place, float]]] = {}
    for (name, place), cost in mine.items():
        if (name, place) in theirs:
            values.setdefault(name, []).append((place, theirs[name, place] - cost))
    findings = []
    for name, each in values.items():
        with contextlib.suppress(SimlawError):  # one seed alone lives
            findings.append(averaged(each, f"cost of {name}, stable - plain", judged=False))
    return findings


def _costs_of_precisions(table: Table) -> dict[tuple[str, Place], float]:
    """What runs at the recipe's rate cost above full precision, by their precision and place."""
    rows = [row for row in _trained(table) if row["status"] == "done" and row["rate_multiple"] == 1]
    full = {place_of(row): row["loss"] for row in rows if not quantized_training(row)}
    return {
        (precision_name(row), place_of(row)): row["loss"] - full[place_of(row)]
        for row in rows
        if quantized_training(row) and place_of(row) in full
    }


def _lost(table: Table, *, bits: bool) -> dict[tuple[Any, ...], bool]:
    """Whether most seeds of a cell diverged at any token count, by size, rate and precision.

    Seeds share the fate of their cell, and token counts a trunk, so that neither counts by itself.
    """
    seeds: dict[tuple[Any, ...], dict[int, bool]] = {}
    for row in _trained(table):
        if quantized_training(row) == bits:
            key = row["params_blocks"], row["rate_multiple"], *(row[name] for name in TRAINING_PRECISION)
            each = seeds.setdefault(key, {})
            each[row["seed"]] = each.get(row["seed"], False) or row["status"] == "diverged"
    return {key: 2 * sum(each.values()) > len(each) for key, each in seeds.items()}


def _of_discordant(plain: Table, stable: Table, what: str, *, bits: bool) -> Finding | None:
    """The plain architecture's share of the cells that one of two loses, with its exact interval.

    In low precision or at full; None where no cell is lost by one alone.
    """
    mine, theirs = _lost(plain, bits=bits), _lost(stable, bits=bits)
    pairs = [(mine[key], theirs[key]) for key in mine.keys() & theirs.keys()]
    first, second = sum(one and not other for one, other in pairs), sum(other and not one for one, other in pairs)
    if not first + second:
        return None
    low, high = share_interval(first, first + second, COVERAGE)
    return Finding(what=what, value=first / (first + second), low=low, high=high, judged=bits)


def share_interval(count: int, of: int, coverage: float) -> tuple[float, float]:
    """The ends of the exact interval of a probability that showed `count` times `of` so many (Clopper and Pearson)."""
    tail = (1 - coverage) / 2

    def at_least(k: int, p: float) -> float:
        return sum(math.comb(of, i) * p**i * (1 - p) ** (of - i) for i in range(k, of + 1))

    def where(k: int, wanted: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if at_least(k, middle) < wanted else (low, middle)
        return (low + high) / 2

    return (0.0 if count == 0 else where(count, tail)), (1.0 if count == of else where(count + 1, 1 - tail))


def architectures(table: Table) -> tuple[Table, Table]:
    """The rows of the plain architecture, and of the one with bounds; raises `SimlawError` where one has none."""
    plain, stable = (table.where(lambda row: row["bound"] is None), table.where(lambda row: row["bound"] is not None))
    if not plain or not stable:
        raise SimlawError("the rows are of one architecture: add Recipe(architecture=PRECISION_STABLE) to a grid")
    return plain, stable


def rate_curves(table: Table, params: int, tokens: int) -> tuple[Means, ...]:
    """The loss against the multiple of the rate at one size and token count, a curve for each training precision.

    Of the runs that hold; precisions in the order of `held`.
    """
    found: dict[str, dict[float, list[float]]] = {}
    for row in _trained(table):
        if row["status"] == "done" and (row["params_blocks"], row["tokens"]) == (params, tokens):
            found.setdefault(precision_name(row), {}).setdefault(row["rate_multiple"], []).append(row["loss"])
    return tuple(means_at(name, losses) for name, losses in found.items())


def held(table: Table) -> dict[tuple[float, str], tuple[int, int]]:
    """How many runs of each rate and precision are done, and how many there are: full precision first, then falling."""
    found: dict[tuple[float, str], list[Row]] = {}
    for row in _trained(table):
        found.setdefault((row["rate_multiple"], precision_name(row)), []).append(row)
    return {key: (sum(row["status"] == "done" for row in rows), len(rows)) for key, rows in found.items()}


def _trained(table: Table) -> list[Row]:
    """The rows as trained: scales of tokens before those of batches, and more bits before fewer."""
    return sorted(
        table.where(lambda row: row["ptq_bits"] is None and row["status"] != "failed"),
        key=lambda row: (row["train_activations_granularity"] == "tensor", -(row["train_weights_bits"] or 99)),
    )
