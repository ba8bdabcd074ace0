"""How what bits of a role cost in training goes with data and size, against what lost parameters would cost."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simlaw.claims.growth import Slope
from simlaw.errors import SimlawError
from simlaw.fitting.fit import fit
from simlaw.fitting.uncertainty import trunk_weights
from simlaw.laws import Chinchilla, PrecisionGrowing
from simlaw.observations import Observations

#: Resamplings of trunks.
_DRAWS = 200


@dataclass(frozen=True, kw_only=True)
class Exponents:
    """The exponents of a cost D^gD / N^gN, and `beyond`: gN less the alpha of full precision, of the same draws.

    Lost parameters cost A / N^alpha times a number, so that gD and `beyond` are 0; lost data cost in proportion to
    D^-beta, and an error that nothing mends has exponents of 0.
    """

    gD: Slope
    gN: Slope
    beyond: Slope


def exponents(seen: Observations, held: Mapping[str, float]) -> Exponents:
    """The exponents for rows of one role; `held` is full precision for their fit.

    The alpha of each draw is that of a Chinchilla fit to full precision in it. Raises `SimlawError` where the fit is
    not valid.
    """
    weights = trunk_weights(seen.trunk, seen.x["N"], draws=_DRAWS)
    plain = seen.keep(~seen.pairs)  # of the same trunks, so that a draw of one is a draw of the other
    base = fit(Chinchilla, plain, trunk_weights(plain.trunk, plain.x["N"], draws=_DRAWS))
    found = fit(PrecisionGrowing, seen, weights, fixed=held)
    if found.health != "VALID" or found.draws is None or base.draws is None:
        raise SimlawError(f"the fit of {type(found.law).__name__} is {found.health}: {found.sentence}; not identified")

    def slope(value: float, drawn: np.ndarray) -> Slope:
        spread = float(np.std(drawn, ddof=1))
        return Slope(value=value, spread=spread, freedom=weights.freedom, reach=float("nan"), drawn=drawn)

    data, size, alpha = (
        np.asarray(draws.values[name])
        for draws, name in ((found.draws, "gD"), (found.draws, "gN"), (base.draws, "alpha"))
    )
    gD, gN = (float(found.law.values[name]) for name in ("gD", "gN"))
    return Exponents(
        gD=slope(gD, data), gN=slope(gN, size), beyond=slope(gN - float(base.law.values["alpha"]), size - alpha)
    )
