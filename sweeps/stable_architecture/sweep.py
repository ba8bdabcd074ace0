"""Does an architecture that bounds what is rounded lower the precision at which training diverges?

Question: with norms before every projection and of queries and keys, and inputs of block matrices within ±4, at how few
bits and at which rates does training still hold, and what do bits cost there?
Design: both architectures at one, three and nine times the rate; weights, inputs, keys and values together, at 6
bits and fewer with a scale for each token, at 8 and fewer with one for the batch; two sizes, the larger one at half of
the tokens.
Command: simlaw reproduce stable_architecture --own
Cost: 540 runs, 1.3e14 FLOPs; about 28 minutes on two CPU cores by the plan's estimate.
Expected: A12 is not identified: with scales in float32 training hardly diverges; the plain architecture loses 4 cells
of 54, of two and three bits with one scale for a batch at three and nine times the rate, the other none. But bits cost
less in it: by 0.038 nats (95 %: 0.017 to 0.059) at four bits and 0.10 at three with scales of tokens, by 0.17 and 0.47
with one for the batch.
"""

from simlaw.config import WSD, Precision, Text
from simlaw.formats import Float32, Int, PerChannel, PerTensor, PerToken, Quantizer
from simlaw.recipe import PRECISION_STABLE, Family, RateRule, Recipe
from simlaw.sweep import Grid, Sweep, Tolerance

BATCH_TOKENS = 32 * 64
FIRST = 160 * BATCH_TOKENS  # 0.33M tokens: 128 steps of trunk, 32 of cool-down
SEEDS = (0, 1, 2)


def together(bits: int, inputs: PerToken | PerTensor) -> Precision:
    """Weights per channel, inputs, keys and values per head and token, all of so many bits.

    Scales of inputs in float16 diverge by themselves, without bounds, where these leave its range (train_precision).
    """
    return Precision(
        weights=Quantizer(format=Int(bits=bits), granularity=PerChannel()),
        activations=Quantizer(format=Int(bits=bits), granularity=inputs, scale=Float32()),
        kv=Quantizer(format=Int(bits=bits), granularity=PerToken(), scale=Float32()),
    )


PRECISIONS = (
    Precision(),
    *(together(bits, PerToken()) for bits in (2, 3, 4, 6)),
    *(together(bits, PerTensor()) for bits in (2, 3, 4, 6, 8)),
)


def grid(width: int, *tokens: int) -> Grid:
    """Every precision in both architectures at three rates."""
    return Grid(
        widths=(width,),
        tokens=tokens,
        seeds=SEEDS,
        precisions=PRECISIONS,
        rate_multiples=(1.0, 3.0, 9.0),
        recipes=(Recipe(), Recipe(architecture=PRECISION_STABLE)),
    )


SWEEP = Sweep(
    corpus=Text(),
    family=Family(layers=2, head_dim=16, hidden_ratio=3, context=64),
    rate=RateRule(rate=0.0096, width=64, exponent=-0.99),
    schedule=WSD(warmup_tokens=32 * BATCH_TOKENS, cooldown=0.2),
    batch=32,
    grids=(
        grid(32, FIRST * 2, FIRST * 4),
        grid(64, FIRST * 2),
    ),
    eval_tokens=65_536,
    tolerance=Tolerance(loss=0.03, delta=5.0),
    analysis="claims",
    claims=("A12",),
    unidentified="it asks where training holds, and fits no law",
)
