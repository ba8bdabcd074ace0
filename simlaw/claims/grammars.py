"""Grammars: whether the exponent of data is what a hierarchy of rules says it is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from simlaw.claims.claim import Beside
from simlaw.claims.growth import COVERAGE
from simlaw.claims.verdict import Answer, Finding, decided
from simlaw.config import ZRHM
from simlaw.errors import SimlawError
from simlaw.fitting.uncertainty import student
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


def learned(table: Table, known: Beside) -> dict[int, dict[tuple[int, int], list[Learned]]]:
    """What was learned of each grammar with three token counts, by size, and by its symbols and rules."""
    found: dict[int, dict[tuple[int, int], list[Learned]]] = {}
    for grammar, rows in known.tables(table, ZRHM).items():
        mine = rows.where(lambda row: row["ptq_bits"] is None and row["status"] == "done" and row["rate_multiple"] == 1)
        for size in sorted({row["params_blocks"] for row in mine}):
            each = sorted((row["tokens"], row["excess"]) for row in mine if row["params_blocks"] == size)
            tokens, excess = (np.array(values, np.float64) for values in zip(*each, strict=True))
            if len(set(tokens)) > 2 and (excess > 0).all():
                one = Learned(grammar=grammar, tokens=tokens, excess=excess)
                found.setdefault(size, {}).setdefault((grammar.symbols, grammar.rules), []).append(one)
    if not found:
        raise SimlawError("no grammar was learned at three token counts with a loss above its floor: add tokens")
    return found


def judged_size(found: dict[int, dict[tuple[int, int], list[Learned]]]) -> int:
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
        for (v, m), each in sorted(kinds.items()):
            truth = theory(each[0].grammar)
            what = f"exponent of data, v = {v}, m = {m}, N = {count(size)} (theory {truth:.3g})"
            if size != at or len(each) < 2:
                value = float(np.mean([one.exponent for one in each]))
                findings.append(Finding(what=what, value=value, judged=False))
                continue
            value, half = mean_exponent(each, len(kinds))
            low, high = (1 - WITHIN) * truth, (1 + WITHIN) * truth
            findings.append(Finding(what=what, value=value, low=value - half, high=value + half))
            good += low < value - half and value + half < high
            bad += value + half < low or value - half > high
    judged = sum(finding.judged for finding in findings)
    if not judged:
        raise SimlawError("no kind of grammar was learned twice at one size: add seeds of ZRHM")
    outcome = decided(good == judged and judged > 2, bad > 0)
    return outcome, f"{good} of {judged} intervals lie within a fifth of the theory, {bad} lie outside", findings
