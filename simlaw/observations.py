"""Observations: the rows of a table that a fit is made of, with the noise of each, and why other rows are left out."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from simlaw.errors import SimlawError
from simlaw.export import frame, write_columns
from simlaw.law import AbstractPenalty
from simlaw.schema import CONFOUNDERS, CONFOUNDERS_OF_A_SIZE, QUANTIZATION, TRAINING_PRECISION, Column
from simlaw.seednoise import cells_of, seed_noise
from simlaw.table import Row, Table


@dataclass(frozen=True, kw_only=True)
class Observations:
    """What a law is fitted to: `y` with its standard deviation at the variables `x`; `trunk` is the cluster.

    `y` is the loss or delta_PTQ in nats per token, as `response` says; `left_out` counts rows by the reason; `counts`
    says what N counts. A table of losses may hold `paired` rows, differences of two losses on the same tokens:
    delta_PTQ at P_post, or whatever differs in the variables `against`, which are those of the other loss. `floor` is
    the exact Bayes loss on the tokens that all losses were measured on, None where it is not known.
    """

    x: Mapping[str, Float[np.ndarray, " n"]]
    y: Float[np.ndarray, " n"]
    sigma: Float[np.ndarray, " n"]
    trunk: tuple[str, ...]
    left_out: Mapping[str, int]
    counts: str = "as the table counts"
    paired: Bool[np.ndarray, " n"] | None = None
    response: Literal["loss", "delta"] = "loss"
    against: Mapping[str, Float[np.ndarray, " n"]] | None = None
    floor: float | None = None

    @property
    def changed(self) -> set[str]:
        """The variables in which the two losses of a paired row differ."""
        return {"P_post"} if self.against is None else set(self.against)

    @property
    def pairs(self) -> Bool[np.ndarray, " n"]:
        """Which rows are paired; none where the table does not say."""
        return np.zeros(len(self.y), bool) if self.paired is None else self.paired

    @property
    def sha256(self) -> str:
        """The hash of the rows, whatever file they came from."""
        parts = [f"{name}".encode() + np.ascontiguousarray(self.x[name]).tobytes() for name in sorted(self.x)]
        parts += [np.ascontiguousarray(part).tobytes() for part in (self.y, self.sigma, self.pairs)]
        against = self.against or {}
        parts += [f"{name}".encode() + np.ascontiguousarray(against[name]).tobytes() for name in sorted(against)]
        return hashlib.sha256(b"".join([*parts, *(trunk.encode() for trunk in self.trunk)])).hexdigest()

    def keep(self, mask: np.ndarray) -> "Observations":
        """The observations where `mask` is true."""
        return replace(
            self,
            x={name: values[mask] for name, values in self.x.items()},
            y=self.y[mask],
            sigma=self.sigma[mask],
            trunk=tuple(trunk for trunk, kept in zip(self.trunk, mask, strict=True) if kept),
            paired=None if self.paired is None else self.paired[mask],
            against=self.against and {name: values[mask] for name, values in self.against.items()},
        )

    def frame(self, library: str = "pandas") -> Any:
        """The observations as a pandas or polars frame: variables, y (with pairs: loss and delta), sigma, trunk."""
        return frame(*self._columns(), library)

    def write(self, path: str | Path) -> None:
        """Nothing; writes the same columns as CSV or Parquet, by the suffix; `load_table` reads them."""
        write_columns(path, *self._columns())

    def _columns(self) -> tuple[list[Column], dict[str, list[Any]]]:
        columns = [
            *(Column(name, "float", self.counts if name == "N" else "a variable of the law") for name in self.x),
            *(
                Column(name, "float", "nats per token")
                for name in (["y"] if self.paired is None else ["loss", "delta"])
            ),
            Column("sigma", "float", "standard deviation, nats per token"),
            Column("trunk", "text", "what rows share that move together"),
        ]
        numbers = {
            **self.x,
            "y": self.y,
            "loss": np.where(self.pairs, np.nan, self.y),
            "delta": np.where(self.pairs, self.y, np.nan),
            "sigma": self.sigma,
        }
        cells: dict[str, list[Any]] = {
            name: [None if np.isnan(value) else value for value in values.tolist()] for name, values in numbers.items()
        }
        return columns, {**cells, "trunk": list(self.trunk)}


def usable(table: Table, repeats: bool = False, *, trained: bool = False) -> tuple[Table, Counter[str]]:
    """The rows that may enter a fit, and the others by reason.

    Left out are runs that failed, learning rates other than the recipe's, averaged weights beside the last ones, and,
    unless `repeats`, runs that went over their data more than once, and, unless `trained`, those that were trained in
    low precision. Raises `SimlawError` where rows differ in something
    that no law knows: they are no replicates of each other.
    """
    last = table.where(lambda row: row["average"] is None)
    beside = len(table) - len(last) if last else 0
    table = last if last else table
    uniform("rows", table, CONFOUNDERS)
    sizes = dict.fromkeys(row["params_blocks"] for row in table)
    for n in sizes:
        uniform(f"rows of {n} parameters", [r for r in table if r["params_blocks"] == n], CONFOUNDERS_OF_A_SIZE)
    reasons: list[tuple[str, Callable[[Row], bool]]] = [
        ("failed", lambda row: row["status"] == "failed"),
        ("diverged", lambda row: row["status"] != "done"),
        ("learning-rate check", lambda row: row["rate_multiple"] != 1),
        ("beyond one epoch", lambda row: row["epochs"] > 1 and not repeats),
        ("quantised training", lambda row: not trained and quantized_training(row)),
    ]
    kept, left_out = [], Counter({"averaged weights": beside} if beside else {})
    for row in table:
        reason = next((name for name, holds in reasons if holds(row)), None)
        if reason:
            left_out[reason] += 1
        else:
            kept.append(row)
    if table and not kept:
        why = ", ".join(f"{n} {reason}" for reason, n in left_out.items())
        raise SimlawError(f"no row is left to fit ({why}): run cells without these")
    for n in sizes:  # two recipes may differ in their rate alone; checks of the rate are left out by now
        uniform(f"rows of {n} parameters", [r for r in kept if r["params_blocks"] == n], ("peak_rate",))
    return Table(rows=tuple(kept)), left_out


def quantized_training(row: Row) -> bool:
    """Whether a run was trained in low precision, in any role."""
    return any(row[name] is not None for name in TRAINING_PRECISION)


def precision_name(row: Row) -> str:
    """What was quantized in a run's training, as screens call it: W4 A8, with formats that are no integers by name."""
    found = []
    for letter, role in (("W", "weights"), ("A", "activations"), ("KV", "kv"), ("G", "gradients")):
        bits, form = row[f"train_{role}_bits"], row[f"train_{role}_format"]
        if bits is not None:
            found.append(f"{letter}{bits}" if str(form).startswith("int") else f"{letter}-{form}")
    if row["train_activations_granularity"] == "tensor":
        found.append("per tensor")
    if row["train_begins"] is not None:
        found.append(f"from {row['train_begins']:.2g}")
    return " ".join(found) or "16 bit"


def loss_observations(table: Table, *, repeats: bool = False) -> Observations:
    """The losses of checkpoints as trained, against N (block parameters) and D."""
    kept, left_out = usable(table, repeats)
    kept = kept.where(lambda row: row["ptq_bits"] is None)
    loss = kept.column("loss")
    return Observations(
        x={"N": kept.column("params_blocks"), "D": kept.column("tokens")},
        y=loss,
        # the evaluation tokens are the same for all rows, so their sampling error moves all losses together: it is no
        # noise of a fit, whose E is that of these tokens
        sigma=loss * seed_noise(kept).log_loss,
        trunk=tuple(kept.column("trunk_id")),
        left_out=left_out,
        counts="params_blocks",
        floor=one_floor([row["floor"] for row in kept]),
    )


def one_floor(floors: Sequence[float | None]) -> float | None:
    """The floor that all of them are; None where one is not known, or they differ."""
    found = set(floors)
    return found.pop() if len(found) == 1 else None


def granularities(table: Table) -> tuple[str, ...]:
    """What shares a scale in the quantized rows of a table, each kind once: channel first, then by name."""
    found = {row["ptq_granularity"] for row in table if row["ptq_bits"] is not None}
    return tuple(sorted(found, key=lambda name: (name != "channel", name)))


def penalty_observations(
    table: Table,
    *,
    granularity: str = "channel",
    lowest_bits: int = 3,
    repeats: bool = False,
    expected: AbstractPenalty | None = None,
) -> Observations:
    """The paired delta_PTQ of every checkpoint at `lowest_bits` or more, against N, D and P_post.

    Small and negative values stay in: dropping them would select on the response. The spread between seeds grows with
    delta; it is taken at what the law `expected` says, or, without one, at the mean of the row's cell, which gives
    more weight to cells that came out low by chance.
    """
    kept, left_out = usable(table, repeats)
    kept = kept.where(lambda row: row["ptq_bits"] is not None)
    others = Counter(row["ptq_granularity"] for row in kept if row["ptq_granularity"] != granularity)
    left_out |= {f"per {kind} (--where ptq_granularity={kind})": n for kind, n in others.items()}
    kept = kept.where(lambda row: row["ptq_granularity"] == granularity)
    uniform(f"rows quantized per {granularity}", kept, [name for name in QUANTIZATION if name != "ptq_bits"])
    left_out[f"below {lowest_bits} bits"] = len(kept)
    kept = kept.where(lambda row: row["ptq_bits"] >= lowest_bits)
    left_out[f"below {lowest_bits} bits"] -= len(kept)
    if not len(kept):
        raise SimlawError(f"the table has no row quantised per {granularity} at {lowest_bits} bits or more: add PTQ")
    delta, bits = kept.column("delta"), kept.column("ptq_bits")
    x = {"N": kept.column("params_blocks"), "D": kept.column("tokens"), "P_post": bits}
    middle = _cell_means(kept, delta) if expected is None else expected.penalty(**x)
    return Observations(
        x=x,
        y=delta,
        sigma=np.hypot(kept.column("delta_se"), seed_noise(usable(table, repeats)[0]).delta(middle, bits)),
        trunk=tuple(kept.column("trunk_id")),
        left_out=left_out,
        counts="params_blocks",
        response="delta",
    )


def joint_observations(table: Table, *, granularity: str = "channel", repeats: bool = False) -> Observations:
    """The losses of checkpoints as trained (P_post infinite) and their paired delta_PTQ, for a law of both."""
    plain = loss_observations(table, repeats=repeats)
    added = penalty_observations(table, granularity=granularity, repeats=repeats)
    x = {**plain.x, "P_post": np.full_like(plain.y, np.inf)}
    return Observations(
        x={name: np.concatenate([values, added.x[name]]) for name, values in x.items()},
        y=np.concatenate([plain.y, added.y]),
        sigma=np.concatenate([plain.sigma, added.sigma]),
        trunk=plain.trunk + added.trunk,
        left_out={**plain.left_out, **added.left_out},
        counts=plain.counts,
        floor=plain.floor,
        paired=np.repeat([False, True], [len(plain.y), len(added.y)]),
    )


@dataclass(frozen=True, kw_only=True)
class PenaltyCell:
    """delta_PTQ of one size, token count and precision: the mean over seeds with its standard error.

    `error` joins token error and seed spread; `visible` says that the mean is more than two errors above 0.
    """

    params: int
    tokens: int
    bits: int
    delta: float
    error: float
    seeds: int

    @property
    def visible(self) -> bool:
        """Whether the penalty is above the noise floor."""
        return self.delta > 2 * self.error


def penalty_cells(table: Table, *, granularity: str = "channel") -> tuple[PenaltyCell, ...]:
    """The penalties of every cell of a table, in the table's order."""
    seen = penalty_observations(table, granularity=granularity, lowest_bits=2)
    places: dict[tuple[float, float, float], list[int]] = {}
    for i, key in enumerate(zip(seen.x["N"], seen.x["D"], seen.x["P_post"], strict=True)):
        places.setdefault(key, []).append(i)
    return tuple(
        PenaltyCell(
            params=int(n),
            tokens=int(d),
            bits=int(bits),
            delta=float(seen.y[at].mean()),
            error=float(np.sqrt(np.sum(seen.sigma[at] ** 2)) / len(at)),
            seeds=len(at),
        )
        for (n, d, bits), at in places.items()
    )


@dataclass(frozen=True, kw_only=True)
class RateCheck:
    """The losses of one size and token count at several multiples of the recipe's learning rate, on the same seeds.

    `precision` is what was quantized in training, W4 A8; "16 bit" where nothing was.
    `noise` is the standard deviation of a difference of two of them, as if seeds were not paired.
    """

    params: int
    tokens: int
    precision: str
    multiples: tuple[float, ...]
    losses: tuple[float, ...]
    noise: float

    @property
    def verdict(self) -> str:
        """Whether the rule's rate is as good as the best of the check, as far as the noise lets one see."""
        best = min(range(len(self.losses)), key=lambda i: self.losses[i])
        lead = self.losses[self.multiples.index(1.0)] - self.losses[best]
        if lead == 0:
            return "the rule's rate is the best"
        better = f"{self.multiples[best]:g} x is {lead:.3f} nats better"
        return (
            f"{better}, within the noise of {self.noise:.3f}" if lead < 2 * self.noise else f"{better}: mend the rule"
        )


def rate_checks(table: Table) -> tuple[RateCheck, ...]:
    """The learning-rate checks in a table: every size, token count and precision that was run at several rates."""
    found: dict[tuple[Any, ...], dict[float, dict[int, float]]] = {}
    named: dict[tuple[Any, ...], str] = {}
    noise = seed_noise(usable(table)[0]).log_loss
    for row in table:
        if row["status"] == "done" and row["ptq_bits"] is None and row["train_settings"] is None:
            key = (row["params_blocks"], row["tokens"], *(str(row[name]) for name in TRAINING_PRECISION))
            named[key] = precision_name(row)
            by_rate = found.setdefault(key, {})
            by_rate.setdefault(row["rate_multiple"], {})[row["seed"]] = row["loss"]
    checks = []
    for key, by_rate in sorted(found.items()):
        seeds = set.intersection(*(set(by_seed) for by_seed in by_rate.values()))
        if len(by_rate) > 1 and 1.0 in by_rate and seeds:
            means = {multiple: float(np.mean([by_rate[multiple][s] for s in seeds])) for multiple in sorted(by_rate)}
            spread = noise * means[1.0] * float(np.sqrt(2 / len(seeds)))
            checks.append(
                RateCheck(
                    params=key[0],
                    tokens=key[1],
                    precision=named[key],
                    multiples=tuple(means),
                    losses=tuple(means.values()),
                    noise=spread,
                )
            )
    return tuple(checks)


def uniform(what: str, rows: Table | Sequence[Row], names: Iterable[str]) -> None:
    """Nothing; raises `SimlawError` where the rows differ in a column of these names."""
    for name in names:
        values = sorted({str(row[name]) for row in rows})
        if len(values) > 1:
            raise SimlawError(
                f"the {what} differ in {name} ({', '.join(values[:5])}), which no law knows: choose, "
                f"for example --where {name}={values[0]}"
            )


def _cell_means(table: Table, y: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    place = {row["eval_id"]: i for i, row in enumerate(table)}
    means = np.empty_like(y)
    for rows in cells_of(table).values():
        at = [place[row["eval_id"]] for row in rows]
        means[at] = y[at].mean()
    return means
