"""Does training in low precision prepare a model for rounding after it, and by how much for each role?

Question: delta_PTQ of models trained at P_w bits and rounded to P_post (A8), and the unified law with its constants
C_w, C_a and C_kv, which no paper gives.
Design: runs of `train_precision` (where their rates were checked), each rounded, and quantized by GPTQ, to 2 to 8
bits: with that sweep's runs in the store nothing is trained.
Command: simlaw reproduce train_then_ptq --own
Cost: 507 runs, 6,591 rows, 1.9e14 FLOPs; about 40 minutes on two CPU cores by the plan's estimate.
Expected: A8 is not identified. Trained at int4, rounding to int3 costs 0.05 nats less (95 %: 0.02 to 0.09) than after
16 bits, at int3 to int2 0.74 less; int6 to int5 is not told from 0. In the unified law, with full precision's
parameters given, C_w is 1.27 ± 0.06, C_a 1.34 ± 0.05, and C_kv has no upper end: keys and values prepare for nothing.
They are averages: what int4 weights leave of int3's penalty goes from 0.49 at 6.7k to 0.92 at 106k parameters.
"""

from simlaw.config import GPTQ, RTN, WSD, Precision, Text
from simlaw.formats import Int, PerChannel, PerToken, Quantizer
from simlaw.recipe import Family, RateRule
from simlaw.sweep import Grid, PTQGrid, Sweep, Tolerance

BATCH_TOKENS = 32 * 64
FIRST = 160 * BATCH_TOKENS  # 0.33M tokens: 128 steps of trunk, 32 of cool-down
SEEDS = (0, 1, 2)


def ladder(first: int, last: int) -> tuple[int, ...]:
    """Token counts that double; they share a trunk."""
    return tuple(FIRST * 2**k for k in range(first, last + 1))


def at(*, w: int | None = None, a: int | None = None, kv: int | None = None) -> Precision:
    """These bits of weights per channel, inputs per token, and keys and values per head and token."""
    return Precision(
        weights=w and Quantizer(format=Int(bits=w), granularity=PerChannel()),
        activations=a and Quantizer(format=Int(bits=a), granularity=PerToken()),
        kv=kv and Quantizer(format=Int(bits=kv), granularity=PerToken()),
    )


TRAINED = (
    Precision(),
    *(at(w=bits) for bits in (2, 3, 4, 6)),
    *(at(a=bits) for bits in (3, 4, 6)),
    *(at(kv=bits) for bits in (3, 4, 6)),
    *(at(w=bits, a=bits, kv=bits) for bits in (4, 6)),
)

SWEEP = Sweep(
    corpus=Text(),
    family=Family(layers=2, head_dim=16, hidden_ratio=3, context=64),
    rate=RateRule(rate=0.0096, width=64, exponent=-0.99),
    schedule=WSD(warmup_tokens=32 * BATCH_TOKENS, cooldown=0.2),
    batch=32,
    grids=(
        Grid(widths=(16, 32), tokens=ladder(0, 4), seeds=SEEDS, precisions=TRAINED),
        Grid(widths=(64,), tokens=ladder(1, 3), seeds=SEEDS, precisions=TRAINED),
    ),
    ptq=(PTQGrid(methods=(RTN(), GPTQ()), bits=(2, 3, 4, 5, 6, 8)),),
    eval_tokens=65_536,
    tolerance=Tolerance(loss=0.03, delta=5.0),
    analysis="unified",
    claims=("A8",),
)
