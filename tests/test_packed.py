"""Packed checkpoints: what is computed with comes back to the last bit, and the file is as large as was counted."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load, save

import simlaw as sl
from simlaw.accounting import bytes_total
from simlaw.arithmetic import Plain
from simlaw.config import AWQ, GPTQ, PTQ, RTN, Noise, RateDistortion, SmoothQuant, Tender
from simlaw.corpora.tokenizer import tokenizer_of
from simlaw.declared import encode
from simlaw.errors import SimlawError
from simlaw.formats import (
    FLOATS,
    NF4,
    Float8,
    Float16,
    Float32,
    Int,
    PerBlock,
    PerChannel,
    PerGroup,
    PerTensor,
    PerToken,
    PowerOfTwo,
    Quantizer,
)
from simlaw.loaded import LoadedModel
from simlaw.model import init, shapes
from simlaw.packed import Packed, from_bytes, to_bytes
from simlaw.ptq import numbers_of, quantized
from simlaw.quantize.packing import pack, scale_arrays, scales_from, unpack
from tests.conftest import MODEL, tiny_run

RNG = np.random.default_rng(0)
PARAMS = init(MODEL, jax.random.key(1))
TEXT = jnp.asarray(RNG.integers(0, 16, (24, 16)), jnp.int32)
MADE = jax.jit(quantized, static_argnums=(0, 1, 2))
SPEC = tiny_run()


@pytest.mark.parametrize("bits", range(1, 17))
def test_codes_of_any_width_are_dense_and_come_back(bits):
    codes = RNG.integers(0, 2**bits, (7, 5)).astype(np.int32)
    codes[0, :2] = 0, 2**bits - 1
    data = pack(codes, bits)
    assert data.nbytes == -(-35 * bits // 8)
    assert np.array_equal(unpack(data, bits, (7, 5)), codes)
    # the first code stands in the lowest bits
    whole = int.from_bytes(data.tobytes(), "little")
    assert [whole >> (bits * i) & (2**bits - 1) for i in range(35)] == codes.reshape(-1).tolist()


def test_scales_are_stored_in_their_own_bytes():
    powers = np.array([[2.0**-126, 1, 2.0**127]], np.float32)
    stored = scale_arrays(powers, PowerOfTwo())["scales"]
    assert (stored.dtype, stored.tolist()) == (np.uint8, [[1, 127, 254]])
    assert scale_arrays(np.float32([[0.5]]), Float16())["scales"].dtype == np.float16
    for _ in range(200):
        factor = np.float32(np.exp(RNG.normal()))
        codes = np.asarray(FLOATS["e4m3fn"].values, np.float32)[RNG.integers(0, 127, (4, 6))]
        codes[0, 0] = 448
        parts = scale_arrays(codes * factor, Float8())
        assert parts["scales"].dtype == np.uint8
        assert np.array_equal(scales_from(parts, Float8()), codes * factor)
    with pytest.raises(SimlawError, match="only finite weights"):
        scale_arrays(np.float32([[np.inf]]), Float16())
    with pytest.raises(SimlawError, match="a scale is not as PowerOfTwo"):
        scale_arrays(np.float32([[0.3]]), PowerOfTwo())


def packed(ptq, params=PARAMS):
    seen = None if ptq.looks_at is None else TEXT
    made = MADE(MODEL, "float32", ptq.kind, params, seen, numbers_of(ptq))
    return Packed(run_id="ab" * 8, spec=SPEC, ptq=ptq, average=None, params=params, sites=made.sites)


def quantizer(form, granularity=None, **more):
    return Quantizer(format=form, granularity=granularity or PerChannel(), **more)


INT3, G8 = quantizer(Int(bits=3)), PerGroup(size=8)
TOKEN4 = quantizer(Int(bits=4), PerToken())
STATIC = quantizer(Int(bits=5), PerTensor())
FORMS = [
    *(quantizer(Int(bits=bits)) for bits in (2, 3, 5, 7, 8, 11, 16)),
    *(quantizer(Int(bits=bits, grid="asymmetric"), G8) for bits in (1, 3, 6, 16)),
    quantizer(Int(bits=1, grid="sign"), PerGroup(size=10)),
    quantizer(Int(bits=4, grid="full_range"), PerTensor()),
    quantizer(Int(bits=4, grid="half_step"), PerBlock(inputs=5, outputs=7)),
    quantizer(NF4(), G8),
    quantizer(FLOATS["e2m1"], PerGroup(size=16), scale=Float8()),
    quantizer(FLOATS["e4m3fn"], G8, scale=PowerOfTwo()),
    quantizer(FLOATS["e3m2"]),
    quantizer(Int(bits=4), G8, scale=Float32()),
]
CASES = [
    *(PTQ(quantizer=form) for form in FORMS),
    PTQ(quantizer=INT3, rotate=True),
    PTQ(quantizer=INT3, rotate=True, activations=TOKEN4, kv=TOKEN4),
    PTQ(method=GPTQ(), quantizer=quantizer(Int(bits=4, grid="asymmetric"), G8)),
    PTQ(method=GPTQ(groups="refreshed"), quantizer=quantizer(Int(bits=3), PerGroup(size=5))),
    PTQ(method=AWQ(), quantizer=quantizer(Int(bits=3), G8)),
    PTQ(method=SmoothQuant(), quantizer=INT3, activations=STATIC),
    PTQ(method=Tender(groups=6), quantizer=INT3, activations=TOKEN4),
]


@pytest.mark.parametrize("ptq", CASES, ids=range(len(CASES)))
def test_a_checkpoint_comes_back_to_the_last_bit_in_the_bytes_that_were_counted(ptq):
    given = packed(ptq)
    data = to_bytes(given)
    found = from_bytes(data)
    assert (found.run_id, found.spec, found.ptq) == (given.run_id, given.spec, given.ptq)
    for place, site in given.sites.items():
        other = found.sites[place]
        assert np.array_equal(other.w, site.w), place
        # what its inputs go through
        assert (other.smooth is None) == (site.smooth is None)
        assert site.smooth is None or np.array_equal(other.smooth, site.smooth)
        assert not ptq.static_inputs or np.array_equal(other.reach, site.reach)
        assert site.channels is None or all(map(np.array_equal, other.channels, site.channels))
    assert to_bytes(found) == data
    # the last byte of packed codes, zero points and groups may be filled up
    arrays = load(data)
    size = sum(array.nbytes for array in arrays.values())
    filled = sum(name.endswith(("codes", "zeros", "group")) for name in arrays)
    assert 0 <= size - bytes_total(shapes(MODEL), ptq) < filled
    assert len(data) == size + 8 + int.from_bytes(data[:8], "little")


def test_zero_weights_and_zero_groups_are_no_trouble():
    zeroed = jax.tree.map(lambda leaf: leaf.at[:8].set(0.0), PARAMS)
    for form in (*FORMS[:3], *FORMS[7:9], *FORMS[11:]):
        given = packed(PTQ(quantizer=form), zeroed)
        found = from_bytes(to_bytes(given))
        assert all(np.array_equal(found.sites[place].w, site.w) for place, site in given.sites.items())


def test_the_other_groups_are_16_bits_wide():
    found = from_bytes(to_bytes(packed(PTQ(quantizer=INT3)))).params
    for group in ("embedding", "norms", "head"):
        for leaf, own in zip(jax.tree.leaves(found[group]), jax.tree.leaves(PARAMS[group]), strict=True):
            assert leaf.dtype == jnp.float32
            assert np.array_equal(leaf, np.asarray(own).astype(np.float16))
    huge = {**PARAMS, "head": jax.tree.map(lambda leaf: leaf * 1e6, PARAMS["head"])}
    with pytest.raises(SimlawError, match=r"\['head'\].* holds a number that float16 does not"):
        to_bytes(packed(PTQ(quantizer=INT3), huge))


def test_what_has_no_codes_is_refused():
    for method in (Noise(), RateDistortion()):
        with pytest.raises(SimlawError, match=f"{type(method).__name__} is a control, and leaves no codes"):
            to_bytes(packed(PTQ(method=method, quantizer=INT3)))
    given = packed(PTQ(quantizer=INT3))
    place, site = next(iter(given.sites.items()))
    off = dataclasses.replace(given, sites={**given.sites, place: site._replace(w=site.w * 1.01)})
    with pytest.raises(SimlawError, match="is not on int3 under its scales"):
        to_bytes(off)
    with pytest.raises(SimlawError, match="take GPTQ\\(groups='static'\\), or Float16"):
        PTQ(method=GPTQ(groups="refreshed"), quantizer=quantizer(FLOATS["e2m1"], G8, scale=Float8()))


def changed(data, arrays=None, **about):
    """A packed file with other arrays, or another header."""
    length = int.from_bytes(data[:8], "little")
    own = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["about"])
    return save(load(data) if arrays is None else arrays, metadata={"about": json.dumps({**own, **about})})


def test_a_damaged_or_foreign_file_is_refused():
    data = to_bytes(packed(PTQ(quantizer=INT3)))
    assert from_bytes(changed(data)).ptq == PTQ(quantizer=INT3)
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    wider = dataclasses.replace(SPEC, model=dataclasses.replace(MODEL, hidden=32))
    for wrong, sentence in [
        (flipped, "the file is damaged"),
        (data[:-1], "is not a safetensors file"),
        (changed(data, form=2), "has form 2, and this version reads 1"),
        (save({"a": np.zeros(1)}), "holds no quantized checkpoint"),
        (changed(data, ptq={}), "is not a PTQ"),
        (changed(data, spec=encode(wider)), "the checkpoint's .* wanted"),
        (changed(data, ptq=encode(PTQ(method=AWQ(), quantizer=INT3))), "rows is missing"),
    ]:
        with pytest.raises(SimlawError, match=sentence):
            from_bytes(wrong)


def test_a_model_is_saved_and_read(tmp_path):
    plain = LoadedModel(
        run_id="ab" * 8,
        spec=SPEC,
        tokenizer=tokenizer_of(SPEC.corpus, MODEL.vocab),
        params=PARAMS,
        weights=PARAMS,
        arithmetic=Plain(),
    )
    with pytest.raises(SimlawError, match="only a model that is quantized here"):
        plain.save(tmp_path / "no.safetensors")
    ptq = PTQ(method=RTN(), quantizer=INT3, activations=TOKEN4, kv=TOKEN4)
    path, tokens = tmp_path / "packed.safetensors", RNG.integers(0, 16, 200)
    plain.quantized(ptq).save(path)
    found = sl.load_quantized(path)
    # but for embedding, norms and head at 16 bits it is the same model
    assert found.loss(tokens) == pytest.approx(plain.quantized(ptq).loss(tokens), abs=2e-3)
    halves = {
        group: part
        if group == "blocks"
        else jax.tree.map(lambda leaf: leaf.astype(jnp.float16).astype(jnp.float32), part)
        for group, part in PARAMS.items()
    }
    other = dataclasses.replace(plain, params=halves, weights=halves).quantized(ptq)
    assert np.array_equal(found(tokens[:16]), other(tokens[:16]))
    assert found.loss(tokens) == other.loss(tokens)
    assert "rounded to int3" in repr(found)
    with pytest.raises(SimlawError, match="was read from packed codes"):
        found.quantized(INT3)
    with pytest.raises(SimlawError, match=r"cannot read .*none: No such file"):
        sl.load_quantized(tmp_path / "none")
