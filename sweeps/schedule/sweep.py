"""Does the penalty of quantizing grow with the training tokens, or with the fall of the learning rate at their end?

Question: the slope of delta_PTQ in D of one trunk, cooled down, at its constant rate, and averaged; with a cosine to
each run's own horizon; at half and twice the peak rate; without weight decay (A5).
Design: three sizes, seven token counts on one trunk, three seeds. Each count is measured after a cool-down over the
last fifth and at the constant rate, and of either the average over the latest half a million tokens.
Command: simlaw reproduce schedule --own
Cost: 498 runs, 6,972 rows, 3e14 training and 3.4e13 evaluation FLOPs; about 50 minutes on two CPU cores.
Expected: A5 fails. gD is 0.54 (95 %: 0.42 to 0.66) cooled down, and 0.35 (0.25 to 0.44) at the constant rate; averaging
there leaves 0.48 of the cooled penalty, and at int3 the lowest loss of all. Weight decay and a higher rate lower the
penalty, a cosine raises it.
"""

from simlaw.config import GPTQ, LAWA, RTN, WSD, Cosine, Curvature, Text
from simlaw.recipe import Family, RateRule, Recipe
from simlaw.sweep import Grid, PTQGrid, Sweep, Tolerance

BATCH_TOKENS = 32 * 64
FIRST = 160 * BATCH_TOKENS  # 0.33M tokens: 128 steps of trunk, 32 of cool-down
WARMUP = 32 * BATCH_TOKENS
SEEDS = (0, 1, 2)
#: One trunk: cooled down over the last fifth, and not at all.
TRUNK = (WSD(warmup_tokens=WARMUP, cooldown=0.2), WSD(warmup_tokens=WARMUP, cooldown=0.0))


def ladder(first: int, last: int) -> tuple[int, ...]:
    """Token counts that double; they share a trunk."""
    return tuple(FIRST * 2**k for k in range(first, last + 1))


SWEEP = Sweep(
    corpus=Text(),
    family=Family(layers=2, head_dim=16, hidden_ratio=3, context=64),
    rate=RateRule(rate=0.0096, width=64, exponent=-0.99),
    schedule=TRUNK[0],
    batch=32,
    grids=(
        Grid(widths=(16, 32), tokens=ladder(0, 6), seeds=SEEDS, schedules=TRUNK),
        Grid(widths=(64,), tokens=ladder(1, 6), seeds=SEEDS, schedules=TRUNK),
        Grid(widths=(16, 32), tokens=ladder(0, 6), seeds=SEEDS, schedules=(Cosine(warmup_tokens=WARMUP, final=0.0),)),
        # is it the peak rate, or weight decay?
        Grid(widths=(16, 32), tokens=ladder(0, 6), seeds=SEEDS, schedules=TRUNK, rate_multiples=(0.5, 2.0)),
        Grid(
            widths=(16, 32),
            tokens=ladder(0, 6),
            seeds=SEEDS,
            schedules=TRUNK,
            recipes=(Recipe(weight_decay=0.0), Recipe(weight_decay=0.3)),
        ),
    ),
    ptq=(PTQGrid(methods=(RTN(),), bits=(3, 4, 5, 6)), PTQGrid(methods=(GPTQ(),), bits=(3, 4))),
    averages=(LAWA(count=8, every_tokens=32 * BATCH_TOKENS),),
    eval_tokens=65_536,
    curvature=Curvature(windows=64),
    tolerance=Tolerance(loss=0.03, delta=5.0),
    claims=("A5",),
    where=("cooldown=0.2", "weight_decay=0.1"),
)
