"""What tables of formats and architectures in training say: integers against floats, and where training holds."""

import contextlib
from collections.abc import Sequence

import numpy as np

from simlaw.analysis import full_precision
from simlaw.claims.exponents import Exponents, exponents
from simlaw.claims.growth import difference
from simlaw.claims.training import averaged, place_of
from simlaw.claims.verdict import Answer, Finding, decided
from simlaw.errors import SimlawError
from simlaw.means import Means, means_at
from simlaw.precisions import BITS, Pair, of_roles, pairs_of, precision_observations
from simlaw.table import Table

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


def cost_curves(table: Table, role: str, params: int, tokens: int) -> tuple[Means, ...]:
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
                found.append(means_at(words, costs))
    return tuple(found)
