"""Plausible laws of a form at some cells: what a design is judged at, so that no verdict hangs on one point."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from simlaw.designs.information import kinds_of
from simlaw.errors import SimlawError
from simlaw.fitting.problem import draw_starts
from simlaw.law import AbstractLaw, AbstractPenalty

#: How many laws a design is judged at.
LAWS = 32
#: Draws among which plausible ones are looked for, and kinds of cells at which they are.
_DRAWS, _CELLS = 4096, 48
#: No loss is above this, in nats per token: a uniform guess among a million tokens has 13.8.
_MOST = 15.0
#: The largest penalty of a design, in nats per token, lies between these.
_PENALTY = (0.01, 5.0)
#: A parameter matters where a change by its own size moves the logarithm of the law by this somewhere.
_MATTERS = 0.02


def plausible(
    form: type[AbstractLaw], x: Mapping[str, Float[np.ndarray, " n"]], known: AbstractLaw | None = None
) -> AbstractLaw:
    """Laws of the form as one law with a leading axis of at most `LAWS` draws.

    Those of `known`, a law or its bootstrap draws, where it is given. Otherwise drawn from the ranges that fits start
    from, where the law gives sensible losses or penalties at the cells `x` and every parameter matters. The same
    arguments give the same laws. Raises `SimlawError` where no draw is plausible.
    """
    if known is not None:
        values = {name: np.atleast_1d(np.asarray(value, np.float64)) for name, value in known.values.items()}
        count = max(len(value) for value in values.values())
        pick = np.unique(np.linspace(0, count - 1, min(count, LAWS)).astype(int))
        return form(**{name: np.broadcast_to(value, count)[pick] for name, value in values.items()})
    kinds, kind = kinds_of(x)
    picked = np.unique(np.linspace(0, kind.max(), _CELLS).astype(int))
    cells = {name: values[picked] for name, values in kinds.items()}
    parameters = form.parameters()
    starts = draw_starts(form, {name: one.bounds for name, one in parameters.items()}, _DRAWS, seed=0)
    drawn = form(**{name: np.exp(at) if parameters[name].scale == "log" else at for name, at in starts.items()})
    log, slopes = drawn.log_slopes(cells)
    seen = (slopes != 0).any(axis=(0, 1))
    good: np.ndarray = (np.abs(slopes).max(axis=1) > _MATTERS)[:, seen].all(axis=1)
    largest = np.exp(log).max(axis=1)
    low, high = _PENALTY if issubclass(form, AbstractPenalty) else (0.0, _MOST)
    good &= (low < largest) & (largest < high)
    if not good.any():
        raise SimlawError(
            f"no plausible {form.__name__} was found at these cells (N, D or bits far from any that it was used for): "
            "give one, law=…"
        )
    picked = np.flatnonzero(good)[:LAWS]
    return form(**{name: np.asarray(value)[picked] for name, value in drawn.values.items()})


def some(laws: AbstractLaw, count: int) -> AbstractLaw:
    """The first `count` of some laws with a leading axis."""
    return type(laws)(**{name: np.asarray(value)[:count] for name, value in laws.values.items()})


def law_at(laws: AbstractLaw, i: int) -> AbstractLaw:
    """The i-th of some laws with a leading axis, counted round and round."""
    values = {name: np.asarray(value) for name, value in laws.values.items()}
    return type(laws)(**{name: float(each[i % len(each)]) for name, each in values.items()})
