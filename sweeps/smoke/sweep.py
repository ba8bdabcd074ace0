"""The whole loop in seconds, on a source whose entropy is known exactly.

Question: does every part of the loop run, and do the committed rows reproduce?
Command: simlaw reproduce smoke --own
Cost: 18 runs, 3e9 training FLOPs; about 15 s on two CPU cores, nearly all of it compilation.
Expected: excess loss falls with data at both sizes; the verdict is "not identified", since two sizes cannot hold
E, A and alpha apart; rows agree with the committed ones within the tolerance, bit for bit on the same machine.
"""

from simlaw.config import WSD, Graph
from simlaw.formats import PerChannel, PerGroup
from simlaw.recipe import Family, RateRule
from simlaw.sweep import Budget, Grid, PTQGrid, Sweep, Tolerance

BATCH_TOKENS = 8 * 16

SWEEP = Sweep(
    corpus=Graph(nodes=16, out=4),
    family=Family(layers=1, head_dim=8, hidden_ratio=3, context=16),
    rate=RateRule(rate=0.02, width=16, exponent=-1.0),
    schedule=WSD(warmup_tokens=4 * BATCH_TOKENS, cooldown=0.2),
    batch=8,
    grids=(Grid(widths=(8, 16), tokens=(20 * BATCH_TOKENS, 40 * BATCH_TOKENS, 80 * BATCH_TOKENS), seeds=(0, 1, 2)),),
    ptq=(PTQGrid(bits=(3, 4, 8), granularities=(PerChannel(), PerGroup(size=8))),),
    eval_tokens=2048,
    budget=Budget(bytes=2000, flops=1e8, tokens=1e4),
    tolerance=Tolerance(loss=0.01, delta=5.0),
    unidentified="two sizes: a test of the loop, and of the verdict where no fit can hold the law",
)
