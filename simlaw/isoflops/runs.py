"""Compute-optimal size read off runs, without a law of the loss.

Approaches 1 and 2 of Hoffmann et al. 2203.15556: the envelope of all runs, and the lowest loss at equal compute, by a
parabola or by Akima interpolation as in Porian et al. 2406.19146. A minimum counts only where runs bracket it: a budget
whose best size is its smallest or its largest is dropped, and said to be.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from simlaw.declared import Between, Positive
from simlaw.errors import SimlawError
from simlaw.fitting.uncertainty import bootstrap as resample
from simlaw.isoflops.akima import lowest
from simlaw.isoflops.envelope import stairs
from simlaw.isoflops.optimum import LEAST, SIX, ComputeOptimal, Optimum, distinct, power_law, require
from simlaw.observations import Observations

#: The standard deviation of a loss between seeds in nats: one of all runs, or a function of their losses.
Noise = float | Callable[[Float[np.ndarray, " n"]], Float[np.ndarray, " n"]]


def isoflop(
    runs: Observations,
    *,
    approach: str = "akima",
    budgets: ArrayLike | None = None,
    tolerance: float = 0.1,
    min_sizes: int = 4,
    noise: Noise | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> ComputeOptimal:
    """The compute-optimal size of some runs and its power law, without a law of the loss.

    "akima" interpolates ln L over ln N at each budget, "parabola" fits L over ln N there, and "envelope" follows every
    size along its runs to the compute at which it is the best of all. Compute is the variable C where the runs have one
    (`load_table(…, C="flops")`), otherwise 6·N·D. Runs belong to the one of `budgets` that is within `tolerance`;
    without `budgets` they are grouped by their compute. Rows of one size and budget are replicates, of which the mean
    is taken; a budget needs `min_sizes` sizes.

    `bootstrap` draws give the errors, and weigh the budgets. With `noise`, or a known `sigma` of the runs, the losses
    are drawn anew, with one number for each trunk; otherwise whole trunks are resampled. A budget that half of the
    draws do not bracket is dropped.

    Raises `SimlawError` for settings that are no such numbers, where runs differ in something besides N and D, where
    compute forms no groups, and where fewer than three budgets are left.
    """
    if approach not in ("akima", "parabola", "envelope"):
        raise SimlawError(f"approach={approach!r}: it is 'akima', 'parabola' or 'envelope'")
    if not isinstance(runs, Observations):
        raise SimlawError(f"{type(runs).__name__} is no set of runs: give what load_table(…) gives")
    require(Positive, tolerance=tolerance)
    require(Annotated[int, Between(0)], min_sizes=min_sizes, bootstrap=bootstrap, seed=seed)
    n, d, c, convention = _axes(runs)
    losses, weights = _draws(runs, noise, bootstrap, seed)
    left_out = Counter(runs.left_out)
    if approach == "envelope":
        if budgets is not None:
            raise SimlawError("the envelope takes runs of any compute: leave budgets out")
        found, dropped = _envelope(n, d, c, losses, weights)
    else:
        groups, left_out["of no budget"] = _groups(c, budgets, tolerance)
        found, dropped = _minima(n, d, groups, losses, weights, approach, min_sizes)
    return power_law(approach, convention, found, dropped, left_out)


def _axes(runs: Observations) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """N, D and C of the runs, and how C is counted."""
    for name in ("N", "D"):
        if name not in runs.x:
            raise SimlawError(f"the runs have no {name}, only {', '.join(runs.x)}: name its column to load_table")
    for name, values in runs.x.items():
        if name not in ("N", "D", "C") and len(several := np.unique(values)) > 1:
            some = ", ".join(f"{value:g}" for value in several[:5])
            raise SimlawError(f"the runs differ in {name} ({some}), and have an optimum for each: choose runs of one")
    n, d = runs.x["N"], runs.x["D"]
    return (n, d, runs.x["C"], "as the runs give them") if "C" in runs.x else (n, d, 6 * n * d, SIX)


def _draws(
    runs: Observations, noise: Noise | None, draws: int, seed: int
) -> tuple[Float[np.ndarray, "k n"], Float[np.ndarray, "k n"]]:
    """The losses and the weights of the rows, as observed and then of every draw."""
    losses, weights = np.tile(runs.y, (draws + 1, 1)), np.ones((draws + 1, len(runs.y)))
    if not draws:
        return losses, weights
    if noise is None and not np.isfinite(runs.sigma).all():
        weights[1:] = resample(runs.trunk, runs.x["N"], draws=draws, seed=seed).rows(runs.trunk)
        return losses, weights
    given = runs.sigma if noise is None else noise(runs.y) if callable(noise) else noise
    try:
        sd = np.broadcast_to(np.asarray(given, np.float64), runs.y.shape)
    except (TypeError, ValueError) as error:
        raise SimlawError(f"noise={given!r:.60}: give a number of nats, or a function of the losses") from error
    if (wrong := ~((sd >= 0) & np.isfinite(sd))).any():
        raise SimlawError(f"the noise is {sd[wrong][0]:g}: a standard deviation in nats is 0 or above")
    names, place = np.unique(runs.trunk, return_inverse=True)
    losses[1:] += sd * np.random.default_rng(seed).normal(size=(draws, len(names)))[:, place]
    return losses, weights


def _groups(
    c: Float[np.ndarray, " n"], budgets: ArrayLike | None, tolerance: float
) -> tuple[dict[float, Int[np.ndarray, " r"]], int]:
    """The rows of each budget, and how many rows belong to none."""
    log_c, reach = np.log(c), np.log1p(tolerance)
    if budgets is not None:
        named = distinct(budgets)
        away = np.abs(log_c[:, None] - np.log(named))
        nearest = np.where(away.min(axis=1) <= reach, away.argmin(axis=1), -1)
        return {flops: np.flatnonzero(nearest == i) for i, flops in enumerate(named)}, int(sum(nearest < 0))
    order = np.argsort(log_c, kind="stable")
    found = {}
    for rows in np.split(order, np.flatnonzero(np.diff(log_c[order]) > reach) + 1):
        low, high = c[rows[0]], c[rows[-1]]
        if high / low > (1 + tolerance) ** 2:
            raise SimlawError(
                f"the compute of the runs goes from {low:.3g} to {high:.3g} FLOPs without a gap of {tolerance:.0%}: "
                "name the budgets, budgets=[…], or take approach='envelope'"
            )
        found[float(np.exp(log_c[rows].mean()))] = rows
    return found, 0


def _minima(
    n: Float[np.ndarray, " n"],
    d: Float[np.ndarray, " n"],
    groups: Mapping[float, Int[np.ndarray, " r"]],
    losses: Float[np.ndarray, "k n"],
    weights: Float[np.ndarray, "k n"],
    approach: str,
    min_sizes: int,
) -> tuple[list[Optimum], dict[float, str]]:
    """The optima of the budgets that bracket one, and why the other budgets have none."""
    found, dropped = [], {}
    for budget, rows in groups.items():
        size, place = np.unique(np.log(n[rows]), return_inverse=True)
        if len(size) < max(min_sizes, LEAST):
            dropped[budget] = f"fewer than {max(min_sizes, LEAST)} sizes"
            continue
        y = _means(losses[:, rows], weights[:, rows], place)
        at, value, bracketed = (_valley if approach == "parabola" else _lowest)(size, y)
        at = np.where(bracketed, at, np.nan)
        if not bracketed[0]:
            best = int(np.argmin(y[0]))
            edge = {0: "the best size is the smallest", len(size) - 1: "the best size is the largest"}
            dropped[budget] = edge.get(best, "the parabola has no minimum among the sizes")
        elif len(at) > 1 and bracketed[1:].mean() <= 0.5:
            dropped[budget] = "half of the draws or more do not bracket a minimum"
        else:
            log_d = np.bincount(place, np.log(d[rows])) / np.bincount(place)
            found.append(
                Optimum(
                    budget=budget,
                    params=float(np.exp(at[0])),
                    tokens=float(np.exp(np.interp(at[0], size, log_d))),
                    loss=float(value[0]),
                    at=at,
                    spacing=float(size[-1] - size[0]) / (len(size) - 1),
                )
            )
    return found, dropped


def _means(
    losses: Float[np.ndarray, "k r"], weights: Float[np.ndarray, "k r"], place: Int[np.ndarray, " r"]
) -> Float[np.ndarray, "k m"]:
    """The weighted mean loss at each place; NaN where a draw has no row."""
    onto = np.eye(place.max() + 1)[place]
    total = weights @ onto
    return np.where(total > 0, (weights * losses) @ onto / np.where(total > 0, total, 1.0), np.nan)


def _bracketed(y: Float[np.ndarray, "k m"]) -> Any:
    """Whether the lowest point of each row has points on both sides."""
    there = np.isfinite(y)
    best = np.where(there, y, np.inf).argmin(axis=1)
    return (there.argmax(axis=1) < best) & (best < y.shape[1] - 1 - there[:, ::-1].argmax(axis=1))


def _lowest(size: Float[np.ndarray, " m"], y: Float[np.ndarray, "k m"]) -> tuple[Any, Any, Any]:
    """ln N and loss at the lowest point of the curve of ln L over ln N, and whether it is bracketed."""
    at, log_loss = lowest(size, np.log(y))
    return at, np.exp(log_loss), _bracketed(y)


def _valley(size: Float[np.ndarray, " m"], y: Float[np.ndarray, "k m"]) -> tuple[Any, Any, Any]:
    """ln N and loss at the vertex of the parabola of L over ln N, and whether it is a minimum between points."""
    there = np.isfinite(y)
    middle, half = (size[0] + size[-1]) / 2, (size[-1] - size[0]) / 2
    t = (size - middle) / half
    powers = np.stack([np.ones_like(t), t, t * t], axis=1)
    normal = np.einsum("km,mi,mj->kij", there, powers, powers)
    right = np.where(there, y, 0.0) @ powers
    enough = there.sum(axis=1) >= LEAST
    normal[~enough] = np.eye(3)
    c0, c1, c2 = np.linalg.solve(normal, right[:, :, None])[:, :, 0].T
    up = enough & (c2 > 0)
    vertex = np.where(up, -c1 / np.where(up, 2 * c2, 1.0), np.inf)
    first, last = t[there.argmax(axis=1)], t[::-1][there[:, ::-1].argmax(axis=1)]
    inside = (first < vertex) & (vertex < last) & _bracketed(y)
    vertex = np.where(inside, vertex, 0.0)
    return middle + half * vertex, c0 + c1 * vertex + c2 * vertex**2, inside


def _envelope(
    n: Float[np.ndarray, " n"],
    d: Float[np.ndarray, " n"],
    c: Float[np.ndarray, " n"],
    losses: Float[np.ndarray, "k n"],
    weights: Float[np.ndarray, "k n"],
) -> tuple[list[Optimum], dict[float, str]]:
    """The stretch of compute of every size that is the best somewhere, and why the other sizes have none."""
    sizes = np.unique(n)
    log_c, log_loss, log_d = [], [], []
    for size in sizes:
        rows = np.flatnonzero(n == size)
        each, place = np.unique(np.log(c[rows]), return_inverse=True)
        log_c.append(each)
        log_loss.append(np.log(_means(losses[:, rows], weights[:, rows], place)))
        log_d.append(np.bincount(place, np.log(d[rows])) / np.bincount(place))
    found = stairs(log_c, log_loss)
    optima, dropped = [], {}
    middles = found.middle[0][np.isfinite(found.middle[0])]
    spacing = float(np.ptp(middles)) / (len(middles) - 1) if len(middles) > 1 else 0.0
    for s, size in enumerate(sizes):
        at = found.middle[:, s]
        if np.isnan(at[0]):
            alone = "a single run" if len(log_c[s]) < 2 else "nowhere the best size"
            dropped[float(size)] = "the best size only where runs end" if found.cut[0, s] else alone
        elif len(at) > 1 and np.isfinite(at[1:]).mean() <= 0.5:
            dropped[float(size)] = "not the best size in half of the draws or more"
        else:
            optima.append(
                Optimum(
                    budget=float(np.exp(at[0])),
                    params=float(size),
                    tokens=float(np.exp(np.interp(at[0], log_c[s], log_d[s]))),
                    loss=float(np.exp(found.log_loss[0, s])),
                    at=at,
                    spacing=spacing,
                )
            )
    return optima, dropped
