"""What training in low precision costs: each run paired with the one at full precision of its seed, size and tokens.

Runs of one seed see the same data in the same order from the same start, so that their difference is several times less
noisy than either loss.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float

from simlaw.errors import SimlawError
from simlaw.means import Means, means_at
from simlaw.observations import Observations, precision_name, quantized_training, usable
from simlaw.quantizations import quantized_as
from simlaw.schema import TRAINING_PRECISION
from simlaw.seednoise import seed_noise, two_spreads
from simlaw.table import Row, Table

#: The bits of each tensor role as laws and as the table call them.
BITS = MappingProxyType({"P_w": "train_weights_bits", "P_a": "train_activations_bits", "P_kv": "train_kv_bits"})
#: What plain training in low precision has, where a role is quantized: to nearest, float16 scales by absmax for each
#: output channel and each token, integers on the symmetric grid, gradients straight through, from the first step on.
_PLAIN = MappingProxyType(
    {
        "train_weights_grid": "symmetric",
        "train_weights_granularity": "channel",
        "train_activations_granularity": "token",
    }
)
#: The format of each role.
_FORMATS = ("train_weights_format", "train_activations_format", "train_kv_format")


def _of_family(form: str, family: str) -> bool:
    """Whether a format is of a family; integers on another than the symmetric grid are of none."""
    return form == "int" if family == "int" else form.startswith(family)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A run in low precision with the one at full precision that it is paired with; `cost` is in nats per token."""

    low: Row
    full: Row

    @property
    def cost(self) -> float:
        """The loss above that at full precision."""
        return float(self.low["loss"] - self.full["loss"])

    @property
    def bits(self) -> dict[str, float]:
        """The bits of each role, infinite where it is not quantized."""
        return {name: np.inf if self.low[column] is None else float(self.low[column]) for name, column in BITS.items()}


def plainly_trained(row: Row, family: str = "int") -> bool:
    """Whether a run was trained in low precision by plain rounding alone, to formats whose names begin as `family`."""
    others = [name for name in TRAINING_PRECISION if name not in (*_PLAIN, *_FORMATS, *BITS.values())]
    return (
        quantized_training(row)
        and all(row[name] in (None, value) for name, value in _PLAIN.items())
        and all(row[name] is None or _of_family(row[name], family) for name in _FORMATS)
        and all(row[name] is None for name in others)
    )


def weights_alone(row: Row) -> bool:
    """Whether a run was trained with plainly rounded weights, and nothing else in low precision."""
    return plainly_trained(row) and all(row[name] is None for role, name in BITS.items() if role != "P_w")


def pairs_of(table: Table, family: str = "int") -> tuple[list[Pair], Counter[str]]:
    """The pairs of a table's runs as trained, and how many other runs there are, by the reason.

    Of runs in formats whose names begin as `family`: "int", or "e2m" for floats with two bits of exponent.

    Raises `SimlawError` where rows differ in something that no law knows, and where nothing is paired.
    """
    kept, left_out = usable(table.where(lambda row: row["ptq_bits"] is None), trained=True)
    full = {_key(row): row for row in kept if not quantized_training(row)}
    found = []
    for row in kept:
        if not quantized_training(row):
            continue
        if not plainly_trained(row, family):
            left_out["trained in low precision otherwise"] += 1
        elif _key(row) not in full:
            left_out["without a run at full precision"] += 1
        else:
            found.append(Pair(low=row, full=full[_key(row)]))
    if not found:
        raise SimlawError(
            "no run was trained in low precision beside one at full precision of its seed, size and tokens: add "
            "Grid(precisions=(Precision(), Precision(weights=…)))"
        )
    return found, left_out


def precision_observations(table: Table, family: str = "int") -> Observations:
    """The losses at full precision, and what low precision in training costs, paired; at N, D, P_w, P_a and P_kv.

    N counts block parameters, P the bits of a value. A cluster is a trunk at full precision with all that is paired
    with it. Raises `SimlawError` as `pairs_of`.
    """
    pairs, left_out = pairs_of(table, family)
    plain = _full(table)
    loss = plain.column("loss")
    noise = cost_noise(pairs)
    cost = np.array([pair.cost for pair in pairs])
    bits = {name: np.array([pair.bits[name] for pair in pairs]) for name in BITS}
    infinite = np.full(len(loss), np.inf)
    x = {name: np.concatenate([infinite, values]) for name, values in bits.items()}
    return Observations(
        x={
            "N": np.concatenate([plain.column("params_blocks"), [pair.low["params_blocks"] for pair in pairs]]),
            "D": np.concatenate([plain.column("tokens"), [pair.low["tokens"] for pair in pairs]]),
            **x,
        },
        y=np.concatenate([loss, cost]),
        sigma=np.concatenate([loss * seed_noise(plain).log_loss, noise.of(means_of(pairs))]),
        trunk=(*plain.column("trunk_id"), *(pair.full["trunk_id"] for pair in pairs)),
        left_out=left_out,
        counts="params_blocks",
        paired=np.repeat([False, True], [len(loss), len(cost)]),
        against={name: np.full_like(values, np.inf) for name, values in x.items()},
    )


def unified_observations(table: Table, *, lowest_bits: int = 3) -> Observations:
    """What `precision_observations` has, and delta_PTQ of every run, paired with the same run as trained.

    Of plain rounding per output channel, at `lowest_bits` or more, and at fewer bits than any role was trained at: of
    what lies beyond that the unified law says nothing (2411.04330, Eq. 8 and 9), and weights that were trained at
    P_post bits lose nothing by definition. Raises `SimlawError` as `pairs_of`, and where no run was quantized.
    """
    trained = precision_observations(table)
    kept, _ = usable(table, trained=True)
    rounded = quantized_as(kept, ptq_granularity="channel").where(
        lambda row: (
            (not quantized_training(row) or plainly_trained(row))
            and lowest_bits <= row["ptq_bits"] < min(row[column] or np.inf for column in BITS.values())
        )
    )
    if not rounded:
        raise SimlawError(
            f"no run was rounded per channel to {lowest_bits} bits or more: add PTQGrid(bits=…) to the sweep"
        )
    delta, post = rounded.column("delta"), rounded.column("ptq_bits")
    bits = {name: _bits(rounded, column) for name, column in BITS.items()}
    cells = np.stack([rounded.column("params_blocks"), rounded.column("tokens"), *bits.values(), post])
    _, place = np.unique(cells, axis=1, return_inverse=True)
    place = place.reshape(-1)
    each = [delta[place == i] for i in range(place.max() + 1)]
    spread = _noise(each).of(np.array([one.mean() for one in each])[place])
    full = {_key(row): row["trunk_id"] for row in _full(table)}
    x = {**trained.x, "P_post": np.full_like(trained.y, np.inf)}
    more = {"N": rounded.column("params_blocks"), "D": rounded.column("tokens"), **bits, "P_post": post}
    assert trained.against is not None
    against = {**trained.against, "P_post": np.full_like(trained.y, np.inf)}
    same = {**bits, "P_post": np.full_like(delta, np.inf)}
    return Observations(
        x={name: np.concatenate([values, more[name]]) for name, values in x.items()},
        y=np.concatenate([trained.y, delta]),
        sigma=np.concatenate([trained.sigma, np.hypot(spread, rounded.column("delta_se"))]),
        trunk=(*trained.trunk, *(str(full.get(_key(row), row["trunk_id"])) for row in rounded)),
        left_out=trained.left_out,
        counts=trained.counts,
        paired=np.concatenate([trained.pairs, np.ones(len(delta), bool)]),
        against={name: np.concatenate([values, same[name]]) for name, values in against.items()},
    )


def _bits(table: Table, column: str) -> Float[np.ndarray, " n"]:
    return np.array([np.inf if row[column] is None else float(row[column]) for row in table])


@dataclass(frozen=True, kw_only=True)
class CostNoise:
    """The spread of a cost between seeds: in proportion to it, and in nats."""

    relative: float
    constant: float

    def of(self, cost: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The standard deviation of costs of about so many nats."""
        return np.hypot(self.relative * np.maximum(cost, 0.0), self.constant)


def cost_noise(pairs: Sequence[Pair]) -> CostNoise:
    """The spread of costs between seeds, pooled over cells; raises `SimlawError` where no cell has two seeds."""
    return _noise([np.array([pair.cost for pair in cell]) for cell in cells_of(pairs).values()])


def _noise(cells: Sequence[Float[np.ndarray, " s"]]) -> CostNoise:
    many = [cell for cell in cells if len(cell) > 1]
    if not many:
        raise SimlawError("no precision was trained with two seeds at one size and token count: add seeds")
    mean, variance = (np.array([how(cell) for cell in many]) for how in (np.mean, lambda cell: cell.var(ddof=1)))
    relative, constant = two_spreads(mean, variance, np.array([len(cell) - 1.0 for cell in many]))
    return CostNoise(relative=relative, constant=constant)


def cells_of(pairs: Sequence[Pair]) -> dict[tuple[Any, ...], list[Pair]]:
    """The pairs of each size, token count and precision, in the order of the pairs."""
    cells: dict[tuple[Any, ...], list[Pair]] = {}
    for pair in pairs:
        cells.setdefault((pair.low["params_blocks"], pair.low["tokens"], *pair.bits.values()), []).append(pair)
    return cells


def means_of(pairs: Sequence[Pair]) -> Float[np.ndarray, " n"]:
    """The mean cost of the cell of each pair: what its spread goes with, whatever its own seed gave."""
    means = {id(pair): np.mean([one.cost for one in cell]) for cell in cells_of(pairs).values() for pair in cell}
    return np.array([means[id(pair)] for pair in pairs])


def _full(table: Table) -> Table:
    """The usable runs at full precision, as trained."""
    kept, _ = usable(table.where(lambda row: row["ptq_bits"] is None), trained=True)
    return kept.where(lambda row: not quantized_training(row))


def _key(row: Row) -> tuple[Any, ...]:
    return row["params_blocks"], row["tokens"], row["seed"]


def of_roles(seen: Observations, roles: Sequence[str]) -> Observations:
    """The losses at full precision, and the costs of those pairs in which these roles are quantized, and no other."""
    wanted = np.array([name in roles for name in BITS])
    there = np.isfinite(np.stack([seen.x[name] for name in BITS]))
    return seen.keep(~seen.pairs | (there == wanted[:, None]).all(axis=0))


@dataclass(frozen=True, kw_only=True)
class CostCell:
    """What a precision costs at one size and token count, in nats per token: the mean over seeds with its error."""

    params: int
    tokens: int
    bits: dict[str, float]
    cost: float
    error: float

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that are quantized."""
        return tuple(name for name, bits in self.bits.items() if np.isfinite(bits))


def cost_cells(pairs: Sequence[Pair]) -> tuple[CostCell, ...]:
    """The cells of some pairs; errors are those of the spread that all cells share."""
    noise = cost_noise(pairs)
    found = []
    for cell in cells_of(pairs).values():
        mean = np.array([float(np.mean([pair.cost for pair in cell]))])
        low = cell[0].low
        found.append(
            CostCell(
                params=low["params_blocks"],
                tokens=low["tokens"],
                bits=cell[0].bits,
                cost=float(mean[0]),
                error=float(noise.of(mean)[0] / np.sqrt(len(cell))),
            )
        )
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Together:
    """What several roles cost at one place, measured, and what the costs of each alone say of it, in nats per token.

    `total` is their sum. `product` has the shares of N that each alone amounts to multiply: N_eff = N times them, with
    the A and alpha of full precision.
    """

    cost: float
    error: float
    total: float
    product: float


def together(cells: Sequence[CostCell], held: Mapping[str, float]) -> tuple[Together, ...]:
    """The cells with several roles of which each was measured alone too; `held` has A and alpha of full precision."""
    alone = {
        (cell.params, cell.tokens, cell.roles[0], cell.bits[cell.roles[0]]): cell.cost
        for cell in cells
        if len(cell.roles) == 1
    }
    found = []
    for cell in cells:
        parts = [alone.get((cell.params, cell.tokens, role, cell.bits[role])) for role in cell.roles]
        each = [part for part in parts if part is not None]
        if len(parts) > 1 and len(each) == len(parts):
            # a share s of N costs a (s^-alpha - 1), where a is what the size costs at full precision
            a = held["A"] / cell.params ** held["alpha"]
            product = a * (float(np.prod([1 + part / a for part in each])) - 1)
            found.append(Together(cost=cell.cost, error=cell.error, total=sum(each), product=product))
    return tuple(found)


def rounded_curves(table: Table, params: int, tokens: int, column: str = "delta") -> tuple[Means, ...]:
    """What rounding per channel gives at one size and token count, a curve for each training precision; full first.

    Only to fewer bits than the weights were trained at, and to as many.
    """
    rows = quantized_as(table, ptq_granularity="channel").where(
        lambda row: (
            (row["params_blocks"], row["tokens"]) == (params, tokens)
            and row["ptq_bits"] <= (row["train_weights_bits"] or np.inf)
            and (not quantized_training(row) or plainly_trained(row))
        )
    )
    found: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        found.setdefault(precision_name(row), {}).setdefault(row["ptq_bits"], []).append(row[column])
    order = sorted(found, key=lambda name: (name != "16 bit", len(name.split()), name))
    return tuple(means_at(name, found[name]) for name in order)
