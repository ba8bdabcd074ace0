"""Agreement with qwix, a quantization library of others: the same scales and integers, or a stated difference.

Two differences are on purpose. Scales here are float16, rounded up, and qwix keeps float32: matrices are drawn whose
scales are float16 already. And qwix's integers reach down to -2^(b-1), under a scale that is as wide on both sides: a
largest magnitude that is negative is half a step from two integers, of which the last bit of the scale decides there.
The grid "half_step" has no such integer.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simlaw.config import GPTQ
from simlaw.formats import FLOATS, NF4, Int, PerChannel, PerGroup, Quantizer, codes
from simlaw.ptq.gptq import gptq
from simlaw.quantize import numbers, quantize

pytest.importorskip("qwix", reason="qwix is no dependency of simlaw: it is in the group of development")

import qwix
from qwix._src.core.qarray import HowToQuantize, dequantize
from qwix.contrib.gptq_core import quantize_weight

RNG = np.random.default_rng(0)
RUN_GPTQ = jax.jit(gptq, static_argnums=(3, 4))


@pytest.fixture(autouse=True)
def _as_qwix_has_it():
    """Its own arithmetic mixes dtypes and ranks, which the tests otherwise refuse."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def matrix(inputs, outputs, size, bound):
    """A matrix whose largest magnitude in each group of inputs, positive, is `bound` times a float16; and these."""
    w = RNG.normal(size=(inputs // size, size, outputs))
    scale = np.exp(RNG.normal(size=(inputs // size, 1, outputs))).astype(np.float16).astype(np.float64)
    w *= bound * scale / np.abs(w).max(1, keepdims=True)
    at = np.abs(w).argmax(1)[:, None]
    np.put_along_axis(w, at, bound * scale, 1)
    return w.reshape(inputs, outputs).astype(np.float32), scale[:, 0].astype(np.float32)


@pytest.mark.parametrize("size", [48, 16])
@pytest.mark.parametrize("bits", [3, 4, 5, 6, 7, 8])
def test_rounding_to_integers(bits, size):
    w, scale = matrix(48, 12, size, 2.0 ** (bits - 1) - 0.5)
    found = qwix.quantize(jnp.asarray(w), f"int{bits}", channelwise_axes=(1,), tiled_axes={0: size})
    granularity = PerChannel() if size == 48 else PerGroup(size=size)
    own = quantize(w, Quantizer(format=Int(bits=bits, grid="half_step"), granularity=granularity))
    assert np.array_equal(own.scales, scale)
    assert np.allclose(found.scale, scale, rtol=1e-6, atol=0)
    assert np.array_equal(own.codes, found.qvalue.astype(jnp.int32))
    # the same matrix with its sign turned has the integers turned, but for the largest magnitudes
    turned = qwix.quantize(jnp.asarray(-w), f"int{bits}", channelwise_axes=(1,), tiled_axes={0: size})
    theirs = np.asarray(turned.qvalue.astype(jnp.int32))
    largest = np.abs(w) == np.repeat(np.abs(w).reshape(-1, size, 12).max(1), size, 0)
    assert np.array_equal(theirs[~largest], -own.codes[~largest])
    assert set((theirs + own.codes)[largest].tolist()) <= {0, -1}


def test_a_scale_is_the_next_float16():
    w = RNG.normal(size=(32, 40)).astype(np.float32)
    found = np.asarray(qwix.quantize(jnp.asarray(w), "int5", channelwise_axes=(1,)).scale)
    own = quantize(w, Quantizer(format=Int(bits=5, grid="half_step"))).scales
    assert np.all(own >= found * (1 - 1e-6))
    assert np.all(own < found * (1 + 2.0**-10))


@pytest.mark.parametrize(
    ("form", "name", "bound"),
    [(NF4(), "nf4", 1.0), (FLOATS["e4m3fn"], "float8_e4m3fn", 448.0), (FLOATS["e2m1"], "float4_e2m1fn", 6.0)],
    ids=["nf4", "fp8", "fp4"],
)
def test_rounding_to_floats(form, name, bound):
    w, scale = matrix(64, 12, 16, bound)
    found = qwix.quantize(jnp.asarray(w), name, channelwise_axes=(1,), tiled_axes={0: 16})
    own = quantize(w, Quantizer(format=form, granularity=PerGroup(size=16)))
    assert np.array_equal(own.scales, scale)
    assert np.allclose(found.scale, scale, rtol=1e-6, atol=0)
    theirs = np.asarray(found.qvalue)
    if name == "nf4":
        assert np.array_equal(own.codes, theirs)
    else:
        values = np.asarray(form.values)[own.codes % 2 ** (form.bits - 1)]
        signs = np.where(own.codes >= 2 ** (form.bits - 1), -1, 1)
        assert np.array_equal(signs * values, theirs.astype(np.float32))


@pytest.mark.parametrize("bits", [4, 8])
def test_gptq(bits):
    w, scale = matrix(16, 24, 16, 2.0 ** (bits - 1) - 0.5)
    mix = RNG.normal(size=(16, 16)) * np.geomspace(0.3, 3, 16)
    x = (RNG.normal(size=(200, 16)) @ mix).astype(np.float32)
    hessian = jnp.asarray(x.T @ x / len(x))
    how = HowToQuantize(qtype=jnp.int4 if bits == 4 else jnp.int8, channelwise_axes=(0,))
    found = quantize_weight(jnp.asarray(w.T), hessian, how)[0]
    # corrections move values below the lowest integer of "half_step": it gets the one of qwix
    half_step = codes(bits, "half_step")
    levels = numbers(half_step._replace(low=half_step.low - 1))
    own = RUN_GPTQ(jnp.asarray(w), hessian, levels, Quantizer(format=Int(bits=bits)).scaling, GPTQ())
    assert np.array_equal(own.scales.scale[0, 0, :, 0], scale[0])
    assert np.allclose(np.asarray(found.scale)[:, 0], scale[0], rtol=1e-6, atol=0)
    integers = np.round(np.asarray(own.w) / scale)
    # a value in the middle of two integers may fall on either side in float32, and moves those behind it
    assert (integers != np.asarray(found.qvalue).T.astype(np.float32)).mean() <= 0.01
    errors = [np.linalg.norm(x @ (np.asarray(each) - w)) for each in (own.w, dequantize(found).T)]
    assert errors[0] == pytest.approx(errors[1], rel=2e-3)
