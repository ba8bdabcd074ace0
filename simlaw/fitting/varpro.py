"""Variable projection: the second engine of a fit, which a certificate compares with the first.

Parameters that multiply whole terms are eliminated: for given exponents the best of them are a linear least-squares
solution, and only the exponents are searched (Golub and Pereyra 1973; Kaufman 1975 for the slopes). An objective of log
losses is brought to that form by reweighting, and ends with Newton's steps on the objective itself.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from simlaw.fitting.lm import Residuals, minimise
from simlaw.fitting.newton import polish
from simlaw.fitting.problem import Problem
from simlaw.law import AbstractLaw
from simlaw.laws.factors import Coefficient

#: Starts of the second engine: enough to look beyond one valley.
STARTS = 3
#: Rounds of reweighting, each a few steps.
ROUNDS, _STEPS = 6, 6


@dataclass(frozen=True, kw_only=True)
class Projected:
    """Where variable projection ended: scaled parameters and the objective there."""

    theta: Float[np.ndarray, " p"]
    objective: float


def multipliers(form: type[AbstractLaw]) -> tuple[str, ...]:
    """The parameters that multiply one term each and occur nowhere else: the law is linear in them."""
    if form.power is not None:
        return ()
    named = [name for term in form.terms for factor in term for name in factor.names]
    heads = [factor.name for term in form.terms for factor in term if isinstance(factor, Coefficient)]
    return tuple(name for name in heads if named.count(name) == 1)


def project(problem: Problem, starts: int = STARTS, rounds: int = ROUNDS) -> Projected | None:
    """The best minimum that variable projection finds; None where the problem has no part to eliminate.

    Rows that are paired differences are no linear part of one law, so joint fits have no second engine.
    """
    view = _View.of(problem)
    if view is None or problem.seen.pairs.any():
        return None
    rest = list(view.rest)
    phi = problem.starts[:starts, rest]
    y = problem.seen.y
    weights = np.tile(_first_weights(problem), (len(phi), 1))
    least_squares = problem.kind in ("nats", "weighted")
    for _ in range(1 if least_squares else rounds):
        found = minimise(
            view.residuals(weights),
            phi,
            problem.low[rest],
            problem.high[rest],
            iterations=500 if least_squares else _STEPS,
        )
        phi = found.theta
        theta = view.joined(phi, weights)
        if least_squares:
            break
        value = problem.law(theta.T).evaluate(problem.seen.x)
        weights = _reweighted(value, y, problem.threshold if problem.kind == "huber" else np.inf)
    cost = _cost(problem, theta)
    best = theta[int(np.argmin(cost))]
    if not least_squares:
        polished, objective = polish(problem.residuals(), best, problem.low, problem.high)
        return Projected(theta=polished, objective=objective)
    return Projected(theta=best, objective=float(_cost(problem, best[None])[0]))


def lifted(problem: Problem) -> Problem:
    """The problem with starts on the floor of the valley: at their exponents, the best coefficients inside the bounds.

    From there most starts arrive in half the steps. A start whose best coefficient is outside keeps the drawn ones.
    """
    view = _View.of(problem)
    if view is None or problem.seen.pairs.any():
        return problem
    linear, starts = list(view.linear), problem.starts
    theta = view.joined(starts[:, list(view.rest)], np.tile(_first_weights(problem), (len(starts), 1)))
    inside = (theta > problem.low) & (theta < problem.high)
    good = inside[:, linear].all(axis=1) & np.isfinite(theta).all(axis=1)
    return replace(problem, starts=np.where(good[:, None], theta, starts))


@dataclass(frozen=True, kw_only=True)
class _View:
    """A problem seen from its exponents."""

    problem: Problem
    linear: tuple[int, ...]
    rest: tuple[int, ...]

    @classmethod
    def of(cls, problem: Problem) -> "_View | None":
        """The view of a problem; None where nothing can be eliminated, or nothing would be left."""
        names = multipliers(problem.form)
        linear = tuple(i for i, name in enumerate(problem.free) if name in names)
        rest = tuple(i for i in range(len(problem.free)) if i not in linear)
        return cls(problem=problem, linear=linear, rest=rest) if linear and rest else None

    def joined(self, phi: Float[np.ndarray, "k q"], weights: Float[np.ndarray, "k n"]) -> Float[np.ndarray, "k p"]:
        """All parameters, the linear ones at their best."""
        basis, other = self._basis(phi)
        solved, _ = self._solved(basis, other, np.sqrt(weights))
        return self._theta(phi, solved)

    def residuals(self, weights: Float[np.ndarray, "k n"]) -> Residuals:
        """Residuals and slopes of the exponents alone, the linear part projected out of both."""

        def found(phi: Float[np.ndarray, "k q"], which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            root = np.sqrt(weights[which])
            basis, other = self._basis(phi)
            solved, q = self._solved(basis, other, root)
            log, slopes = self.problem.law(self._theta(phi, solved).T).log_slopes(self.problem.seen.x)
            value = np.exp(log)
            slopes = slopes[:, :, self.problem.columns()][:, :, list(self.rest)]
            j = (value * root)[:, :, None] * slopes
            return (value - self.problem.seen.y) * root, j - q @ (q.transpose(0, 2, 1) @ j)

        return found

    def _basis(self, phi: Float[np.ndarray, "k q"]) -> tuple[Float[np.ndarray, "k n m"], Float[np.ndarray, "k n"]]:
        """The terms with a coefficient of 1, and what the law holds beside them."""
        unit = self._theta(phi, np.ones((len(phi), len(self.linear))))
        log, slopes = self.problem.law(unit.T).log_slopes(self.problem.seen.x)
        value = np.exp(log)
        basis = value[:, :, None] * slopes[:, :, self.problem.columns()][:, :, list(self.linear)]
        return basis, value - basis.sum(axis=2)

    def _solved(
        self, basis: Float[np.ndarray, "k n m"], other: Float[np.ndarray, "k n"], root: Float[np.ndarray, "k n"]
    ) -> tuple[Float[np.ndarray, "k m"], Float[np.ndarray, "k n m"]]:
        """The best coefficients inside their bounds, and an orthonormal basis of the directions that they span."""
        scaled = basis * root[:, :, None]
        length = np.sqrt(np.sum(scaled**2, axis=1, keepdims=True))
        length = np.where(length > 0, length, 1.0)
        q, upper = np.linalg.qr(scaled / length)
        target = (self.problem.seen.y - other) * root
        # directions that the rows cannot tell apart are damped, not divided by
        upper = upper + 1e-12 * np.eye(upper.shape[1])
        solved = np.linalg.solve(upper, q.transpose(0, 2, 1) @ target[:, :, None])[:, :, 0] / length[:, 0]
        low, high = np.exp(self.problem.low[list(self.linear)]), np.exp(self.problem.high[list(self.linear)])
        return np.clip(solved, low, high), q

    def _theta(self, phi: Float[np.ndarray, "k q"], coefficients: Float[np.ndarray, "k m"]) -> np.ndarray:
        theta = np.empty((len(phi), len(self.linear) + len(self.rest)))
        theta[:, list(self.rest)] = phi
        theta[:, list(self.linear)] = np.log(coefficients)
        return theta


def _first_weights(problem: Problem) -> Float[np.ndarray, " n"]:
    seen = problem.seen
    if problem.kind == "weighted":
        return 1 / seen.sigma**2
    return np.ones_like(seen.y) if problem.kind == "nats" else 1 / seen.y**2


def _reweighted(value: np.ndarray, y: Float[np.ndarray, " n"], limit: float) -> Float[np.ndarray, "k n"]:
    """Weights of squares in nats that have the slopes of the objective at these values."""
    r = np.log(value / y)
    pull = np.clip(r, -limit, limit)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = pull / (value * (value - y))
    return np.where(np.abs(r) > 1e-9, weights, 1 / value**2)


def _cost(problem: Problem, theta: Float[np.ndarray, "k p"]) -> Float[np.ndarray, " k"]:
    r, _ = problem.residuals()(theta, np.arange(len(theta)))
    return 0.5 * np.sum(r * r, axis=1)
