"""Facts: whether fits give back what a corpus was built with, how many bits are stored, and which are lost first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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
from simlaw.observations import loss_observations
from simlaw.report import count
from simlaw.table import Row, Table

#: What a parameter was found to hold after a thousand exposures, in bits (2404.05405), and what counts as about that.
CAPACITY, ABOUT = 2.0, 1.5
#: A size of which this share of all there is to know is stored was not short of room.
_FULL = 0.9
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

    @property
    def share(self) -> float:
        """Of all bits that there are."""
        return self.total / float(self.items.sum() * np.log2(self.facts.values))


def stored_of(table: Table, known: Beside) -> tuple[Stored, ...]:
    """What every row that was measured on strata holds, at the recipe's learning rates."""
    strata: dict[str, list[Mapping[str, float]]] = {}
    for stratum in known.strata.rows:
        if stratum["axis"] == "rank":
            strata.setdefault(stratum["eval_id"], []).append(stratum)
    found = []
    for row in table:
        facts = known.corpus(row)
        each = strata.get(row["eval_id"])
        if each is None or not isinstance(facts, ZFact) or row["rate_multiple"] != 1 or row["status"] != "done":
            continue
        low, high, items, tokens, loss, error = (
            np.array([0.0 if one[name] is None else one[name] for one in each], np.float64)
            for name in ("low", "high", "items", "tokens", "loss", "loss_se")
        )
        found.append(
            Stored(
                row=row,
                facts=facts,
                ranks=np.sqrt(low * high),
                items=items,
                bits=(np.log(facts.values) - loss) / np.log(2),
                error=error
                / np.log(2)
                * np.sqrt(np.maximum(0, 1 - tokens / items)),  # none where every fact was looked at
            )
        )
    if not found:
        raise SimlawError("no row was measured on facts by rank: run the sweep, and write its strata.csv")
    return tuple(found)


def fits_of_facts(table: Table, facts: ZFact, *, known: bool = False, total: bool = False) -> Fit:
    """Chinchilla's law of the losses on one corpus, E free or `known`, in block or in `total` parameters."""
    learner, seen = IdealLearner(facts=facts), loss_observations(table)
    if total:
        embedded = {row["params_blocks"]: _total(row) for row in table}
        seen = replace(seen, x={**seen.x, "N": np.array([embedded[int(n)] for n in seen.x["N"]], np.float64)})
    assert seen.floor is not None
    held = {"E": seen.floor - learner.beyond} if known else {}
    return fit(Chinchilla, seen, trunk_weights(seen.trunk, seen.x["N"], draws=1000), fixed=held)


def truths(table: Table, facts: ZFact) -> dict[str, float]:
    """What a fit of the rows of one corpus is to give back; E on the tokens that they were measured on."""
    learner = IdealLearner(facts=facts)
    alpha, beta = learner.exponents
    floors = {row["floor"] for row in table}
    if len(floors) != 1:
        raise SimlawError("the rows of one corpus were measured on different tokens: choose, --where eval_tokens=…")
    return {"E": floors.pop() - learner.beyond, "alpha": alpha, "beta": beta}


def fits_give_back_the_facts(table: Table, known: Beside) -> Answer:
    """Whether E and both exponents of trained models are those of the construction (claim G1)."""
    findings, inside, outside, unfit = [], 0, 0, []
    corpora = {facts: rows for facts, rows in known.tables(table, ZFact).items() if facts.exponent > 0}
    for facts, rows in corpora.items():
        truth, where = truths(rows, facts), f"a = {facts.exponent:g}"
        found = fits_of_facts(rows, facts)
        if found.health != "VALID":
            unfit.append(f"{where}: {found.sentence}")
        for name, value in truth.items():
            what = f"{where}: {name} (built with {value:.4g})"
            finding = _parameter(found, name, what, judged=True, among=len(truth) * len(corpora))
            findings.append(finding)
            inside += finding.above <= value <= finding.below
            outside += not finding.above <= value <= finding.below
        for how, other in (
            ("E known", fits_of_facts(rows, facts, known=True)),
            ("all parameters", fits_of_facts(rows, facts, total=True)),
        ):
            findings += [
                _parameter(other, name, f"{where}, {how}: {name}", judged=False)
                for name in ("alpha", "beta")
                if other.health == "VALID"
            ]
    judged = inside + outside
    if unfit:
        return "not identified", f"no valid fit: {'; '.join(unfit)}", findings
    outcome = decided(judged > 0 and not outside, outside > 0)
    return outcome, f"{inside} of {judged} parameters are inside their intervals, E free", findings


def _parameter(found: Fit, name: str, what: str, judged: bool, among: int = 1) -> Finding:
    """A parameter with its interval, of 95 % for `among` of them together (Bonferroni)."""
    value = float(found.law.values[name])
    if found.draws is None:
        return Finding(what=what, value=value, judged=judged)
    tail = (1 - COVERAGE) / among / 2
    low, high = np.quantile(found.draws.values[name], (tail, 1 - tail))
    return Finding(what=what, value=value, low=float(low), high=float(high), judged=judged)


def _total(row: Row) -> float:
    return float(sum(row[f"params_{part}"] for part in ("blocks", "embedding", "norms", "head")))


def capacities(table: Table, known: Beside) -> dict[int, dict[int | None, list[Stored]]]:
    """What the checkpoints of the most tokens hold of facts that are asked about equally often, by size and bits.

    None stands for weights as trained.
    """
    stored = [one for one in stored_of(table, known) if one.facts.exponent == -1]
    if not stored:
        raise SimlawError("no corpus asks about all facts equally often: add ZFact(exponent=-1.0)")
    found: dict[int, dict[int | None, list[Stored]]] = {}
    for size in sorted({one.row["params_blocks"] for one in stored}):
        mine = [one for one in stored if one.row["params_blocks"] == size]
        most = max(one.row["tokens"] for one in mine)
        for one in mine:
            if one.row["tokens"] == most:
                found.setdefault(size, {}).setdefault(one.row["ptq_bits"], []).append(one)
    return found


def parameters_hold_two_bits(table: Table, known: Beside) -> Answer:
    """How many bits of facts a parameter holds, and what of them is left at int8 and int4 (claim G3)."""
    findings, good, bad = [], 0, 0
    kept: dict[int, dict[int, list[float]]] = {}
    for size, by_bits in capacities(table, known).items():
        plain = by_bits[None]
        short = bool(np.mean([one.share for one in plain]) < _FULL)
        times = plain[0].row["tokens"] / plain[0].facts.item / plain[0].items.sum()
        each = [one.total / _total(one.row) for one in plain]
        error = float(np.mean([np.hypot.reduce(one.items * one.error) / _total(one.row) for one in plain]))
        value, half = float(np.mean(each)), _NORMAL * error / len(plain) ** 0.5
        what = f"bits per parameter, N = {count(size)}, each fact {times:.0f} times"
        findings.append(Finding(what=what, value=value, low=value - half, high=value + half, judged=short))
        blocks = f"bits per block parameter, N = {count(size)}"
        per_block = float(np.mean([one.total / size for one in plain]))
        findings.append(Finding(what=blocks, value=per_block, judged=False))
        if short:
            inside = findings[-2].above > CAPACITY / ABOUT and findings[-2].below < CAPACITY * ABOUT
            away = findings[-2].below < CAPACITY / ABOUT or findings[-2].above > CAPACITY * ABOUT
            good, bad = good + inside, bad + away
        for bits in (8, 4, 3):
            for one, before in zip(by_bits.get(bits, []), plain, strict=False):
                kept.setdefault(bits, {}).setdefault(size, []).append(one.total / before.total)
    if not any(finding.judged for finding in findings):
        return "not identified", "every size holds nearly all there is to know: add facts", findings
    for bits, sizes in kept.items():
        findings.append(_share(sizes, f"share of the bits that int{bits} keeps", judged=bits in (8, 4)))
    eight, four = (next((f for f in findings if f"int{bits} keeps" in f.what), None) for bits in (8, 4))
    if eight is None or four is None:
        raise SimlawError("the checkpoints were not rounded at 8 and at 4 bits: add PTQGrid(bits=(4, 8))")
    rest = [(eight, 0.95, 1.05), (four, 1 / 3 / ABOUT, ABOUT / 3)]
    good += sum(low < one.above and one.below < high for one, low, high in rest)
    bad += sum(one.below < low or one.above > high for one, low, high in rest)
    judged = sum(finding.judged for finding in findings)
    return decided(good == judged, bad > 0), f"{good} of {judged} numbers are as claimed, {bad} are not", findings


def _share(sizes: Mapping[int, Sequence[float]], what: str, judged: bool) -> Finding:
    """The mean over sizes with its interval, from those that have two seeds."""
    several = {size: values for size, values in sizes.items() if len(values) > 1}
    if not several:
        return Finding(what=what, value=float(np.mean([np.mean(v) for v in sizes.values()])), judged=judged)
    value, spread, freedom = stratified(several)
    half = student(freedom, COVERAGE) * spread
    return Finding(what=what, value=value, low=value - half, high=value + half, judged=judged)


def lost_by_rank(table: Table, known: Beside) -> dict[tuple[ZFact, int, int], list[tuple[Stored, Stored]]]:
    """Checkpoints of the most tokens before and after rounding, by corpus, bits and size; of Zipf's law alone."""
    found: dict[tuple[ZFact, int, int], list[tuple[Stored, Stored]]] = {}
    stored = [one for one in stored_of(table, known) if one.facts.exponent > 0]
    before = {one.row["run_id"]: one for one in stored if one.row["ptq_bits"] is None}
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
