"""At equal bits, do integers and floats lose the same thing in training?

Question: integers round with one step (additive noise), floats with one share (multiplicative noise); does the one cost
effective parameters and the other effective data, and which costs less, for weights and for inputs?
Design: every float of 3 to 6 bits beside the integer of as many, weights per channel or inputs per token, at three
sizes. `law.json` has the law of the integers, and the contests of both.
Command: simlaw reproduce int_or_float --own
Cost: 1,035 runs, 3.6e14 FLOPs; about 1 hour on two CPU cores by the plan's estimate.
Expected: A11 fails: what integers cost grows with data, D^0.26 (95 %: 0.06 to 0.46) for weights and D^0.35 (0.26 to
0.44) for inputs, and so does what floats cost; the two kinds are not told apart. Of inputs floats with two bits of
exponent cost less than integers, by 0.037, 0.019 and 0.012 nats at 3, 4 and 5 bits; of weights as much. Three bits of
exponent cost more.
"""

from simlaw.config import WSD, Precision, Text
from simlaw.formats import Float, Format, Int, PerChannel, PerToken, Quantizer
from simlaw.recipe import Family, RateRule
from simlaw.sweep import Grid, Sweep, Tolerance

BATCH_TOKENS = 32 * 64
FIRST = 160 * BATCH_TOKENS  # 0.33M tokens: 128 steps of trunk, 32 of cool-down
SEEDS = (0, 1, 2)
INTEGERS = tuple(Int(bits=bits) for bits in (3, 4, 5, 6))
#: Two bits of exponent and 0 to 3 of mantissa; three bits of exponent and 0 to 2.
FLOATS = (
    *(Float(exponent=2, mantissa=mantissa) for mantissa in (0, 1, 2, 3)),
    *(Float(exponent=3, mantissa=mantissa) for mantissa in (0, 1, 2)),
)


def ladder(first: int, last: int) -> tuple[int, ...]:
    """Token counts that double; they share a trunk."""
    return tuple(FIRST * 2**k for k in range(first, last + 1))


def weights(form: Format) -> Precision:
    """Weights alone, a scale for each output channel."""
    return Precision(weights=Quantizer(format=form, granularity=PerChannel()))


def inputs(form: Format) -> Precision:
    """Inputs of block matrices alone, a scale for each token."""
    return Precision(activations=Quantizer(format=form, granularity=PerToken()))


PRECISIONS = (Precision(), *(role(form) for role in (weights, inputs) for form in (*INTEGERS, *FLOATS)))

SWEEP = Sweep(
    corpus=Text(),
    family=Family(layers=2, head_dim=16, hidden_ratio=3, context=64),
    rate=RateRule(rate=0.0096, width=64, exponent=-0.99),
    schedule=WSD(warmup_tokens=32 * BATCH_TOKENS, cooldown=0.2),
    batch=32,
    grids=(
        Grid(widths=(16, 32), tokens=ladder(0, 4), seeds=SEEDS, precisions=PRECISIONS),
        Grid(widths=(64,), tokens=ladder(1, 3), seeds=SEEDS, precisions=PRECISIONS),
        Grid(widths=(32,), tokens=(FIRST * 2,), seeds=SEEDS, precisions=PRECISIONS, rate_multiples=(0.5, 2.0)),
    ),
    eval_tokens=65_536,
    tolerance=Tolerance(loss=0.03, delta=5.0),
    analysis="precision",
    claims=("A11",),
)
