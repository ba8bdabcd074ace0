"""Do fits of trained models give back exponents and a floor that the corpus was built with, and what is stored in bits?

Question: on facts that are asked about by Zipf's law with exponent 1 + a, are the exponents of size and data a and
a / (1 + a), and the fitted E the exact entropy (G1, of trained models); how many bits does a parameter hold, and what
of them is left at int8 and int4 (G3); do rare facts die first when weights are rounded (G4)?
Design: two corpora of 65,536 entities, a = 1 and 1/2, four sizes, token counts that double six times, three seeds;
2,048 and 8,192 facts that are all asked about equally often, up to 1,280 times each, at a lower rate; half and twice
the rate. Every checkpoint is measured on at most 128 facts of each octave of ranks besides (strata.csv).
Command: simlaw reproduce zfact --own
Cost: 208 runs, 832 rows, 9e13 FLOPs; about 20 minutes on two CPU cores.
Expected: G1 is not identified: E free no fit is valid, and the form fails an ideal learner on these cells too; E known
the exponents of size are 0.90 (95 %: 0.60 to 1.20) for a = 1 and 0.47 (0.42 to 0.51) for 1/2, those of data too steep.
G3 is not identified: 1.03 and 1.67 bits for a parameter, of which int8 keeps all and int4 0.07 (-0.20 to 0.34). G4
holds: rarer facts lose a larger share of their bits.
"""

from simlaw.config import WSD, ZFact
from simlaw.recipe import Family, RateRule, Recipe
from simlaw.sweep import Grid, PTQGrid, Sweep, Tolerance

BATCH_TOKENS = 32 * 56  # windows of eight facts
ZIPF = (ZFact(values=64), ZFact(values=64, exponent=0.5))
UNIFORM = {n: ZFact(entities=n, relations=1, values=64, exponent=-1.0) for n in (2048, 8192)}
#: At the rates of the others the smaller sizes learn none of the facts that are all as rare.
LOW = Recipe(rate=RateRule(rate=0.005, width=32, exponent=0.0))


def ladder(first: int, last: int) -> tuple[int, ...]:
    """Token counts that double; they share a trunk."""
    return tuple(160 * BATCH_TOKENS * 2**k for k in range(first, last + 1))


SWEEP = Sweep(
    corpus=ZIPF[0],
    family=Family(layers=2, head_dim=8, hidden_ratio=3, context=56),
    rate=RateRule(rate=0.0075, width=32, exponent=-0.8),
    schedule=WSD(warmup_tokens=32 * BATCH_TOKENS, cooldown=0.2),
    batch=32,
    grids=(
        Grid(widths=(8, 16, 24, 32), tokens=ladder(0, 6), seeds=(0, 1, 2), corpora=ZIPF),
        Grid(widths=(8, 32), tokens=ladder(3, 3), rate_multiples=(0.5, 2.0), corpora=ZIPF),
        # more facts than a size can hold, each seen a thousand times; a size that holds them all
        Grid(widths=(8,), tokens=ladder(2, 6), seeds=(0, 1), recipes=(LOW,), corpora=(UNIFORM[2048],)),
        Grid(widths=(16,), tokens=ladder(2, 8), seeds=(0, 1), recipes=(LOW,), corpora=(UNIFORM[8192],)),
        Grid(widths=(32,), tokens=ladder(2, 7), recipes=(LOW,), corpora=(UNIFORM[8192],)),
        Grid(widths=(16,), tokens=ladder(4, 4), rate_multiples=(0.5, 2.0), recipes=(LOW,), corpora=(UNIFORM[8192],)),
    ),
    ptq=(PTQGrid(bits=(3, 4, 8)),),
    eval_tokens=56 * 2048,
    tolerance=Tolerance(loss=0.005, delta=5.0),
    analysis="claims",
    claims=("G1", "G3", "G4"),
)
