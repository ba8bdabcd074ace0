"""The claims that tables are asked about, each with its rule; which of them a sweep is for, it declares itself."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from simlaw.analysis import PENALTIES
from simlaw.claims.architectures import stable_parts_hold_at_fewer_bits
from simlaw.claims.arms import QUADRATIC, grows_as_the_rate_falls
from simlaw.claims.claim import Beside, Claim
from simlaw.claims.facts import fits_give_back_the_facts, parameters_hold_two_bits, rare_facts_die_first
from simlaw.claims.formats import integers_cost_parameters_and_floats_data
from simlaw.claims.grammars import data_follows_the_hierarchy
from simlaw.claims.growth import Growth, Slope, growth, pooled
from simlaw.claims.minimum import minima
from simlaw.claims.paired import ratio
from simlaw.claims.settings import settings_lose_less
from simlaw.claims.shares import best_share_follows_the_tokens
from simlaw.claims.training import (
    fewer_bits_are_fewer_parameters,
    inputs_matter_most,
    training_low_prepares_for_rounding,
)
from simlaw.claims.verdict import Answer, Finding, Verdict, Verdicts, decided
from simlaw.errors import SimlawError
from simlaw.fitting.contest import contest
from simlaw.fitting.fit import fit
from simlaw.fitting.holdout import LowestBits
from simlaw.law import AbstractPenalty
from simlaw.laws import StepPenalty
from simlaw.observations import penalty_observations, usable
from simlaw.quantizations import plainest, quantized_as
from simlaw.report import count
from simlaw.table import Table

#: What the penalty's exponent in D was expected to be.
EXPECTED = (0.3, 0.8)
#: The share of sizes at which a trend must show.
MOST = 0.8

#: Tokens per parameter of every size without a rise that speak against one.
FAR = 1e4
#: A table alone.
NOTHING = Beside()


def judge(table: Table, names: Sequence[str], beside: Beside = NOTHING) -> Verdicts:
    """The verdicts of the claims of these names; one whose rows a table lacks is "not identified", with the reason.

    Runs that failed do not count; unless a claim is about them, neither do training in low precision, learning rates
    beside the recipe's and averages of weights. Raises `SimlawError` for a name that is not in the register, and for
    rows that differ in what no claim knows.
    """
    claims = [claim_of(name) for name in names]
    rows = table if all(claim.across for claim in claims) else usable(table)[0]
    return Verdicts(each=tuple(_judged(claim, table if claim.across else rows, beside) for claim in claims))


def claim_of(name: str) -> Claim:
    """The claim of a name; raises `SimlawError` where there is none."""
    if name not in CLAIMS:
        raise SimlawError(f"there is no claim {name!r}: the register has {', '.join(CLAIMS)}")
    return CLAIMS[name]


def _judged(claim: Claim, table: Table, beside: Beside) -> Verdict:
    try:
        outcome, sentence, findings = claim.answered(table, beside)
    except SimlawError as error:
        outcome, sentence, findings = "not identified", str(error), ()
    return Verdict(
        claim=claim.name,
        says=claim.says,
        rule=claim.rule,
        outcome=outcome,
        sentence=sentence,
        findings=tuple(findings),
    )


def _plain(table: Table, bits: Sequence[int]) -> Table:
    """Rows of plain rounding per output channel at these bits."""
    return quantized_as(table, ptq_granularity="channel").where(lambda row: row["ptq_bits"] in bits)


def _pair(table: Table, methods: tuple[str, str], **columns: Any) -> tuple[Table, Table]:
    """The rows of two methods that share these columns."""
    one, other = (quantized_as(table, ptq_method=method, **columns) for method in methods)
    return one, other


def _compared(one: Table, other: Table, name: str, judged: bool) -> list[Finding]:
    """The ratio of two ways; none where it is not judged, and does not exist."""
    try:
        return [ratio(one, other).finding(name, judged)]
    except SimlawError:
        if judged:
            raise
        return []


def _slopes_of_sizes(table: Table, bits: int) -> dict[int, Slope]:
    """The exponent of D at every size at one bit-width, with the spread that the sizes share."""
    rows = _plain(table, (bits,))
    found = {}
    for size in sorted({row["params_blocks"] for row in rows}):
        here = Table(rows=tuple(row for row in rows if row["params_blocks"] == size))
        if len({row["tokens"] for row in here}) > 1:
            found[size] = growth(here).data
    if not found:
        raise SimlawError(f"no size was rounded to {bits} bits per channel at two token counts: add bits and tokens")
    return dict(zip(found, pooled(list(found.values())), strict=True))


def _grows_with_data(table: Table) -> Answer:
    findings = []
    for bits in (3, 4):
        if bits == 3 or _plain(table, (bits,)):
            slopes = _slopes_of_sizes(table, bits).items()
            name = f"d ln delta / d ln D, int{bits}"
            findings += [slope.finding(f"{name}, N = {count(size)}", judged=bits == 3) for size, slope in slopes]
    judged = [finding for finding in findings if finding.judged]
    up, down = sum(f.above > 0 for f in judged), sum(f.below < 0 for f in judged)
    outcome = decided(up >= MOST * len(judged), down >= MOST * len(judged))
    return outcome, f"at int3 the interval is above 0 at {up} of {len(judged)} sizes, below 0 at {down}", findings


def _exponent_of_data(table: Table) -> Answer:
    rows = _plain(table, QUADRATIC)
    grown = growth(rows)
    found = grown.data.finding("gD, int4 to int6")
    low, high = EXPECTED
    overlap, wide = found.below >= low and found.above <= high, found.below - found.above > high - low
    outcome = decided(overlap and not wide, not overlap)
    findings = [found]
    parts = {
        "weight_step": "the mean squared step",
        "hessian_trace": "the trace of the Hessian",
        "delta_quadratic": "half the trace x the squared error of rounding",
    }
    for column, name in parts.items():
        try:
            findings.append(growth(rows, column).data.finding(f"exponent in D of {name}", judged=False))
        except SimlawError:
            continue  # the sweep did not measure it
    where = "is wider than" if wide else "overlaps" if overlap else "lies outside"
    return outcome, f"the interval of gD {where} {low:g} to {high:g}; {_left_out(grown)}", findings


def _falls_with_size(table: Table) -> Answer:
    found = growth(_plain(table, QUADRATIC))
    if found.size is None:
        raise SimlawError("the table has one size, so nothing falls with size: add widths")
    finding = found.size.finding("gN, int4 to int6")
    outcome = decided(finding.above > 0, finding.below < 0)
    where = "above" if finding.above > 0 else "below" if finding.below < 0 else "on both sides of"
    return outcome, f"the interval of gN lies {where} 0; {_left_out(found)}", [finding]


def _left_out(found: Growth) -> str:
    return f"{found.dropped} of {found.cells} cells have no positive mean, and are left out"


def _bits_by_steps(table: Table) -> Answer:
    kept = plainest(table)[0].where(lambda row: row["ptq_granularity"] in (None, "channel"))
    pilot = fit(StepPenalty, penalty_observations(kept)).law
    assert isinstance(pilot, AbstractPenalty)
    seen = penalty_observations(kept, expected=pilot)
    found = contest(PENALTIES, seen, None, (LowestBits(),), fixed={}, bounds={})
    findings = [
        Finding(
            what=f"{type(entry.fit.law).__name__}: residual at int{int(seen.x['P_post'].min())}, in its noise",
            value=entry.held_out[0],
        )
        for entry in found.entries
        if np.isfinite(entry.held_out[0])
    ]
    best = type(found.best.fit.law).__name__
    first = found.best.fit.law
    outcome = decided(
        found.decided and isinstance(first, StepPenalty), found.decided and not isinstance(first, StepPenalty)
    )
    behind = ", ".join(
        f"{type(one.fit.law).__name__} by {one.behind:.1f} standard errors"
        for one in found.entries
        if one is not found.best
    )
    return outcome, f"fitted to the other bits, {best} predicts the lowest best; behind it are {behind}", findings


def _data_hurts(table: Table) -> Answer:
    found = minima(_plain(table, (2, 3)))
    if not found:
        raise SimlawError("no size was rounded to 2 or 3 bits at three token counts: add bits and tokens")
    inside = [one for one in found if one.interior]
    reached = min(one.last / one.params for one in found)
    findings = [finding for one in found for finding in one.findings]
    if not inside:
        outcome = decided(False, reached >= FAR)
        return outcome, f"no rise stands out; the largest size has {reached:.3g} tokens per parameter", findings
    names = ", ".join(f"int{one.bits} at N = {count(one.params)}" for one in inside)
    return "holds", f"the least loss lies inside the tokens, and the rise behind it stands out, for {names}", findings


def _gptq_beats_rounding(table: Table) -> Answer:
    findings = []
    for granularity in ("channel", "group"):
        for bits in (2, 3, 4, 5, 6):
            one, other = _pair(table, ("gptq", "rtn"), ptq_granularity=granularity, ptq_bits=bits)
            if one and other:
                name = f"GPTQ / rounding, int{bits} per {granularity}"
                findings += _compared(one, other, name, judged=bits in (3, 4))
    judged = [finding for finding in findings if finding.judged]
    if not judged:
        raise SimlawError("no checkpoint was quantized at 3 or 4 bits by GPTQ and by rounding: add PTQGrid(methods=…)")
    less, more = sum(f.below <= 1 for f in judged), sum(f.above > 1 for f in judged)
    outcome = decided(less == len(judged), more > 0)
    return (
        outcome,
        f"at 3 and 4 bits the ratio is below 1 in {less} of {len(judged)} cases, above 1 in {more}",
        findings,
    )


def _wins_with_outliers_alone(table: Table) -> Answer:
    findings, gains = [], {}
    planted = sorted({row["ptq_outliers"] for row in table if row["ptq_outliers"] is not None})
    if not planted:
        raise SimlawError("no row has planted outliers: add PTQGrid(outliers=(None, Outliers()), same_bits=PerToken())")
    if len(planted) > 1:
        raise SimlawError(
            f"the rows have outliers of {len(planted)} kinds: choose, --where 'ptq_outliers={planted[0]}'"
        )
    for outliers, where in ((planted[0], "with planted outliers"), (None, "without")):
        for method in ("tender", "smoothquant"):
            for bits in (4, 6, 8):
                inputs = {"ptq_activations_bits": bits, "ptq_activations_granularity": "token"}
                one, other = _pair(
                    table, (method, "rtn"), ptq_granularity="channel", ptq_outliers=outliers, ptq_bits=bits, **inputs
                )
                if one and other:
                    judged = method == "tender" and bits == 4
                    name = {"tender": "Tender", "smoothquant": "SmoothQuant"}[method]
                    findings += _compared(one, other, f"{name} / per token, W{bits}A{bits} {where}", judged)
                    if judged:
                        gains[where] = findings[-1]
    if len(gains) < 2:
        raise SimlawError("Tender and rounding per token were not both run at W4A4 with and without outliers: add them")
    has, lacks = gains["with planted outliers"], gains["without"]
    outcome = decided(has.below < 1 <= lacks.above, has.above >= 1 or lacks.below < 1)
    return (
        outcome,
        f"Tender's penalty is {has.value:.2g} of the per-token one with planted outliers, {lacks.value:.3g} without",
        findings,
    )


_REGISTER = (
    Claim(
        name="A1",
        says="the penalty of quantizing grows with the training tokens",
        rule="int3 by rounding per channel, cooled down: the slope is above 0 at four fifths of the sizes",
        answer=_grows_with_data,
    ),
    Claim(
        name="A2",
        says="its exponent in D is between 0.3 and 0.8",
        rule="int4 to int6: the interval overlaps that range, and is narrower",
        answer=_exponent_of_data,
    ),
    Claim(
        name="A3",
        says="the penalty falls with the parameters at equal tokens",
        rule="int4 to int6: the interval of the exponent gN is above 0",
        answer=_falls_with_size,
    ),
    Claim(
        name="A4",
        says="in bits the penalty goes with the squared step, (2^(P-1) - 1)^-2",
        rule="that form predicts held-out lowest bits better than an exponential and a power, beyond two errors",
        answer=_bits_by_steps,
    ),
    Claim(
        name="A5",
        says="the penalty grows with data because the learning rate falls at the end, and not with the tokens",
        rule="int4 to int6 on one trunk: gD is above 0 cooled down, and at the constant rate has 0 in an interval that "
        "ends below it; fails where it is above 0 there too",
        answer=grows_as_the_rate_falls,
        across=True,
    ),
    Claim(
        name="A6",
        says="there are training tokens beyond which the quantized loss rises again",
        rule="int2 or int3: the loss has a least value inside the tokens (without any it is ln vocabulary), and rises "
        "by three errors after it; fails where every size has 1e4 tokens per parameter without",
        answer=_data_hurts,
    ),
    Claim(
        name="A7",
        says="fewer bits of the weights in training act like fewer parameters, N (1 - exp(-P_w / g_w + n_w))",
        rule="with full precision as its own runs have it: the ends of g_w's interval are within a factor of 4, and "
        "the largest size is missed by less than the spread of a seed; fails beyond twice that",
        answer=fewer_bits_are_fewer_parameters,
        across=True,
    ),
    Claim(
        name="A8",
        says="rounding after training costs less where the weights were trained at one bit more than it leaves",
        rule="paired with 16-bit training, at 2, 3 and 5 bits as far as there are rows: each difference is below 0",
        answer=training_low_prepares_for_rounding,
        across=True,
    ),
    Claim(
        name="A10",
        says="at four bits in training inputs matter more than weights, and keys and values least",
        rule="paired: inputs cost more than weights, and weights more than keys and values",
        answer=inputs_matter_most,
        across=True,
    ),
    Claim(
        name="A11",
        says="in training integers cost parameters (additive noise), and floats something else (multiplicative noise)",
        rule="weights and inputs apart, cost D^gD / N^gN, 95 % for all together: for integers gD and gN - alpha may be "
        "0, and gN may not; for floats e2m0 to e2m3 one of the first is not 0; fails where one is the other way",
        answer=integers_cost_parameters_and_floats_data,
        across=True,
    ),
    Claim(
        name="A12",
        says="more norms and bounded inputs let training hold at fewer bits and higher rates",
        rule="of the cells in low precision (size, rate and bits) of which one architecture alone loses most seeds, "
        "the plain one's share is above a half, exact interval as if cells were independent; fails where it is below",
        answer=stable_parts_hold_at_fewer_bits,
        across=True,
    ),
    Claim(
        name="A13",
        says="the best share of the tokens to train weights in low precision for is exp(-6.73 / ln S), S tokens a byte",
        rule="paired, for each number of bits, 95 % for all comparisons together: the tried share next to it loses "
        "less than all of the tokens and than the smallest share, and no share loses less; fails where one does (three "
        "seeds hold large differences alone)",
        answer=best_share_follows_the_tokens,
        across=True,
    ),
    Claim(
        name="A14",
        says="at equal bits learned steps and rotation lose less in training than plain rounding",
        rule="paired, 95 % for all of them together: each lies below plain rounding; fails where one lies above it",
        answer=settings_lose_less,
        across=True,
    ),
    Claim(
        name="C2",
        says="at equal bits GPTQ loses no more than rounding",
        rule="int3 and int4, per channel and per group, paired: each ratio of penalties is below 1",
        answer=_gptq_beats_rounding,
    ),
    Claim(
        name="F2",
        says="Tender beats scales per token where there are outliers, and gains nothing where there are none",
        rule="W4A4, paired: the ratio of penalties is below 1 with planted outliers, and above 1 without",
        answer=_wins_with_outliers_alone,
    ),
    Claim(
        name="G1",
        says="on facts by Zipf's law fits of trained models give back the exponents a and a / (1 + a), and E",
        rule="Chinchilla's law of all parameters, E free, 95 % for all together: E (the entropy, less what facts past "
        "the last would cost), alpha and beta are inside intervals narrower than they are; fails where one is outside",
        beside=fits_give_back_the_facts,
        across=True,
    ),
    Claim(
        name="G2",
        says="on strings of a hierarchy of rules the exponent of data is ln(1 / f) / (2 ln m), f = m / v",
        rule="a line through the logarithms of the excess loss, mean over grammars, 95 % for all together: for each of "
        "three (v, m) the interval is within a fifth of it; fails where one is a fifth beyond lines through its stairs",
        beside=data_follows_the_hierarchy,
        across=True,
    ),
    Claim(
        name="G3",
        says="a parameter holds about 2 bits of facts, as many at int8, and about a third of them at int4",
        rule="of sizes with more than 3 bits of facts for each of all parameters, each fact seen 1,000 times: 1.33 to "
        "3 bits for a parameter; int8 keeps 0.95 to 1.05 of them, int4 0.22 to 0.5; fails where an interval is outside",
        beside=parameters_hold_two_bits,
        across=True,
    ),
    Claim(
        name="G4",
        says="rounding loses a larger share of rarer facts",
        rule="int3 and int4, at the most tokens, mean over sizes, 95 % for all together: Spearman's correlation of the "
        "share of bits that is lost with the octave of rank is above 0 (int3 and int4 share checkpoints); fails below",
        beside=rare_facts_die_first,
        across=True,
    ),
)
#: The register by name.
CLAIMS = MappingProxyType({claim.name: claim for claim in _REGISTER})
