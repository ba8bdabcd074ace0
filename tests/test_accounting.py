"""Counts, FLOPs and bytes, against numbers worked out by hand."""

from dataclasses import replace

import jax
import pytest

from simlaw.accounting import bytes_blocks, bytes_total, flops_6nd, flops_forward_per_token, parameters, site_bits
from simlaw.config import PTQ, Architecture, RateDistortion
from simlaw.formats import Int, PerChannel, PerGroup, PerTensor, Quantizer
from simlaw.model import init, shapes
from tests.conftest import MODEL

TREE = shapes(MODEL)
# width 16, hidden 48, one layer: qkv 16x48, out 16x16, gate and up 16x96, down 48x16
BLOCKS = 16 * 48 + 16 * 16 + 16 * 96 + 48 * 16


def test_parameters_by_group():
    counts = parameters(TREE)
    assert (counts.embedding, counts.blocks, counts.norms, counts.head) == (256, BLOCKS, 3 * 16, 256)
    assert counts.total == 256 + BLOCKS + 48 + 256


def test_counts_are_those_of_the_live_tree():
    live = init(MODEL, jax.random.key(0))
    assert parameters(live) == parameters(TREE)
    assert parameters(live).total == sum(leaf.size for leaf in jax.tree.leaves(live))


def test_flops():
    counts = parameters(TREE)
    assert flops_6nd(1000, 50) == 300_000
    # scores and mixing: two products of context x width per token and layer
    assert flops_forward_per_token(MODEL, counts) == 2 * (BLOCKS + 256) + 4 * 16 * 16


EVERYTHING = replace(
    MODEL,
    layers=2,
    heads=4,
    head_dim=6,
    kv_heads=2,
    architecture=Architecture(
        positions="learned", norm="layer", feed="gelu", tied=True, qk_norm=True, output_norms=True, bound=4.0
    ),
)


def test_options_are_counted_where_they_belong():
    counts, live = parameters(shapes(EVERYTHING)), init(EVERYTHING, jax.random.key(0))
    qkv, out, up, down = 16 * (4 + 2 * 2) * 6, 4 * 6 * 16, 16 * 48, 48 * 16
    # of every layer: two norms before, queries and keys of 6, and before `out` (24) and `down` (48)
    norms = 2 * (16 + 16 + 6 + 6 + 24 + 48) + 16
    assert (counts.embedding, counts.blocks, counts.norms) == (256 + 16 * 16, 2 * (qkv + out + up + down), norms)
    assert counts.head == 0  # tied: the embedding is the head, and is stored once
    assert counts.total == sum(leaf.size for leaf in jax.tree.leaves(live))
    assert bytes_total(shapes(EVERYTHING), None) == 2 * counts.total
    # the head's product is there all the same; attention is as wide as its heads, 4 of 6
    assert flops_forward_per_token(EVERYTHING, counts) == 2 * (counts.blocks + 256) + 2 * 4 * 16 * 24
    int4 = Quantizer(format=Int(bits=4), granularity=PerGroup(size=8))
    groups = 2 * (2 * 48 + 3 * 16 + 2 * 48 + 6 * 16)
    assert bytes_blocks(shapes(EVERYTHING), int4) == (counts.blocks * 4 + groups * 16) / 8


@pytest.mark.parametrize(
    ("granularity", "scales"),
    [
        (PerTensor(), 4),
        (PerChannel(), 48 + 16 + 96 + 16),
        (PerGroup(size=8), 2 * 48 + 2 * 16 + 2 * 96 + 6 * 16),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("bits", [3, 8])
def test_bytes_count_scales(granularity, scales, bits):
    quantizer = Quantizer(format=Int(bits=bits), granularity=granularity)
    assert bytes_blocks(TREE, quantizer) == (BLOCKS * bits + scales * 16) / 8
    # embedding, norms and head stay at 16 bits
    assert bytes_total(TREE, quantizer) == bytes_blocks(TREE, quantizer) + 2 * (256 + 48 + 256)


def test_unquantised_is_16_bits():
    assert bytes_blocks(TREE, None) == 2 * BLOCKS
    assert bytes_total(TREE, None) == 2 * parameters(TREE).total


def test_an_ideal_code_has_its_bits_alone():
    ptq = PTQ(method=RateDistortion(), quantizer=Quantizer(format=Int(bits=3), granularity=PerGroup(size=8)))
    assert site_bits("qkv", (16, 10), ptq) == 16 * 10 * 3
