"""What does each way of quantizing a trained model cost, how does that grow, and when does more data hurt?

Question: the penalty of rounding against tokens, parameters and bits (A1 to A4), whether the quantized loss has a least
value in the tokens (A6), whether GPTQ beats rounding at equal bits (C2), and who wins where there are outliers (F2).
Design: rounding and GPTQ at two to eight bits, per channel and per group of 32, on every checkpoint; every other method
and the formats that ship at the corners of size and tokens; quantized inputs, with and without planted outliers, at
every size.
Command: simlaw reproduce ptq_grid --own
Cost: 105 runs, 5,337 rows, 3.7e14 training and 1.3e14 evaluation FLOPs; about an hour and a half on two CPU cores.
Expected: all seven claims hold. gD = 0.45 (95 %: 0.39 to 0.52), gN = 0.31 (0.27 to 0.34) from int4 to int6; at int2
more data hurts from the first tokens; GPTQ leaves 0.60 of rounding's penalty at int3; at W4A4 Tender leaves 0.25 of it
with planted outliers, and 4.6 without.
"""

from simlaw.config import AWQ, GPTQ, RTN, WSD, Curvature, Noise, Outliers, RateDistortion, SmoothQuant, Tender, Text
from simlaw.formats import (
    FLOATS,
    MSE,
    NF4,
    Float8,
    Int,
    Percentile,
    PerChannel,
    PerGroup,
    PerToken,
    PowerOfTwo,
    Quantizer,
)
from simlaw.recipe import Family, RateRule
from simlaw.sweep import Grid, PTQGrid, Sweep, Tolerance

BATCH_TOKENS = 32 * 64
FIRST = 160 * BATCH_TOKENS  # 0.33M tokens: 128 steps of trunk, 32 of cool-down
SEEDS = (0, 1, 2)
BITS = (2, 3, 4, 5, 6, 7, 8)
GROUPS = (PerGroup(size=32),)
BOTH = (None, Outliers())


def ladder(first: int, last: int) -> tuple[int, ...]:
    """Token counts that double; they share a trunk."""
    return tuple(FIRST * 2**k for k in range(first, last + 1))


EVERYWHERE = (PTQGrid(methods=(RTN(), GPTQ()), bits=BITS, granularities=(PerChannel(), *GROUPS)),)

METHODS = (
    PTQGrid(methods=(AWQ(),), bits=BITS, granularities=(PerChannel(), *GROUPS)),
    PTQGrid(methods=(Noise(), *(RateDistortion(seed=seed) for seed in SEEDS)), bits=BITS),
    PTQGrid(methods=(RTN(), GPTQ()), bits=BITS, calibrations=(MSE(),)),
    PTQGrid(methods=(RTN(), GPTQ()), bits=BITS, rotate=True),
    PTQGrid(methods=(RTN(),), bits=BITS, rounding="stochastic"),
    PTQGrid(methods=(RTN(),), bits=BITS, outputs=True),
    PTQGrid(methods=(RTN(),), bits=(3, 4, 5), calibrations=(Percentile(share=0.95),)),
    PTQGrid(methods=(GPTQ(order="activations"),), bits=(3, 4, 5)),
    PTQGrid(methods=(GPTQ(groups="refreshed"),), bits=(3, 4, 5), granularities=GROUPS),
    PTQGrid(methods=(GPTQ(),), bits=(3, 4), calibration_seeds=(1, 2, 3)),
)
FORMATS = (
    PTQGrid(methods=(RTN(), GPTQ()), bits=BITS, granularities=GROUPS, grid="asymmetric"),
    PTQGrid(methods=(RTN(),), bits=(1,), granularities=GROUPS),
    PTQGrid(methods=(RTN(), GPTQ()), formats=(NF4(),), granularities=GROUPS),
    # NVFP4; MXFP4, MXFP6 and MXFP8; fp8 with a scale for each output channel
    PTQGrid(methods=(RTN(), GPTQ()), formats=(FLOATS["e2m1"],), granularities=(PerGroup(size=16),), scales=(Float8(),)),
    PTQGrid(
        methods=(RTN(), GPTQ()),
        formats=tuple(FLOATS[name] for name in ("e2m1", "e2m3", "e3m2", "e4m3fn", "e5m2")),
        granularities=GROUPS,
        scales=(PowerOfTwo(),),
    ),
    PTQGrid(methods=(RTN(),), formats=(FLOATS["e4m3fn"], FLOATS["e5m2"])),
)
CACHE = tuple(Quantizer(format=Int(bits=bits), granularity=PerToken()) for bits in BITS)
KV = (PTQGrid(methods=(RTN(),), bits=(8,), kv=CACHE),)
INPUTS = (
    PTQGrid(
        methods=(RTN(), GPTQ(), SmoothQuant(), SmoothQuant(alpha=None), Tender()),
        bits=(4, 6, 8),
        same_bits=PerToken(),
        outliers=BOTH,
    ),
    PTQGrid(methods=(RTN(),), bits=(4, 6, 8), same_bits=PerToken(), rotate=True, outliers=BOTH),
)

SWEEP = Sweep(
    corpus=Text(),
    family=Family(layers=2, head_dim=16, hidden_ratio=3, context=64),
    rate=RateRule(rate=0.0096, width=64, exponent=-0.99),
    schedule=WSD(warmup_tokens=32 * BATCH_TOKENS, cooldown=0.2),
    batch=32,
    grids=(
        Grid(widths=(16, 32), tokens=ladder(0, 6), seeds=SEEDS),
        Grid(widths=(48, 64), tokens=ladder(1, 6), seeds=SEEDS),
        Grid(widths=(96,), tokens=ladder(2, 6), seeds=SEEDS),
        Grid(widths=(128,), tokens=ladder(2, 5), seeds=SEEDS),
        # the corners, and one token count for every size
        Grid(widths=(32, 128), tokens=(FIRST * 4, FIRST * 32), seeds=SEEDS, ptq=(*METHODS, *FORMATS, *KV)),
        Grid(widths=(16, 32, 48, 64, 96, 128), tokens=(FIRST * 8,), seeds=SEEDS, ptq=INPUTS),
    ),
    ptq=EVERYWHERE,
    eval_tokens=65_536,
    curvature=Curvature(windows=64),
    tolerance=Tolerance(loss=0.03, delta=5.0),
    claims=("A1", "A2", "A3", "A4", "A6", "C2", "F2"),
)
