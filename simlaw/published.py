"""Published laws as values: to plan with, or to plant as a truth; their constants do not transfer to other models."""

from simlaw.laws import PrecisionExponential

#: Kumar et al. 2411.04330, Table 2 and Appendix K. N non-embedding, 30 to 220 M (checked to 1.7 B); D 1.5 to 26 B
#: tokens of Dolma; training precisions 3 to 12 bits; PTQ by GPTQ. alpha and beta are tied. Offsets are added: the sign
#: of n_x is settled by the paper's own claims, that of b follows the same convention and is likely.
kumar2024 = PrecisionExponential(
    E=2.7648,
    A=4.299e3,
    B=1.806e4,
    alpha=0.4965,
    beta=0.4965,
    g_w=2.6745,
    n_w=0.3037,
    g_a=2.2102,
    n_a=1.4072,
    g_kv=0.9578,
    n_kv=2.4185,
    C_T=0.0598,
    gD=0.5068,
    gN=0.3439,
    g_post=0.5907,
    b=1.1277,
)
