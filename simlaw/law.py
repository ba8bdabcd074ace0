"""The abstract law: an immutable value whose fields are its named parameters.

The class is the form, the instance holds the numbers. A law is a sum of terms, a term is a product of factors, and a
factor gives its logarithm and the slopes of it. Sums are taken by log-sum-exp, so terms may differ by hundreds of
orders of magnitude. NumPy alone is needed. A form of one's own is a dataclass of parameters with its terms; a factor of
one's own needs only its logarithm.

Parameters may carry a leading axis: a law of k bootstrap draws answers with k values for every point.
"""

import abc
import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simlaw.errors import SimlawError

#: A parameter: one number, or an array of draws.
Value = float | NDArray[np.float64]
#: What a law answers, in nats per token: a NumPy number for numbers, an array for arrays (which no type can say).
Nats = Any
#: The complex step: so small that it changes no digit of the real part.
_STEP = 1e-200
#: Parameters or variables by name, shaped to broadcast against each other.
Named = Mapping[str, Any]
#: The value of a variable: a number, or an array of them.
Variable = TypeVar("Variable", bound=ArrayLike)


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """What a fit needs to know of a parameter: its scale, the range of its starts, and the bounds of its values."""

    scale: Literal["log", "linear"]
    starts: tuple[float, float]
    bounds: tuple[float, float]


def positive(low: float, high: float, bounds: tuple[float, float] = (1e-12, 1e12)) -> Any:
    """The field of a positive parameter, fitted by its logarithm, started between `low` and `high`."""
    return dataclasses.field(metadata={"parameter": Parameter(scale="log", starts=(low, high), bounds=bounds)})


def real(low: float, high: float, bounds: tuple[float, float] = (-1e3, 1e3)) -> Any:
    """The field of a parameter of either sign, started between `low` and `high`."""
    return dataclasses.field(metadata={"parameter": Parameter(scale="linear", starts=(low, high), bounds=bounds)})


class AbstractFactor(abc.ABC):
    """One factor of a term: a positive function of some parameters and variables, known by its logarithm."""

    @property
    @abc.abstractmethod
    def names(self) -> tuple[str, ...]:
        """The parameters that it depends on."""

    @abc.abstractmethod
    def log(self, p: Named, x: Named) -> Any:
        """The logarithm of the factor; analytic in `p`, so that a complex step gives its slopes."""

    def slopes(self, p: Named, x: Named) -> dict[str, Any]:
        """The derivative of `log` in each parameter: exact, by a complex step; a factor may know it in closed form."""
        return {
            name: np.imag(self.log({**p, name: p[name] + _STEP * 1j}, x)) / _STEP for name in dict.fromkeys(self.names)
        }

    def with_slopes(self, p: Named, x: Named) -> tuple[Any, dict[str, Any]]:
        """`log` and `slopes`; a factor may have them share their work."""
        return self.log(p, x), self.slopes(p, x)


class AbstractLaw(abc.ABC):
    """A sum of products, or a power of one. Subclasses are final frozen dataclasses of `positive` and `real` fields."""

    #: The terms, each a tuple of factors that name the parameters.
    terms: ClassVar[tuple[tuple[AbstractFactor, ...], ...]]
    #: The variables that must be given, and those that may be left out with the value that stands for "none".
    needs: ClassVar[tuple[str, ...]]
    takes: ClassVar[Mapping[str, float]] = {}
    #: Those of them that may be 0.
    zero: ClassVar[tuple[str, ...]] = ()
    #: The parameter that the sum is raised to, where there is one.
    power: ClassVar[str | None] = None

    @classmethod
    def parameters(cls) -> dict[str, Parameter]:
        """What a fit needs to know of each parameter, in the order of the fields."""
        return dict(_parameters(cls))

    @property
    def values(self) -> dict[str, Value]:
        """The parameters by name."""
        return {name: getattr(self, name) for name in self.parameters()}

    def evaluate(self, variables: Mapping[str, ArrayLike]) -> Nats:
        """The law at the variables, broadcast; draws come first."""
        p, x = self._shaped(variables)
        top, _, whole = _over_largest(
            _totals(_partial(p), [[factor.log(p, x) for factor in term] for term in self.terms])
        )
        found = np.exp(top) * whole if self.power is None else np.exp(p[self.power] * (top + _log(whole)))
        if np.isnan(found).any():
            raise SimlawError(self._silence(p, x, np.asarray(np.isnan(found))))
        return found

    def log_slopes(self, variables: Mapping[str, ArrayLike]) -> tuple[Nats, NDArray[np.float64]]:
        """The logarithm of the law, and its derivative in every parameter's own scale on a last axis."""
        p, x = self._shaped(variables)
        found = [[factor.with_slopes(p, x) for factor in term] for term in self.terms]
        partial = _partial(p)
        top, each, whole = _over_largest(_totals(partial, [[log for log, _ in term] for term in found]))
        total = top + _log(whole)
        each /= whole
        scales = {name: p[name] if one.scale == "log" else 1.0 for name, one in self.parameters().items()}
        # in memory the parameters come first, so that every operation runs along the points
        slopes = np.zeros((len(scales), *np.shape(total)))
        rows = {name: slopes[i, ...] for i, name in enumerate(scales)}
        untouched = set(rows)
        for share, term in zip(each, found, strict=True):
            for _, of_factor in term:
                for name, slope in of_factor.items():
                    if partial:
                        # a term that is 0 has no slope, whatever of it was never fitted
                        untouched.discard(name)
                        rows[name] += np.where(share == 0, 0.0, share * (scales[name] * slope))
                    elif name in untouched:
                        np.multiply(share, scales[name] * slope, out=rows[name])
                        untouched.remove(name)
                    else:
                        rows[name] += share * (scales[name] * slope)
        if self.power is not None:
            slopes *= p[self.power]
            rows[self.power] += scales[self.power] * total
            total = p[self.power] * total
        return total, np.moveaxis(slopes, 0, -1)

    def _silence(self, p: Named, x: Named, silent: NDArray[np.bool_]) -> str:
        """Why the law says nothing at some points."""
        name = type(self).__name__
        at = {one: np.broadcast_to(value, silent.shape)[silent].flat[0] for one, value in x.items()}
        where = ", ".join(f"{one}={value:g}" for one, value in at.items() if np.isfinite(value))
        if unknown := [one for one, value in p.items() if np.isnan(value).all()]:
            return (
                f"{name} does not know {', '.join(unknown)}, and says nothing at {where}: no run that it was fitted to "
                "has such a precision; leave it out, or fit runs that have it"
            )
        return f"{name} says nothing at {where}: it holds for other values of its variables (see its equation)"

    def _shaped(self, variables: Mapping[str, ArrayLike]) -> tuple[Named, Named]:
        accepted = (*self.needs, *self.takes)
        for name in variables:
            if name not in accepted:
                raise SimlawError(f"{type(self).__name__} takes no {name}: it takes {', '.join(accepted)}")
        for name in self.needs:
            if name not in variables:
                raise SimlawError(f"{type(self).__name__} needs {name}: it takes {', '.join(accepted)}")
        x = {name: np.asarray(value, np.float64) for name, value in {**self.takes, **variables}.items()}
        for name, value in x.items():
            good = value >= 0 if name in self.zero else value > 0
            if not good.all():
                raise SimlawError(f"{name} is {value[~good].flat[0]:g}: sizes, tokens and bits are above 0")
        rank = max(value.ndim for value in x.values())
        p = {name: np.asarray(value) for name, value in self.values.items()}
        return {name: value.reshape(value.shape + (1,) * rank if value.ndim else ()) for name, value in p.items()}, x


class AbstractLossLaw(AbstractLaw):
    """A law of the loss in nats per token."""

    def loss(self, **variables: ArrayLike) -> Nats:
        """The loss in nats per token; the variables by name, broadcast against each other."""
        return self.evaluate(variables)


class AbstractPenalty(AbstractLaw):
    """A law of delta_PTQ, the loss added by post-training quantization, in nats per token."""

    def penalty(self, **variables: ArrayLike) -> Nats:
        """The added loss in nats per token; 0 at P_post = infinity."""
        return self.evaluate(variables)


@dataclass(frozen=True, kw_only=True)
class QuantizedLaw:
    """A law of the loss after quantization: loss as trained + penalty.

    Each variable goes to the parts that take it, and P_post, which is the penalty's own, to the base only where the
    penalty takes none (quantization-aware training at one precision, say).
    """

    base: AbstractLossLaw
    penalty: AbstractPenalty

    def loss(self, **variables: ArrayLike) -> Nats:
        """The loss in nats per token; without `P_post`, as trained.

        Raises `SimlawError` for a variable that neither part takes, and for one that a part needs.
        """
        base, added = self.route(variables)
        unrounded = {"P_post": math.inf} if "P_post" in self.penalty.needs else {}
        return self.base.loss(**base) + self.penalty.penalty(**{**unrounded, **added})

    def route(self, variables: Mapping[str, Variable]) -> tuple[dict[str, Variable], dict[str, Variable]]:
        """The variables that go to the base, and those that go to the penalty."""
        of_base, of_penalty = ((*part.needs, *part.takes) for part in (self.base, self.penalty))
        accepted = dict.fromkeys((*of_base, *of_penalty))
        for name in variables:
            if name not in accepted:
                forms = f"{type(self.base).__name__} + {type(self.penalty).__name__}"
                raise SimlawError(f"{forms} takes no {name}: it takes {', '.join(accepted)}")
        if "P_post" in of_penalty:
            of_base = tuple(name for name in of_base if name != "P_post")
        base = {name: value for name, value in variables.items() if name in of_base}
        return base, {name: value for name, value in variables.items() if name in of_penalty}


@functools.cache
def _parameters(form: type[AbstractLaw]) -> Mapping[str, Parameter]:
    fields = dataclasses.fields(form)  # type: ignore[arg-type]
    for field in fields:
        if "parameter" not in field.metadata:
            raise SimlawError(
                f"{form.__name__}.{field.name} is no parameter: make it one by `= positive(low, high)` or `= real(…)`"
            )
    return {field.name: field.metadata["parameter"] for field in fields}


def _partial(p: Named) -> bool:
    """Whether some parameter was never fitted."""
    return any(np.isnan(value).any() for value in p.values())


def _totals(partial: bool, logs: list[list[Any]]) -> list[Any]:
    """The logarithm of every term from those of its factors; `partial` where some of these may be NaN."""
    totals = [functools.reduce(np.add, term) for term in logs]
    if partial:
        # a term that is 0 stays 0, whatever of it was never fitted
        zeros = [np.any(np.broadcast_arrays(*map(np.isneginf, term)), axis=0) for term in logs]
        totals = [np.where(zero, -np.inf, total) for zero, total in zip(zeros, totals, strict=True)]
    return totals


def _over_largest(logs: list[Any]) -> tuple[Any, NDArray[np.float64], Any]:
    """The logarithm of the largest term at every point, each term over that one, and the sum of these."""
    each = np.empty((len(logs), *np.broadcast(*logs).shape))
    for i, log in enumerate(logs):
        each[i, ...] = log
    top = each.max(axis=0)
    # a term that is 0 everywhere (no quantization) has the logarithm -inf; so may the whole sum of a penalty
    top = np.where(np.isfinite(top), top, 0.0)
    each -= top
    np.exp(each, out=each)
    return top, each, each.sum(axis=0)


def _log(whole: Any) -> Any:
    with np.errstate(divide="ignore"):
        return np.log(whole)
