"""The cache: exact where an architecture is known, and near published ones by the rule."""

import numpy as np
import pytest

from simlaw.decision.cache import TWO_LAYERS, Cache, Shape
from simlaw.errors import SimlawError


def test_the_two_layer_family_is_exact():
    for width in (16, 32, 64):
        assert TWO_LAYERS.layers_times_width(26.0 * width**2) == pytest.approx(2 * width)
        # keys and values of 3 sequences of 64 tokens in 8 bits
        cache = Cache(batch=3, context=64, bits=8, shape=TWO_LAYERS)
        assert cache.bytes(26.0 * width**2) == pytest.approx(2 * 2 * width * 3 * 64)


def test_the_rule_inverts_n_of_width_and_layers():
    layers = 32
    width = 128 * layers
    assert Shape().layers_times_width(12 * layers * width**2) == pytest.approx(layers * width)
    # Llama-2-7B has 32 layers of width 4096 and 6.5e9 block parameters: 512 kB for each token at 16 bits
    assert Cache(batch=1, context=1).bytes(6.5e9) == pytest.approx(2**19, rel=0.02)


def test_bytes_are_proportional():
    one, n = Cache(batch=1, context=100), np.geomspace(1e6, 1e9, 7)
    assert Cache(batch=5, context=300).bytes(n) == pytest.approx(15 * one.bytes(n))
    assert Cache(batch=1, context=100, bits=4).bytes(n) == pytest.approx(one.bytes(n) / 4)
    assert one.bytes(n, bits=8) == pytest.approx(one.bytes(n) / 2)
    grouped = Cache(batch=1, context=100, shape=Shape(kv_share=0.25))
    assert grouped.bytes(n) == pytest.approx(one.bytes(n) / 4)


def test_refusals():
    with pytest.raises(SimlawError, match=r"Shape: give the aspect \(width over layers\) or the layers, and None for"):
        Shape(layers=2)
    with pytest.raises(SimlawError, match="Shape: kv_share=0: it must be a number above 0"):
        Shape(kv_share=0)
    with pytest.raises(SimlawError, match="Cache: batch=-1: it must be a number above 0"):
        Cache(batch=-1, context=4)
    with pytest.raises(SimlawError, match="Shape: kv_share=2: it is a share of the heads, so at most 1"):
        Shape(kv_share=2)
