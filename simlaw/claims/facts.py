"""Facts: whether fits give back what a corpus was built with, how many bits are stored, and which are lost first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from simlaw.claims.claim import Beside
from simlaw.claims.growth import COVERAGE
from simlaw.claims.paired import stratified
from simlaw.claims.verdict import Answer, Finding, decided
from simlaw.config import ZFact
from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit, fit
from simlaw.fitting.uncertainty import student, trunk_weights
from simlaw.ideal import IdealLearner
from simlaw.laws import Chinchilla
from simlaw.observations import loss_observations, usable
from simlaw.quantizations import quantized_as
from simlaw.report import count
from simlaw.table import Row, Table

#: What a parameter was found to hold after a thousand exposures, in bits (2404.05405), and what counts as about that.
CAPACITY, ABOUT = 2.0, 1.5
#: How often each fact must have been seen.
_EXPOSURES = 1000
#: Standard errors of 95 % of a normal number.
_NORMAL = 1.96
#: Octaves of ranks that hold less than this share of a fact's bits have nothing to lose.
_HELD = 0.1


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The bits of facts that a checkpoint holds, by octaves of rank: (lnV - loss) / ln 2 for each fact."""

    row: Row
    facts: ZFact
    ranks: Float[np.ndarray, " o"]
    items: Float[np.ndarray, " o"]
    bits: Float[np.ndarray, " o"]
    error: Float[np.ndarray, " o"]

    @property
    def total(self) -> float:
        """The bits of all facts together."""
        return float(self.items @ self.bits)


def stored_of(table: Table, known: Beside) -> tuple[Stored, ...]:
    """What every row that was measured on strata holds, as trained and under plain rounding per channel."""
    strata: dict[str, list[Mapping[str, Any]]] = {}
    for stratum in known.strata.rows:
        if stratum["axis"] == "rank":
            strata.setdefault(stratum["eval_id"], []).append(stratum)
    found = []
    for facts, rows in known.tables(table, ZFact).items():
        kept, _ = usable(rows)
        plain = kept.where(lambda row: row["ptq_bits"] is None)
        for row in (*plain, *quantized_as(kept, ptq_granularity="channel")):
            if each := strata.get(row["eval_id"]):
                found.append(_stored(row, facts, each))
    if not found:
        raise SimlawError("no row was measured on facts by rank: run the sweep, and write its strata.csv")
    return tuple(found)


def _stored(row: Row, facts: ZFact, strata: Sequence[Mapping[str, Any]]) -> Stored:
    low, high, items, tokens, loss, error = (
        np.array([0.0 if one[name] is None else one[name] for one in strata], np.float64)
        for name in ("low", "high", "items", "tokens", "loss", "loss_se")
    )
    return Stored(
        row=row,
        facts=facts,
        ranks=np.sqrt(low * high),
        items=items,
        bits=(np.log(facts.values) - loss) / np.log(2),
        # none where every fact was looked at
        error=error / np.log(2) * np.sqrt(np.maximum(0, 1 - tokens / items)),
    )


@dataclass(frozen=True, kw_only=True)
class Rediscovered:
    """What a fit of Chinchilla's law, E free or known, gives back of one corpus, with the freedom of its errors.

    N counts all parameters, as room for facts does. `freedom` is 0 without a bootstrap.
    """

    facts: ZFact
    fit: Fit
    freedom: float
    floor: float

    @property
    def truth(self) -> dict[str, float]:
        """What it is to give back: E on the tokens that were measured, less what facts beyond the last would cost."""
        learner = IdealLearner(facts=self.facts)
        alpha, beta = learner.exponents
        return {"E": self.floor - learner.beyond, "alpha": alpha, "beta": beta}

    def finding(self, name: str, what: str, *, judged: bool, among: int = 1) -> Finding:
        """A parameter with its interval, of 95 % for `among` of them together; none where the fit is not valid."""
        value = float(self.fit.law.values[name])
        if self.fit.health != "VALID" or not self.freedom or name not in self.fit.error:
            return Finding(what=what, value=value, judged=False)
        half = student(self.freedom, 1 - (1 - COVERAGE) / among) * self.fit.error[name]
        return Finding(what=what, value=value, low=value - half, high=value + half, judged=judged)


def rediscovered(table: Table, facts: ZFact, *, known: bool = False, blocks: bool = False) -> Rediscovered:
    """The law of the losses on one corpus, E free or `known`; N counts all parameters, or those of `blocks`."""
    seen = loss_observations(table)
    floor = seen.floor
    if floor is None:
        raise SimlawError("the rows of one corpus were measured on different tokens: choose, --where eval_tokens=…")
    if not blocks:
        total = {row["params_blocks"]: parameters(row) for row in table}
        seen = replace(seen, x={**seen.x, "N": np.array([total[int(n)] for n in seen.x["N"]], np.float64)})
    weights = trunk_weights(seen.trunk, seen.x["N"], draws=1000)
    held = {"E": floor - IdealLearner(facts=facts).beyond} if known else {}
    return Rediscovered(
        facts=facts, fit=fit(Chinchilla, seen, weights, fixed=held), freedom=weights.freedom, floor=floor
    )


def ideal(table: Table, facts: ZFact) -> Rediscovered:
    """The same of an ideal learner at the same sizes and tokens, without noise: what the form makes of its losses."""
    learner = IdealLearner(facts=facts)
    kept = [row for row in usable(table)[0] if row["ptq_bits"] is None]
    cells = dict.fromkeys((parameters(row), float(row["tokens"]), None) for row in kept)
    return Rediscovered(
        facts=facts, fit=fit(Chinchilla, learner.observations(list(cells))), freedom=0.0, floor=learner.floor
    )


def fits_give_back_the_facts(table: Table, known: Beside) -> Answer:
    """Whether E and both exponents of trained models are those of the construction (claim G1)."""
    corpora = {facts: rows for facts, rows in known.tables(table, ZFact).items() if facts.exponent > 0}
    findings, inside, narrow, outside, unfit = [], 0, 0, 0, []
    for facts, rows in corpora.items():
        found, where = rediscovered(rows, facts), f"a = {facts.exponent:g}"
        if found.fit.health != "VALID":
            unfit.append(f"{where}: {found.fit.sentence}")
        for name, value in found.truth.items():
            what = f"{where}: {name} (built with {value:.4g})"
            finding = found.finding(name, what, judged=True, among=len(found.truth) * len(corpora))
            findings.append(finding)
            inside += finding.judged and finding.above <= value <= finding.below
            outside += finding.judged and not finding.above <= value <= finding.below
            narrow += finding.judged and finding.below - finding.above < value
        for how, other in (
            ("an ideal learner on the same cells", ideal(rows, facts)),
            ("E known", rediscovered(rows, facts, known=True)),
            ("N of blocks", rediscovered(rows, facts, blocks=True)),
        ):
            findings += [
                other.finding(name, f"{where}, {how}: {name}", judged=False)
                for name in ("alpha", "beta")
                if other.fit.health == "VALID"
            ]
    wanted = 3 * len(corpora)
    outcome = decided(wanted > 0 and inside == narrow == wanted, outside > 0)
    said = f"{inside} of {wanted} parameters are inside their intervals, {outside} outside, E free"
    if unfit:
        said += f"; no valid fit at {'; '.join(unfit)}"
    return outcome, f"{said}; where size and data are short together the form fails an ideal learner too", findings


def parameters(row: Row) -> float:
    """All parameters of a row's model: what it has room in."""
    return float(sum(row[f"params_{part}"] for part in ("blocks", "embedding", "norms", "head")))


def capacities(table: Table, known: Beside) -> dict[int, dict[int | None, dict[str, Stored]]]:
    """What the checkpoints of the most tokens hold of facts that are asked about equally often: by size, bits, run.

    None stands for weights as trained.
    """
    stored = [one for one in stored_of(table, known) if one.facts.exponent == -1]
    if not stored:
        raise SimlawError("no corpus asks about all facts equally often: add ZFact(exponent=-1.0)")
    found: dict[int, dict[int | None, dict[str, Stored]]] = {}
    for size in sorted({one.row["params_blocks"] for one in stored}):
        mine = [one for one in stored if one.row["params_blocks"] == size]
        most = max(one.row["tokens"] for one in mine)
        for one in mine:
            if one.row["tokens"] == most:
                found.setdefault(size, {}).setdefault(one.row["ptq_bits"], {})[one.row["run_id"]] = one
    return {size: by_bits for size, by_bits in found.items() if None in by_bits}


def parameters_hold_two_bits(table: Table, known: Beside) -> Answer:
    """How many bits of facts a parameter holds, and what of them is left at int8 and int4 (claim G3)."""
    findings: list[Finding] = []
    kept: dict[int, dict[int, list[float]]] = {}
    asked = capacities(table, known)
    for size, by_bits in asked.items():
        plain = by_bits[None]
        one = next(iter(plain.values()))
        there = float(one.items.sum() * np.log2(one.facts.values)) / parameters(one.row)
        times = one.row["tokens"] / one.facts.item / one.items.sum()
        short = there > CAPACITY * ABOUT and times >= _EXPOSURES and len(plain) > 1
        each = [one.total / parameters(one.row) for one in plain.values()]
        what = f"bits per parameter, N = {count(size)}, each fact {times:.0f} times, at most {there:.2g}"
        findings.append(_capacity(list(plain.values()), each, what, short))
        for bits in (8, 4, 3) if short else ():
            shares = [after.total / plain[run].total for run, after in by_bits.get(bits, {}).items() if run in plain]
            if shares:
                kept.setdefault(bits, {})[size] = shares
    if not any(finding.judged for finding in findings):
        return (
            "not identified",
            f"no size with two seeds saw each fact {_EXPOSURES} times, and more of them than {CAPACITY * ABOUT:g} bits "
            "for a parameter",
            findings,
        )
    bounds = [(finding, CAPACITY / ABOUT, CAPACITY * ABOUT) for finding in findings if finding.judged]
    for bits, sizes in kept.items():
        findings.append(_share(sizes, f"share of the bits that int{bits} keeps", judged=bits in (8, 4)))
        if bits in (8, 4):
            low, high = (0.95, 1.05) if bits == 8 else (1 / 3 / ABOUT, ABOUT / 3)
            bounds.append((findings[-1], low, high))
    if not {8, 4} <= set(kept):
        raise SimlawError("the checkpoints were not rounded at 8 and at 4 bits: add PTQGrid(bits=(4, 8))")
    good = sum(low < finding.above and finding.below < high for finding, low, high in bounds)
    bad = sum(finding.below < low or finding.above > high for finding, low, high in bounds)
    return decided(good == len(bounds), bad > 0), f"{good} of {len(bounds)} numbers are as claimed, {bad} not", findings


def _capacity(plain: Sequence[Stored], each: Sequence[float], what: str, judged: bool) -> Finding:
    """The mean over seeds; its interval joins their spread and the error of asking some facts, which all share."""
    value = float(np.mean(each))
    if len(each) < 2:
        return Finding(what=what, value=value, judged=False)
    asked = float(np.mean([np.hypot.reduce(one.items * one.error) / parameters(one.row) for one in plain]))
    spread = student(len(each) - 1, COVERAGE) * float(np.std(each, ddof=1)) / len(each) ** 0.5
    half = float(np.hypot(_NORMAL * asked, spread))
    return Finding(what=what, value=value, low=value - half, high=value + half, judged=judged)


def _share(sizes: Mapping[int, Sequence[float]], what: str, judged: bool) -> Finding:
    """The mean over sizes with its interval."""
    value, spread, freedom = stratified(sizes)
    half = student(freedom, COVERAGE) * spread
    return Finding(what=what, value=value, low=value - half, high=value + half, judged=judged)


def lost_by_rank(table: Table, known: Beside) -> dict[tuple[ZFact, int, int], list[tuple[Stored, Stored]]]:
    """Checkpoints of the most tokens before and after rounding, by corpus, bits and size; of Zipf's law alone."""
    found: dict[tuple[ZFact, int, int], list[tuple[Stored, Stored]]] = {}
    stored = [one for one in stored_of(table, known) if one.facts.exponent > 0]
    before = {one.row["run_id"]: one for one in stored if one.row["ptq_bits"] is None}
    stored = [one for one in stored if one.row["run_id"] in before]
    most = {(one.facts, one.row["params_blocks"]): 0 for one in stored}
    for one in stored:
        key = one.facts, one.row["params_blocks"]
        most[key] = max(most[key], one.row["tokens"])
    for one in stored:
        facts, size = one.facts, one.row["params_blocks"]
        if one.row["ptq_bits"] is not None and one.row["tokens"] == most[facts, size]:
            found.setdefault((facts, one.row["ptq_bits"], size), []).append((before[one.row["run_id"]], one))
    return dict(sorted(found.items(), key=lambda item: (item[0][0].exponent, *item[0][1:])))


def lost(before: Stored, after: Stored) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
    """The ranks of octaves that hold something, and the share of their bits that rounding loses."""
    held = before.bits > _HELD * np.log2(before.facts.values)
    return before.ranks[held], 1 - after.bits[held] / before.bits[held]


def rare_facts_die_first(table: Table, known: Beside) -> Answer:
    """Whether rounding loses a larger share of the bits of rarer facts (claim G4)."""
    found: dict[tuple[ZFact, int], dict[int, list[float]]] = {}
    for (facts, bits, size), pairs in lost_by_rank(table, known).items():
        each = [lost(before, after) for before, after in pairs]
        mine = [_monotone(share) for ranks, share in each if len(ranks) > 2]  # of octaves, in order of rank
        if bits in (3, 4) and len(mine) > 1:
            found.setdefault((facts, bits), {})[size] = mine
    if not found:
        raise SimlawError("no size was rounded at 3 or 4 bits with two seeds: add PTQGrid(bits=(3, 4)) and seeds")
    findings = []
    for (facts, bits), sizes in found.items():
        value, spread, freedom = stratified(sizes)
        half = student(freedom, 1 - (1 - COVERAGE) / len(found)) * spread
        what = f"rank correlation of the share lost, int{bits}, a = {facts.exponent:g}"
        findings.append(Finding(what=what, value=value, low=value - half, high=value + half))
        findings += [
            Finding(what=f"{what}, N = {count(size)}", value=float(np.mean(mine)), judged=False)
            for size, mine in sizes.items()
        ]
    judged = [finding for finding in findings if finding.judged]
    up, down = sum(f.above > 0 for f in judged), sum(f.below < 0 for f in judged)
    outcome = decided(up == len(judged), down > 0)
    return outcome, f"the share lost rises with rank in {up} of {len(judged)} cases, falls in {down}", findings


def _monotone(values: Float[np.ndarray, " n"]) -> float:
    """Spearman's correlation of the values with their places: 1 where they rise all the way, -1 where they fall."""
    return float(np.corrcoef(np.arange(len(values)), np.argsort(np.argsort(values)))[0, 1])
