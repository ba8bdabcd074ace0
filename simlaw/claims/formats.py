"""What tables of formats and architectures in training say: integers against floats, and where training holds."""

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from simlaw.analysis import full_precision
from simlaw.claims.exponents import Exponents, exponents
from simlaw.claims.growth import COVERAGE, difference
from simlaw.claims.training import Place, averaged, place_of
from simlaw.claims.verdict import Answer, Finding, decided
from simlaw.curve import Curve, curve_of
from simlaw.errors import SimlawError
from simlaw.observations import precision_name, quantized_training
from simlaw.precisions import BITS, Pair, of_roles, pairs_of, precision_observations
from simlaw.schema import TRAINING_PRECISION
from simlaw.table import Row, Table

_ROLES = {"P_w": "weights", "P_a": "inputs"}
#: Families of formats by the beginnings of their names, of which there are laws.
_FAMILIES = {"int": "integers", "e2m": "floats e2m0 to e2m3"}
#: Floats with three bits of exponent are too few for a law.
_DRAWN = {**_FAMILIES, "e3m": "floats e3m0 to e3m2"}


def integers_cost_parameters_and_floats_data(table: Table) -> Answer:
    """Whether what integers cost has the exponents of lost parameters, and what floats cost has others (claim A11).

    The half about integers asks of every role what A7 asks of the weights.
    """
    held = full_precision(table)
    found: dict[tuple[str, str], Exponents] = {}
    for family in _FAMILIES:
        seen = precision_observations(table, family)
        found |= {(family, role): exponents(of_roles(seen, (role,)), held) for role in _ROLES}
    findings: list[Finding] = []
    like, told = {}, {}
    for (family, role), each in found.items():
        name = f"{_FAMILIES[family]}, {_ROLES[role]}"
        ends = [
            slope.finding(f"{name}: {what}", among=3 * len(found))
            for what, slope in (("gD", each.gD), ("gN - alpha", each.beyond), ("gN", each.gN))
        ]
        findings += ends
        like[family, role] = all(one.above <= 0 <= one.below for one in ends[:2])
        # an error that nothing mends has exponents of 0, and is not told from lost parameters where gN may be 0
        told[family, role] = like[family, role] and ends[2].above > 0
    for role, name in _ROLES.items():
        for what in ("gD", "gN"):
            floats, integers = (getattr(found[family, role], what) for family in ("e2m", "int"))
            findings.append(difference(floats, integers, f"{what} of floats - of integers, {name}", judged=False))
    findings += _differences(table)
    holds = all(told["int", role] and not like["e2m", role] for role in _ROLES)
    fails = any(not like["int", role] or told["e2m", role] for role in _ROLES)
    said = [
        f"{_FAMILIES[family]} of {_ROLES[role]}: {'as parameters' if like[family, role] else 'otherwise'}"
        for family, role in found
    ]
    return decided(holds, fails), f"what is lost goes with data and size, by {'; by '.join(said)}", findings


def _differences(table: Table) -> list[Finding]:
    """What floats cost more than integers of as many bits, on the same sizes, tokens and seeds."""
    findings = []
    integers = _costs(pairs_of(table)[0])
    for family, exponent in (("e2m", 2), ("e3m", 3)):
        with contextlib.suppress(SimlawError):  # no floats of the family
            floats = _costs(pairs_of(table, family)[0])
            for role, bits in sorted({key[:2] for key in floats}):
                values = [
                    (key[2], cost - integers[role, bits, key[2]])
                    for key, cost in floats.items()
                    if key[:2] == (role, bits) and (role, bits, key[2]) in integers
                ]
                with contextlib.suppress(SimlawError):  # no integer of as many bits
                    what = f"cost of {family}{int(bits) - exponent - 1} - int{int(bits)}, {_ROLES[role]}"
                    findings.append(averaged(values, what, judged=False))
    return findings


def _costs(pairs: Sequence[Pair]) -> dict[tuple[str, float, tuple[int, int, int]], float]:
    """The costs of pairs with one quantized role, by the role, its bits and the place."""
    found = {}
    for pair in pairs:
        roles = [name for name in BITS if np.isfinite(pair.bits[name])]
        if len(roles) == 1 and roles[0] in _ROLES:
            found[roles[0], pair.bits[roles[0]], place_of(pair.low)] = pair.cost
    return found


def cost_curves(table: Table, role: str, params: int, tokens: int) -> tuple[Curve, ...]:
    """What bits of one role cost at a size and token count, in nats per token: a curve for each family of formats.

    Families of which nothing is paired with full precision are left out.
    """
    found = []
    for family, words in _DRAWN.items():
        with contextlib.suppress(SimlawError):
            costs: dict[float, list[float]] = {}
            for (one, bits, (n, d, _)), cost in _costs(pairs_of(table, family)[0]).items():
                if (one, n, d) == (role, params, tokens):
                    costs.setdefault(bits, []).append(cost)
            if costs:
                found.append(curve_of(words, costs))
    return tuple(found)


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
            each[row["seed"]] = each.get(row["seed"], False) or row["status"] != "done"
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


def rate_curves(table: Table, params: int, tokens: int) -> tuple[Curve, ...]:
    """The loss against the multiple of the rate at one size and token count, a curve for each training precision.

    Of the runs that hold; precisions in the order of `held`.
    """
    found: dict[str, dict[float, list[float]]] = {}
    for row in _trained(table):
        if row["status"] == "done" and (row["params_blocks"], row["tokens"]) == (params, tokens):
            found.setdefault(precision_name(row), {}).setdefault(row["rate_multiple"], []).append(row["loss"])
    return tuple(curve_of(name, losses) for name, losses in found.items())


def held(table: Table) -> dict[tuple[float, str], tuple[int, int]]:
    """How many runs of each rate and precision are done, and how many there are: full precision first, then falling."""
    found: dict[tuple[float, str], list[Row]] = {}
    for row in _trained(table):
        found.setdefault((row["rate_multiple"], precision_name(row)), []).append(row)
    return {key: (sum(row["status"] == "done" for row in rows), len(rows)) for key, rows in found.items()}


def _trained(table: Table) -> list[Row]:
    """The rows as trained: scales of tokens before those of batches, and more bits before fewer."""
    return sorted(
        table.where(lambda row: row["ptq_bits"] is None),
        key=lambda row: (row["train_activations_granularity"] == "tensor", -(row["train_weights_bits"] or 99)),
    )
