"""The objective of a fit: what a law leaves over at each row, in the units that are summed.

A loss is fitted by the summed Huber function of its log residual, by least squares of it, or by least squares in nats;
a penalty by weighted least squares. Rows that are `paired` (the added loss of a quantized checkpoint, or of training in
low precision) join the losses of a law that knows the precision: their residual, of the difference of two losses, is
weighed by how much noisier they are.
"""

import math
from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from simlaw.errors import SimlawError
from simlaw.fitting.lm import huber
from simlaw.law import AbstractLaw, AbstractLossLaw, AbstractPenalty
from simlaw.observations import Observations

#: "huber" is the sum of Huber terms of log residuals, "log" and "nats" are least squares of log losses and of losses,
#: "weighted" is least squares in standard deviations.
Objective = Literal["huber", "log", "nats", "weighted"]
#: Threshold of the Huber function on log losses (Hoffmann et al. 2203.15556).
HUBER_DELTA = 1e-3
#: In standard deviations, the threshold that costs 5 % of the efficiency where the noise is normal (Huber 1981).
_EFFICIENT = 1.345


def objective_of(form: type[AbstractLaw], asked: Objective | None) -> Objective:
    """The objective of a form: "weighted" for a penalty, "huber" for any other that asks for none.

    Raises `SimlawError` where the form cannot be fitted by the one that is asked for.
    """
    fitting: tuple[Objective, ...] = ("weighted",) if issubclass(form, AbstractPenalty) else ("huber", "log", "nats")
    if asked is not None and asked not in fitting:
        raise SimlawError(
            f"objective={asked!r} does not fit {form.__name__}: take {' or '.join(repr(one) for one in fitting)}"
        )
    return asked or fitting[0]


def threshold(seen: Observations) -> float:
    """The threshold of the Huber function: 1e-3, or 1.345 standard deviations where replicates tell that they are more.

    Far below the noise the Huber sum is a sum of absolute values: its optimum scatters by half as much again, and the
    draws of a bootstrap stop at its kinks.
    """
    plain = ~seen.pairs
    spread = float(np.median(seen.sigma[plain] / seen.y[plain])) if plain.any() else float("nan")
    return max(HUBER_DELTA, _EFFICIENT * spread) if np.isfinite(spread) else HUBER_DELTA


def shown(form: type[AbstractLaw], seen: Observations) -> Observations:
    """The rows with the variables that a form knows; one that it does not know may not vary.

    Raises `SimlawError` where the rows differ in something that the form cannot see, or hold penalties that it cannot
    say.
    """
    known = (*form.needs, *form.takes)
    changed = seen.changed
    if seen.pairs.any() and (not issubclass(form, AbstractLossLaw) or not changed <= set(known)):
        raise SimlawError(
            f"{form.__name__} cannot be fitted to losses and penalties at once: take a law of the loss that knows "
            f"{', '.join(sorted(changed))}, such as PrecisionExponential, or fit the two apart"
        )
    if issubclass(form, AbstractPenalty) != (seen.response == "delta"):
        raise SimlawError(
            f"{form.__name__} is a law of the {'added loss' if seen.response == 'loss' else 'loss'}, and the rows are "
            f"{'losses' if seen.response == 'loss' else 'penalties'}: name the column of "
            f"{'penalties, delta=…' if seen.response == 'loss' else 'losses, loss=…'}, or take another form"
        )
    for name, values in seen.x.items():
        if name not in known and len(values) and (values != values[0]).any():
            raise SimlawError(
                f"{form.__name__} knows no {name}, in which the rows differ: fit rows of one {name}, or a form that "
                f"knows it; it takes {', '.join(known)}"
            )
    return replace(
        seen,
        x={name: values for name, values in seen.x.items() if name in known},
        against=seen.against and {name: values for name, values in seen.against.items() if name in known},
    )


def predicted(law: AbstractLaw, seen: Observations) -> Float[np.ndarray, "... n"]:
    """What a law says of each row: its value; of a paired row, its value above that of the loss it is paired with."""
    found = law.evaluate(seen.x)
    if not seen.pairs.any():
        return found
    return np.where(seen.pairs, found - law.evaluate(_partners(seen)), found)


def residuals(law: AbstractLaw, seen: Observations, kind: Objective) -> Float[np.ndarray, "... n"]:
    """What the law leaves over at each row, in the units of the objective, before any Huber function."""
    found = predicted(law, seen)
    if kind == "weighted":
        return (found - seen.y) / seen.sigma
    loss = (
        found - seen.y
        if kind == "nats"
        else np.log(np.where(seen.pairs, 1.0, found) / np.where(seen.pairs, 1.0, seen.y))
    )
    return np.where(seen.pairs, (found - seen.y) * _paired_scale(seen, kind), loss)


def terms(
    law: AbstractLaw, seen: Observations, kind: Objective, limit: float
) -> tuple[Float[np.ndarray, "k n"], Float[np.ndarray, "k n p"]]:
    """The terms whose squares a fit sums, of k laws in one, and their slopes in every parameter's own scale.

    `limit` is the threshold of a Huber sum.
    """
    log, slopes = law.log_slopes(seen.x)
    if kind == "weighted":
        value = np.exp(log)
        return (value - seen.y) / seen.sigma, (value / seen.sigma)[..., None] * slopes
    if kind == "nats":
        value = np.exp(log)
        r, j = value - seen.y, value[..., None] * slopes
    else:
        r, j = log - np.log(np.where(seen.pairs, 1.0, seen.y)), slopes
    if seen.pairs.any():
        log_plain, slopes_plain = law.log_slopes(_partners(seen))
        scale = _paired_scale(seen, kind)
        with np.errstate(over="ignore", invalid="ignore"):
            full, plain = np.exp(log), np.exp(log_plain)
            r = np.where(seen.pairs, (full - plain - seen.y) * scale, r)
            rise = full[..., None] * slopes - plain[..., None] * slopes_plain
        j = np.where(seen.pairs[:, None], rise * scale[:, None], j)
    return huber(r, j, limit) if kind == "huber" else (r, j)


def deviance(total: float, rows: int, kind: Objective, limit: float | None) -> float:
    """Twice the negative log-likelihood of residuals with this objective, at the likeliest scale, up to a constant.

    The likelihood is the one whose mode the objective finds: normal for sums of squares; for a Huber sum the density
    exp(-huber(r) / t) / z(t), which far below the noise is Laplace's.
    """
    total = max(total, 1e-300)
    if kind != "huber" or limit is None:
        return rows * math.log(2 * total / rows)
    scales = np.geomspace(1e-4, 1e4, 801) * total / rows
    ratio = limit / np.sqrt(2 * scales)
    inside = np.sqrt(2 * np.pi * scales) * np.array([math.erf(one) for one in ratio])
    outside = 2 * scales / limit * np.exp(-(ratio**2))
    each = 2 * rows * np.log(inside + outside) + 2 * total / scales
    return float(each.min()) - rows * (1 + math.log(2 * math.pi))


def _partners(seen: Observations) -> dict[str, Float[np.ndarray, " n"]]:
    """The variables of what each paired row is the difference to."""
    return {**seen.x, **(seen.against or {"P_post": np.full_like(seen.y, np.inf)})}


def _paired_scale(seen: Observations, kind: Objective) -> Float[np.ndarray, " n"]:
    """What turns nats of a paired row into the unit of the loss rows, so that both are as many deviations.

    Where the noise is not known, a nat counts the same in both.
    """
    plain = ~seen.pairs
    level = 1.0 if kind == "nats" else float(np.median(seen.y[plain])) if plain.any() else 1.0
    spread = float(np.median(seen.sigma[plain])) if plain.any() else np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = spread / seen.sigma / level
    return np.where(np.isfinite(scale) & (scale > 0), scale, 1.0 / level)
