"""What a person may give by name: formats, kinds of training and cost tables."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from simlaw.decision.cost import COSTS, CostTable
from simlaw.decision.resources import TIED, WEIGHTS, Training
from simlaw.decision.shipped import FORMATS, INTEGERS, SHIPPED, Shipped
from simlaw.errors import SimlawError

_T = TypeVar("_T")
#: Lists of formats by name.
FORMAT_LISTS: Mapping[str, tuple[Shipped, ...]] = MappingProxyType(
    {"shipped": SHIPPED, "integers": INTEGERS, "all": (*SHIPPED, *INTEGERS[1:])}
)
#: What may be trained in low precision, by name; "all" is each of the kinds.
TRAININGS: Mapping[str, tuple[Training, ...]] = MappingProxyType(
    {"none": (), "weights": (WEIGHTS,), "all": (WEIGHTS, TIED)}
)
_KINDS: Mapping[str, Training] = MappingProxyType({kind.name: kind for kind in (WEIGHTS, TIED)})


def formats_of(given: Any) -> tuple[Shipped, ...]:
    """The formats of a list of formats and names, or of one name; raises `SimlawError` for what names none."""
    if isinstance(given, str) and given in FORMAT_LISTS:
        return FORMAT_LISTS[given]
    each = given if isinstance(given, Sequence) and not isinstance(given, str) else (given,)
    if not each:
        raise SimlawError("formats is empty, so there is nothing to weigh: give formats, or names such as 'int4'")
    return tuple(_one(one, Shipped, FORMATS, "format") for one in each)


def trainings_of(given: Any) -> tuple[Training, ...] | None:
    """The kinds of training of a list of them and of names, or of one name; None stays None.

    Raises `SimlawError` for what names none.
    """
    if given is None or (isinstance(given, str) and given in TRAININGS):
        return None if given is None else TRAININGS[given]
    each = given if isinstance(given, Sequence) and not isinstance(given, str) else (given,)
    return tuple(_one(one, Training, _KINDS, "kind of training") for one in each)


def one_training_of(given: Any) -> Training | None:
    """The kind of training of this name, or itself; None stays None. Raises `SimlawError` for what names none."""
    return None if given is None else _one(given, Training, _KINDS, "kind of training")


def cost_of(given: Any) -> CostTable:
    """The cost table of this name, or itself; raises `SimlawError` for what names none."""
    return _one(given, CostTable, COSTS, "cost table")


def _one(given: Any, kind: type[_T], named: Mapping[str, _T], what: str) -> _T:
    if isinstance(given, kind):
        return given
    names = {name.lower().replace("tpu-", ""): one for name, one in named.items()}
    if isinstance(given, str) and given.lower().replace("tpu-", "") in names:
        return names[given.lower().replace("tpu-", "")]
    raise SimlawError(f"{given!r} is no {what}: give a {kind.__name__}, or the name of one: {', '.join(named)}")
