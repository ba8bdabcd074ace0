"""Do fewer bits in training act like fewer parameters, role by role, and do the roles' shares multiply?

Question: which form of N_eff(P) predicts a held-out bit-width and the largest size (A7); is N_eff of several roles the
product of theirs; which role is the most sensitive (A10)?
Design: weights per channel, inputs per token, keys and values per head and token, one role at a time from 2 bits up,
then together and in pairs, at three sizes and up to five token counts on one trunk; the largest size apart. Every
precision at half and twice the rate; what else can be chosen (learned steps, estimators, rotation, one scale for a
batch, gradients) at one size.
Command: simlaw reproduce train_precision --own
Cost: 1,119 runs, 6.2e14 FLOPs; about 1.7 hours on two CPU cores by the plan's estimate.
Expected: A7 fails, by 5 spreads of a seed at the largest size, where no other form passes either. Costs grow with data,
D^0.21 for weights to D^0.41 for keys and values; with size they are flat at first, and fall from 106k parameters on;
of several roles they nearly add up. A10 is not identified: at four bits inputs cost 0.079 nats (95 %: 0.074 to 0.085),
weights 0.026, keys and values 0.020, the last two not told apart. A14 neither: learned steps save 0.13 nats at int2,
nothing else is told from 0. 39 runs with int2 or int3 inputs diverge; of these all ten that were tried again with
scales in float32 live.
"""

from simlaw.config import WSD, Precision, Text
from simlaw.formats import (
    FLOATS,
    Float32,
    Int,
    Percentile,
    PerChannel,
    PerGroup,
    PerTensor,
    PerToken,
    PowerOfTwo,
    Quantizer,
)
from simlaw.recipe import Family, RateRule
from simlaw.sweep import Grid, Sweep, Tolerance

BATCH_TOKENS = 32 * 64
FIRST = 160 * BATCH_TOKENS  # 0.33M tokens: 128 steps of trunk, 32 of cool-down
SEEDS = (0, 1, 2)
FULL = Precision()


def ladder(first: int, last: int) -> tuple[int, ...]:
    """Token counts that double; they share a trunk."""
    return tuple(FIRST * 2**k for k in range(first, last + 1))


def weights(bits: int) -> Quantizer:
    """A scale for each output channel."""
    return Quantizer(format=Int(bits=bits), granularity=PerChannel())


def tokens(bits: int) -> Quantizer:
    """A scale for each token's inputs; of keys and values, for each head of each token."""
    return Quantizer(format=Int(bits=bits), granularity=PerToken())


def at(*, w: int | None = None, a: int | None = None, kv: int | None = None) -> Precision:
    """These bits of weights, inputs, keys and values."""
    return Precision(weights=w and weights(w), activations=a and tokens(a), kv=kv and tokens(kv))


ONE_ROLE = (
    *(at(w=bits) for bits in (2, 3, 4, 6)),
    *(at(a=bits) for bits in (2, 3, 4, 5, 6)),
    *(at(kv=bits) for bits in (2, 3, 4, 6)),
)
TOGETHER = (
    *(at(w=bits, a=bits, kv=bits) for bits in (3, 4, 5, 6, 8)),
    *(at(w=3, a=3), at(w=3, kv=3), at(a=3, kv=3)),
)
#: What the largest size is trained at: held out.
LARGEST = (FULL, at(w=2), at(w=3), at(a=3), at(a=4), at(kv=3), at(w=3, a=3, kv=3), at(w=4, a=4, kv=4))
CLIPPED = Quantizer(format=Int(bits=2), granularity=PerChannel(), calibration=Percentile(share=0.9))
#: What else can be chosen, against the same bits without it.
CHOICES = (
    at(a=8),  # beside the next
    *(Precision(activations=Quantizer(format=Int(bits=bits), granularity=PerTensor())) for bits in (3, 4, 6, 8)),
    *(Precision(weights=weights(bits), learned_steps=True) for bits in (2, 3)),
    *(Precision(weights=CLIPPED, estimator=estimator) for estimator in ("straight_through", "clipped", "trust")),
    *(Precision(weights=weights(bits), rotate=True) for bits in (2, 3)),
    *(Precision(activations=tokens(bits), rotate=True) for bits in (3, 4)),
    Precision(weights=Quantizer(format=Int(bits=3), granularity=PerChannel(), rounding="stochastic")),
    *(Precision(gradients=tokens(bits)) for bits in (3, 4, 8)),
    Precision(gradients=Quantizer(format=Int(bits=4), granularity=PerToken(), rounding="stochastic")),
    Precision(
        gradients=Quantizer(format=FLOATS["e4m3fn"], granularity=PerGroup(size=32), scale=PowerOfTwo())  # MXFP8
    ),
)
#: float16 cannot hold the scales that inputs of int2 and int3 training came to.
WIDE2, WIDE3 = (
    Precision(activations=Quantizer(format=Int(bits=bits), granularity=PerToken(), scale=Float32())) for bits in (2, 3)
)

SWEEP = Sweep(
    corpus=Text(),
    family=Family(layers=2, head_dim=16, hidden_ratio=3, context=64),
    rate=RateRule(rate=0.0096, width=64, exponent=-0.99),
    schedule=WSD(warmup_tokens=32 * BATCH_TOKENS, cooldown=0.2),
    batch=32,
    grids=(
        Grid(widths=(16, 32), tokens=ladder(0, 5), seeds=SEEDS),
        Grid(widths=(64,), tokens=ladder(1, 4), seeds=SEEDS),
        Grid(widths=(16, 32), tokens=ladder(0, 4), seeds=SEEDS, precisions=(*ONE_ROLE, *TOGETHER)),
        Grid(widths=(64,), tokens=ladder(1, 3), seeds=SEEDS, precisions=(*ONE_ROLE, *TOGETHER)),
        Grid(widths=(128,), tokens=ladder(2, 3), seeds=SEEDS, precisions=LARGEST),
        # is the rate right for each precision?
        Grid(
            widths=(32,),
            tokens=(FIRST * 2,),
            seeds=SEEDS,
            precisions=(FULL, *ONE_ROLE, *TOGETHER),
            rate_multiples=(0.5, 2.0),
        ),
        Grid(widths=(32,), tokens=(FIRST * 4,), seeds=SEEDS, precisions=CHOICES),
        Grid(widths=(16, 32), tokens=(FIRST * 4,), seeds=SEEDS, precisions=(WIDE2,)),
        Grid(widths=(16, 32), tokens=(FIRST * 16,), seeds=SEEDS, precisions=(WIDE3,)),
    ),
    eval_tokens=65_536,
    tolerance=Tolerance(loss=0.03, delta=5.0),
    analysis="precision",
    claims=("A7", "A10", "A14"),
)
