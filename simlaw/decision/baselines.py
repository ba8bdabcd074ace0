"""What the measured cells say by themselves: the null baselines that a law has to beat.

Both look the losses of plans up among cells of the same bits. `nearest` takes the cell that is nearest in ln N and
ln D. `largest_rung` takes, of the sizes, the nearest one, and of its cells the one trained longest: plans are ranked as
they rank there (DataDecide, 2504.11393, found such a ranking right in about 80 % of its decisions).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

from simlaw.errors import SimlawError
from simlaw.observations import Observations
from simlaw.report import count, precision
from simlaw.table import Table


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Measured cells: N, D, bits (infinite: unquantized), and the mean loss over seeds in nats per token."""

    params: Float[np.ndarray, " n"]
    tokens: Float[np.ndarray, " n"]
    bits: Float[np.ndarray, " n"]
    loss: Float[np.ndarray, " n"]

    @classmethod
    def of(cls, seen: Observations, bits: str = "P_post") -> "Cells":
        """The cells of observations of the loss; `bits` is the precision that they differ in, where they have it.

        Raises `SimlawError` for observations without N or D.
        """
        for name in ("N", "D"):
            if name not in seen.x:
                raise SimlawError(f"the rows have no {name}, so no cell is near another: they have {', '.join(seen.x)}")
        return cls.mean(seen.x["N"], seen.x["D"], seen.x.get(bits, np.full_like(seen.y, np.inf)), seen.y)

    @classmethod
    def mean(
        cls,
        params: Float[np.ndarray, " r"],
        tokens: Float[np.ndarray, " r"],
        bits: Float[np.ndarray, " r"],
        loss: Float[np.ndarray, " r"],
    ) -> "Cells":
        """The cells of rows, each the mean of those that repeat it."""
        (n, d, b), place = np.unique(np.stack([params, tokens, bits]), axis=1, return_inverse=True)
        place = place.ravel()
        return cls(params=n, tokens=d, bits=b, loss=np.bincount(place, loss) / np.bincount(place))


def nearest(
    cells: Cells, n: Float[np.ndarray, " q"], d: Float[np.ndarray, " q"], bits: Float[np.ndarray, " q"]
) -> Float[np.ndarray, " q"]:
    """The loss of the nearest cell of the same bits for every plan; infinite where no cell has these bits."""
    return _look_up(cells, n, d, bits, rung=False)


def largest_rung(
    cells: Cells, n: Float[np.ndarray, " q"], d: Float[np.ndarray, " q"], bits: Float[np.ndarray, " q"]
) -> Float[np.ndarray, " q"]:
    """The loss of the nearest size of the same bits at its most tokens; infinite where no cell has these bits."""
    return _look_up(cells, n, d, bits, rung=True)


def _look_up(cells: Cells, n: np.ndarray, d: np.ndarray, bits: np.ndarray, *, rung: bool) -> Float[np.ndarray, " q"]:
    found = np.full(len(n), np.inf)
    for i in range(len(n)):
        same = np.flatnonzero(cells.bits == bits[i])
        if not same.size:
            continue
        away = np.abs(np.log(cells.params[same] / n[i]))
        if rung:
            here = same[away <= away.min() + 1e-9]
            found[i] = cells.loss[here[np.argmax(cells.tokens[here])]]
        else:
            found[i] = cells.loss[same[np.argmin(np.hypot(away, np.log(cells.tokens[same] / d[i])))]]
    return found


def after_quantization(
    table: Table, granularity: str, column: str, lowest_bits: int = 3
) -> tuple[Observations, dict[tuple[float, float], float]]:
    """The losses of all rows, quantized or not, against N, D and P_post; and the bytes of each size at these bits."""
    rows = [
        row
        for row in table
        if row["ptq_bits"] is None or (row["ptq_granularity"] == granularity and row["ptq_bits"] >= lowest_bits)
    ]
    bits = np.array([float(row["ptq_bits"] or np.inf) for row in rows])
    n, d, loss = (np.array([float(row[name]) for row in rows]) for name in ("params_blocks", "tokens", "loss"))
    found = Observations(
        x={"N": n, "D": d, "P_post": bits},
        y=loss,
        sigma=np.full_like(loss, np.nan),
        trunk=tuple(row["trunk_id"] for row in rows),
        left_out={},
    )
    return found, {(float(a), float(b)): row[column] for a, b, row in zip(n, bits, rows, strict=True)}


#: The baselines by the name that reports give them.
BASELINES: Mapping[str, Callable[..., Float[np.ndarray, " q"]]] = MappingProxyType(
    {"nearest measured cell": nearest, "rank at the largest rung": largest_rung}
)


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Which plan a baseline takes for the best, and whether a law takes the same bits."""

    name: str
    params: float
    bits: float
    agrees: bool


def baselines(
    cells: Cells,
    n: Float[np.ndarray, " q"],
    d: Float[np.ndarray, " q"],
    bits: Float[np.ndarray, " q"],
    best: float,
) -> tuple[Baseline, ...]:
    """What each baseline takes for the best of some plans, beside a law that takes `best` bits.

    Plans at bits that were not measured are none of theirs.
    """
    found = []
    for name, score in BASELINES.items():
        scores = score(cells, n, d, bits)
        if np.isfinite(scores).any():
            i = int(np.argmin(scores))
            found.append(Baseline(name=name, params=float(n[i]), bits=float(bits[i]), agrees=bool(bits[i] == best)))
    return tuple(found)


def baselines_text(found: tuple[Baseline, ...]) -> str:
    """The baselines in a sentence, beside a decision."""
    each = [f"{one.name} {count(one.params)} at {precision(one.bits)}" for one in found]
    if not each:
        return ""
    agree = sum(one.agrees for one in found)
    verdict = "as the law does" if agree == len(found) else "unlike the law" if not agree else "the law agrees with one"
    return f"without a law: {', '.join(each)} ({verdict})"
