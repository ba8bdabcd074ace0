"""Does the penalty of quantizing grow with data and fall with size, and who wins at equal bytes?

Question: at fixed D, does the loss that INT3 and INT4 rounding adds rise with D and fall with N; and at equal block
bytes and equal training compute, does a large coarse model lose to a smaller, finer one?
Command: simlaw reproduce quickstart --own
Cost: 51 runs, 765 rows, 2e13 training FLOPs; about 3.5 minutes on two CPU cores.
Expected: gD = 0.526 ± 0.026, gN = 0.139 ± 0.044; at 29 kB and 1e12 FLOPs 43.5k parameters at int5 beat 71.2k at int3 by
0.144 nats (90 % interval 0.099 to 0.198). Made again on another processor or with another JAX, losses move by up to
0.02 nats and penalties as between seeds, so each of these numbers moves within its error.
"""

from simlaw.config import WSD, Text
from simlaw.formats import PerChannel, PerGroup
from simlaw.recipe import Family, RateRule
from simlaw.sweep import Budget, Grid, PTQGrid, Sweep, Tolerance

BATCH_TOKENS = 32 * 64
FIRST = 160 * BATCH_TOKENS  # 0.33M tokens: 128 steps of trunk, 32 of cool-down


def ladder(rungs: int) -> tuple[int, ...]:
    """Token counts that double from the first one; they share a trunk."""
    return tuple(FIRST * 2**k for k in range(rungs))


SWEEP = Sweep(
    corpus=Text(),
    family=Family(layers=2, head_dim=16, hidden_ratio=3, context=64),
    rate=RateRule(rate=0.015, width=32, exponent=-0.8),
    schedule=WSD(warmup_tokens=32 * BATCH_TOKENS, cooldown=0.2),
    batch=32,
    grids=(
        # compute-matched: four times the size at a quarter of the tokens
        Grid(widths=(64,), tokens=ladder(4), seeds=(0, 1, 2)),
        Grid(widths=(32,), tokens=ladder(5), seeds=(0, 1, 2)),
        Grid(widths=(16,), tokens=ladder(6), seeds=(0, 1, 2)),
        # is the learning rate right? half and twice the rule's
        Grid(widths=(16, 32, 64), tokens=(FIRST * 2,), rate_multiples=(0.5, 2.0)),
    ),
    ptq=(PTQGrid(bits=(2, 3, 4, 5, 6, 7, 8), granularities=(PerChannel(), PerGroup(size=16))),),
    eval_tokens=32_768,
    budget=Budget(bytes=29e3, flops=1e12, tokens=2.6e6),
    tolerance=Tolerance(loss=0.03, delta=5.0),
)
