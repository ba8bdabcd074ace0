"""Options: the formats that a law can weigh, each quantized after training or in it, at its best size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from simlaw.decision.bestsize import best_sizes
from simlaw.decision.resources import WEIGHTS, Option, Resources, Training
from simlaw.decision.shipped import Shipped
from simlaw.decision.surface import Surface, parts
from simlaw.errors import SimlawError
from simlaw.law import AbstractLossLaw, QuantizedLaw
from simlaw.report import span


@dataclass(frozen=True, kw_only=True)
class Plans:
    """Options at their best sizes: parameters, tokens, loss in nats per token, and the precisions of each."""

    options: tuple[Option, ...]
    params: Float[np.ndarray, " f"]
    tokens: Float[np.ndarray, " f"]
    loss: Float[np.ndarray, " f"]

    @property
    def precisions(self) -> dict[str, Float[np.ndarray, " f"]]:
        """The variables of precision that any option sets, infinite where it does not."""
        return _precisions(self.options)


def options_of(
    surface: Surface, formats: Sequence[Shipped], training: Sequence[Training] | None
) -> tuple[list[Option], dict[str, str]]:
    """The options that the law can weigh, and why others are left out, by their names.

    `training` are the ways to train in a format; None is weights alone where the law knows P_w. Raises `SimlawError`
    where the law knows no precision, or not those of a training that was asked for.
    """
    ranges, knows = surface.ranges, surface.precisions
    kinds: list[Training | None] = [None] if "P_post" in knows else []
    if training is None:
        kinds += [WEIGHTS] if "P_w" in knows else []
    else:
        for asked in training:
            if lacking := [role for role in asked.roles if role not in knows]:
                raise SimlawError(
                    f"{surface.name} does not know {', '.join(lacking)}, which training {asked.name!r} sets: it knows "
                    f"{', '.join(knows) or 'no precision'}"
                )
        kinds += training
    if not kinds and surface.precisions:
        raise SimlawError(
            f"{surface.name} knows {', '.join(surface.precisions)} alone, and training in low precision is left out: "
            "name what may be trained, or give penalty=…"
        )
    if not kinds:
        raise SimlawError(
            f"{surface.name} knows neither P_post nor P_w, so it cannot weigh formats: give penalty=…, or take allocate"
        )
    found, left_out = [], {}
    for form in formats:
        if np.isinf(form.bits):
            found.append(Option(format=form))
            continue
        for kind in kinds:
            option = Option(format=form, training=kind)
            limits = {role: ranges.get(role, (0.0, np.inf)) for role in option.precisions}
            outside = [role for role, (low, high) in limits.items() if not low <= form.bits <= high]
            if outside:
                low, high = limits[outside[0]]
                left_out[f"{form.name}, {option.how}"] = (
                    f"{form.bits:g} bits are outside the {outside[0]} of {span(low, high)} that was measured"
                )
            else:
                found.append(option)
    return found, left_out


def best_plans(
    law: AbstractLossLaw | QuantizedLaw, resources: Resources, options: Sequence[Option], left_out: dict[str, str]
) -> Plans:
    """Every option at its best size; those that fit no size, or that the law cannot judge, are put in `left_out`.

    Raises `SimlawError` where none is left, and where the law would have the smallest model of all.
    """
    unknown = any(np.isnan(value).all() for part in parts(law) for value in part.values.values())
    kept = []
    for option in options:
        name = f"{option.format.name}, {option.how}"
        if not resources.largest(option):
            left_out[name] = "no size fits"
        elif unknown and (why := _refused(law, option)):
            left_out[name] = why
        else:
            kept.append(option)
    if not kept:
        raise SimlawError(f"no model fits {resources}: raise the budget or serve fewer tokens")
    params = own_sizes(law, resources, kept)
    if low := [option for option, n in zip(kept, params, strict=True) if n <= 1 < resources.largest(option)]:
        raise SimlawError(
            f"by the law one parameter is the best size in {low[0].format.name} {resources}, so there the law means "
            "nothing: give another budget, or mend the law"
        )
    return plans_at(law, resources, kept, params)


def plans_at(
    law: AbstractLossLaw | QuantizedLaw,
    resources: Resources,
    options: Sequence[Option],
    params: float | Float[np.ndarray, " f"],
) -> Plans:
    """Options at given sizes, with the tokens that the resources leave them."""
    n = np.broadcast_to(np.asarray(params, np.float64), (len(options),))
    d = tokens_of(resources, options, n[:, None])[:, 0]
    return Plans(options=tuple(options), params=n, tokens=d, loss=law.loss(N=n, D=d, **_precisions(options)))


def own_sizes(
    law: AbstractLossLaw | QuantizedLaw, resources: Resources, options: Sequence[Option]
) -> Float[np.ndarray, "... f"]:
    """The best size of every option, in every draw of a law that has draws."""
    most = np.array([resources.largest(option) for option in options])
    reach = np.array([resources.reach(option) for option in options])
    each = {name: values[:, None] for name, values in _precisions(options).items()}

    def loss(n: Float[np.ndarray, "f g"]) -> Float[np.ndarray, "... f g"]:
        found: Float[np.ndarray, "... f g"] = law.loss(N=n, D=tokens_of(resources, options, n), **each)
        return found

    return best_sizes(loss, np.where(np.isfinite(reach), reach, most), most)


def tokens_of(resources: Resources, options: Sequence[Option], n: Float[np.ndarray, "f g"]) -> Float[np.ndarray, "f g"]:
    """The training tokens of sizes, a row for each option."""
    return np.stack([resources.tokens_for(row, option) for row, option in zip(n, options, strict=True)])


def _precisions(options: Sequence[Option]) -> dict[str, Float[np.ndarray, " f"]]:
    names = dict.fromkeys(name for option in options for name in option.precisions)
    return {name: np.array([float(option.precisions.get(name, np.inf)) for option in options]) for name in names}


def _refused(law: AbstractLossLaw | QuantizedLaw, option: Option) -> str | None:
    """Why a law with parameters that nobody fitted cannot judge an option."""
    if option.plain:
        return None
    try:
        law.loss(N=1e6, D=1e8, **option.precisions)
    except SimlawError as error:
        return str(error)
    return None
