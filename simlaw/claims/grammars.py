"""Grammars: whether the exponent of data is what a hierarchy of rules says it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from simlaw.claims.claim import Beside
from simlaw.claims.growth import COVERAGE
from simlaw.claims.verdict import Answer, Finding, decided
from simlaw.config import ZRHM
from simlaw.errors import SimlawError
from simlaw.fitting.uncertainty import student
from simlaw.observations import usable
from simlaw.report import count
from simlaw.table import Table

#: How far a measured exponent may be from the one of the theory.
WITHIN = 0.2


@dataclass(frozen=True, kw_only=True)
class Learned:
    """The excess losses of one grammar at one size, by tokens."""

    grammar: ZRHM
    tokens: Float[np.ndarray, " d"]
    excess: Float[np.ndarray, " d"]

    @property
    def exponent(self) -> float:
        """That of a straight line through the logarithms: with stairs, of their average."""
        return -float(np.polyfit(np.log(self.tokens), np.log(self.excess), 1)[0])


def theory(grammar: ZRHM) -> float:
    """The exponent ln(1 / f) / (2 ln m) of data, f = m / v^(s - 1) (2406.00048)."""
    f = grammar.rules / grammar.symbols ** (grammar.branching - 1)
    return float(np.log(1 / f) / (2 * np.log(grammar.rules)))


def stairs(grammar: ZRHM) -> Float[np.ndarray, " l"]:
    """The tokens at which each level of rules stands out from the noise: v m^(2l - 1) / (1 - f) strings."""
    f = grammar.rules / grammar.symbols ** (grammar.branching - 1)
    level = np.arange(1, grammar.levels + 1)
    return grammar.symbols * grammar.rules ** (2.0 * level - 1) / (1 - f) * grammar.item


def phases(grammar: ZRHM, tokens: Float[np.ndarray, " d"]) -> tuple[float, float]:
    """The least and the most exponent that a straight line finds of the theory's own stairs at these tokens.

    At each level that becomes visible the excess falls by f, and the tokens at which the first does are known to a
    factor alone: so much of a line's slope is where the stairs happen to stand.
    """
    f = grammar.rules / grammar.symbols ** (grammar.branching - 1)
    found = []
    for shift in np.linspace(-0.5, 0.5, 41) * 2 * np.log(grammar.rules):
        level = np.arange(-grammar.levels, 2 * grammar.levels)
        steps = np.log(stairs(grammar)[0]) + 2 * np.log(grammar.rules) * level + shift
        seen = (np.log(tokens)[:, None] >= steps[None]).sum(axis=1)
        found.append(-float(np.polyfit(np.log(tokens), seen * np.log(f), 1)[0]))
    return min(found), max(found)


def learned(table: Table, known: Beside) -> dict[int, dict[ZRHM, list[Learned]]]:
    """What was learned of each grammar with three token counts, by size, and by the grammar without its seed."""
    found: dict[int, dict[ZRHM, list[Learned]]] = {}
    for grammar, rows in known.tables(table, ZRHM).items():
        mine = usable(rows)[0].where(lambda row: row["ptq_bits"] is None)
        for size in sorted({row["params_blocks"] for row in mine}):
            # of several runs on one grammar the one with the most token counts: others tell the noise of seeds
            runs: dict[str, list[tuple[int, float]]] = {}
            for row in mine:
                if row["params_blocks"] == size:
                    runs.setdefault(row["trunk_id"], []).append((row["tokens"], row["excess"]))
            longest = max(map(len, runs.values()))
            each = sorted(next(run for run in runs.values() if len(run) == longest))
            tokens, excess = (np.array(values, np.float64) for values in zip(*each, strict=True))
            if (excess <= 0).any():
                raise SimlawError(
                    f"an excess loss of {grammar} is {excess.min():.3g}, and has no logarithm: evaluate on more tokens"
                )
            if len(set(tokens)) > 2:
                one = Learned(grammar=grammar, tokens=tokens, excess=excess)
                found.setdefault(size, {}).setdefault(replace(grammar, seed=0), []).append(one)
    if not found:
        raise SimlawError("no grammar was learned at three token counts: add tokens")
    return found


def judged_size(found: Mapping[int, Mapping[ZRHM, Sequence[Learned]]]) -> int:
    """The size at which most grammars were learned; of several the largest."""
    return max(found, key=lambda size: (sum(map(len, found[size].values())), size))


def mean_exponent(each: Sequence[Learned], among: int = 1) -> tuple[float, float]:
    """The mean over grammars, and the half of its interval, of 95 % for `among` of them together (Bonferroni)."""
    slopes = [one.exponent for one in each]
    half = student(len(slopes) - 1, 1 - (1 - COVERAGE) / among) * float(np.std(slopes, ddof=1)) / len(slopes) ** 0.5
    return float(np.mean(slopes)), half


def data_follows_the_hierarchy(table: Table, known: Beside) -> Answer:
    """Whether the exponent of data is the theory's, within a fifth, for every kind of grammar (claim G2)."""
    findings, good, bad, sizes = [], 0, 0, learned(table, known)
    at = judged_size(sizes)
    for size, kinds in sorted(sizes.items(), key=lambda item: (item[0] != at, item[0])):
        for grammar, each in sorted(kinds.items(), key=lambda item: (item[0].symbols, item[0].rules)):
            truth = theory(grammar)
            name = f"v = {grammar.symbols}, m = {grammar.rules}"
            what = f"exponent of data, {name}, N = {count(size)} (theory {truth:.3g})"
            if size != at or len(each) < 2:
                value = float(np.mean([one.exponent for one in each]))
                findings.append(Finding(what=what, value=value, judged=False))
                continue
            value, half = mean_exponent(each, len(kinds))
            findings.append(Finding(what=what, value=value, low=value - half, high=value + half))
            least, most = phases(grammar, each[0].tokens)
            line = Finding(
                what=f"a line through the theory's own stairs, {name}", value=truth, low=least, high=most, judged=False
            )
            findings.append(line)
            good += (1 - WITHIN) * truth < value - half and value + half < (1 + WITHIN) * truth
            bad += value + half < (1 - WITHIN) * least or value - half > (1 + WITHIN) * most
    judged = sum(finding.judged for finding in findings)
    if not judged:
        raise SimlawError("no kind of grammar was learned twice at one size: add seeds of ZRHM")
    outcome = decided(good == judged and judged > 2, bad > 0)
    said = f"{good} of {judged} intervals lie within a fifth of the theory, {bad} beyond what its stairs can look like"
    return outcome, said, findings
