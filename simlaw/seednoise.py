"""The noise between seeds, pooled over all cells of a table that have replicates.

The noise of delta_PTQ joins three parts: the paired token error of the row, a spread between seeds in proportion to
delta, and one in proportion to the quantizer's step. Rounding moves weights at random, so delta has a first-order part,
gradient times step, whose mean over seeds is zero; where delta is tiny it is the larger one. What a training precision
costs has a part in proportion and a constant one: the paths of two trainings part, whatever parts them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Num

from simlaw.errors import SimlawError
from simlaw.formats import codes
from simlaw.schema import QUANTIZATION, TRAINING_PRECISION
from simlaw.table import Row, Table

#: What else replicates of each other share.
_ARM = (
    *("schedule", "cooldown", "peak_rate", "weight_decay", "mup_base_width", "optimizer"),
    *("average", "average_tokens", "average_count"),
)


@dataclass(frozen=True, kw_only=True)
class SeedNoise:
    """Spread between seeds: of the log of the loss; of delta_PTQ relative to it, and per unit of the relative step."""

    log_loss: float
    relative: float
    per_step: float

    def delta(self, delta: Float[np.ndarray, " n"], bits: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The standard deviation between seeds of a penalty of about `delta` nats at these bits."""
        return np.hypot(self.relative * np.maximum(delta, 0.0), self.per_step * relative_step(bits))


def relative_step(bits: Num[np.ndarray, "..."]) -> Any:
    """The step of a symmetric grid in units of the largest magnitude; one bit counts as two, which have the same."""
    return 1.0 / codes(np.maximum(np.asarray(bits, np.float64), 2.0), "symmetric").divisor


def seed_noise(table: Table) -> SeedNoise:
    """The spread between seeds, pooled over all cells that have replicates.

    Raises `SimlawError` where no cell has two seeds: without replicates there is no noise to weigh anything by.
    """
    loss = _spreads(table.where(lambda row: row["ptq_bits"] is None))
    delta = _spreads(table.where(lambda row: (row["ptq_bits"] or 0) >= 3))
    if not loss:
        raise SimlawError("no size and token count has two seeds, so the noise between seeds is unknown: add seeds")
    freedom = np.array([c.freedom for c in loss])
    log_loss = np.sqrt(np.sum(freedom * [c.variance_log for c in loss]) / freedom.sum())
    relative, per_step = _two_spreads(delta) if delta else (0.0, 0.0)
    return SeedNoise(log_loss=float(log_loss), relative=relative, per_step=per_step)


def two_spreads(
    mean: Float[np.ndarray, " c"], variance: Float[np.ndarray, " c"], freedom: Float[np.ndarray, " c"]
) -> tuple[float, float]:
    """The spread in proportion to the mean and the constant one that make the variances of replicates likeliest.

    Of what training in low precision costs, in nats per token; on a grid from 0.01 and 1e-4 on.
    """
    relative = np.geomspace(0.01, 1.0, 81)[:, None, None]
    constant = np.geomspace(1e-4, 1.0, 161)[None, :, None]
    model = (relative * np.maximum(mean, 0.0)) ** 2 + constant**2
    deviance = np.sum(freedom * (np.log(model) + variance / model), axis=2)
    i, j = np.unravel_index(int(np.argmin(deviance)), deviance.shape)
    return float(relative[i, 0, 0]), float(constant[0, j, 0])


def cells_of(table: Table) -> dict[tuple[object, ...], list[Row]]:
    """The rows of each size, token count, precision and quantization, on one corpus, trained and averaged alike."""
    names = ("corpus_fingerprint", "params_blocks", "tokens", *QUANTIZATION, *TRAINING_PRECISION, *_ARM)
    cells: dict[tuple[object, ...], list[Row]] = {}
    for row in table:
        cells.setdefault(tuple(row[name] for name in names), []).append(row)
    return cells


@dataclass(frozen=True, kw_only=True)
class _Spread:
    """Replicates of one cell: variance between seeds with its degrees of freedom, beside what tokens explain."""

    bits: float
    mean: float
    variance: float
    variance_log: float
    token_variance: float
    freedom: int


def _spreads(table: Table) -> list[_Spread]:
    found = []
    for rows in cells_of(table).values():
        if len(rows) > 1:
            y = np.array([row["delta"] if row["ptq_bits"] else row["loss"] for row in rows])
            found.append(
                _Spread(
                    bits=rows[0]["ptq_bits"] or np.inf,
                    mean=float(y.mean()),
                    variance=float(y.var(ddof=1)),
                    variance_log=float(np.log([row["loss"] for row in rows]).var(ddof=1)),
                    token_variance=float(np.mean([row["delta_se"] ** 2 for row in rows])),
                    freedom=len(rows) - 1,
                )
            )
    return found


def _two_spreads(cells: list[_Spread]) -> tuple[float, float]:
    """The two spreads of delta that make the replicates' variances likeliest (scaled chi-squared), on a log grid."""
    mean = np.maximum([c.mean for c in cells], 0.0)
    step = relative_step(np.array([c.bits for c in cells]))
    variance, token = np.array([c.variance for c in cells]), np.array([c.token_variance for c in cells])
    freedom = np.array([c.freedom for c in cells])
    relative = np.geomspace(0.01, 1.0, 81)[:, None, None]
    per_step = np.geomspace(1e-4, 1.0, 121)[None, :, None]
    # three parts of one variance; the token part is known row by row
    model = (relative * mean) ** 2 + (per_step * step) ** 2 + token
    deviance = np.sum(freedom * (np.log(model) + variance / model), axis=2)
    i, j = np.unravel_index(int(np.argmin(deviance)), deviance.shape)
    return float(relative[i, 0, 0]), float(per_step[0, j, 0])
