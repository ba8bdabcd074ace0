"""Resources: what bytes, FLOPs, a cache and served tokens buy, by hand and by invariance."""

from dataclasses import replace

import numpy as np
import pytest

from simlaw.decision.cache import Cache
from simlaw.decision.cost import BITS, FLOPS, H200, CostTable
from simlaw.decision.resources import TIED, WEIGHTS, Option, Resources, Training
from simlaw.decision.shipped import FORMATS
from simlaw.errors import SimlawError

BF16, INT4, FP8 = (Option(format=FORMATS[name]) for name in ("bf16", "int4 g128", "fp8"))
TIED4, TIED8 = (Option(format=FORMATS[name], training=TIED) for name in ("int4 g128", "fp8"))
N = np.array([1e6, 1e8])


def test_bytes_bound_the_largest_size_exactly():
    for option in (BF16, INT4, FP8):
        assert Resources(bytes=1e6, flops=1e18).largest(option) == 8e6 / option.format.stored


def test_the_cache_shares_the_bytes():
    cache = Cache(batch=4, context=512)
    shared = Resources(bytes=1e9, flops=1e21, cache=cache)
    largest = shared.largest(INT4)
    assert largest * INT4.format.stored / 8 + cache.bytes(largest) == pytest.approx(1e9, rel=1e-9)
    assert largest < Resources(bytes=1e9, flops=1e21).largest(INT4)
    # trained with its keys and values in 4 bits, a model keeps them so
    assert shared.memory(N, TIED4) == pytest.approx(shared.memory(N, INT4) - cache.bytes(N) * (1 - 4.125 / 16))


def test_training_is_six_n_d():
    assert Resources(flops=6e18).tokens_for(N, INT4) == pytest.approx(1e18 / N)
    # quantizing after training, or the weights alone, leaves training at 16 bits under every table
    for cost in (FLOPS, BITS, H200):
        for option in (BF16, INT4, Option(format=INT4.format, training=WEIGHTS)):
            assert Resources(flops=6e18, cost=cost).tokens_for(N, option) == pytest.approx(1e18 / N)


def test_bits_are_six_sixteenths_n_d_p():
    d = Resources(flops=6e18, cost=BITS).tokens_for(N, TIED4)
    assert 6 / 16 * N * d * 4 == pytest.approx(6e18)
    assert Resources(flops=6e18, cost=H200).tokens_for(N, TIED8) == pytest.approx(1e18 / N * 1978.9 / 989.4)


def test_serving_is_paid_from_the_same_budget():
    d = Resources(flops=6e18, serve_tokens=1e9).tokens_for(N, BF16)
    assert 6 * N * d + 2 * N * 1e9 == pytest.approx(6e18)
    cheap = Resources(flops=6e18, serve_tokens=1e9, cost=BITS).tokens_for(N, INT4)
    assert 6 * N * cheap + 2 * N * 1e9 * 4 / 16 == pytest.approx(6e18)
    assert (
        Resources(flops=6e18, serve_tokens=0.0).tokens_for(N, INT4) == Resources(flops=6e18).tokens_for(N, INT4)
    ).all()


def test_serving_may_have_a_budget_of_its_own():
    own = Resources(flops=6e18, serve_tokens=1e9, serve_flops=1e17)
    assert own.largest(BF16) == pytest.approx(1e17 / 2e9)
    assert own.tokens_for(N, BF16) == pytest.approx(1e18 / N)
    assert Resources(flops=6e18, serve_tokens=1e9, serve_flops=1e17, cost=BITS).largest(INT4) == pytest.approx(
        16 / 4 * 1e17 / 2e9
    )


def test_decoding_pays_for_bytes_or_products_whichever_is_more():
    table = CostTable(name="mine", source="a test", byte=200.0)
    few, many = (Resources(flops=1e22, serve_tokens=1e9, cost=table, cache=Cache(batch=b, context=1)) for b in (1, 1e4))
    assert few.serving(N, INT4) == pytest.approx(200.0 * few.memory(N, INT4))
    assert (many.serving(N, BF16) == 2 * N).all()
    assert few.serving(N, INT4) == pytest.approx(few.serving(N, BF16) * 4.125 / 16, rel=0.02)


def test_rates_that_are_all_equal_change_the_unit_alone():
    twice = CostTable(name="twice", source="a test", unlisted=2.0)
    for option in (BF16, INT4, TIED4):
        a = Resources(flops=1e18, serve_tokens=1e8).tokens_for(N, option)
        b = Resources(flops=2e18, serve_tokens=1e8, cost=twice).tokens_for(N, option)
        assert a == pytest.approx(b)


def test_equal_tokens_are_equal():
    same = Resources(bytes=1e6, tokens=3e9)
    assert (same.tokens_for(N, INT4) == 3e9).all()
    assert same.largest(INT4) == 8e6 / 4.125


def test_an_option_says_what_it_sets():
    assert (BF16.how, BF16.precisions) == ("no", {})
    assert (INT4.how, INT4.precisions) == ("after training", {"P_post": 4})
    assert (TIED4.how, TIED4.precisions) == ("in training: all", {"P_w": 4, "P_a": 4, "P_kv": 4})
    assert Option(format=BF16.format, training=TIED).precisions == {}
    both = Training(name="both", roles=("P_w",), computed=True)
    assert Resources(flops=6e18, cost=BITS).training(Option(format=INT4.format, training=both)) == 4 / 16


def test_resources_in_words():
    assert str(Resources(bytes=82.5e6, flops=1.7e19)) == "within 82.5 MB and 1.7e19 training FLOPs"
    both = Resources(bytes=1e9, flops=1e21, serve_tokens=1e12, cache=Cache(batch=8, context=4096), cost=H200)
    assert str(both) == (
        "within 1 GB of weights and cache (batch 8, context 4.1k) and 1e21 FLOPs of training and serving 1T tokens by "
        "the cost table H200"
    )
    assert str(Resources(bytes=1e6, tokens=3e9)) == "within 1 MB and 3e9 training tokens"
    apart = Resources(flops=1e18, serve_tokens=1e9, serve_flops=1e16)
    assert str(apart) == "within 1e18 training FLOPs and 1e16 FLOPs of serving 1B tokens"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"flops": 0}, "flops=0: it must be a number above 0"),
        ({"bytes": np.inf}, "bytes=inf: it must be a number above 0"),
        ({"serve_tokens": -1}, "serve_tokens=-1: it must be a number above 0, or 0"),
        ({"tokens": 1e9}, "give the training budget once: flops=… (equal compute) or tokens=… (equal data)"),
        ({"flops": None}, "give the training budget once: flops=… (equal compute) or tokens=… (equal data)"),
        ({"flops": None, "tokens": 1e9}, "tokens=… bound no size: give bytes=… too, or flops=… instead"),
        ({"serve_flops": 1e9}, "serve_flops=… bound nothing without serve_tokens=…: say how many tokens are served"),
        (
            {"flops": None, "tokens": 1e9, "bytes": 1e6, "serve_tokens": 1e9},
            "serve_tokens=… need a budget to be paid from: flops=… or serve_flops=…",
        ),
    ],
)
def test_refusals(changes, sentence):
    with pytest.raises(SimlawError) as caught:
        replace(Resources(flops=1e18), **changes)
    assert str(caught.value) == sentence


def test_where_serving_eats_everything_no_size_fits():
    assert not Resources(bytes=1e6, flops=1e3, serve_tokens=1e9).largest(BF16)
    assert not Resources(bytes=10, flops=1e18, cache=Cache(batch=1e6, context=1e6)).largest(BF16)
