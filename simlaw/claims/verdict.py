"""What a table says of a claim: whether it holds, on which numbers, with their intervals."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from simlaw.report import AbstractReported, TableReport, wrapped

Outcome = Literal["holds", "fails", "not identified"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A number with the ends of its 95 % interval, None where it has none.

    `judged` says whether the claim's rule looks at it.
    """

    what: str
    value: float
    low: float | None = None
    high: float | None = None
    judged: bool = True

    @property
    def above(self) -> float:
        """The lower end; everything is above it where there is none."""
        return float("-inf") if self.low is None else self.low

    @property
    def below(self) -> float:
        """The upper end, or infinity."""
        return float("inf") if self.high is None else self.high

    @property
    def json(self) -> dict[str, Any]:
        """The finding as JSON has it."""
        return {name: getattr(self, name) for name in ("what", "value", "low", "high", "judged")}


#: An outcome, the sentence that says why, and the numbers.
Answer = tuple[Outcome, str, Sequence[Finding]]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a claim: `says` is the claim, `rule` how it is judged, `sentence` why this is the outcome."""

    claim: str
    says: str
    rule: str
    outcome: Outcome
    sentence: str
    findings: tuple[Finding, ...] = ()

    @property
    def json(self) -> dict[str, Any]:
        """The verdict as JSON has it."""
        plain = {name: getattr(self, name) for name in ("claim", "says", "rule", "outcome", "sentence")}
        return {**plain, "findings": [finding.json for finding in self.findings]}


@dataclass(frozen=True, kw_only=True, repr=False)
class Verdicts(AbstractReported):
    """The verdicts of some claims, in the order in which they were asked for."""

    each: tuple[Verdict, ...]

    @property
    def json(self) -> dict[str, Any]:
        """The verdicts as JSON has them."""
        return {"coverage": 0.95, "verdicts": [verdict.json for verdict in self.each]}

    @property
    def report(self) -> TableReport:
        """Every claim with its outcome and the numbers behind it."""
        parts = [_written(verdict) for verdict in self.each]
        return TableReport(sentences=("\n\n".join(parts),))


def decided(holds: bool, fails: bool) -> Outcome:
    """The outcome of a rule that knows when a claim holds, and when it fails."""
    return "holds" if holds else "fails" if fails else "not identified"


def _written(verdict: Verdict) -> str:
    lines = [
        wrapped(f"{verdict.claim} {verdict.outcome.upper()}: {verdict.says}"),
        *(textwrap.indent(wrapped(text), "  ") for text in (f"rule: {verdict.rule}", verdict.sentence)),
    ]
    return "\n".join([*lines, *_numbers(verdict.findings)])


def _numbers(findings: Sequence[Finding]) -> list[str]:
    width = max((len(finding.what) for finding in findings), default=0)
    rest = ["" if finding.judged else "  not judged" for finding in findings]
    return [
        f"    {one.what.ljust(width)}  {one.value:>9.4g}{_ends(one)}{more}"
        for one, more in zip(findings, rest, strict=True)
    ]


def _ends(finding: Finding) -> str:
    return "" if finding.low is None or finding.high is None else f"  ({finding.low:.4g} to {finding.high:.4g})"
