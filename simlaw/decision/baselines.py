"""What a person without a law would choose from the measured cells: the null baselines that a law has to beat.

Both take one of the cells within a budget as it was measured: the one of the least loss; or the best of those that
used the most of the budget's compute, to within a tenth, which trusts the ranking at the largest scale alone
(DataDecide, 2504.11393, found such a ranking right in about 80 % of its decisions).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float

from simlaw.decision.resources import Option, Resources
from simlaw.errors import SimlawError
from simlaw.observations import Observations
from simlaw.report import count, precision
from simlaw.table import Table

#: A budget may be exceeded by 1 %: token counts are rounded to batches.
SLACK = 1.01


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
                raise SimlawError(f"the rows have no {name}, so they are no cells: they have {', '.join(seen.x)}")
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

    @property
    def flops(self) -> Float[np.ndarray, " n"]:
        """The training FLOPs of each, 6·N·D."""
        return 6 * self.params * self.tokens

    def keep(self, mask: Bool[np.ndarray, " n"]) -> "Cells":
        """The cells where `mask` is true."""
        return Cells(params=self.params[mask], tokens=self.tokens[mask], bits=self.bits[mask], loss=self.loss[mask])

    def within(self, resources: Resources, options: Sequence[Option]) -> "Cells":
        """The cells that some option of the same bits has within the resources."""

        def fits(n: float, d: float, option: Option) -> bool:
            stored = resources.bytes is None or resources.memory(n, option) <= resources.bytes
            return bool(stored and d <= SLACK * resources.tokens_for(np.array(n), option))

        each = zip(self.params, self.tokens, self.bits, strict=True)
        return self.keep(np.array([any(o.format.bits == b and fits(n, d, o) for o in options) for n, d, b in each]))


#: The baselines by the name that reports give them, each by the share of what the dearest cell used that it asks for.
BASELINES: Mapping[str, float] = MappingProxyType({"best measured cell": 0.0, "rank at the largest rung": 1 / 1.1})


def taken(cells: Cells, share: float, used: Float[np.ndarray, " n"] | None = None) -> int:
    """The place of the best of those cells that used this share of what the dearest one used, by default of FLOPs."""
    used = cells.flops if used is None else used
    enough = np.flatnonzero(used >= share * used.max())
    return int(enough[np.argmin(cells.loss[enough])])


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The measured cell that a baseline takes, and whether a law takes the same bits."""

    name: str
    params: float
    tokens: float
    bits: float
    loss: float
    agrees: bool


def baselines(cells: Cells, best: float, used: Float[np.ndarray, " n"] | None = None) -> tuple[Baseline, ...]:
    """What each baseline takes of the cells within a budget, beside a law that takes `best` bits.

    `used` is what each cell used of the budget's compute, by default its FLOPs. Nothing where no cell is within it.
    """
    if not cells.loss.size:
        return ()
    each = {name: taken(cells, share, used) for name, share in BASELINES.items()}
    return tuple(
        Baseline(
            name=name,
            params=float(cells.params[i]),
            tokens=float(cells.tokens[i]),
            bits=float(cells.bits[i]),
            loss=float(cells.loss[i]),
            agrees=bool(cells.bits[i] == best),
        )
        for name, i in each.items()
    )


def baselines_text(found: tuple[Baseline, ...]) -> str:
    """The baselines in a sentence, beside a decision."""
    if not found:
        return ""
    each = [f"{one.name} {_cell_words(one)}" for one in found]
    if len({_cell_words(one) for one in found}) == 1:
        each = [f"{' and '.join(one.name for one in found)} {_cell_words(found[0])}"]
    agree = sum(one.agrees for one in found)
    verdict = (
        "the law's bits" if agree == len(found) else "not the law's bits" if not agree else "one has the law's bits"
    )
    return f"without a law, of the measured cells within the budget: {'; '.join(each)} ({verdict})"


def _cell_words(one: Baseline) -> str:
    return f"{count(one.params)} at {precision(one.bits)} on {count(one.tokens)} tokens, {one.loss:.3f} nats"


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
