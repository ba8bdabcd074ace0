"""Which learning rate does a size and a training precision want, and does muP keep it in place?

Question: at small D, where is the loss lowest in the peak rate, for each width and each precision of the weights in
training; which power of the width does the best rate follow, and does it move with D; does the maximal-update
parametrization keep it in place?
Command: simlaw reproduce learning_rate --own
Cost: 245 runs, 245 rows, 7e13 training FLOPs; about 16 minutes on two CPU cores by the plan's estimate.
Expected: unquantized, the best rate is 0.0096 ± 0.0007 at width 64 and goes as width^(-0.99 ± 0.09); int2 wants
0.75 ± 0.07 of it, int3 and int4 are not told from it; under muP the power is -0.13 (90 % interval -0.26 to 0.08).
"""

from simlaw.config import WSD, MuP, Precision, Text
from simlaw.formats import Int, PerChannel, Quantizer
from simlaw.recipe import Family, RateRule, Recipe
from simlaw.sweep import Grid, Sweep

BATCH_TOKENS = 32 * 64
SMALL = 320 * BATCH_TOKENS  # 0.66M tokens
RATES = (0.25, 0.5, 1.0, 2.0, 4.0)
FULL = Precision()


def weights(bits: int) -> Precision:
    """Training with weights on an integer grid, a scale for each output channel."""
    return Precision(weights=Quantizer(format=Int(bits=bits), granularity=PerChannel()))


SWEEP = Sweep(
    corpus=Text(),
    family=Family(layers=2, head_dim=16, hidden_ratio=3, context=64),
    rate=RateRule(rate=0.015, width=32, exponent=-0.8),
    schedule=WSD(warmup_tokens=32 * BATCH_TOKENS, cooldown=0.2),
    batch=32,
    grids=(
        Grid(
            widths=(16, 32, 64),
            tokens=(SMALL,),
            rate_multiples=RATES,
            precisions=(FULL, weights(4), weights(3), weights(2)),
            seeds=(0, 1, 2),
        ),
        # does the best rate move with D?
        Grid(widths=(16, 32), tokens=(4 * SMALL,), rate_multiples=RATES, seeds=(0, 1)),
        # is the power of the width one beyond the widths that it was read off?
        Grid(widths=(128,), tokens=(SMALL,), rate_multiples=RATES, seeds=(0,)),
        # the maximal-update parametrization, one rate for every width
        Grid(
            widths=(16, 32, 64, 128),
            tokens=(SMALL,),
            rate_multiples=RATES,
            seeds=(0, 1),
            recipes=(Recipe(mup=MuP(base_width=32), rate=RateRule(rate=0.015, width=32, exponent=0.0)),),
        ),
    ),
    eval_tokens=32_768,
    analysis="rates",
    unidentified="it measures learning rates: sizes and tokens are few on purpose, and no law is fitted",
)
