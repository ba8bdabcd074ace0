"""Simulation: the rows that a design would give if a known law were true, with known noise.

Before compute is spent it says what a design could identify; after, it is the truth that fits must find again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from simlaw.errors import SimlawError
from simlaw.fitting import Fit
from simlaw.law import AbstractLaw, AbstractPenalty, QuantizedLaw
from simlaw.observations import Observations
from simlaw.published import Published


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How rows scatter: standard deviations of normal errors.

    Of the log of a loss, `trunk` is shared by all rows of a trunk and `row` is a row's own. Of a penalty, `relative`
    (to the penalty) is shared by all rows of a trunk, and `floor` (nats) is a row's own.
    """

    trunk: float
    row: float = 0.0
    relative: float = 0.0
    floor: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (np.isfinite(value) and value >= 0):
                raise SimlawError(f"Noise.{name} is {value:g}: a standard deviation is 0 or more; mend it")


def simulate(
    law: AbstractLaw | QuantizedLaw | Published | Fit,
    x: Mapping[str, Float[np.ndarray, " n"]],
    trunk: Sequence[str],
    *,
    noise: Noise,
    seed: int = 0,
) -> Observations:
    """Observations drawn from a law at the variables `x` of n rows that belong to these trunks, in nats per token.

    `sigma` is the noise that they were drawn with, at the law's own values. Of a law that joins a loss with a penalty,
    each part has its own noise. Equal arguments give equal rows. Raises `SimlawError` where the lengths differ, where
    the law does not take the variables, and where a row would have no noise at all, and so no weight in a fit.
    """
    lengths = {name: len(values) for name, values in x.items()} | {"trunk": len(trunk)}
    if len(set(lengths.values())) != 1:
        raise SimlawError(f"the columns differ in length ({lengths}): give one value and one trunk for each row")
    rng = np.random.default_rng(seed)
    names, place = np.unique(np.asarray(trunk, object).astype(str), return_inverse=True)
    # one place for each kind of error, drawn whether it is used or not: two noises differ by their scales alone
    shared, own = rng.normal(size=(2, len(names)))[:, place], rng.normal(size=(2, len(trunk)))
    y, variance = np.zeros(len(trunk)), np.zeros(len(trunk))
    for part, given in _parts(law, x):
        true = part.evaluate(given)
        if isinstance(part, AbstractPenalty):
            # what is not quantized has neither a penalty nor an error of it
            floor = np.where(np.isinf(x["P_post"]), 0.0, noise.floor) if "P_post" in x else noise.floor
            y += true * (1 + noise.relative * shared[1]) + floor * own[1]
            variance += (noise.relative * true) ** 2 + floor**2
        else:
            y += true * np.exp(noise.trunk * shared[0] + noise.row * own[0])
            variance += true**2 * (noise.trunk**2 + noise.row**2)
    if not (variance > 0).all():
        raise SimlawError(f"{noise} leaves rows without any noise, by which fits weigh them: give them a little")
    return Observations(x=dict(x), y=y, sigma=np.sqrt(variance), trunk=tuple(trunk), left_out={})


def _parts(
    law: AbstractLaw | QuantizedLaw | Published | Fit, x: Mapping[str, Float[np.ndarray, " n"]]
) -> list[tuple[AbstractLaw, Mapping[str, Float[np.ndarray, " n"]]]]:
    """The law, or the loss and the penalty that it joins, each with its variables."""
    one = law.law if isinstance(law, Published | Fit) else law
    if isinstance(one, AbstractLaw):
        return [(one, x)]
    parts = (one.base, one.penalty)
    known = {name for part in parts for name in (*part.needs, *part.takes)}
    if strange := sorted(set(x) - known):
        raise SimlawError(f"the law takes no {strange[0]}: it takes {', '.join(sorted(known))}")
    return [(part, {name: x[name] for name in (*part.needs, *part.takes) if name in x}) for part in parts]
