"""For which share of the tokens should weights be trained in low precision?

Question: is there a best share between rounding afterwards (none) and low precision from the first step (all), and is
it exp(-6.73 / ln S), S tokens for each byte of weights (2509.22935)?
Design: int2 and int3 weights per channel for the last 5, 20 (the cool-down), 35, 50 and 80 % of the tokens, on trunks
of full precision, beside all of them and none, at two sizes and two token counts: the rule says 25 to 43 %. Rates of
both precisions were checked in `train_precision`.
Command: simlaw reproduce qat_fraction --own
Cost: 156 runs, 468 rows, 5.1e13 FLOPs; about 8 minutes on two CPU cores by the plan's estimate.
Expected: A13 is not identified. At int2 the last 5 % of the tokens cost 0.18 nats more than the rule's share, and from
a fifth on nothing is told; at int3 the last 5 % cost no more than any other share, 0.02 less than the rule's (95 %:
0.00 to 0.04).
"""

from simlaw.config import WSD, Precision, Text
from simlaw.formats import Int, PerChannel, Quantizer
from simlaw.recipe import Family, RateRule
from simlaw.sweep import Grid, PTQGrid, Sweep, Tolerance

BATCH_TOKENS = 32 * 64
FIRST = 160 * BATCH_TOKENS  # 0.33M tokens: 128 steps of trunk, 32 of cool-down
BITS = (2, 3)
BEGINS = (None, 0.2, 0.5, 0.65, "cooldown", 0.95)

SWEEP = Sweep(
    corpus=Text(),
    family=Family(layers=2, head_dim=16, hidden_ratio=3, context=64),
    rate=RateRule(rate=0.0096, width=64, exponent=-0.99),
    schedule=WSD(warmup_tokens=32 * BATCH_TOKENS, cooldown=0.2),
    batch=32,
    grids=(
        Grid(
            widths=(16, 32),
            tokens=(FIRST * 4, FIRST * 16),
            seeds=(0, 1, 2),
            precisions=(
                Precision(),
                *(
                    Precision(weights=Quantizer(format=Int(bits=bits), granularity=PerChannel()), begins=begins)
                    for bits in BITS
                    for begins in BEGINS
                ),
            ),
        ),
    ),
    ptq=(PTQGrid(bits=BITS),),
    eval_tokens=65_536,
    tolerance=Tolerance(loss=0.03, delta=5.0),
    analysis="claims",
    claims=("A13",),
    unidentified="it asks from when on, and fits no law",
)
