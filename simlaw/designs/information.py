"""Fisher information: what rows with known noise say of a form's parameters, each in its own scale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from simlaw.designs.rows import Rows
from simlaw.errors import SimlawError
from simlaw.fitting.certificate import spectrum
from simlaw.law import AbstractLaw, AbstractPenalty
from simlaw.simulation import Noise

#: A fit calls a parameter on a log scale unknown when it varies more than tenfold; a design uses the same rule.
TENFOLD = float(np.log(10))
#: Singular values below this share of the largest count as 0, as in the health of a fit.
_RANK = 1e-7


@dataclass(frozen=True, kw_only=True)
class Information:
    """What rows say of p parameters under k laws, gathered in m trunks.

    `alone` is the information of each trunk's rows if they shared no noise; `shared` and `weight` say what the noise
    that they share takes away again (the Sherman-Morrison identity, trunk by trunk).
    """

    trunks: Mapping[str, int]
    alone: Float[np.ndarray, "k m p p"]
    shared: Float[np.ndarray, "k m p"]
    weight: Float[np.ndarray, "k m"]

    @property
    def each(self) -> Float[np.ndarray, "k m p p"]:
        """The Fisher information of every trunk."""
        scaled = self.shared / np.sqrt(1 + self.weight)[:, :, None]
        return self.alone - scaled[:, :, :, None] * scaled[:, :, None, :]

    @property
    def matrix(self) -> Float[np.ndarray, "k p p"]:
        """The Fisher information of all rows."""
        return self.each.sum(axis=1)

    def gains(self, more: "Information", same: Sequence[str | None]) -> Float[np.ndarray, "k m p p"]:
        """What each trunk of `more` adds, beside what the trunk `same` of these has (None: a new trunk)."""
        new = [name is None for name in same]
        at = [0 if name is None else self.trunks[name] for name in same]
        here = {field: np.array(getattr(self, field)[:, at]) for field in ("alone", "shared", "weight")}
        for values in here.values():
            values[:, new] = 0.0
        before = Information(trunks={}, **here)
        after = Information(trunks={}, **{field: values + getattr(more, field) for field, values in here.items()})
        return after.each - before.each


def information(laws: AbstractLaw, rows: Rows, noise: Noise) -> Information:
    """The information of rows under laws with a leading axis.

    Raises `SimlawError` where a row has no noise of its own, and so would know its trunk exactly.
    """
    at, kind = kinds_of(rows.x)
    log, slopes = laws.log_slopes(at)
    if isinstance(laws, AbstractPenalty):
        value = np.exp(log)
        alone = noise.alone(at["P_post"]) if "P_post" in at else np.full(log.shape[1], noise.floor)
        own, slopes = alone[:, None], value[:, :, None] * slopes
        common = noise.relative * value
    else:
        own, common = np.full((log.shape[1], 1), noise.row), np.full_like(log, noise.trunk)
    if not (own > 0).all():
        what = "floor=…" + " or per_step=…" * ("P_post" in rows.x) if isinstance(laws, AbstractPenalty) else "row=…"
        raise SimlawError(f"the noise gives rows no part of their own, so two of a trunk would be exact: give {what}")
    slopes, common = slopes / own, common / own[:, 0]
    number, alike, some, first = _trunks(rows.trunk, kind)
    slopes, common = (np.take(each, some, axis=1) for each in (slopes, common))
    parts = (
        np.stack([np.swapaxes(s, 1, 2) @ s for s in np.split(slopes, first[1:], axis=1)], axis=1),
        np.add.reduceat(common[:, :, None] * slopes, first, axis=1),
        np.add.reduceat(common**2, first, axis=1),
    )
    alone, shared, weight = (np.take(part, alike, axis=1) for part in parts)
    return Information(trunks=number, alone=alone, shared=shared, weight=weight)


def _trunks(
    names: Sequence[str], kind: Int[np.ndarray, " n"]
) -> tuple[dict[str, int], Int[np.ndarray, " m"], Int[np.ndarray, " s"], Int[np.ndarray, " a"]]:
    """The trunks by name, and of which sort each is: those of a sort have the same kinds of rows in the same order.

    Then the kinds of the rows of each sort, one after the other, and where those of each begin: seeds repeat a trunk,
    and what its rows say is computed once.
    """
    number = {name: i for i, name in enumerate(sorted(set(names)))}
    place = np.array([number[name] for name in names])
    order = np.argsort(place, kind="stable")
    each = np.split(kind[order], np.searchsorted(place[order], np.arange(1, len(number))))
    sorts: dict[bytes, int] = {}
    alike = np.array([sorts.setdefault(kinds.tobytes(), len(sorts)) for kinds in each])
    some = [each[i] for i in np.unique(alike, return_index=True)[1]]
    return number, alike, np.concatenate(some), np.cumsum([0, *map(len, some[:-1])])


def kinds_of(
    x: Mapping[str, Float[np.ndarray, " n"]],
) -> tuple[dict[str, Float[np.ndarray, " u"]], Int[np.ndarray, " n"]]:
    """The variables of each kind of row once, and the kind of every row: seeds repeat a cell many times."""
    code = np.zeros(len(next(iter(x.values()))), np.int64)
    for values in x.values():
        levels, level = np.unique(values, return_inverse=True)
        code = np.unique(code * len(levels) + level, return_inverse=True)[1]
    first = np.unique(code, return_index=True)[1]
    return {name: values[first] for name, values in x.items()}, code


def errors(matrix: Float[np.ndarray, "k p p"]) -> Float[np.ndarray, "k p"]:
    """The standard error of each parameter in its own scale; infinite where the information does not hold it."""
    length = np.sqrt(np.einsum("kpp->kp", matrix))
    unit = np.where(length > 0, length, 1.0)
    values, vectors = np.linalg.eigh(matrix / unit[:, :, None] / unit[:, None, :])
    empty = values < (10 * _RANK) ** 2 * values.max(axis=1, keepdims=True)
    variance = np.sum(vectors**2 / np.where(empty, np.inf, values)[:, None, :], axis=2) / unit**2
    # a parameter takes part in a direction that nothing holds where its share of it is more than rounding
    lost = np.sum(vectors**2 * empty[:, None, :], axis=2) > 1e-6
    return np.where(lost, np.inf, np.sqrt(variance))


def rank(slopes: Float[np.ndarray, "k n p"]) -> tuple[int, float]:
    """The rank of the Jacobian with columns of length 1, and its condition number: medians over the laws."""
    singular = spectrum(slopes)
    held = np.zeros((len(slopes), slopes.shape[2]))
    held[:, : singular.shape[1]] = singular / singular[:, :1]
    ranks = np.sum(held > _RANK, axis=1)
    with np.errstate(divide="ignore"):
        condition = np.where(held[:, -1] > _RANK, 1 / held[:, -1], np.inf)
    return int(np.quantile(ranks, 0.5, method="lower")), float(np.quantile(condition, 0.5, method="lower"))
