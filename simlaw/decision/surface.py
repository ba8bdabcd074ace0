"""The loss surface that decisions are made on: laws of the loss and of the penalty together, with every error."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from simlaw.decision.allocate import Lawful, parts_of
from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit
from simlaw.fitting.quantized import QuantizedFit
from simlaw.law import AbstractLaw, AbstractLossLaw, AbstractPenalty, QuantizedLaw
from simlaw.published import Published
from simlaw.table import Table

#: Bits of an unquantised model in a list of precisions; laws treat it as P = infinity.
UNQUANTIZED = np.inf
#: The bits at which the errors of a penalty are independent.
_WHOLE = np.arange(17.0)
#: Sizes at which the errors of a form are independent where the measured ones are not known: its range in this many.
_NODES = 3


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The loss at N, D and precisions, as an estimate and as an ensemble, with the ranges of the rows behind it.

    The ensemble joins the bootstrap `draws` of the fits, drawn from the same trunks, with the forms' own errors
    (`Fit.misfit`): the loss gets a relative offset per draw that is independent at each of `sizes` and linear in log N
    between them, the penalty one that is independent at each whole number of bits and linear between them. What is no
    fit has no error. `draws` are None where no fit has any. `rows` says whether the rows of the loss are known, and
    `counts` what N counts (empty where nobody says).
    """

    law: AbstractLossLaw | QuantizedLaw
    draws: AbstractLossLaw | QuantizedLaw | None
    ranges: Mapping[str, tuple[float, float]]
    rows: bool
    counts: str
    sizes: Float[np.ndarray, " m"]
    size_errors: Float[np.ndarray, "k m"]
    bit_errors: Float[np.ndarray, "k 17"]

    @classmethod
    def of(cls, base: Fit, penalty: Fit, sizes: Float[np.ndarray, " m"], *, seed: int = 0) -> "Surface":
        """The surface of two fits of the same table and the same bootstrap, healthy or not.

        `sizes` are the measured ones, at which the form's errors are independent. Raises `SimlawError` without draws.
        """
        if base.draws is None or penalty.draws is None:
            raise SimlawError("a decision needs fits with bootstrap draws: fit with weights=trunk_weights(…)")
        both = QuantizedFit(base=base, penalty=penalty)
        return _surface(both.law, both.draws, both.ranges, base, penalty, sizes, counts=base.counts, seed=seed)

    @property
    def name(self) -> str:
        """The forms of the law: "Chinchilla + StepPenalty"."""
        return " + ".join(type(part).__name__ for part in parts(self.law))

    @property
    def precisions(self) -> tuple[str, ...]:
        """The variables of precision that the law takes; of a fit, those that it has rows of."""
        names = dict.fromkeys(
            name for part in parts(self.law) for name in (*part.needs, *part.takes) if name.startswith("P_")
        )
        given = isinstance(self.law, QuantizedLaw)  # a penalty is there because somebody gave or fitted it
        return tuple(n for n in names if not self.rows or n in self.ranges or (given and n == "P_post"))

    def loss(self, n: Any, d: Any, P_post: Any = UNQUANTIZED, **precisions: Any) -> Any:
        """The estimated loss in nats per token; `precisions` are those of training (P_w …)."""
        return self.law.loss(N=n, D=d, **_post(P_post), **precisions)

    def ensemble(self, n: Any, d: Any, P_post: Any = UNQUANTIZED, **precisions: Any) -> Float[np.ndarray, "k ..."]:
        """The loss of every draw, with the forms' own errors; raises `SimlawError` without draws."""
        if self.draws is None:
            raise SimlawError("without draws nobody knows what is uncertain: fit with bootstrap=…")
        n, d, bits, *others = np.broadcast_arrays(n, d, P_post, *precisions.values())
        training = dict(zip(precisions, others, strict=True))
        offset = 1 + joined(np.log(self.sizes), self.size_errors, np.log(n))
        if not isinstance(self.draws, QuantizedLaw):
            return self.draws.loss(N=n, D=d, **_post(bits), **training) * offset
        added, x = self.draws.penalty, {"N": n, "D": d, "P_post": bits, **training}
        penalty = added.penalty(**{name: x[name] for name in (*added.needs, *added.takes) if name in x})
        # unquantised takes the last place: its penalty is 0 anyway
        few = np.minimum(P_post, _WHOLE[-1])
        bit_error = joined(_WHOLE, self.bit_errors, few.reshape((1,) * (n.ndim - few.ndim) + few.shape))
        return self.draws.base.loss(N=n, D=d, **training) * offset + penalty * np.exp(bit_error)


def surface_of(law: Lawful, penalty: Fit | Published | AbstractPenalty | None = None, *, seed: int = 0) -> Surface:
    """The surface of whatever holds a law of the loss, with a penalty or without.

    Raises `SimlawError` for fits that are not valid or know no error of their form, for a law that has a penalty of its
    own and is given another, and for draws that are not of one bootstrap.
    """
    ranges, estimate, draws = parts_of(law)
    base, own = (law.base, law.penalty) if isinstance(law, QuantizedFit) else (law, None)
    counts = base.counts if isinstance(base, Fit | Published) else ""
    rows = isinstance(base, Fit)
    if penalty is None:
        return _surface(estimate, draws, ranges, base, own, counts=counts, rows=rows, seed=seed)
    # a fit without rows of P_post has no penalty, whatever its form could have
    unseen = rows and "P_post" not in ranges
    if isinstance(estimate, QuantizedLaw) or ("P_post" in (*estimate.needs, *estimate.takes) and not unseen):
        raise SimlawError("the law has a penalty of its own: leave penalty=… out")
    added = penalty.law if isinstance(penalty, Fit | Published) else penalty
    if not isinstance(added, AbstractPenalty):
        raise SimlawError(
            f"{type(added).__name__} is no law of the penalty: give one (that of a published pair is law.penalty)"
        )
    for fit in fits_behind(law, penalty):
        if fit.health != "VALID":
            raise SimlawError(f"the fit of {type(fit.law).__name__} is {fit.health}: {fit.sentence}; not identified")
    both: QuantizedLaw | None = None
    drawn = penalty.draws if isinstance(penalty, Fit) else None
    assert draws is None or isinstance(draws, AbstractLossLaw)
    assert drawn is None or isinstance(drawn, AbstractPenalty)
    if draws is not None or drawn is not None:
        both = QuantizedLaw(base=draws or estimate, penalty=drawn or added)
    if isinstance(penalty, Fit | Published):
        ranges = {**penalty.ranges, **ranges}
    joined = QuantizedLaw(base=estimate, penalty=added)
    return _surface(joined, both, ranges, base, penalty, counts=counts, rows=rows, seed=seed)


def parts(law: AbstractLossLaw | QuantizedLaw) -> tuple[AbstractLaw, ...]:
    """The law, or the loss and the penalty that it joins."""
    return (law.base, law.penalty) if isinstance(law, QuantizedLaw) else (law,)


def fits_behind(law: Any, penalty: Any = None) -> tuple[Fit, ...]:
    """The fits that a surface rests on, healthy or not: none where laws were given as they are."""
    each = (law.base, law.penalty) if isinstance(law, QuantizedFit) else (law,)
    return tuple(part for part in (*each, penalty) if isinstance(part, Fit))


def _surface(
    law: AbstractLossLaw | QuantizedLaw,
    draws: AbstractLossLaw | QuantizedLaw | None,
    ranges: Mapping[str, tuple[float, float]],
    base: Any,
    penalty: Any,
    sizes: Float[np.ndarray, " m"] | None = None,
    *,
    counts: str,
    rows: bool = True,
    seed: int,
) -> Surface:
    """The surface of a law and its draws; `base` and `penalty` have errors of their own where they are fits."""
    misfits = [part.misfit if isinstance(part, Fit) else 0.0 for part in (base, penalty)]
    count = 0 if draws is None else _count(draws)
    if count and not np.isfinite(misfits).all():
        raise SimlawError("a decision needs more cells than a law has parameters, to know its error: add cells")
    if sizes is None:
        own = base.ranges if isinstance(base, Fit) else {}
        sizes = np.unique(np.geomspace(*own.get("N", (1.0, 1.0)), _NODES))
    rng = np.random.default_rng(seed)
    return Surface(
        law=law,
        draws=draws,
        ranges=dict(ranges),
        rows=rows,
        counts=counts,
        sizes=sizes,
        size_errors=rng.normal(0.0, misfits[0] if count else 0.0, (count, len(sizes))),
        bit_errors=rng.normal(0.0, misfits[1] if count else 0.0, (count, 17)),
    )


def _count(draws: AbstractLossLaw | QuantizedLaw) -> int:
    """How many draws there are; those of the parts are paired, so they must be as many."""
    found = {np.size(value) for part in parts(draws) for value in part.values.values()} - {1}
    if len(found) > 1:
        raise SimlawError(
            f"the fits have {' and '.join(map(str, sorted(found)))} draws, which pair no trunks: fit both with the "
            "same bootstrap=… and seed"
        )
    return found.pop() if found else 1


def _post(bits: Any) -> dict[str, Any]:
    """The variable of quantization after training, left out where nothing is quantized."""
    return {"P_post": bits} if np.isfinite(bits).any() else {}


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Stored bytes of a size at a precision: exact at the measured sizes, between them log-linear in log N."""

    sizes: Float[np.ndarray, " m"]
    overhead: dict[float, Float[np.ndarray, " m"]]

    @classmethod
    def of(cls, table: Table, column: str, granularity: str) -> "Storage":
        """The bytes in a column ("bytes_blocks" or "bytes_total") of the rows with this granularity."""
        found: dict[float, dict[float, float]] = {}
        for row in table:
            if row["ptq_bits"] is None or row["ptq_granularity"] == granularity:
                bits = float(row["ptq_bits"] or UNQUANTIZED)
                per_parameter = row[column] / row["params_blocks"] - _width(bits) / 8
                found.setdefault(bits, {})[row["params_blocks"]] = per_parameter
        sizes = np.array(sorted(found[UNQUANTIZED]), np.float64)
        overhead = {bits: np.array([of[n] for n in sizes]) for bits, of in found.items() if len(of) == len(sizes)}
        return cls(sizes=sizes, overhead=overhead)

    @property
    def precisions(self) -> tuple[float, ...]:
        """The bits that were measured at every size, coarsest first; the last is unquantised."""
        return tuple(sorted(self.overhead))

    def bytes(self, n: np.ndarray, bits: float) -> Any:
        """Bytes of a model of `n` block parameters at these bits."""
        over = self.overhead[bits]
        if (over > 0).all():
            extra = np.exp(np.interp(np.log(n), np.log(self.sizes), np.log(over)))
        else:
            extra = np.interp(np.log(n), np.log(self.sizes), over)
        return n * (_width(bits) / 8 + extra)


def _width(bits: float) -> float:
    return 16.0 if bits == UNQUANTIZED else bits


def joined(
    places: Float[np.ndarray, " m"], errors: Float[np.ndarray, "k m"], at: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "k ..."]:
    """Errors that are independent at some places, joined linearly between them, at other places."""
    weights = np.stack([np.interp(at.ravel(), places, row) for row in np.eye(len(places))], axis=1)
    return (errors @ weights.T).reshape(len(errors), *at.shape)
