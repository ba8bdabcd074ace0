"""What a table says of learning rates: the best, the rule that they amount to, what the present rule gives away."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from simlaw.fitting.uncertainty import interval
from simlaw.rates.best import BestRate, best_rates
from simlaw.rates.rule import RateFactor, RateLine, rate_factor, rate_line
from simlaw.report import AbstractReported, FitReport, TableReport, count, precision, wrapped
from simlaw.table import Table

Standing = Literal["VALID", "PARTIAL", "NO_RULE"]
#: Digits of a rule's text: two of rates and factors, two places of the exponent.
_RATE, _EXPONENT = ".2g", ".2f"


@dataclass(frozen=True, kw_only=True, repr=False)
class RateStudy(AbstractReported):
    """The best rates of a table and what they follow; None where too few are bracketed.

    `line` is that of unquantized sizes in the standard parametrization at `tokens`, the token count of most of them
    (of several, the smallest); `factors` are those of training bits, `data` those of more tokens, both at equal width;
    `mup` has the line of every base width. `ahead` is the line without the largest width. `present_exponent` is the
    power of the width in the sweep's own rule. `alone` counts kinds of model that were run at one rate.
    """

    best: tuple[BestRate, ...]
    alone: int
    tokens: int
    line: RateLine | None
    ahead: RateLine | None
    factors: tuple[RateFactor, ...]
    data: tuple[RateFactor, ...]
    mup: tuple[tuple[int, RateLine | None], ...]
    present_exponent: float | None

    @property
    def sizes(self) -> tuple[BestRate, ...]:
        """The unquantized sizes of the standard parametrization, at the token count of the rule."""
        return _sizes(self.best, self.tokens, None)

    @property
    def health(self) -> Standing:
        """Whether there is a rule, and every best rate is known."""
        if self.line is None:
            return "NO_RULE"
        return "VALID" if all(one.health == "VALID" for one in self.best) else "PARTIAL"

    @property
    def sentence(self) -> str:
        """What the health rests on."""
        open_ones = [one for one in self.best if one.health != "VALID"]
        known = f"{len(self.best) - len(open_ones)} of {len(self.best)} best rates lie between the rates that were run"
        names = "; ".join(f"{one.kind}: {one.health}, {one.sentence}" for one in open_ones)
        return f"{known}{f'; {names}' if names else ''}"

    @property
    def rule(self) -> str | None:
        """The Python text of the `RateRule` that the study amounts to, in two digits; None where there is none.

        A factor that is not told from 1 is 1, for the factor of the next lower bits would hold otherwise.
        """
        if self.line is None:
            return None
        multiples = [(one.bits, one.multiple if one.told_apart else 1.0) for one in self.factors if one.bits]
        multiples.sort(key=lambda one: one[0])
        while multiples and multiples[0][1] == 1.0:
            multiples.pop(0)
        each = "".join(f"AtBits(bits={bits}, multiple={float(f'{m:{_RATE}}')}), " for bits, m in multiples)
        at_bits = f", at_bits=({each.rstrip() if len(multiples) == 1 else each.removesuffix(', ')})" if each else ""
        rate, exponent = float(f"{self.line.rate:{_RATE}}"), float(f"{self.line.exponent:{_EXPONENT}}")
        return f"RateRule(rate={rate}, width={self.line.at}, exponent={exponent}{at_bits})"

    @property
    def notes(self) -> tuple[str, ...]:
        """What the numbers come to, a sentence each."""
        said = [self._given_away(), self._against_present(), self._largest(), *self._parametrizations()]
        if self.rule and "AtBits" in self.rule:
            finest = max(one.bits for one in self.factors if one.bits)
            said.append(f"In a RateRule the factor of int{finest} holds for all finer integers too, unmeasured here.")
        if self.alone:
            kinds = "1 kind of model" if self.alone == 1 else f"{self.alone} kinds of model"
            said.append(f"{kinds} with one rate alone left out.")
        return tuple(one for one in said if one)

    def _given_away(self) -> str:
        # muP has a rule of its own
        known = [one for one in self.best if one.given_interval is not None and one.kind.mup is None]
        if not known:
            return ""
        worst = max(known, key=lambda one: one.given_away or 0.0)
        sure = [one for one in known if one.given_interval and one.given_interval[0] > 0]
        most = f"The present rule gives away most at {worst.kind}: {_nats(worst)} nats"
        return f"{most}; it gives away something beyond noise at {len(sure)} of {len(known)} kinds of model."

    def _against_present(self) -> str:
        if self.line is None or self.present_exponent is None:
            return ""
        low, high = self.line.interval
        verdict = "not told from" if low <= self.present_exponent <= high else "another than"
        rates = [one for one in self.sizes if one.interval]
        other = [one for one in rates if one.interval and not one.interval[0] <= one.present <= one.interval[1]]
        names = " (" + ", ".join(f"{one.kind.width}" for one in other) + ")" if other else ""
        return (
            f"The exponent is {verdict} the present rule's {self.present_exponent:.3g}; of {len(rates)} best rates of "
            f"unquantized sizes {len(other)} differ from the present ones beyond noise{names}."
        )

    def _largest(self) -> str:
        if self.ahead is None:
            return ""
        largest = max((one for one in self.sizes if one.rate), key=lambda one: one.kind.width)
        mid, low, high = (float(one[0]) for one in self.ahead.band(np.array([float(largest.kind.width)])))
        away = math.log(largest.kind.width / self.ahead.at)
        off = interval(largest.within - self.ahead.drawn_log_rate - self.ahead.drawn_exponent * away)
        agrees = off[0] <= 0 <= off[1]
        return (
            f"The other widths alone foretell {mid:.2g} ({low:.2g} to {high:.2g}) at width {largest.kind.width}; the "
            f"measured {_rate(largest)} {'agrees' if agrees else 'does not agree'}."
        )

    def _parametrizations(self) -> list[str]:
        said = []
        for base, line in self.mup:
            name = f"muP (base width {base})"
            if line is None:
                said.append(f"Under {name} fewer than two best rates are known, so transfer is not measured.")
                continue
            low, high = line.interval
            verdict = "does not tell it from perfect transfer" if low <= 0 <= high else "is no perfect transfer"
            spread = _spread(_sizes(self.best, self.tokens, base), line.widths)
            same = [one for one in self.sizes if one.kind.width in line.widths]
            other = _spread(same, line.widths)
            against = f", by {other:.2g} under the standard parametrization" if other else ""
            said.append(
                f"Under {name} the best rate goes as width^{line.exponent:.2f} ({low:.2f} to {high:.2f}), which "
                f"{verdict}; over widths {_list(line.widths)} it differs by a factor of {spread:.2g}{against}."
            )
        return said

    @property
    def report(self) -> FitReport:
        """Health, the rule with errors, its text, then every best rate and factor."""
        numbers: list[tuple[str, float, float | None]] = []
        facts = [("rates by", "parabola through the lowest mean and its two neighbours, ln rate; 90 % intervals")]
        if self.line is not None:
            numbers = [
                (f"rate at width {self.line.at}", self.line.rate, self.line.rate_error),
                ("exponent of width", self.line.exponent, self.line.error),
            ]
            facts = [
                ("fitted to", f"unquantized widths {_list(self.line.widths)} on {count(self.tokens)} tokens"),
                ("scatter", self.line.misfit),
                *facts,
                ("as a rule", self.rule or ""),
            ]
        head = ("width", "tokens", "training", "seeds", "best rate", "of the present", "loss", "given away", "")
        lines = [
            (
                str(one.kind.width),
                count(one.kind.tokens),
                one.kind.training,
                str(one.seeds),
                _rate(one),
                f"{one.rate / one.present:.2f} x" if one.rate else "",
                f"{one.loss:.4f}" if one.loss else "",
                _nats(one),
                one.health if one.health != "VALID" else "",
            )
            for one in self.best
        ]
        factors = [
            (one.what, one.text, f"{one.interval[0]:.2f} to {one.interval[1]:.2f}", _list(one.widths), one.verdict)
            for one in (*self.factors, *self.data)
        ]
        tables = (
            (head, lines),
            (("factor on the best rate", "value", "90 % interval", "widths", ""), factors),
        )
        return FitReport(
            form="RateRule",
            health=self.health,
            sentence=self.sentence,
            numbers=numbers,
            facts=facts,
            more=TableReport(tables=tables, sentences=[wrapped(note) for note in self.notes]),
        )

    @property
    def json(self) -> dict[str, Any]:
        """The study as JSON holds it; losses in nats per token, rates as the optimizer's peak, no draws."""
        return {
            "health": self.health,
            "sentence": self.sentence,
            "rule": self.rule,
            "tokens": self.tokens,
            "present_exponent": self.present_exponent,
            "line": _line(self.line),
            "line_without_largest": _line(self.ahead),
            "mup": [{"base_width": base, "line": _line(line)} for base, line in self.mup],
            "factors": [_factor(one) for one in self.factors],
            "data": [_factor(one) for one in self.data],
            "notes": list(self.notes),
            "best": [
                {
                    "width": one.kind.width,
                    "layers": one.kind.layers,
                    "tokens": one.kind.tokens,
                    "bits": one.kind.bits,
                    "mup_base_width": one.kind.mup,
                    "seeds": one.seeds,
                    "health": one.health,
                    "sentence": one.sentence,
                    "present": one.present,
                    "rate": one.rate,
                    "interval": one.interval,
                    "loss": one.loss,
                    "curvature": one.curvature,
                    "given_away": one.given_away,
                    "given_interval": one.given_interval and [_end(end) for end in one.given_interval],
                    "rates": one.rates.tolist(),
                    "losses": [_end(loss) for loss in one.losses.tolist()],
                    "errors": [_end(error) for error in one.errors.tolist()],
                    "used": list(one.used),
                }
                for one in self.best
            ],
        }


def rate_study(table: Table, *, draws: int = 2000, seed: int = 0) -> RateStudy:
    """The study of a table; raises `SimlawError` as `best_rates` does."""
    best, alone = best_rates(table, draws=draws, seed=seed)
    plain = [one for one in best if one.kind.bits is None and one.kind.mup is None] or list(best)
    widths: dict[int, set[int]] = {}
    for one in plain:
        widths.setdefault(one.kind.tokens, set()).add(one.kind.width)
    tokens = min(widths, key=lambda d: (-len(widths[d]), d))
    sizes = _sizes(best, tokens, None)
    known = [one for one in sizes if one.rate]
    largest = max((one.kind.width for one in known), default=0)
    smaller = [one for one in known if one.kind.width < largest]
    standard = [one for one in best if one.kind.mup is None]
    bits = sorted({one.kind.bits for one in standard if one.kind.bits}, reverse=True)
    longer = sorted({one.kind.tokens for one in plain if one.kind.tokens > tokens})
    at_bits = [
        rate_factor(
            f"training in {precision(b)}",
            [one for one in standard if one.kind.bits in (None, b)],
            lambda kind: replace(kind, bits=None if kind.bits else -1),
            b,
        )
        for b in bits
    ]
    data = [
        rate_factor(
            f"{count(d)} tokens, {d / tokens:.3g} x",
            [one for one in plain if one.kind.tokens in (d, tokens)],
            lambda kind: replace(kind, tokens=tokens if kind.tokens != tokens else 0),
        )
        for d in longer
    ]
    presents = {one.kind.width: one.present for one in sizes}
    slope = None
    if len(presents) > 1:
        slope = float(f"{np.polyfit(np.log(list(presents)), np.log(list(presents.values())), 1)[0]:.4g}")
    return RateStudy(
        best=best,
        alone=alone,
        tokens=tokens,
        line=rate_line(sizes),
        ahead=rate_line(smaller),
        factors=tuple(one for one in at_bits if one),
        data=tuple(one for one in data if one),
        mup=tuple(
            (base, rate_line(_sizes(best, tokens, base)))
            for base in sorted({one.kind.mup for one in best if one.kind.mup})
        ),
        present_exponent=slope,
    )


def _sizes(best: Sequence[BestRate], tokens: int, mup: int | None) -> tuple[BestRate, ...]:
    """The unquantized sizes of a parametrization at a token count."""
    return tuple(o for o in best if o.kind.bits is None and o.kind.tokens == tokens and o.kind.mup == mup)


def _spread(sizes: Sequence[BestRate], widths: Sequence[int]) -> float:
    """The largest best rate over the smallest at these widths; 0 where one is not known."""
    rates = [one.rate for one in sizes if one.rate and one.kind.width in widths]
    return max(rates) / min(rates) if len(rates) == len(widths) else 0.0


def _rate(one: BestRate) -> str:
    """A best rate with its interval."""
    if one.rate is None or one.interval is None:
        return "not bracketed" if one.health == "AT_EDGE" else "not convex"
    return f"{one.rate:.3g} ({one.interval[0]:.3g} to {one.interval[1]:.3g})"


def _nats(one: BestRate) -> str:
    """What the present rule gives away, with its interval; where the best is not known, the least that it can be."""
    if one.given_away is None or one.given_interval is None:
        return "not known"
    if math.isinf(one.given_interval[1]):
        return f"{one.given_away:.4f} or more"
    return f"{one.given_away:.4f} ({one.given_interval[0]:.4f} to {one.given_interval[1]:.4f})"


def _list(widths: Sequence[int]) -> str:
    return ", ".join(map(str, widths))


def _line(line: RateLine | None) -> dict[str, Any] | None:
    if line is None:
        return None
    return {
        "width": line.at,
        "rate": line.rate,
        "rate_error": line.rate_error,
        "exponent": line.exponent,
        "exponent_error": line.error,
        "exponent_interval": line.interval,
        "widths": list(line.widths),
        "chi2": line.chi2,
        "freedom": line.freedom,
    }


def _factor(one: RateFactor) -> dict[str, Any]:
    return {
        "what": one.what,
        "bits": one.bits,
        "multiple": one.multiple,
        "interval": one.interval,
        "told_apart_from_1": one.told_apart,
        "widths": list(one.widths),
        "each": list(one.each),
        "each_interval": [list(ends) for ends in one.each_interval],
        "chi2": one.chi2,
    }


def _end(number: float) -> float | None:
    """JSON has neither infinities nor NaN: both are null."""
    return number if math.isfinite(number) else None
