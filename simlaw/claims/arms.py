"""Arms of a sweep: rows that differ in how the learning rate falls, its peak, weight decay, or averaging."""

import contextlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

from simlaw.claims.growth import difference, growth
from simlaw.claims.paired import ratio_of
from simlaw.claims.verdict import Answer, Finding, decided
from simlaw.errors import SimlawError
from simlaw.means import Means, means_at
from simlaw.observations import quantized_training
from simlaw.quantizations import quantized_as
from simlaw.table import Row, Table

#: Where the penalty goes with the square of the step: exponents are read off these.
QUADRATIC = (4, 5, 6)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What the rows of an arm share: None for a cosine's cool-down, and for the last weights."""

    cooldown: float | None
    average: str | None
    rate_multiple: float
    weight_decay: float | None

    @property
    def falls(self) -> str:
        """How the rate falls, and which weights are measured."""
        how = "cosine" if self.cooldown is None else "cooled down" if self.cooldown else "constant rate"
        return how if self.average is None else f"{how}, averaged"

    def named(self, decay: float | None) -> str:
        """What it is called where weight decay is `decay` unless said."""
        more = [f"{self.rate_multiple:g} x the rate"] * (self.rate_multiple != 1)
        if self.weight_decay != decay:
            more.append(f"weight decay {self.weight_decay or 0:g}")
        return ", ".join([self.falls, *more])


@dataclass(frozen=True, kw_only=True)
class Arms:
    """The arms of a table's rows of plain rounding, and the weight decay that most rows have."""

    each: dict[Arm, Table]
    decay: float | None

    def of(self, cooldown: float | None, average: str | None = None) -> Table:
        """The rows of an arm at the recipe's rate and decay; raises `SimlawError` where there is none."""
        arm = Arm(cooldown=cooldown, average=average, rate_multiple=1.0, weight_decay=self.decay)
        if arm not in self.each:
            raise SimlawError(
                f"no quantized row is of the arm '{arm.named(self.decay)}': add its schedule, as in sweeps/schedule"
            )
        return self.each[arm]

    @property
    def cooldown(self) -> float:
        """The share of the tokens in the cool-down; raises `SimlawError` where no arm, or more than one, has one."""
        found = sorted({arm.cooldown for arm in self.each if arm.cooldown})
        if len(found) != 1:
            raise SimlawError(f"the rows have {len(found)} lengths of cool-down: choose one, or add one")
        return float(found[0])


def arms_of(table: Table, bits: tuple[int, ...]) -> Arms:
    """The rows of plain rounding per channel at these bits, by arm; raises `SimlawError` where there are none."""
    rows = quantized_as(table, ptq_granularity="channel").where(
        lambda row: row["ptq_bits"] in bits and not quantized_training(row)
    )
    if not rows:
        raise SimlawError(f"no row was rounded per channel to {', '.join(map(str, bits))} bits: add PTQGrid(bits=…)")
    (decay, _), *_ = Counter(row["weight_decay"] for row in rows).most_common(1)
    found: dict[Arm, list[Row]] = {}
    for row in rows:
        arm = Arm(
            cooldown=row["cooldown"],
            average=row["average"],
            rate_multiple=row["rate_multiple"],
            weight_decay=row["weight_decay"],
        )
        # within an arm the rate is the recipe's
        found.setdefault(arm, []).append({**row, "rate_multiple": 1.0})
    return Arms(each={arm: Table(rows=tuple(each)) for arm, each in found.items()}, decay=decay)


def arm_curves(arms: Arms, params: int, bits: int, column: str = "delta") -> tuple[Means, ...]:
    """A column against tokens, at one size and bit-width, of the arms that differ in how the rate falls alone."""
    found = []
    for arm, rows in sorted(arms.each.items(), key=lambda pair: _order(pair[0], arms.decay)):
        here = rows.where(lambda row: row["params_blocks"] == params and row["ptq_bits"] == bits)
        if arm.rate_multiple != 1 or arm.weight_decay != arms.decay or not here:
            continue
        tokens = {row["tokens"] for row in here}
        found.append(means_at(arm.falls, {d: [row[column] for row in here if row["tokens"] == d] for d in tokens}))
    return tuple(found)


def grows_as_the_rate_falls(table: Table) -> Answer:
    """Whether the penalty grows with data at a constant rate, as it does behind a cool-down (claim A5)."""
    arms = arms_of(table, QUADRATIC)
    cooldown = arms.cooldown
    judged = [Arm(cooldown=at, average=None, rate_multiple=1.0, weight_decay=arms.decay) for at in (0.0, cooldown)]
    slopes = {arm: growth(arms.of(arm.cooldown)).data for arm in judged}
    constant, cooled = (slopes[arm].finding("") for arm in judged)
    for arm in arms.each.keys() - slopes.keys():
        with contextlib.suppress(SimlawError):  # its rows do not tell
            slopes[arm] = growth(arms.each[arm]).data
    findings = [
        slope.finding(f"gD, {arm.named(arms.decay)}", judged=arm in judged)
        for arm, slope in sorted(slopes.items(), key=lambda pair: (pair[0] not in judged, _order(pair[0], arms.decay)))
    ]
    findings.append(
        difference(slopes[judged[1]], slopes[judged[0]], "gD cooled down - gD at the constant rate", judged=False)
    )
    for arm in sorted(arms.each, key=lambda arm: _order(arm, arms.decay)):
        recipe = arm.rate_multiple == 1 and arm.weight_decay == arms.decay
        if (recipe and arm != judged[1]) or (not recipe and arm.cooldown == cooldown and arm.average is None):
            with contextlib.suppress(SimlawError):
                what = f"mean penalty {arm.named(arms.decay)} / cooled down"
                findings.append(compared(arms.each[arm], arms.of(cooldown), what))
    # an interval that holds both 0 and what the cool-down gives tells nothing
    flat = constant.above <= 0 <= constant.below < cooled.value
    outcome = decided(flat and cooled.above > 0, constant.above > 0)
    return (
        outcome,
        f"gD is {constant.value:.2f} ({constant.above:.2f} to {constant.below:.2f}) at the constant rate, "
        f"{cooled.value:.2f} ({cooled.above:.2f} to {cooled.below:.2f}) cooled down",
        findings,
    )


def _order(arm: Arm, decay: float | None) -> tuple[Any, ...]:
    """The recipe's arms first."""
    other = arm.rate_multiple != 1 or arm.weight_decay != decay
    falls = arm.cooldown is None, -(arm.cooldown or 0.0), arm.average or ""
    return other, arm.rate_multiple, arm.weight_decay or 0.0, *falls


def compared(one: Table, other: Table, what: str) -> Finding:
    """The mean penalty of one arm over that of another, on the same sizes, token counts, bits and seeds.

    The means are over token counts and bits, so that large penalties count most; a seed of a size counts once. Raises
    `SimlawError` where nothing is in both, and where a mean is not positive.
    """
    theirs = {_place(row): row["delta"] for row in other}
    sums: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for row in one:
        if _place(row) in theirs:
            sums.setdefault((row["params_blocks"], row["seed"]), []).append((row["delta"], theirs[_place(row)]))
    if not sums:
        raise SimlawError("the arms share no size, token count and seed: add them to both")
    return ratio_of(sums).finding(what, judged=False)


def _place(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in ("params_blocks", "tokens", "ptq_bits", "seed"))
