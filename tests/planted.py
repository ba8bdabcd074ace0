"""Tables drawn from known laws, with known noise: the truth that fits and decisions must find again."""

import numpy as np

from simlaw.law import AbstractLossLaw, AbstractPenalty
from simlaw.laws import Chinchilla, PrecisionExponential, PrecisionUnified, StepPenalty
from simlaw.quantizations import PLAIN
from simlaw.schema import KINDS
from simlaw.table import Table, make_table

LOSS = Chinchilla(E=1.2, A=20.0, B=900.0, alpha=0.35, beta=0.5)
PENALTY = StepPenalty(C_T=0.03, gD=0.5, gN=0.35)
SIZES = (6656, 26624, 106496)
TOKENS = tuple(327_680 * 2**k for k in range(6))
BITS = (3, 4, 5, 6, 7, 8)


def planted(
    loss: AbstractLossLaw = LOSS,
    penalty: AbstractPenalty = PENALTY,
    *,
    sizes: tuple[int, ...] = SIZES,
    tokens: tuple[int, ...] = TOKENS,
    bits: tuple[int, ...] = BITS,
    seeds: int = 3,
    seed: int = 0,
    log_loss: float = 0.0,
    relative: float = 0.0,
    token: float = 0.0,
) -> Table:
    """A table of every size, token count, seed and precision.

    `log_loss` and `relative` are standard deviations between trunks (shared by their branches), `token` the error of
    each row's delta.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for n in sizes:
        for s in range(seeds):
            trunk, shift, share = f"{n}-{s}", np.exp(log_loss * rng.normal()), 1 + relative * rng.normal()
            for d in tokens:
                base = float(loss.loss(N=n, D=d)) * shift
                for b in (None, *bits):
                    delta = 0.0
                    if b is not None:
                        delta = float(penalty.penalty(N=n, D=d, P_post=b)) * share + token * rng.normal()
                    rows.append(_row(n, d, s, trunk, b, base, delta, token))
    return make_table(rows)


def _row(
    n: int, d: int, s: int, trunk: str, b: int | None, base: float, delta: float, token: float
) -> dict[str, object]:
    scales = 2 * 22 * (n / 26) ** 0.5  # of a two-layer model of width sqrt(n / 26), per channel
    blocks = n * (b or 16) / 8 + (scales if b else 0.0)
    return {
        **dict.fromkeys(KINDS),
        "run_id": f"{trunk}-{d}",
        "eval_id": f"{trunk}-{d}-{b}",
        "trunk_id": trunk,
        "status": "done",
        "epochs": 0.5,
        "params_blocks": n,
        "tokens": d,
        "seed": s,
        "cooldown": 0.2,
        "rate_multiple": 1.0,
        "flops_train_6nd": 6.0 * n * d,
        **(PLAIN if b else {}),
        "ptq_bits": b,
        "ptq_granularity": "channel" if b else None,
        "bytes_blocks": blocks,
        "bytes_total": blocks + 2048 * (n / 26) ** 0.5,
        "loss": base + delta,
        "loss_se": 0.01,
        "delta": delta,
        "delta_se": token,
    }


ROLES = PrecisionExponential(
    **{"E": 1.2, "A": 20.0, "B": 900.0, "alpha": 0.35, "beta": 0.5},
    **{"g_w": 1.0, "n_w": 0.3, "g_a": 1.4, "n_a": 0.5, "g_kv": 0.8, "n_kv": 0.2},
    **dict.fromkeys(("C_T", "gD", "gN", "g_post", "b"), float("nan")),
)
#: Bits of weights, inputs, keys and values in training; None is unquantized.
PRECISIONS = (
    (None, None, None),
    *((w, None, None) for w in (2, 3, 4, 6)),
    *((None, a, None) for a in (3, 4, 5, 6)),
    *((None, None, kv) for kv in (2, 3, 4, 6)),
    *((b, b, b) for b in (3, 4, 6)),
)


def planted_precisions(
    law: AbstractLossLaw = ROLES,
    *,
    sizes: tuple[int, ...] = (*SIZES, 425_984),
    tokens: tuple[int, ...] = TOKENS[:5],
    seeds: int = 3,
    seed: int = 0,
    log_loss: float = 0.01,
    relative: float = 0.05,
    constant: float = 0.003,
    precisions: tuple[tuple[int | None, ...], ...] = PRECISIONS,
) -> Table:
    """A table of runs as trained in low precision: a loss's noise is its seed's, and a cost has a noise of its own."""
    rng = np.random.default_rng(seed)
    rows = []
    for n in sizes:
        for s in range(seeds):
            shift = np.exp(log_loss * rng.normal())
            for bits in precisions:
                trunk = f"{n}-{s}-{'-'.join(map(str, bits))}"
                for d in tokens:
                    full = float(law.loss(N=n, D=d))
                    x = dict(zip(("P_w", "P_a", "P_kv"), (b or np.inf for b in bits), strict=True))
                    cost = float(law.loss(N=n, D=d, **x)) - full
                    if any(bits):
                        cost += np.hypot(relative * cost, constant) * rng.normal()
                    row = _row(n, d, s, trunk, None, full * shift + cost, 0.0, 0.0)
                    rows.append({**row, **trained_at(*bits)})
    return make_table(rows)


def planted_unified(law: PrecisionUnified, *, bits: tuple[int, ...] = (3, 4, 5, 6), seed: int = 0) -> Table:
    """The table of `planted_precisions`, every run rounded to these bits as a unified law says, with a noise of 5 %."""
    rng = np.random.default_rng(seed)
    rows = []
    for row in planted_precisions(law, sizes=SIZES, tokens=TOKENS[:3], log_loss=0.003):
        rows.append(row)
        trained = {
            name: float(row[column] or np.inf)
            for name, column in (
                ("P_w", "train_weights_bits"),
                ("P_a", "train_activations_bits"),
                ("P_kv", "train_kv_bits"),
            )
        }
        n, d = row["params_blocks"], row["tokens"]
        before = float(law.loss(N=n, D=d, **trained))
        for b in bits:
            delta = float(law.loss(N=n, D=d, **trained, P_post=b)) - before
            delta *= 1 + 0.05 * rng.normal()
            own = {"ptq_bits": b, "ptq_granularity": "channel", "delta": delta, "loss": row["loss"] + delta, **PLAIN}
            rows.append({**row, **own, "delta_se": 1e-4, "eval_id": f"{row['eval_id']}-at-{b}"})
    return make_table(rows)


def trained_at(w: int | None = None, a: int | None = None, kv: int | None = None) -> dict[str, object]:
    """The cells of training at these bits by plain rounding."""
    weights = {"grid": "symmetric", "granularity": "channel", "format": "int"} if w else {}
    return {
        "train_weights_bits": w,
        **{f"train_weights_{name}": value for name, value in weights.items()},
        **({"train_activations_format": "int", "train_activations_granularity": "token"} if a else {}),
        **({"train_kv_format": "int"} if kv else {}),
        "train_activations_bits": a,
        "train_kv_bits": kv,
    }
