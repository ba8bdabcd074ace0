"""Extra cells: the cheapest additions to a design that make its forms' parameters better known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simlaw.designs.candidates import Candidate, candidates
from simlaw.designs.information import TENFOLD, Information, errors, information
from simlaw.designs.plausible import some
from simlaw.designs.prospect import exponents
from simlaw.designs.rows import Rows
from simlaw.law import AbstractLaw
from simlaw.report import power_of_ten
from simlaw.simulation import Noise

#: Of the candidates that help at least this share of what the best one does, the one that helps most per FLOP is taken.
_SHARE = 0.5
#: Less than this (of the logarithm of a mean variance) is no help.
_HELP = 0.1
#: An addition that leaves more than this of the error that it mends most is not worth telling.
_WORTH = 0.95
#: So many laws are enough to rank additions by.
_LAWS = 8


@dataclass(frozen=True, kw_only=True)
class Extra:
    """Rows to add to a design: what they are, their training FLOPs (6·N·D of every run), and what they are good for.

    FLOPs are NaN where the rows have no N and D. `before` and `after` are the expected errors of `parameter` of `form`,
    of those that are worst known before.
    """

    what: str
    runs: int
    flops: float
    rows: Rows
    form: type[AbstractLaw]
    parameter: str
    before: float
    after: float

    def __str__(self) -> str:
        flops = f", {power_of_ten(self.flops)} FLOPs" if np.isfinite(self.flops) else ""
        cost = f"{self.runs} run{'s' * (self.runs > 1)}{flops}" if self.runs else "no training"
        name = f"{self.parameter} ({self.form.__name__})"
        if not np.isfinite(self.before):
            found = f"{self.after:.2g}, and is unknown without" if np.isfinite(self.after) else "unknown still"
            return f"{self.what} ({cost}): the error of {name} is {found}"
        return f"{self.what} ({cost}): the error of {name} falls from {self.before:.2g} to {self.after:.2g}"


def extras(laws: Sequence[AbstractLaw], rows: Rows, noise: Noise, most: int = 3) -> tuple[Extra, ...]:
    """Up to `most` additions, one after the other, each the best per FLOP of those that help much.

    Help is the fall of the mean variance of the scaled parameters (A-optimality), summed over the forms, with a
    tenfold spread as what is known of each parameter before, so that directions that no row holds count too.
    Candidates are the neighbouring sizes, token counts and training precisions of every cell, a seed more of a size,
    and bit-widths more of every checkpoint; none is further than one step, since laws are not believed far away. An
    addition that leaves what it is for unknown is told only before one that makes something known.
    """
    found: list[Extra] = []
    laws = [some(one, _LAWS) for one in laws]
    each = [one for one in candidates(rows) if all(_known(law, one.rows) for law in laws)]
    old = [information(each, rows.of(type(each)), noise) for each in laws]
    for _ in range(most):
        if not each:
            break
        gains = np.zeros(len(each))
        after = [_matrices(law, base, each, noise) for law, base in zip(laws, old, strict=True)]
        for base, matrices in zip(old, after, strict=True):
            gains += _spread(base.matrix[:, None])[0] - _spread(matrices)
        told = {
            i: _told(laws, [one.matrix for one in old], [one[:, i] for one in after])
            for i in np.flatnonzero(gains >= _HELP)
        }
        # what makes a parameter known comes before what is a part of that
        found_out = [i for i, (_, _, before, then) in told.items() if np.isinf(before) and np.isfinite(then)]
        useful = found_out or list(told)
        useful = [i for i in useful if gains[i] >= _SHARE * max(gains[useful])]
        if not useful:
            break
        best = max(useful, key=lambda i: gains[i] / _cost(each[i]))
        picked = each[best]
        form, parameter, before, then = told[best]
        if then > _WORTH * before:
            break
        found.append(
            Extra(
                what=picked.what,
                rows=picked.rows,
                runs=picked.runs,
                flops=picked.flops,
                form=form,
                parameter=parameter,
                before=before,
                after=then,
            )
        )
        each.pop(best)
        rows = rows.joined(picked.rows)
        old = [information(each, rows.of(type(each)), noise) for each in laws]
    while found and not np.isfinite(found[-1].after):
        found.pop()
    return tuple(found)


def _known(law: AbstractLaw, rows: Rows) -> bool:
    """Whether the law says anything of the rows that it sees; one of measured shares knows no other bits."""
    seen = rows.of(type(law))
    return not seen.trunk or bool(np.isfinite(law.log_slopes(seen.x)[1]).all())


def _cost(candidate: Candidate) -> float:
    """The FLOPs of a candidate, next to nothing where it trains nothing; its runs where nobody knows its FLOPs."""
    return max(candidate.flops, 1e-300) if np.isfinite(candidate.flops) else float(candidate.runs)


def _matrices(law: AbstractLaw, base: Information, each: Sequence[Candidate], noise: Noise) -> np.ndarray:
    """The information with each candidate: laws, candidates, parameters twice."""
    whole = np.repeat(base.matrix[:, None], len(each), axis=1)
    seen = [(i, rows) for i, one in enumerate(each) if (rows := one.rows.of(type(law))).trunk]
    if not seen:
        return whole
    # one call for all of them: a trunk is told apart by its candidate
    x = {name: np.concatenate([rows.x[name] for _, rows in seen]) for name in seen[0][1].x}
    trunk = tuple(f"{i:06d} {name}" for i, rows in seen for name in rows.trunk)
    more = information(law, Rows(x=x, trunk=trunk), noise)
    owner = [int(name[:6]) for name in more.trunks]
    gains = base.gains(more, [name[7:] if name[7:] in base.trunks else None for name in more.trunks])
    first = np.unique(owner, return_index=True)
    whole[:, first[0]] += np.add.reduceat(gains, first[1], axis=1)
    return whole


def _spread(matrices: np.ndarray) -> np.ndarray:
    """The logarithm of the mean variance of the scaled parameters, at the median law, for each candidate."""
    return np.asarray(np.median(np.log(np.einsum("kcpp->kc", _posterior(matrices))), axis=0))


def _posterior(matrices: np.ndarray) -> np.ndarray:
    return np.linalg.inv(matrices + np.eye(matrices.shape[-1]) / TENFOLD**2)


def _told(
    laws: Sequence[AbstractLaw], before: Sequence[np.ndarray], after: Sequence[np.ndarray]
) -> tuple[type[AbstractLaw], str, float, float]:
    """The exponent whose error falls by the largest factor, with its errors before and after."""
    best: tuple[float, type[AbstractLaw], str, float, float] | None = None
    for law, old, new in zip(laws, before, after, strict=True):
        spreads = [np.sqrt(np.einsum("kpp->kp", _posterior(each))) for each in (old, new)]
        factor = np.median(spreads[0] / spreads[1], axis=0)
        for i, name in enumerate(law.parameters()):
            if name in exponents(type(law)) and (best is None or factor[i] > best[0]):
                size = np.abs(law.values[name]) if law.parameters()[name].scale == "log" else 1.0
                was, then = (float(np.quantile(size * errors(m)[:, i], 0.5, method="lower")) for m in (old, new))
                best = (float(factor[i]), type(law), name, was, then)
    assert best is not None
    return best[1:]
