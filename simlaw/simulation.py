"""Simulation: the rows that a design would give if a known law were true, with known noise.

Before compute is spent it says what a design could identify; after, it is the truth that fits must find again.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit
from simlaw.fitting.quantized import QuantizedFit
from simlaw.law import AbstractLaw, AbstractPenalty, QuantizedLaw
from simlaw.observations import Observations, loss_observations, usable
from simlaw.published import Published
from simlaw.seednoise import relative_step, seed_noise
from simlaw.table import Table

#: Whatever holds a law.
AnyLaw = AbstractLaw | QuantizedLaw | Published | Fit | QuantizedFit
#: Variables by name, one value for each row.
Variables = Mapping[str, Float[np.ndarray, " n"]]


#: Of the log loss, so that losses stay numbers whatever is drawn.
_MOST_NOISE = 10


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How rows scatter: standard deviations of normal errors.

    Of the log of a loss, `trunk` is shared by all rows of a trunk and `row` is a row's own. Of a penalty, `relative`
    (to the penalty) is shared by all rows of a trunk; `floor` (nats) and `per_step` (nats per unit of the grid's
    relative step) are a row's own.
    """

    trunk: float
    row: float = 0.0
    relative: float = 0.0
    floor: float = 0.0
    per_step: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (isinstance(value, int | float | np.number) and np.isfinite(value) and value >= 0):
                raise SimlawError(f"the noise {name} is {value!r:.60}: a standard deviation is 0 or more; mend it")
            if value > _MOST_NOISE:
                raise SimlawError(f"the noise {name} is {value:g}: beyond {_MOST_NOISE} no loss is a number; lower it")

    def alone(self, bits: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The standard deviation, in nats, of each row's own error of a penalty; what is not quantized has none."""
        finite = np.isfinite(bits)
        step = relative_step(np.where(finite, np.maximum(bits, 2.0), 2.0))
        return np.where(finite, np.hypot(self.floor, self.per_step * step), 0.0)


#: What the quickstart sweep shows (models of 7k to 106k parameters), in two digits.
TYPICAL = Noise(trunk=0.0098, row=0.0075, relative=0.19, per_step=0.033)


def simulate(law: AnyLaw, x: Variables, trunk: Sequence[str], *, noise: Noise, seed: int = 0) -> Observations:
    """Observations drawn from a law at the variables `x` of n rows that belong to these trunks, in nats per token.

    `sigma` is the noise that they were drawn with, at the law's own values. Of a law that joins a loss with a penalty,
    each part has its own noise. Equal arguments give equal rows. Raises `SimlawError` for what is no law, for variables
    that are no lists of numbers or differ in length, where the law does not take them, for a seed below 0, and where a
    row would have no noise at all, and so no weight in a fit.
    """
    one, x = law_of(law), _columns(x, trunk, seed)
    if isinstance(one, AbstractPenalty):
        return replace(_observed(x, trunk, *_penalty(one.evaluate(x), x, trunk, noise, seed)), response="delta")
    if isinstance(one, AbstractLaw):
        return _observed(x, trunk, *_loss(one.evaluate(x), trunk, noise, seed))
    base, added = one.route(x)
    loss, variance = _loss(one.base.evaluate(base), trunk, noise, seed)
    delta, more = _penalty(one.penalty.evaluate(added), x, trunk, noise, seed)
    return _observed(x, trunk, loss + delta, variance + more)


def simulate_delta(law: AnyLaw, x: Variables, trunk: Sequence[str], *, noise: Noise, seed: int = 0) -> Observations:
    """Penalties drawn from any law that knows them, as `simulate`: of a law of the loss, what P_post adds to it."""
    one = law_of(law)
    if isinstance(one, QuantizedLaw):
        return simulate(one.penalty, one.route(x)[1], trunk, noise=noise, seed=seed)
    if isinstance(one, AbstractPenalty):
        return simulate(one, x, trunk, noise=noise, seed=seed)
    if "P_post" not in one.takes:
        raise SimlawError(f"{type(one).__name__} knows no P_post, and so no penalty: join it with a law of the penalty")
    x = _columns(x, trunk, seed)
    delta = one.evaluate(x) - one.evaluate({**x, "P_post": math.inf})
    return replace(_observed(x, trunk, *_penalty(delta, x, trunk, noise, seed)), response="delta")


def law_of(law: AnyLaw) -> AbstractLaw | QuantizedLaw:
    """The law itself, of whatever holds one; raises `SimlawError` where nothing does."""
    found = law.law if isinstance(law, Published | Fit | QuantizedFit) else law
    if not isinstance(found, AbstractLaw | QuantizedLaw):
        raise SimlawError(f"{law!r:.60} is no law: give a law with its parameters, a fit, or a published law")
    return found


def noise_of(table: Table) -> Noise:
    """The noise that a table shows between its seeds; raises `SimlawError` where it has no replicates.

    What the rows of a trunk share of the variance of the log loss is the mean product of their deviations from the
    means of their cells. The token error of penalties grows with the step, as their spread does: they are joined.
    """
    kept, _ = usable(table)
    spread = seed_noise(kept)
    seen = loss_observations(table)
    cells = np.unique(np.stack(list(seen.x.values())), axis=1, return_inverse=True)[1].ravel()
    log, count = np.log(seen.y), np.bincount(cells)
    deviation = log - (np.bincount(cells, log) / count)[cells]
    # a deviation from the mean of k seeds is too small by a factor of sqrt(1 - 1/k)
    deviation = np.where(count[cells] > 1, deviation / np.sqrt(1 - 1 / np.maximum(count[cells], 2)), 0.0)
    trunks = np.unique(seen.trunk, return_inverse=True)[1]
    sums, squares, rows = (np.bincount(trunks, weight) for weight in (deviation, deviation**2, count[cells] > 1))
    pairs = np.sum(rows * (rows - 1))
    shared = max(0.0, np.sum(sums**2 - squares) / pairs) if pairs else spread.log_loss**2
    quantized = kept.where(lambda row: (row["ptq_bits"] or 0) >= 3)
    token = np.median(quantized.column("delta_se") / relative_step(quantized.column("ptq_bits"))) if quantized else 0.0
    return Noise(
        trunk=float(np.sqrt(min(shared, spread.log_loss**2))),
        row=float(np.sqrt(max(0.0, spread.log_loss**2 - shared))),
        relative=spread.relative,
        per_step=float(np.hypot(spread.per_step, token)),
    )


def _columns(x: Variables, trunk: Sequence[str], seed: int) -> dict[str, Float[np.ndarray, " n"]]:
    """The variables as arrays of one length."""
    found: dict[str, Float[np.ndarray, " n"]] = {}
    for name, values in x.items():
        try:
            found[name] = np.asarray(values, np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise SimlawError(f"{name} is {values!r:.60}: give a number for each row") from error
        if found[name].ndim != 1:
            raise SimlawError(f"{name} is {values!r:.60}: give a list, with one value for each row")
    if isinstance(trunk, str) or not isinstance(trunk, Sequence | np.ndarray):
        raise SimlawError(f"trunk is {trunk!r:.60}: give a list, with one name for each row")
    lengths = {name: len(values) for name, values in found.items()} | {"trunk": len(trunk)}
    if len(set(lengths.values())) != 1:
        raise SimlawError(f"the columns differ in length ({lengths}): give one value and one trunk for each row")
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise SimlawError(f"seed={seed!r}: it must be a whole number, 0 or more")
    return found


def _loss(
    true: Float[np.ndarray, " n"], trunk: Sequence[str], noise: Noise, seed: int
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Losses and their variances."""
    shared, own = _normals(trunk, seed, 0)
    return true * np.exp(noise.trunk * shared + noise.row * own), true**2 * (noise.trunk**2 + noise.row**2)


def _penalty(
    true: Float[np.ndarray, " n"], x: Variables, trunk: Sequence[str], noise: Noise, seed: int
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Penalties and their variances; what is not quantized has no error either."""
    shared, own = _normals(trunk, seed, 1)
    alone = noise.alone(x["P_post"]) if "P_post" in x else noise.floor
    return true * (1 + noise.relative * shared) + alone * own, (noise.relative * true) ** 2 + alone**2


def _normals(trunk: Sequence[str], seed: int, kind: int) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """One standard normal number for each trunk, at its rows, and one for each row."""
    rng = np.random.default_rng((seed, kind))
    names, place = np.unique(np.asarray(trunk, np.str_), return_inverse=True)
    return rng.normal(size=len(names))[place], rng.normal(size=len(place))


def _observed(
    x: Variables, trunk: Sequence[str], y: Float[np.ndarray, " n"], variance: Float[np.ndarray, " n"]
) -> Observations:
    if not (variance > 0).all():
        raise SimlawError("some rows would have no noise, by which fits weigh them: give the law's part a little")
    return Observations(
        x={name: np.asarray(value, np.float64) for name, value in x.items()},
        y=y,
        sigma=np.sqrt(variance),
        trunk=tuple(trunk),
        left_out={},
    )
