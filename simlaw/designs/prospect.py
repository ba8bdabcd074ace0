"""Prospects: what one form can expect of some planned cells, and what speaks against them."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from simlaw.designs.information import TENFOLD, errors, information, kinds_of, rank
from simlaw.designs.plausible import some
from simlaw.designs.rows import Rows
from simlaw.law import AbstractLaw, AbstractPenalty
from simlaw.laws.factors import Coefficient
from simlaw.report import columns, power_of_ten
from simlaw.simulation import Noise

#: How far beyond the largest size and token count the error of a prediction is asked for.
BEYOND = 10.0
#: The most levels of an axis that a term could need.
_LEVELS = 6
#: Tokens follow size where ln D is within this of a straight line in ln N: rounding to whole batches is less.
_LINE = 0.05


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a design cannot hold a form, and what mends it."""

    reason: str
    mend: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.mend}"


@dataclass(frozen=True, kw_only=True)
class Prospect:
    """What a form can expect of a design, at the median of its plausible laws.

    `rank` and `condition` are those of the Jacobian with columns of length 1. `value` and `error` are the parameters
    and the least standard errors that any unbiased fit can have (Cramér and Rao), infinite where the cells do not hold
    one. `forecast` is the standard error, in nats per token, of the prediction at the variables `at`. `unknown` are
    parameters that no cell depends on.
    """

    form: type[AbstractLaw]
    rows: int
    kinds: int
    trunks: int
    rank: int
    condition: float
    value: Mapping[str, float]
    error: Mapping[str, float]
    at: Mapping[str, float]
    forecast: float
    unknown: tuple[str, ...]
    refusals: tuple[Refusal, ...]
    notes: tuple[str, ...]


def exponents(form: type[AbstractLaw]) -> tuple[str, ...]:
    """The parameters of a form that are no coefficients: what a sweep is made to find."""
    plain = {factor.name for term in form.terms for factor in term if isinstance(factor, Coefficient)}
    return tuple(name for name in form.parameters() if name not in plain)


def prospect(laws: AbstractLaw, rows: Rows, noise: Noise) -> Prospect:
    """What the form of the plausible `laws` (draws on a leading axis) can expect of the rows that it sees."""
    form, x, trunk = type(laws), rows.x, rows.trunk
    at_kinds, _ = kinds_of(x)
    _, slopes = laws.log_slopes(at_kinds)
    free = [i for i in range(slopes.shape[2]) if (slopes[:, :, i] != 0).any()]
    names = [name for i, name in enumerate(form.parameters()) if i in free]
    unknown = tuple(name for i, name in enumerate(form.parameters()) if i not in free)
    held, condition = rank(slopes[:, :, free])
    matrix = information(laws, rows, noise).matrix[:, free][:, :, free]
    scaled = errors(matrix)
    value = {name: float(np.median(laws.values[name])) for name in names}
    error = {}
    for name, each in zip(names, scaled.T, strict=True):
        size = np.abs(laws.values[name]) if form.parameters()[name].scale == "log" else 1.0
        error[name] = float(np.quantile(size * each, 0.5, method="lower"))
    at = _beyond(x)
    return Prospect(
        form=form,
        rows=len(trunk),
        kinds=slopes.shape[1],
        trunks=len(set(trunk)),
        rank=held,
        condition=condition,
        value=value,
        error=error,
        at=at,
        forecast=_forecast(laws, at, matrix, free),
        unknown=unknown,
        refusals=_refusals(laws, rows, names, held, slopes.shape[1], np.median(scaled, axis=0)),
        notes=_notes(laws, x, unknown),
    )


def prospect_table(prospects: Sequence[Prospect]) -> str:
    """One line for each form: rows, rank, condition, and the errors of what the sweep is made to find."""
    lines = []
    for one in prospects:
        told = ", ".join(
            f"{name} {one.value[name]:.2g} ± {_error(one.error[name])}"
            for name in exponents(one.form)
            if name in one.error
        )
        where = f"{one.forecast:.2g} nats" if np.isfinite(one.forecast) else "unknown"
        lines.append(
            (
                one.form.__name__,
                str(one.rows),
                f"{one.rank} of {len(one.error)}",
                power_of_ten(one.condition) if np.isfinite(one.condition) else "infinite",
                where,
                told,
            )
        )
    return columns(("form", "rows", "rank", "condition", f"error at {BEYOND:g} N, {BEYOND:g} D", "errors"), lines)


def needed(laws: AbstractLaw, x: Mapping[str, Float[np.ndarray, " n"]], name: str) -> int:
    """How many levels of one variable the form needs when the others have plenty: found from the Jacobian's rank.

    1 where each level has a parameter of its own: then more of them tell no more of it.
    """
    plenty = {other: _levels(other, values, _LEVELS) for other, values in x.items()}
    grid = dict(zip(plenty, np.array(list(itertools.product(*plenty.values()))).T, strict=True))
    _, slopes = some(laws, 4).log_slopes(grid)
    # a form of measured shares knows no other bits
    known = np.isfinite(slopes).all(axis=(0, 2))
    at, slopes = grid[name][known], slopes[:, known]
    levels = [level for level in plenty[name] if (at == level).any()]
    moved = np.array([(slopes[:, at == level] != 0).any(axis=(0, 1)) for level in levels])
    if len(levels) > 1 and (moved.sum(axis=0) == 1).any():
        return 1
    ranks = [rank(slopes[:, np.isin(at, levels[: count + 1])])[0] for count in range(len(levels))]
    return 1 + ranks.index(ranks[-1])


def _refusals(
    laws: AbstractLaw,
    rows: Rows,
    names: Sequence[str],
    held: int,
    kinds: int,
    scaled: Float[np.ndarray, " p"],
) -> tuple[Refusal, ...]:
    """The plainest reason why the rows cannot hold the form, if there is one, and whether the noise can be known."""
    found, x = [], rows.x
    loose = [
        name
        for name, error in zip(names, scaled, strict=True)
        if error > TENFOLD and type(laws).parameters()[name].scale == "log"
    ]
    line = _line(x)
    plain = _unquantized(laws, x, names, loose) if held < len(names) else None
    short = _short(laws, x) if held < len(names) else []
    if line is not None:
        found.append(line)
    elif plain is not None:
        found.append(plain)
    elif short:
        found += short
    elif kinds <= len(names):
        found.append(
            Refusal(
                reason=(f"{kinds} kinds of cells for {len(names)} parameters, which meet them right or wrong"),
                mend="add sizes or token counts",
            )
        )
    elif held < len(names):
        found.append(
            Refusal(
                reason=f"the cells hold {held} of {len(names)} parameters, and {', '.join(loose)} do the same work",
                mend="cross the axes",
            )
        )
    elif loose:
        found.append(
            Refusal(
                reason=f"with this noise {', '.join(loose)} would vary more than tenfold from one sweep to the next",
                mend="add cells or seeds",
            )
        )
    cells = kinds_of(x)[1]
    if len(set(zip(cells.tolist(), rows.trunk, strict=True))) == len(set(cells.tolist())):
        found.append(Refusal(reason="no cell has two seeds, so no fit will know the noise", mend="add seeds"))
    return tuple(found)


def _line(x: Mapping[str, Float[np.ndarray, " n"]]) -> Refusal | None:
    """Whether tokens follow size, so that no cell tells the two apart."""
    if not {"N", "D"} <= set(x):
        return None
    size, data = np.log(x["N"]), np.log(x["D"])
    if np.ptp(size) < _LINE or np.ptp(data) < _LINE:
        return None
    slope = float(np.sum((size - size.mean()) * (data - data.mean())) / np.sum((size - size.mean()) ** 2))
    if np.abs(data - data.mean() - slope * (size - size.mean())).max() > _LINE:
        return None
    if abs(slope - 1) < _LINE:
        ratio = float(np.exp(np.median(data - size)))
        reason = f"D is proportional to N in every cell (D/N = {ratio:.3g}), so nothing tells size from data"
    else:
        reason = f"D follows N in every cell (as N^{slope:.2g}), so nothing tells size from data"
    return Refusal(reason=reason, mend="give each size several token counts")


def _unquantized(
    laws: AbstractLaw, x: Mapping[str, Float[np.ndarray, " n"]], names: Sequence[str], loose: Sequence[str]
) -> Refusal | None:
    """The precision that all cells have, if runs without it are all that is missing."""
    columns = [list(laws.parameters()).index(name) for name in names]
    for bits, values in x.items():
        if isinstance(laws, AbstractPenalty) or not bits.startswith("P_") or np.isinf(values).any():
            continue
        both = {name: np.tile(one, 2) for name, one in x.items()}
        both[bits][len(values) :] = np.inf
        if rank(laws.log_slopes(both)[1][:, :, columns])[0] == len(names):
            return Refusal(
                reason=f"no cell has an unquantized {bits}, and without one {', '.join(loose)} do the same work",
                mend=f"add cells with {bits} infinite",
            )
    return None


def _short(laws: AbstractLaw, x: Mapping[str, Float[np.ndarray, " n"]]) -> list[Refusal]:
    """The axes that have fewer levels than their terms need."""
    found = []
    for name, values in x.items():
        have, need = len(np.unique(values)), needed(laws, x, name)
        if have < need:
            reason = f"{have} level{'s' * (have > 1)} of {name} cannot hold its term, which needs {need}"
            found.append(Refusal(reason=reason, mend=f"add {need - have} of {name}"))
    return found


def _notes(laws: AbstractLaw, x: Mapping[str, Float[np.ndarray, " n"]], unknown: Sequence[str]) -> tuple[str, ...]:
    found = [f"no cell depends on {', '.join(unknown)}, so nothing will be known of it"] * bool(unknown)
    for name, values in x.items():
        have = len(np.unique(values))
        if have == needed(laws, x, name) > 1:
            found.append(
                f"{have} levels of {name} are just enough: one more would show whether the form is right there"
            )
    return tuple(found)


def _levels(name: str, values: Float[np.ndarray, " n"], count: int) -> list[float]:
    """Levels of a variable in and around the range of the design: bits one apart, scales by a factor."""
    finite = values[np.isfinite(values)]
    if name.startswith("P_"):
        low = float(finite.min()) if len(finite) else 3.0
        infinite = [np.inf] * bool(np.isinf(values).any())
        return [*infinite, *(low + i for i in range(count))][:count]
    low, high = float(finite.min()), float(finite.max())
    step = max(2.0, (high / low) ** (1 / (count - 1))) if low > 0 else 2.0
    return [max(low, 1.0) * step**i for i in range(count)]


def _beyond(x: Mapping[str, Float[np.ndarray, " n"]]) -> dict[str, float]:
    """The largest size and token count times `BEYOND`, at the coarsest P_post and the finest training precision."""
    picked = {}
    for name, values in x.items():
        largest = float(values.max())
        picked[name] = BEYOND * largest if name in ("N", "D") else float(values.min()) if name == "P_post" else largest
    return picked


def _forecast(
    laws: AbstractLaw, at: Mapping[str, float], matrix: Float[np.ndarray, "k p p"], free: Sequence[int]
) -> float:
    log, slopes = laws.log_slopes({name: np.array([value]) for name, value in at.items()})
    slope = slopes[:, 0][:, free]
    inverse = np.linalg.pinv(matrix, rcond=1e-12, hermitian=True)
    variance = np.einsum("kp,kpq,kq->k", slope, inverse, slope)
    # the part of the slope that the information does not hold has no bound
    missed = slope - np.einsum("kpq,kqr,kr->kp", inverse, matrix, slope)
    lost = np.abs(missed).max(axis=1) > 1e-4 * np.abs(slope).max(axis=1)
    each = np.where(lost, np.inf, np.exp(log[:, 0]) * np.sqrt(np.maximum(variance, 0.0)))
    return float(np.quantile(each, 0.5, method="lower"))


def _error(error: float) -> str:
    return f"{error:.2g}" if np.isfinite(error) else "unknown"
