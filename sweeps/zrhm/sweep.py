"""Is the exponent of data what the hierarchy of a grammar says, ln(1 / f) / (2 ln m)?

Question: on strings of a random hierarchy of rules the theory has the envelope of the excess loss fall as a power of
the data, with an exponent of v symbols and m rules for each alone, f = m / v (G2); does it for three of them?
Design: (v, m) = (16, 4), (32, 4) and (32, 8), four levels, three grammars each, one run on each; token counts that
double seven times at 213k parameters, and on the first grammars at 53k, which shows whether size or data is short;
three seeds of the first token counts there; half and twice the rate.
Command: simlaw reproduce zrhm --own
Cost: 126 runs, 378 rows, 3e14 FLOPs; about 35 minutes on two CPU cores.
Expected: G2 is not identified: the slopes are 0.53 (95 %: 0.44 to 0.61), 0.48 (0.46 to 0.50) and 0.23 (0.22 to 0.25),
where the theory has 0.50, 0.75 and 0.33, and a line through its stairs as much as a quarter less. The stairs stand
where it has them.
"""

from simlaw.config import WSD, ZRHM
from simlaw.recipe import Family, RateRule
from simlaw.sweep import Grid, PTQGrid, Sweep, Tolerance

BATCH_TOKENS = 16 * 68  # windows of four strings
LADDER = tuple(80 * BATCH_TOKENS * 2**k for k in range(8))
GRAMMARS = (0, 1, 2)


def corpora(grammar: int) -> tuple[ZRHM, ...]:
    """The three kinds of grammar, drawn from one seed."""
    return tuple(ZRHM(symbols=v, rules=m, seed=grammar) for v, m in ((16, 4), (32, 4), (32, 8)))


SWEEP = Sweep(
    corpus=corpora(0)[0],
    family=Family(layers=4, head_dim=16, hidden_ratio=3, context=68),
    rate=RateRule(rate=0.01, width=32, exponent=-0.8),
    schedule=WSD(warmup_tokens=32 * BATCH_TOKENS, cooldown=0.2),
    batch=16,
    grids=(
        *(Grid(widths=(64,), tokens=LADDER, seeds=(g,), corpora=corpora(g)) for g in GRAMMARS),
        Grid(widths=(32,), tokens=LADDER, corpora=corpora(0)),
        Grid(widths=(32,), tokens=LADDER[:4], seeds=(1, 2), corpora=corpora(0)),
        Grid(widths=(64,), tokens=LADDER[3:4], rate_multiples=(0.5, 2.0), corpora=corpora(0)),
    ),
    ptq=(PTQGrid(bits=(3, 4)),),
    eval_tokens=68 * 1024,
    tolerance=Tolerance(loss=0.02, delta=5.0),
    unidentified="no law of the size is asked for",
    analysis="claims",
    claims=("G2",),
)
