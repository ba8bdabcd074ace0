"""Options: the formats that a law can weigh, each quantized after training or in it, at its best size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from simlaw.decision.resources import WEIGHTS, Option, Resources, Training
from simlaw.decision.shipped import Shipped
from simlaw.decision.surface import Surface
from simlaw.errors import SimlawError
from simlaw.law import AbstractLaw, AbstractLossLaw, QuantizedLaw
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
    law, ranges, knows = surface.law, surface.ranges, surface.precisions
    kinds: list[Training | None] = [None] if "P_post" in knows else []
    if training is None:
        kinds += [WEIGHTS] if "P_w" in knows else []
    else:
        for asked in training:
            if lacking := [role for role in asked.roles if role not in knows]:
                raise SimlawError(
                    f"{_name(law)} does not know {', '.join(lacking)}, which training {asked.name!r} sets: it knows "
                    f"{', '.join(knows) or 'no precision'}"
                )
        kinds += training
    if not kinds:
        raise SimlawError(
            f"{_name(law)} knows neither P_post nor P_w, so it cannot weigh formats: give penalty=…, or take allocate"
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

    Raises `SimlawError` where none is left.
    """
    unknown = any(np.isnan(value).all() for part in _parts(law) for value in part.values.values())
    kept, sizes = [], []
    for option in options:
        name = f"{option.format.name}, {option.how}"
        n = resources.sizes(option)
        if not n.size:
            left_out[name] = "no size fits"
        elif unknown and (why := _refused(law, option)):
            left_out[name] = why
        else:
            kept.append(option)
            sizes.append(n)
    if not kept:
        raise SimlawError(f"no model fits {resources}: raise the budget or serve fewer tokens")
    counts = [len(n) for n in sizes]
    n = np.concatenate(sizes)
    d = np.concatenate([resources.tokens_for(n, option) for n, option in zip(sizes, kept, strict=True)])
    each = {name: np.repeat(values, counts) for name, values in _precisions(kept).items()}
    loss = law.loss(N=n, D=d, **each)
    starts = np.cumsum([0, *counts[:-1]])
    best = np.array([start + int(np.argmin(loss[start : start + m])) for start, m in zip(starts, counts, strict=True)])
    return Plans(options=tuple(kept), params=n[best], tokens=d[best], loss=loss[best])


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


def _parts(law: AbstractLossLaw | QuantizedLaw) -> tuple[AbstractLaw, ...]:
    return (law.base, law.penalty) if isinstance(law, QuantizedLaw) else (law,)


def _name(law: AbstractLossLaw | QuantizedLaw) -> str:
    return " + ".join(type(part).__name__ for part in _parts(law))
