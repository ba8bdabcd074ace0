"""What tables of runs in low precision say: effective parameters, sensitivity by role, and rounding afterwards."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simlaw.analysis import PRECISIONS, full_precision, role_contest
from simlaw.claims.exponents import exponents
from simlaw.claims.growth import COVERAGE
from simlaw.claims.paired import stratified
from simlaw.claims.verdict import Answer, Finding, decided
from simlaw.errors import SimlawError
from simlaw.fitting.certificate import Health
from simlaw.fitting.fit import fit
from simlaw.fitting.holdout import LargestN
from simlaw.fitting.objective import predicted
from simlaw.fitting.uncertainty import interval, student, trunk_weights
from simlaw.law import AbstractLossLaw
from simlaw.laws import PrecisionExponential
from simlaw.observations import Observations, quantized_training, usable
from simlaw.precisions import BITS, Pair, of_roles, pairs_of, precision_observations, weights_alone
from simlaw.quantizations import quantized_as
from simlaw.table import Row, Table

#: Resamplings of trunks.
_DRAWS = 400
#: The ratio of the ends of an interval that still says something; spreads of a seed that are too far to be one.
_FINITE, _BEATEN = 4.0, 2.0

#: A size, a token count and a seed.
Place = tuple[int, int, int]


def fewer_bits_are_fewer_parameters(table: Table) -> Answer:
    """Whether N_eff of the weights' bits is identified and predicts the largest size (claim A7)."""
    seen, held = precision_observations(table), full_precision(table)
    mine = of_roles(seen, ("P_w",))
    found = fit(PrecisionExponential, mine, trunk_weights(mine.trunk, mine.x["N"], draws=_DRAWS), fixed=held)
    assert found.draws is not None
    ends = {
        name: [float(end) for end in interval(np.asarray(found.draws.values[name]), COVERAGE)]
        for name in ("g_w", "n_w")
    }
    findings = [
        Finding(what=name, value=float(found.law.values[name]), low=low, high=high, judged=name == "g_w")
        for name, (low, high) in ends.items()
    ]
    missed = largest_missed(mine, held)
    findings += [
        Finding(what="error on the largest size, nats per token", value=missed.error),
        Finding(what="spread of a seed there", value=missed.noise),
    ]
    low, high = ends["g_w"]
    narrow = found.health == "VALID" == missed.health and low > 0 and high < _FINITE * low
    rivals = role_contest(seen, "P_w", held)
    slopes = exponents(mine, held)
    findings += [
        slope.finding(f"cost D^gD / N^gN: {name}", judged=False)
        for name, slope in (("gD", slopes.gD), ("gN", slopes.gN), ("gN - alpha", slopes.beyond))
    ]
    for form in PRECISIONS:
        if form is not PrecisionExponential:
            other = largest_missed(mine, held, form)
            what = f"{form.__name__}: error on the largest size, in spreads of a seed"
            findings.append(Finding(what=what, value=other.error / other.noise, judged=False))
    findings += [
        Finding(what=f"{entry.name}: behind the best, in errors", value=entry.behind, judged=False)
        for entry in rivals.entries
        if np.isfinite(entry.behind)
    ]
    times = missed.error / missed.noise
    outcome = decided(narrow and times < 1, narrow and times > _BEATEN)
    fitted = (
        "is identified" if narrow else f"is not identified (all sizes: {found.health}, all but one: {missed.health})"
    )
    return (
        outcome,
        f"g_w {fitted}; the largest size is missed by {times:.1f} spreads of a seed; of the forms, {rivals.verdict}",
        findings,
    )


def training_low_prepares_for_rounding(table: Table) -> Answer:
    """Whether rounding costs less after training at one bit more than it leaves (claim A8)."""
    rows = quantized_as(usable(table, trained=True)[0], ptq_granularity="channel")
    findings = []
    for bits in (2, 3, 5):
        plain = {place_of(row): row["delta"] for row in rows if row["ptq_bits"] == bits and not quantized_training(row)}
        for trained in (bits + 1, bits):
            mine = [
                row
                for row in rows
                if row["ptq_bits"] == bits and row["train_weights_bits"] == trained and weights_alone(row)
            ]
            values = [(place_of(row), row["delta"] - plain[place_of(row)]) for row in mine if place_of(row) in plain]
            if values:
                what = f"delta at int{bits} of int{trained} training - of 16-bit training"
                findings.append(averaged(values, what, judged=trained == bits + 1))
    judged = [finding for finding in findings if finding.judged]
    if not judged:
        raise SimlawError("no run trained at one bit more was rounded beside one at 16 bits: add precisions and PTQ")
    less, more = sum(f.below < 0 for f in judged), sum(f.above > 0 for f in judged)
    outcome = decided(less == len(judged), more > 0)
    return outcome, f"the difference is below 0 in {less} of {len(judged)} cases, above 0 in {more}", findings


def inputs_matter_most(table: Table) -> Answer:
    """Whether inputs cost more than weights at four bits, and weights more than keys and values (claim A10)."""
    pairs, _ = pairs_of(table)
    names = {"P_a": "inputs", "P_w": "weights", "P_kv": "keys and values"}
    findings = [mean_cost(pairs, {role: 4}, f"cost of int4 {name}", judged=False) for role, name in names.items()]
    judged = [
        difference(pairs, {one: 4}, {other: 4}, f"int4 {names[one]} - {names[other]}")
        for one, other in (("P_a", "P_w"), ("P_w", "P_kv"))
    ]
    for bits in (2, 3):
        for one, other in (("P_a", "P_w"), ("P_w", "P_kv")):
            with contextlib.suppress(SimlawError):
                what = f"int{bits} {names[one]} - {names[other]}"
                findings.append(difference(pairs, {one: bits}, {other: bits}, what, judged=False))
    outcome = decided(all(f.above > 0 for f in judged), any(f.below < 0 for f in judged))
    order = sorted(names, key=lambda role: -next(f.value for f in findings if names[role] in f.what))
    return outcome, f"from the most costly: {', '.join(names[role] for role in order)}", [*judged, *findings]


@dataclass(frozen=True, kw_only=True)
class Missed:
    """Root mean squares over cells, in nats per token: a prediction's `error`, and the `noise` of a seed there."""

    error: float
    noise: float
    health: Health


def largest_missed(
    seen: Observations, held: Mapping[str, float], form: type[AbstractLossLaw] = PrecisionExponential
) -> Missed:
    """How far the means of cells of the largest size are from what the other sizes say of them by a form.

    Of rows of one role; `held` is what is given of full precision. Raises `SimlawError` where there is no such cell.
    """
    away = LargestN().mask(seen)
    rows = seen.keep(away & seen.pairs)
    if not len(rows.y):
        raise SimlawError("the largest size was not trained in low precision: add precisions to its grid")
    rest = fit(form, seen.keep(~away), fixed=held)
    said = predicted(rest.law, rows)
    bits = [rows.x[role] for role in BITS]
    cells, place = np.unique(np.stack([rows.x["D"], *bits]), axis=1, return_inverse=True)
    place, count = place.reshape(-1), cells.shape[1]
    seeds = np.bincount(place, minlength=count)
    missed = np.bincount(place, rows.y - said, minlength=count) / seeds
    noise = np.sqrt(np.bincount(place, rows.sigma**2, minlength=count) / seeds)
    return Missed(error=float(np.sqrt(np.mean(missed**2))), noise=float(np.sqrt(np.mean(noise**2))), health=rest.health)


def mean_cost(pairs: Sequence[Pair], bits: Mapping[str, float], what: str, judged: bool = True) -> Finding:
    """What one precision costs on average, in nats per token; errors as `averaged`."""
    chosen = [pair for pair in pairs if pair.bits == {**dict.fromkeys(BITS, np.inf), **bits}]
    return averaged([(place_of(pair.low), pair.cost) for pair in chosen], what, judged)


def difference(
    pairs: Sequence[Pair], one: Mapping[str, float], other: Mapping[str, float], what: str, judged: bool = True
) -> Finding:
    """What one precision costs more than another at equal size, tokens and seed, on average, in nats per token."""
    full = dict.fromkeys(BITS, np.inf)
    theirs = {place_of(pair.low): pair.cost for pair in pairs if pair.bits == {**full, **other}}
    mine = [(place_of(pair.low), pair.cost) for pair in pairs if pair.bits == {**full, **one}]
    return averaged([(place, cost - theirs[place]) for place, cost in mine if place in theirs], what, judged)


def averaged(values: Sequence[tuple[Place, float]], what: str, judged: bool = True, *, among: int = 1) -> Finding:
    """The mean over sizes with its interval; a seed of a size counts once, with the mean over its token counts.

    The interval is as wide as 95 % for all of `among` comparisons together asks (Bonferroni). Raises `SimlawError`
    where there is nothing, and where a size has one seed.
    """
    if not values:
        raise SimlawError(f"no run tells {what}: add its precisions to a grid with full precision and two seeds")
    seeds: dict[tuple[int, int], list[float]] = {}
    for (size, _, seed), value in values:
        seeds.setdefault((size, seed), []).append(value)
    sizes: dict[int, list[float]] = {}
    for (size, _), each in seeds.items():
        sizes.setdefault(size, []).append(float(np.mean(each)))
    value, spread, freedom = stratified(sizes)
    reach = student(freedom, 1 - (1 - COVERAGE) / among) * spread
    return Finding(what=what, value=value, low=value - reach, high=value + reach, judged=judged)


def place_of(row: Row) -> Place:
    """The size, token count and seed of a row."""
    return row["params_blocks"], row["tokens"], row["seed"]
