"""What tables of formats and architectures in training say: integers against floats, and where training holds."""

import contextlib
from collections.abc import Sequence

import numpy as np

from simlaw.claims.training import averaged, place_of
from simlaw.claims.verdict import Answer, Finding, decided
from simlaw.curve import Curve, curve_of
from simlaw.errors import SimlawError
from simlaw.fitting.contest import Contest, contest
from simlaw.fitting.holdout import LargestN, LowestBits
from simlaw.laws import EffectiveTokens, PrecisionExponential, PrecisionGrowing, PrecisionSum
from simlaw.observations import precision_name
from simlaw.precisions import BITS, Pair, of_roles, pairs_of, precision_observations
from simlaw.table import Row, Table

#: What fewer bits may cost: parameters, data, an error that neither mends, or one that grows with data.
_KINDS = (PrecisionExponential, EffectiveTokens, PrecisionSum, PrecisionGrowing)
_ROLES = {"P_w": "weights", "P_a": "inputs"}
#: Families of formats by the beginnings of their names.
_FAMILIES = {"int": "integers", "e2m": "floats e2m0 to e2m3"}
#: Floats with three bits of exponent are too few for a contest of laws.
_DRAWN = {**_FAMILIES, "e3m": "floats e3m0 to e3m2"}


def integers_cost_parameters_and_floats_data(table: Table) -> Answer:
    """Whether integers, whose noise is additive, act on the size, and floats on something else (claim A11)."""
    findings: list[Finding] = []
    found: dict[tuple[str, str], Contest] = {}
    for family, words in _FAMILIES.items():
        seen = precision_observations(table, family)
        for role, name in _ROLES.items():
            mine = of_roles(seen, (role,))
            one = contest(_KINDS, mine, None, (LargestN(), LowestBits(role)), fixed={}, bounds={})
            found[family, role] = one
            findings += [
                Finding(what=f"{words}, {name}: {entry.name} behind the best, in errors", value=entry.behind)
                for entry in one.entries
                if np.isfinite(entry.behind)
            ]
    findings += _differences(table)
    of_size = {key: one.chosen.name == PrecisionExponential.__name__ for key, one in found.items()}
    right = {(family, role): of_size[family, role] == (family == "int") for family, role in found}
    outcome = decided(
        all(right[key] and found[key].decided for key in found),
        any(found[key].decided and not right[key] for key in found),
    )
    said = [f"{_FAMILIES[family]} of {_ROLES[role]}: {one.verdict}" for (family, role), one in found.items()]
    return outcome, "; ".join(said), findings


def _differences(table: Table) -> list[Finding]:
    """What floats cost more than integers of as many bits, on the same sizes, tokens and seeds."""
    findings = []
    integers = _costs(pairs_of(table)[0])
    for family, words in (("e2m", "e2m"), ("e3m", "e3m")):
        with contextlib.suppress(SimlawError):
            floats = _costs(pairs_of(table, family)[0])
            for role, bits in sorted({key[:2] for key in floats}):
                values = [
                    (key[2], cost - integers[role, bits, key[2]])
                    for key, cost in floats.items()
                    if key[:2] == (role, bits) and (role, bits, key[2]) in integers
                ]
                with contextlib.suppress(SimlawError):  # no integer of as many bits
                    what = f"cost of {words}{int(bits) - int(words[1]) - 1} - int{int(bits)}, {_ROLES[role]}"
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
            found.append(curve_of(words, costs))
    return tuple(found)


def stable_parts_hold_at_fewer_bits(table: Table) -> Answer:
    """Whether more norms and bounded inputs hold where the plain architecture diverges (claim A12)."""
    plain, stable = architectures(table)
    mine, theirs = held(plain), held(stable)
    shared = [key for key in mine if key in theirs]
    rise = {key: theirs[key][0] / theirs[key][1] - mine[key][0] / mine[key][1] for key in shared}
    findings = [
        Finding(what=f"{name} at {multiple:g} x the rate: share of runs that hold, stable - plain", value=value)
        for (multiple, name), value in rise.items()
        if theirs[multiple, name][0] < theirs[multiple, name][1] or mine[multiple, name][0] < mine[multiple, name][1]
    ]
    fewer, more = (sum(sign * value > 0 for value in rise.values()) for sign in (1, -1))
    if not findings:
        return "not identified", f"no run diverged at any of {len(shared)} settings: add rates or fewer bits", ()
    outcome = decided(fewer > 0 and not more, not fewer)
    lost = [
        f"{sum(runs - held for held, runs in each.values())} {name}"
        for name, each in (("plain", mine), ("stable", theirs))
    ]
    sentence = (
        f"{' and '.join(lost)} runs diverged; the stable architecture holds more often at {fewer} of {len(shared)} "
        f"settings, less often at {more}"
    )
    return outcome, sentence, findings


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
