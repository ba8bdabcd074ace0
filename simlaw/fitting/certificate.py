"""The certificate of a fit: what speaks for its optimum, and the health that follows, with a sentence."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from simlaw.fitting.lm import FLAT, NOTHING, Minima, minimise
from simlaw.fitting.newton import polish
from simlaw.fitting.objective import deviance
from simlaw.fitting.problem import Problem
from simlaw.fitting.varpro import Projected

#: Two starts, and two engines, agree where their objectives are this close, relatively.
AGREE = 1e-6
#: Steps after which most starts have arrived; if they have, the stragglers are counted and not waited for.
_ARRIVED = 80
#: Relative excess of the second engine's objective from which it found another minimum, and not this one.
_APART = 1e-3
#: A parameter whose factor of e moves every row by less than this, in the units of the objective, does nothing.
_NO_EFFECT = 1e-6
#: The likelihood ratio from which a precision has an effect: chi-squared of scale and offset at 1 %.
_WORTH = 9.21
#: Draws that may fail, or end at a bound, before the fit counts as not identified.
LOST_DRAWS = 0.05
#: Scales of precision: at their lower bound the precision has no effect, whatever the bits.
COLLAPSING = ("g_w", "g_a", "g_kv", "g_post")

Health = Literal[
    "VALID", "NOT_CONVERGED", "STARTS_DISAGREE", "ENGINES_DISAGREE", "AT_BOUND", "COLLAPSED", "NOT_IDENTIFIED"
]


@dataclass(frozen=True, kw_only=True)
class Search:
    """Where all starts ended, which of them agree with the lowest, and the best of these to its last digits.

    `gradient` is the cosine of the angle between residuals and slopes there, the largest of all parameters.
    """

    minima: Minima
    agree: Bool[np.ndarray, " k"]
    theta: Float[np.ndarray, " p"]
    objective: float
    gradient: float

    @property
    def converged(self) -> bool:
        """Whether the best is a minimum."""
        return self.gradient <= FLAT


def search(problem: Problem) -> Search:
    """The minima that the problem's starts lead to."""
    residuals = problem.residuals()
    found = minimise(residuals, problem.starts, problem.low, problem.high, iterations=_ARRIVED)
    first = judged(found, problem)
    left = ~found.converged
    if not left.any() or (first.agree & found.converged).mean() >= 0.5:
        return first
    more = minimise(residuals, found.theta[left], problem.low, problem.high)
    return judged(_replaced(found, left, more), problem)


def reconsidered(problem: Problem, reached: Search, second: Projected | None) -> Search:
    """The search with where the second engine ended as one more start, if that is lower than any of them reached."""
    if second is None or not second.objective < reached.objective * (1 - AGREE) - rounding(problem):
        return reached
    more = minimise(problem.residuals(), second.theta[None], problem.low, problem.high)
    return judged(Minima.joined([reached.minima, more]), problem)


def judged(found: Minima, problem: Problem) -> Search:
    """The search that these minima make: the flattest of the lowest is the best."""
    agree = found.cost <= np.nanmin(found.cost) * (1 + AGREE) + rounding(problem)
    best = int(np.argmin(np.where(agree, found.gradient, np.inf)))
    residuals = problem.residuals()
    theta, objective = polish(residuals, found.theta[best], problem.low, problem.high)
    gradient = _slope(problem, theta)
    if gradient > FLAT:
        # a kink of the Huber function stopped Newton
        again = minimise(residuals, theta[None], problem.low, problem.high)
        theta, objective, gradient = again.theta[0], float(again.cost[0]), float(again.gradient[0])
    return Search(minima=found, agree=agree, theta=theta, objective=objective, gradient=gradient)


def rounding(problem: Problem) -> float:
    """The objective of residuals that are nothing but rounding."""
    return NOTHING**2 * len(problem.seen.y) / 2


def condition(jacobian: Float[np.ndarray, "n p"]) -> float:
    """The condition number of the Jacobian with columns of length 1: collinearity, whatever the parameters' units."""
    singular = spectrum(jacobian)
    known = (jacobian != 0).any(axis=0).all() and singular[-1] > 0
    return float(singular[0] / singular[-1]) if known else float("inf")


def spectrum(jacobian: Float[np.ndarray, "*k n p"]) -> Float[np.ndarray, "*k m"]:
    """The singular values of each Jacobian with columns of length 1, the largest first."""
    length = np.sqrt(np.sum(jacobian**2, axis=-2, keepdims=True))
    return np.linalg.svd(jacobian / np.where(length > 0, length, 1.0), compute_uv=False)


def health(
    problem: Problem, reached: Search, excess: float | None, jacobian: Float[np.ndarray, "n p"], drawn: Minima | None
) -> tuple[Health, str]:
    """The health of a fit and a sentence; the first thing that speaks against it decides.

    `excess` is by how much the second engine ended above the best start, relatively; None without one. `jacobian` is
    that of the residuals at the best. Without draws, the slopes and the residuals say how uncertain a parameter is.
    """
    low, high, names = problem.low, problem.high, problem.free
    theta = reached.theta
    at = [name for name, value, a, b in zip(names, theta, low, high, strict=True) if min(value - a, b - value) < 1e-6]
    idle = [name for name, most in zip(names, np.abs(jacobian).max(axis=0), strict=True) if most < _NO_EFFECT]
    gone = [name for name in at if theta[names.index(name)] - low[names.index(name)] < 1e-6] + idle
    if collapsed := [name for name in COLLAPSING if name in gone]:
        return "COLLAPSED", (
            f"{', '.join(collapsed)} ran to 0: the rows show no effect of that precision; add lower bits or fix it"
        )
    if at:
        return "AT_BOUND", f"{', '.join(at)} ended at a bound: the data do not hold it; fix it or add data"
    if not reached.converged:
        return "NOT_CONVERGED", f"the gradient is still {reached.gradient:.1e}: no minimum was reached"
    if idle:
        return "NOT_IDENTIFIED", f"{', '.join(idle)} moves no row: add rows that it acts on, or fix it"
    if lost := [name for name in COLLAPSING if name in names and not _acts(problem, reached, name)]:
        return "COLLAPSED", (
            f"without {', '.join(lost)} the rows are as likely: they show no effect of that precision beyond the "
            "noise; add lower bits or fix it"
        )
    conditioned = condition(jacobian)
    if conditioned > 1e7:
        return "NOT_IDENTIFIED", f"the condition number is {conditioned:.1e}: two parameters do the same work; fix one"
    if drawn is None:
        spread, whence = _by_slopes(problem, reached, jacobian), "by the slopes"
    else:
        spread, whence = drawn.theta.std(axis=0), "between draws"
        failed = ~drawn.converged | ((drawn.theta - low < 1e-6) | (high - drawn.theta < 1e-6)).any(axis=1)
        if failed.mean() > LOST_DRAWS:
            return "NOT_IDENTIFIED", f"{failed.mean():.0%} of the draws reach no minimum inside the bounds: add data"
    if loose := [
        name for name, one in zip(names, spread, strict=True) if problem.scale(name) == "log" and one > np.log(10)
    ]:
        return "NOT_IDENTIFIED", f"{', '.join(loose)} varies more than tenfold {whence}: add data or fix it"
    agreeing = reached.agree.mean()
    if agreeing < 0.5:
        return "STARTS_DISAGREE", f"only {agreeing:.0%} of the starts reached the best objective: look at the others"
    sentence = f"{agreeing:.0%} of {len(reached.agree)} starts agree"
    if excess is None:
        return "VALID", sentence
    if excess > _APART:
        return "ENGINES_DISAGREE", (
            f"{sentence}, but variable projection ended {excess:.2g} above them, relatively: bound the parameters, or "
            "add rows"
        )
    return "VALID", f"{sentence}, and so does variable projection"


def _acts(problem: Problem, reached: Search, name: str) -> bool:
    """Whether a scale of precision is worth its parameters: a likelihood ratio against the fit with it at its bound."""
    i = problem.free.index(name)
    start, high = reached.theta.copy(), problem.high.copy()
    start[i] = high[i] = problem.low[i]
    without = minimise(problem.residuals(), start[None], problem.low, high).cost[0]
    rows, told = len(problem.seen.y), (problem.kind, problem.threshold)
    return deviance(float(without), rows, *told) - deviance(reached.objective, rows, *told) > _WORTH


def _by_slopes(problem: Problem, reached: Search, jacobian: Float[np.ndarray, "n p"]) -> Float[np.ndarray, " p"]:
    """Standard errors of the scaled parameters from the slopes at the best, as if rows were independent."""
    freedom = max(1, len(problem.seen.y) - len(problem.free))
    variance = 2 * reached.objective / freedom
    if problem.kind == "weighted":
        variance = max(1.0, variance)
    covariance = variance * np.linalg.pinv(jacobian.T @ jacobian, hermitian=True)
    return np.sqrt(np.maximum(np.diagonal(covariance), 0.0))


def _slope(problem: Problem, theta: Float[np.ndarray, " p"]) -> float:
    """The measure of flatness of `lm.minimise` at one point."""
    r, j = (one[0] for one in problem.residuals()(theta[None], np.arange(1)))
    if np.sqrt(np.mean(r * r)) < NOTHING:
        return 0.0
    gradient = j.T @ r
    held = ((theta <= problem.low) & (gradient > 0)) | ((theta >= problem.high) & (gradient < 0))
    length = np.linalg.norm(j, axis=0) * np.linalg.norm(r)
    return float(np.max(np.where(held, 0.0, np.abs(gradient)) / np.maximum(length, 1e-300)))


def _replaced(found: Minima, left: Bool[np.ndarray, " k"], more: Minima) -> Minima:
    theta, cost, gradient, converged = (x.copy() for x in (found.theta, found.cost, found.gradient, found.converged))
    theta[left], cost[left], gradient[left], converged[left] = more.theta, more.cost, more.gradient, more.converged
    return Minima(theta=theta, cost=cost, gradient=gradient, converged=converged)
