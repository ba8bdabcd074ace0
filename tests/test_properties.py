"""Properties over many inputs: identities of declarations, tables and their files, bounds of rounding."""

import json
import math
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from simlaw.config import EMA, PTQ, WSD, AdamW, Cosine, EvalSpec, Graph, Precision, RunSpec
from simlaw.declared import canonical, decode, digest, encode
from simlaw.errors import SimlawError
from simlaw.formats import Float, Float32, Int, PerChannel, PerGroup, PerTensor, Quantizer
from simlaw.quantize import fake_quantize, numbers
from simlaw.quantize.fake import Cut
from simlaw.quantize.packing import pack, packed_size, unpack
from simlaw.quantize.stored import dequantize, quantize
from simlaw.schema import BOUNDS, COLUMNS, IDS, REQUIRED
from simlaw.table import Row, make_table, parse_table
from tests.conftest import MODEL, ROOT, tiny_run

# the same examples on every machine, and nothing kept between runs
set_hypothesis_home_dir(ROOT / ".pytest_cache" / "hypothesis")
settings.register_profile("simlaw", derandomize=True, database=None, deadline=None, max_examples=25)
settings.load_profile("simlaw")

BATCH = 8 * MODEL.context


@pytest.fixture(scope="module", autouse=True)
def of_no_chance() -> Iterator[None]:
    """Without the check of annotated types, which draws random numbers where hypothesis must be the only one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        yield


positive = st.floats(1e-6, 1e6, allow_nan=False)
shares = st.floats(0.0, 1.0)
QUANTIZERS = st.builds(
    Quantizer,
    format=st.one_of(
        st.builds(Int, bits=st.integers(2, 16), grid=st.sampled_from(["symmetric", "asymmetric"])),
        st.builds(Float, exponent=st.integers(2, 5), mantissa=st.integers(0, 3)),
    ),
    granularity=st.one_of(
        st.just(PerTensor()), st.just(PerChannel()), st.builds(PerGroup, size=st.sampled_from([2, 4, 8, 16]))
    ),
)


@st.composite
def runs(draw: st.DrawFn) -> dict[str, Any]:
    """Fields of runs of the tiny shape."""
    nodes = draw(st.integers(2, 16))
    schedule = draw(
        st.one_of(
            st.builds(WSD, warmup_tokens=st.just(0), cooldown=shares), st.builds(Cosine, warmup_tokens=st.just(0))
        )
    )
    return {
        "corpus": Graph(nodes=nodes, out=draw(st.integers(1, nodes)), seed=draw(st.integers(0, 2**31 - 1))),
        "model": MODEL,
        "precision": Precision(weights=draw(st.none() | QUANTIZERS)),
        "optimizer": AdamW(rate=draw(positive), weight_decay=draw(shares)),
        "schedule": schedule,
        "batch": 8,
        "tokens": draw(st.integers(4, 10**6)) * BATCH,
        "seed": draw(st.integers(0, 2**31)),
        "averages": draw(st.just(()) | st.builds(lambda tokens: (EMA(tokens=tokens),), st.integers(1, 10**6))),
    }


def shuffled(form: Any, order: Any) -> Any:
    """The same JSON with the keys of its objects in another order."""
    if isinstance(form, dict):
        names = list(form)
        order.shuffle(names)
        return {name: shuffled(form[name], order) for name in names}
    return [shuffled(item, order) for item in form] if isinstance(form, list) else form


@given(runs(), st.randoms(use_true_random=False))
def test_a_run_comes_back_from_json_with_its_identity(given: dict[str, Any], order: Any) -> None:
    run = RunSpec(**given)
    text = json.dumps(shuffled(encode(run), order))
    back: RunSpec = decode(RunSpec, json.loads(text))
    assert back == run
    assert digest(back) == digest(run)
    assert canonical(back) == canonical(run)


@given(runs(), runs())
def test_runs_have_one_identity_if_and_only_if_they_are_equal(these: dict[str, Any], those: dict[str, Any]) -> None:
    one, other = RunSpec(**these), RunSpec(**those)
    assert (digest(one) == digest(other)) == (one == other)
    for each in fields(one):
        try:
            mixed = replace(one, **{each.name: getattr(other, each.name)})
        except SimlawError:
            continue  # the two do not go together
        assert (digest(mixed) == digest(one)) == (mixed == one)


@given(st.integers(1, 2**28), st.none() | st.builds(PTQ, quantizer=QUANTIZERS))
def test_an_evaluation_comes_back_from_json_with_its_identity(tokens: int, ptq: PTQ | None) -> None:
    spec = EvalSpec(tokens=tokens, ptq=ptq)
    back = decode(EvalSpec, json.loads(json.dumps(encode(spec))))
    assert (back, digest(back)) == (spec, digest(spec))


@given(st.integers(-(2**40), 2**40))
def test_a_whole_number_is_the_same_declaration_as_its_float(number: int) -> None:
    assume(number > 0)
    # not the digests, which remember what is equal
    assert canonical(AdamW(rate=number)) == canonical(AdamW(rate=float(number)))


#: What JSON holds, three levels deep.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([each.name for each in fields(RunSpec)]), JSON)
def test_any_json_in_any_field_is_a_run_or_one_sentence(name: str, value: Any) -> None:
    form: Any = encode(tiny_run())
    said = ""
    try:
        decode(RunSpec, {**form, name: value})
    except SimlawError as error:
        said = str(error)
    assert "\n" not in said


#: Texts as a cell may hold them: a return alone would come back as the end of a line.
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1, max_size=12)


def cells(name: str, kind: str) -> st.SearchStrategy[Any]:
    """Legal cells of a column."""
    if name in IDS:
        return st.text("0123456789abcdef", min_size=4, max_size=16)
    if name in ("params_blocks", "tokens"):  # rows that share them are in the order of what comes after
        return st.sampled_from([10, 20])
    low, high = getattr(BOUNDS.get(name), "low", None), getattr(BOUNDS.get(name), "high", math.inf)
    if kind == "text":
        found: st.SearchStrategy[Any] = TEXTS
    elif kind == "int":
        found = st.integers(-(2**63) + 1 if low is None else int(low), 2**63 - 1 if high == math.inf else int(high))
    else:
        above = type(BOUNDS.get(name)).__name__ == "Above"
        found = st.floats(min_value=low, exclude_min=above, allow_nan=False, allow_infinity=False)
    return found if name in REQUIRED or name == "loss" else st.none() | found


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    """Up to three rows with any legal cells."""
    made: dict[str, Row] = {}
    for row in draw(st.lists(st.fixed_dictionaries({c.name: cells(c.name, c.kind) for c in COLUMNS}), max_size=3)):
        status = draw(st.sampled_from(["done", "diverged", "failed"]))
        loss = row["loss"] if status == "done" else None
        made[row["eval_id"]] = {**row, "status": status, "loss": loss}
    return list(made.values())


@settings(max_examples=15)
@given(tables())
def test_a_table_comes_back_from_csv(rows: list[Row]) -> None:
    table = make_table(rows)
    text = table.to_csv()
    back = parse_table(text, "the text")
    assert back.rows == table.rows
    assert back.to_csv() == text


@settings(max_examples=15)
@given(tables(), tables())
def test_merging_changes_nothing_twice_and_is_of_no_order(these: list[Row], those: list[Row]) -> None:
    one, other = make_table(these), make_table(those)
    assert one.merged(one).rows == one.rows
    both = one.merged(other)
    assert both.merged(one).rows == both.merged(other).rows == both.rows
    mine = {row["eval_id"] for row in one}
    apart = other.where(lambda row: row["eval_id"] not in mine)
    assert one.merged(apart).to_csv() == apart.merged(one).to_csv()


@st.composite
def matrices(draw: st.DrawFn) -> np.ndarray:
    """A matrix of 16 inputs and 4 outputs, of any size that float32 holds well."""
    values = st.floats(-1.0, 1.0, width=32, allow_subnormal=False)
    each = draw(st.lists(values, min_size=64, max_size=64))
    return np.array(each, np.float32).reshape(16, 4) * np.float32(draw(st.sampled_from([1e-3, 1.0, 1e3])))


GRANULARITIES = (PerTensor(), PerChannel(), PerGroup(size=4), PerGroup(size=6))


@pytest.mark.parametrize("granularity", GRANULARITIES, ids=str)
@pytest.mark.parametrize("bits", range(1, 9))
@settings(max_examples=8)
@given(w=matrices())
def test_integers_are_off_by_half_a_step_and_stay_where_they_are(w: np.ndarray, bits: int, granularity: Any) -> None:
    form = Int(bits=bits, grid="sign" if bits == 1 else "symmetric")
    quantizer = Quantizer(format=form, granularity=granularity, scale=Float32())
    found = quantize(w, quantizer)
    low, high = (0, 1) if bits == 1 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    assert low <= found.codes.min() <= found.codes.max() <= high
    back = dequantize(found)
    if bits > 1:
        step = Cut(found.shape, granularity).spread(found.scales)
        # a hair more than half: the quotient is rounded before it is rounded to a level
        assert (np.abs(w - back) <= step * np.float32(0.5 + 1e-5) + 1e-30).all()
    again = dequantize(quantize(back, quantizer))
    assert np.allclose(again, back, rtol=2e-6, atol=0)
    assert np.array_equal(unpack(pack(found.codes & (2**bits - 1), bits), bits, (16, 4)), found.codes & (2**bits - 1))


@pytest.mark.parametrize("granularity", GRANULARITIES, ids=str)
@pytest.mark.parametrize(
    "form", [Float(exponent=2, mantissa=1), Float(exponent=4, mantissa=3)], ids=lambda form: form.name
)
@settings(max_examples=8)
@given(w=matrices())
def test_floats_take_the_nearest_value_and_stay_where_they_are(w: np.ndarray, form: Float, granularity: Any) -> None:
    quantizer = Quantizer(format=form, granularity=granularity, scale=Float32())
    found = quantize(w, quantizer)
    assert 0 <= found.codes.min() <= found.codes.max() < 2**form.bits
    back = dequantize(found)
    step = Cut(found.shape, granularity).spread(found.scales)
    values = np.concatenate([-np.asarray(form.values), np.asarray(form.values)]).astype(np.float64)
    nearest = np.abs(w[..., None] - step[..., None] * values).min(axis=-1)
    assert (np.abs(w - back) <= nearest * (1 + 1e-4) + np.abs(w) * 1e-5 + 1e-30).all()
    assert np.allclose(dequantize(quantize(back, quantizer)), back, rtol=2e-6, atol=0)


@given(st.integers(1, 16), st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=40))
def test_packed_numbers_come_back_from_as_few_bytes_as_there_can_be(bits: int, numbers: list[int]) -> None:
    codes = np.array(numbers, np.int32) & (2**bits - 1)
    packed = pack(codes, bits)
    assert packed.size == packed_size(codes.size, bits) == math.ceil(codes.size * bits / 8)
    assert np.array_equal(unpack(packed, bits, codes.shape), codes)


@settings(max_examples=8)
@given(w=matrices())
def test_what_a_model_computes_with_is_what_is_stored(w: np.ndarray) -> None:
    quantizer = Quantizer(format=Int(bits=4), granularity=PerGroup(size=4), scale=Float32())
    found = fake_quantize(jnp.asarray(w), numbers(quantizer.format.levels), quantizer.scaling)
    assert np.array_equal(np.asarray(found), dequantize(quantize(w, quantizer)))
