"""Cost tables: the named ones are what their sources say, and edited ones are checked."""

from dataclasses import replace

import numpy as np
import pytest

from simlaw.decision.cost import BITS, COSTS, FLOPS, H200, V6E, CostTable, cost_table, named_with
from simlaw.decision.resources import Option, Resources
from simlaw.decision.shipped import FORMATS, INTEGERS, SHIPPED, Shipped
from simlaw.errors import SimlawError


def test_bits_price_training_in_proportion_to_bits():
    for one in (*SHIPPED, *INTEGERS):
        assert BITS.training(one) == BITS.serving(one) == min(one.bits, 16) / 16
        # and a served token costs what the source says, 2/16 · N · P
        served = Resources(flops=1e18, serve_tokens=1e9, cost=BITS).serving(1e6, Option(format=one))
        assert served == pytest.approx(2 / 16 * 1e6 * min(one.bits, 16))
    assert "2/16·N·P for each token served" in BITS.source
    assert BITS.training(Shipped(name="mine", bits=5.5, stored=5.5)) == 5.5 / 16


def test_flops_are_blind():
    assert {FLOPS.training(one) for one in FORMATS.values()} == {1.0}
    assert FLOPS.byte == 0


def test_hardware_has_published_peaks_and_no_fp4_unit():
    assert H200.training(FORMATS["fp8"]) == H200.training(FORMATS["int8"]) == pytest.approx(0.5, rel=1e-3)
    assert V6E.training(FORMATS["int8"]) == 0.5
    for table in (H200, V6E):
        assert {table.training(FORMATS[name]) for name in ("mxfp4", "nvfp4", "int4 g128", "mxfp8")} == {1.0}
        assert {table.serving(one) for one in FORMATS.values()} == {1.0}  # weights alone: products stay at 16 bits
        assert "peaks" in table.source
    assert H200.byte == pytest.approx(989.4e12 / 4.8e12)
    assert V6E.byte == pytest.approx(918e12 / 1.638e12)


def test_a_table_is_edited_by_replacing_fields():
    mine = replace(H200, name="mine", serve={**H200.serve, "fp8": 0.5})
    assert (mine.serving(FORMATS["fp8"]), H200.serving(FORMATS["fp8"])) == (0.5, 1.0)


def test_a_table_comes_from_a_plain_mapping():
    mine = cost_table({"name": "mine", "source": "measured in May", "train": {"fp8": 0.6}, "byte": 190})
    assert mine == CostTable(name="mine", source="measured in May", train={"fp8": 0.6}, byte=190)
    assert list(COSTS) == ["flops", "bits", "H200", "TPU-v6e"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train": {"fp8": 0}}, r"cost table 'mine': train\['fp8'\]=0: it must be a number above 0"),
        ({"serve": {"fp8": np.nan}}, r"cost table 'mine': serve\['fp8'\]=nan: it must be a number above 0"),
        ({"train": {"fp9": 0.5}}, "cost table 'mine': train knows no format 'fp9': there are bf16, mxfp8, "),
        ({"unlisted": -1}, "cost table 'mine': unlisted=-1: it must be a number above 0"),
        ({"byte": -1}, "cost table 'mine': byte=-1: it must be a number above 0, or 0"),
        ({"bytes": 3}, "a cost table has no field 'bytes': it has name, source, train, serve, unlisted, byte"),
        ({"name": None}, "a cost table needs 'name', a text: say what it is and where its rates come from"),
        ({"name": "H200"}, "there is a cost table 'H200' already: give yours a name of its own"),
    ],
)
def test_refusals(changes, sentence):
    with pytest.raises(SimlawError, match=f"^{sentence}"):
        cost_table({"name": "mine", "source": "here", **changes})


def test_formats_of_ones_own_have_rates_once_they_are_declared():
    mine = Shipped(name="int5 g64", bits=5, stored=5.25)
    with pytest.raises(SimlawError, match="cost table 'mine': serve knows no format 'int5 g64': there are bf16, "):
        CostTable(name="mine", source="here", serve={"int5 g64": 0.5})
    assert CostTable(name="mine", source="here", serve={"int5 g64": 0.5}, own=(mine,)).serving(mine) == 0.5
    plain = {"name": "mine", "source": "here", "serve": {"int5 g64": 0.5}}
    assert cost_table(plain, formats={**FORMATS, mine.name: mine}).serving(mine) == 0.5


def test_a_table_of_ones_own_stands_beside_the_named_ones_and_takes_the_place_of_none():
    mine = replace(H200, name="mine", serve={"fp8": 0.5})
    assert named_with(mine) == (*COSTS.values(), mine)
    assert named_with(H200) == tuple(COSTS.values())
    with pytest.raises(SimlawError, match="there is a cost table 'H200' already: give yours a name of its own"):
        named_with(replace(mine, name="H200"))


def test_formats_are_checked():
    with pytest.raises(SimlawError, match="the format 'x' has 0 bits and stores 4: both are above 0"):
        Shipped(name="x", bits=0, stored=4)
    with pytest.raises(SimlawError, match="only the first may be infinite"):
        Shipped(name="x", bits=4, stored=np.inf)


def test_formats_store_their_scales():
    for one in SHIPPED:
        if one.name.endswith("g128"):
            assert one.stored == one.bits + 16 / 128
    assert FORMATS["nvfp4"].stored == 4 + 8 / 16
    assert FORMATS["mxfp4"].stored == 4 + 8 / 32
    assert FORMATS["mxfp8"].stored == 8 + 8 / 32
    assert [one.bits for one in INTEGERS] == [np.inf, 8, 7, 6, 5, 4, 3, 2]
