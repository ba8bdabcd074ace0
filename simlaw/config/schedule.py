"""Learning-rate schedules and averages of weights, as declared; lengths are in tokens."""

from dataclasses import dataclass

from simlaw.declared import Count, Declared, Fraction, Natural


@dataclass(frozen=True, kw_only=True)
class WSD(Declared):
    """Warm-up, stable rate, linear cool-down to 0 over the last `cooldown` of the tokens (0: none)."""

    warmup_tokens: Natural
    cooldown: Fraction = 0.2


@dataclass(frozen=True, kw_only=True)
class Cosine(Declared):
    """Warm-up, then half a cosine down to `final` of the peak at the run's own last token; shares no trunk."""

    warmup_tokens: Natural
    final: Fraction = 0.1


Schedule = WSD | Cosine


@dataclass(frozen=True, kw_only=True)
class EMA(Declared):
    """The exponential moving average of the weights, with a time constant of `tokens`; its start is debiased."""

    tokens: Count


@dataclass(frozen=True, kw_only=True)
class LAWA(Declared):
    """The mean of the latest `count` snapshots of the weights, `every_tokens` apart (2306.03241)."""

    count: Count
    every_tokens: Count


Average = EMA | LAWA
