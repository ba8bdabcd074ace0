"""What FLOPs and bytes cost, by format: named tables, to be edited.

Costs are counted in 16-bit FLOPs: a rate of 0.5 says that a FLOP in the format takes half the time (or money) of one in
16 bits. What is cheap depends on both operands of a product, so there are two kinds of rates. Models that were trained
in a format for weights and activations pay `train`, for training and for serving. Models whose weights alone are
quantized pay `serve` for serving, and the full rate for training.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal

from simlaw.decision.amounts import require_amount
from simlaw.decision.shipped import FORMATS, Shipped
from simlaw.errors import SimlawError


@dataclass(frozen=True, kw_only=True)
class CostTable:
    """The cost of a FLOP by format, in 16-bit FLOPs, and of a byte moved from memory.

    `train` is the cost of a FLOP of which both operands are in the format, `serve` that of a FLOP of serving a model
    whose weights alone are in it. A format that neither lists costs `unlisted`: a rate, or "bits" for its bits over 16.
    `byte` is what moving one byte costs, in 16-bit FLOPs (peak FLOP/s over bandwidth). `own` are formats of one's own
    that have rates beside those that ship. To edit a table, take `dataclasses.replace`, with a name of its own. Raises
    `SimlawError` for rates that are not above 0, and for formats that nobody declared.
    """

    name: str
    source: str
    train: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    serve: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    unlisted: float | Literal["bits"] = 1.0
    byte: float = 0.0
    own: tuple[Shipped, ...] = ()

    def __post_init__(self) -> None:
        said = f"cost table {self.name!r}"
        known = [*FORMATS, *(form.name for form in self.own)]
        rates: dict[str, Any] = {}
        for what in ("train", "serve"):
            given = getattr(self, what)
            if not isinstance(given, Mapping):
                raise SimlawError(f"{said}: {what} is {given!r}: give rates by format")
            for form, rate in given.items():
                if form not in known:
                    raise SimlawError(f"{said}: {what} knows no format {form!r}: there are {', '.join(known)}")
                rates[f"{what}[{form!r}]"] = rate
        if isinstance(self.unlisted, str) and self.unlisted != "bits":
            raise SimlawError(f"{said}: unlisted is {self.unlisted!r}: give a rate, or 'bits'")
        if not isinstance(self.unlisted, str):
            rates["unlisted"] = self.unlisted
        for what, rate in rates.items():
            require_amount(f"{said}: {what}", rate)
        require_amount(f"{said}: byte", self.byte, zero=True)

    def training(self, form: Shipped) -> float:
        """The cost of a FLOP of which both operands are in the format, in 16-bit FLOPs."""
        return self._rate(self.train, form)

    def serving(self, form: Shipped) -> float:
        """The cost of a FLOP of serving a model whose weights alone are in the format, in 16-bit FLOPs."""
        return self._rate(self.serve, form)

    def _rate(self, rates: Mapping[str, float], form: Shipped) -> float:
        if form.name in rates:
            return rates[form.name]
        return min(form.bits, 16.0) / 16.0 if isinstance(self.unlisted, str) else self.unlisted


def cost_table(plain: Mapping[str, Any], *, formats: Mapping[str, Shipped] = FORMATS) -> CostTable:
    """The table that a plain mapping (from a JSON file, say) describes, by the names of the fields.

    Raises `SimlawError` for fields, formats and rates that are none, and for the name of a table that is there already.
    """
    names = [one.name for one in fields(CostTable) if one.name != "own"]
    for name in plain:
        if name not in names:
            raise SimlawError(f"a cost table has no field {name!r}: it has {', '.join(names)}")
    for name in ("name", "source"):
        if not isinstance(plain.get(name), str):
            raise SimlawError(f"a cost table needs {name!r}, a text: say what it is and where its rates come from")
    if plain["name"] in COSTS:
        raise SimlawError(f"there is a cost table {plain['name']!r} already: give yours a name of its own")
    return CostTable(**plain, own=tuple(form for name, form in formats.items() if name not in FORMATS))


#: Precision-blind: 6·N·D for training and 2·N for each token served, whatever the format.
FLOPS = CostTable(name="flops", source="6·N·D + 2·N for each token served, whatever the format")

#: Proportional to bits: training in P bits costs 6/16·N·D·P. No device delivers this at every precision.
BITS = CostTable(
    name="bits",
    source=(
        "6/16·N·D·P for training in P bits, 2/16·N·P for each token served: Kumar et al. 2411.04330, 4.3, and appendix "
        "E.3, which says only that serving is in proportion to N·P"
    ),
    unlisted="bits",
)

#: Peaks, not measurements: 989.4 TFLOP/s in bf16, 1978.9 in fp8 and int8, 4.8 TB/s. Other formats, FP4 above all, have
#: no unit: their weights are dequantized and multiplied in bf16, and only move fewer bytes.
H200 = CostTable(
    name="H200",
    source="NVIDIA H200 SXM data sheet, dense peaks: no kernel reaches them",
    train=MappingProxyType({"fp8": 989.4 / 1978.9, "int8": 989.4 / 1978.9}),
    byte=989.4e12 / 4.8e12,
)

#: Peaks, not measurements: 918 TFLOP/s in bf16, 1836 TOP/s in int8, 1638 GB/s.
V6E = CostTable(
    name="TPU-v6e",
    source="Google Cloud documentation of TPU v6e, peaks: no kernel reaches them",
    train=MappingProxyType({"int8": 918 / 1836}),
    byte=918e12 / 1638e9,
)

#: The tables by name.
COSTS: Mapping[str, CostTable] = MappingProxyType({table.name: table for table in (FLOPS, BITS, H200, V6E)})


def named_with(mine: CostTable) -> tuple[CostTable, ...]:
    """The tables that have names here, and one's own where it is none of them.

    Raises `SimlawError` where it has the name of one and is another: nobody could tell the two apart.
    """
    if mine.name in COSTS and COSTS[mine.name] != mine:
        raise SimlawError(f"there is a cost table {mine.name!r} already: give yours a name of its own")
    return tuple({**COSTS, mine.name: mine}.values())
