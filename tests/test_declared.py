"""Declared values: refusals in one sentence, a canonical form that lasts, identities."""

import dataclasses
import json

import pytest

from simlaw.config import AdamW, Graph, Text
from simlaw.declared import canonical, decode, digest, digests, encode
from simlaw.errors import SimlawError
from simlaw.formats import Int, PerChannel, PerGroup, Quantizer
from simlaw.recipe import RateRule
from simlaw.sweep import Grid, TokensPerParameter, load_sweep
from tests.conftest import ROOT, tiny_run

SMOKE = load_sweep(str(ROOT / "sweeps" / "smoke")).sweep


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: AdamW(rate=0.1, wieght_decay=0.1), "AdamW has no field 'wieght_decay': did you mean 'weight_decay'?"),
        (lambda: Int(colour=3, bits=4), "Int has no field 'colour': its fields are bits, grid"),
        (AdamW, "AdamW needs the field 'rate': add rate=…"),
        (lambda: AdamW(rate="fast"), "AdamW.rate is 'fast': it must be a finite number"),
        (lambda: AdamW(rate=float("nan")), "AdamW.rate is nan: it must be a finite number"),
        (lambda: AdamW(rate=0), "AdamW.rate is 0: it must be above 0"),
        (lambda: Int(bits=17), "Int.bits is 17: it must be from 1 to 16"),
        (lambda: Int(bits=4.0), "Int.bits is 4.0: it must be a whole number"),
        (lambda: Int(bits=True), "Int.bits is True: it must be a whole number"),
        (
            lambda: Int(bits=4, grid="round"),
            "Int.grid is 'round': it must be one of 'symmetric', 'full_range', 'half_step', 'asymmetric', 'sign'",
        ),
        (lambda: Int(4), "Int(4) needs field names: Int(name=…)"),
        (lambda: Grid(widths=(16, -32), tokens=(1,)), "Grid.widths is (16, -32): item 1 is -32, it must be at least 1"),
        (lambda: Grid(widths=[16], tokens=(1,)), "Grid.widths is [16]: it must be a tuple, for example (16,)"),
        (lambda: Grid(widths=(16,), tokens=(0,)), "Grid.tokens is (0,): item 0 is 0, it must be at least 1"),
        (
            lambda: Quantizer(format=Int(bits=4), granularity="channel"),
            "Quantizer.granularity is 'channel': it must be PerTensor or PerChannel or PerToken or PerGroup "
            "or PerBlock",
        ),
    ],
)
def test_a_wrong_field_gets_one_sentence(make, sentence):
    with pytest.raises(SimlawError) as caught:
        make()
    assert str(caught.value) == sentence


def test_an_optional_field_takes_its_type_or_none():
    assert Text(folder=None).folder is None
    with pytest.raises(SimlawError, match=r"Text.folder is 3: it must be a text or None"):
        Text(folder=3)


def test_values_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Int(bits=4).bits = 5


def test_the_canonical_form_is_pinned():
    # a change here changes the identity of every run ever made: do it on purpose, with NUMERICS
    quantizer = Quantizer(format=Int(bits=4), granularity=PerGroup(size=16))
    assert canonical(quantizer) == (
        '{"format":{"bits":4,"grid":"symmetric","type":"Int"},"granularity":{"size":16,"type":"PerGroup"},'
        '"type":"Quantizer"}'
    )
    assert digest(quantizer) == "428f78a85bd83fb3"
    assert digest(tiny_run()) == "f35492cb88169ea4"


def test_equal_numbers_have_equal_identities():
    assert digest(AdamW(rate=1)) == digest(AdamW(rate=1.0))
    assert digest(AdamW(rate=1.0)) != digest(AdamW(rate=1.5))


def test_where_the_files_lie_is_no_part_of_the_identity():
    assert digest(Text(folder="here")) == digest(Text(folder="there"))
    assert digest(Text(held_out=0.1)) != digest(Text(held_out=0.2))


@pytest.mark.parametrize(
    "value",
    [
        tiny_run(),
        tiny_run(corpus=Text(folder="x", suffixes=(".txt", ".md"))),
        Grid(widths=(8, 16), tokens=TokensPerParameter(ratios=(20.0, 0.5))),
        Grid(widths=(8,), tokens=(1, 2)),
        RateRule(rate=0.1, width=3, exponent=-1.0),
        Quantizer(format=Int(bits=1, grid="sign"), granularity=PerChannel()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_decode_inverts_encode(value):
    assert decode(type(value), json.loads(json.dumps(encode(value)))) == value


def test_decode_refuses_another_type():
    with pytest.raises(SimlawError, match="is not a Graph"):
        decode(Graph, encode(Int(bits=4)))
    with pytest.raises(SimlawError, match="Graph has no field 'edges'"):
        decode(Graph, {"type": "Graph", "nodes": 4, "out": 2, "edges": 3})


def test_the_canonical_text_is_the_canonical_form():
    values = (
        tiny_run(),
        tiny_run().trunk,
        SMOKE,
        Text(folder="here", suffixes=('ü"', "\n")),
        AdamW(rate=0.1),
        "é",
        3,
        None,
    )
    for value in (*values, True, 0.5, (1.0, "a", AdamW(rate=1e-9))):
        form = encode(value, identity=True)
        assert canonical(value) == json.dumps(form, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def test_one_with_each_has_the_identities_of_pairs():
    each = (AdamW(rate=0.1), AdamW(rate=0.2), None)
    assert digests("run", each) == tuple(digest("run", one) for one in each)


def test_equal_values_are_one_key():
    made = [dataclasses.replace(tiny_run(), seed=seed) for seed in (0, 1, 0)]
    assert len(set(made)) == 2
    assert made[0] is not made[2]
    assert hash(made[0]) == hash(made[2])
    assert len({Int(bits=4): 1, PerGroup(size=4): 2}) == 2
    # what is remembered of a value is not handed on to those made from it
    assert canonical(dataclasses.replace(made[0], seed=1)) == canonical(made[1]) != canonical(made[0])
