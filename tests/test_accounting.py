"""Counts, FLOPs and bytes, against numbers worked out by hand."""

import jax
import pytest

from simlaw.accounting import bytes_blocks, bytes_total, flops_6nd, flops_forward_per_token, parameters
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
