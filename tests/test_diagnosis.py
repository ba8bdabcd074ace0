"""Diagnoses of quantized matrices, the curvature beside them, and outliers planted as a control."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simlaw.arithmetic import Place
from simlaw.config import (
    AWQ,
    GPTQ,
    PTQ,
    RTN,
    Architecture,
    CalibrationText,
    Curvature,
    EvalSpec,
    ModelSpec,
    Noise,
    Outliers,
    RateDistortion,
    SmoothQuant,
    Tender,
)
from simlaw.corpora.calibration import calibration_windows
from simlaw.curvature import hutchinson, traces
from simlaw.errors import SimlawError
from simlaw.evaluate import measure
from simlaw.formats import FLOATS, NF4, Float, Int, PerGroup, PerToken, PowerOfTwo, Quantizer
from simlaw.matrices import Matrices
from simlaw.model import init, logits, losses, matrices, with_matrices
from simlaw.ptq import examined, numbers_of, planted
from simlaw.ptq.diagnosis import diagnosis
from simlaw.ptq.rotation import hadamard
from simlaw.ptq.walk import role_of, site_of
from simlaw.quantize import quantize
from simlaw.rows import done_rows, matrix_rows
from simlaw.schema import KINDS
from simlaw.table import make_table
from simlaw.train import members, start
from tests.conftest import MODEL, inputs_of, tiny_run

RNG = np.random.default_rng(0)
PARAMS = init(MODEL, jax.random.key(1))
TEXT = jnp.asarray(RNG.integers(0, 16, (24, 16)), jnp.int32)
INT3 = Quantizer(format=Int(bits=3))
INT4 = Quantizer(format=Int(bits=4))
TOKEN4 = Quantizer(format=Int(bits=4), granularity=PerToken())
EXAMINED = jax.jit(examined, static_argnums=(0, 1, 2))


def made(ptq, params=PARAMS):
    seen = None if ptq.looks_at is None else TEXT
    return EXAMINED(MODEL, "float32", ptq.kind, params, seen, numbers_of(ptq))


@pytest.fixture(scope="module")
def trained(program):
    """A tiny model that has learned its walk."""
    state, _ = program.advance(start([tiny_run()]), members(program, [tiny_run()], cool=False), 192)
    return jax.tree.map(lambda x: x[0], state.params)


LOSSES = jax.jit(losses, static_argnums=0)
LOGITS = jax.jit(logits, static_argnums=0)
TRACES = jax.jit(traces.__wrapped__, static_argnums=(0, 1, 5))


def measured(corpus, params, evals):
    windows = corpus.held_out(1024, MODEL.context)
    text = functools.partial(calibration_windows, corpus, context=MODEL.context)
    return measure(tiny_run(), params, windows, evals, corpus.floor(windows), text)


def evaluations(*ptqs, **fields):
    return [EvalSpec(tokens=1024, ptq=ptq, **fields) for ptq in ptqs]


INT7 = Quantizer(format=Int(bits=7))
METHODS = [
    PTQ(quantizer=Quantizer(format=Int(bits=7), granularity=PerGroup(size=10))),
    PTQ(quantizer=INT7, rotate=True),
    PTQ(quantizer=INT7, rotate=True, activations=TOKEN4),
    PTQ(method=GPTQ(), quantizer=INT7),
    PTQ(method=AWQ(), quantizer=INT7),
    PTQ(method=SmoothQuant(), quantizer=INT7, activations=TOKEN4),
    PTQ(method=Noise(), quantizer=INT7),
]


@functools.partial(jax.jit, static_argnums=0)
def one_matrix(ptq, x, w, given):
    """The site of a matrix, and its diagnosis."""
    site = site_of(Place(0, "qkv"), x, w, ptq, given, role_of(given.activations, ptq.activations))
    return site, diagnosis(w, site, ptq, given.weights)


X = (RNG.normal(size=(256, 24)) * np.geomspace(0.3, 3, 24)).astype(np.float32)
W = RNG.standard_t(5, size=(24, 32)).astype(np.float32)


@pytest.mark.parametrize("ptq", METHODS, ids=repr)
def test_a_diagnosis_is_that_of_the_matrix_in_float64(ptq):
    site, found = one_matrix(ptq, jnp.asarray(X), jnp.asarray(W), numbers_of(ptq))
    w = W.astype(np.float64)
    turn = np.kron(np.eye(3), hadamard(8)) if ptq.rotate else np.eye(24)
    seen = turn @ w
    assert float(found.kurtosis) == pytest.approx(
        np.log(((seen - seen.mean()) ** 4).mean() / seen.var() ** 2), rel=1e-4
    )
    assert float(found.peak) == pytest.approx(np.abs(seen).max() / np.sqrt((seen**2).mean()), rel=1e-4)
    stands = np.asarray(site.w, np.float64) / (1 if site.smooth is None else np.asarray(site.smooth)[:, None])
    stands = turn @ stands if ptq.activations else stands
    error = ((stands - w) ** 2).mean()
    assert float(found.error) == pytest.approx(error, rel=1e-4)
    assert found.relative == pytest.approx(error / (w**2).mean(), rel=1e-4)
    assert found.output is None
    if isinstance(ptq.method, Noise):
        assert (found.entropy, found.step) == (None, None)
    elif not isinstance(ptq.method, GPTQ | AWQ):
        # errors that are even within a step have a twelfth of its square, and the largest of a group has none
        held = 1 - 1 / (ptq.quantizer.granularity.size if isinstance(ptq.quantizer.granularity, PerGroup) else 24)
        assert float(found.step) / 12 * held == pytest.approx(error, rel=0.1)


@pytest.mark.parametrize(
    "quantizer",
    [
        *(Quantizer(format=Int(bits=bits), granularity=PerGroup(size=10)) for bits in (5, 16)),
        Quantizer(format=Int(bits=3, grid="asymmetric"), granularity=PerGroup(size=10)),
        Quantizer(format=Int(bits=1, grid="sign")),
        Quantizer(format=NF4(), granularity=PerGroup(size=10)),
        Quantizer(format=FLOATS["e2m1"], granularity=PerGroup(size=8), scale=PowerOfTwo()),
        Quantizer(format=Float(exponent=3, mantissa=2)),
    ],
    ids=repr,
)
def test_the_entropy_is_that_of_the_stored_codes(quantizer):
    ptq = PTQ(quantizer=quantizer)
    _, found = one_matrix(ptq, None, jnp.asarray(W), numbers_of(ptq))
    stored = quantize(W, quantizer)
    codes = stored.codes
    if isinstance(quantizer.format, Float):  # two codes of zero are one value
        codes = np.where(codes == 2 ** (quantizer.format.bits - 1), 0, codes)
    _, counts = np.unique(codes, return_counts=True)
    share = counts / counts.sum()
    assert float(found.entropy) == pytest.approx(-(share * np.log2(share)).sum(), abs=1e-4)
    if isinstance(quantizer.format, Int) and quantizer.format.bits > 1:
        scale = np.repeat(stored.scales, 10, axis=0)[: len(W)].astype(np.float64)
        assert float(found.step) == pytest.approx((scale**2).mean(), rel=1e-5)
    else:
        assert found.step is None


def test_codes_of_scaled_rows_and_inputs_are_those_that_were_rounded():
    wide = Quantizer(format=Int(bits=6))
    for ptq in (PTQ(method=AWQ(), quantizer=wide), PTQ(method=SmoothQuant(), quantizer=wide, activations=TOKEN4)):
        site, found = one_matrix(ptq, jnp.asarray(X), jnp.asarray(W), numbers_of(ptq))
        rows = np.ones(24) if site.rows is None else np.asarray(site.rows, np.float64)
        scale = np.asarray(site.scales.scale, np.float64).reshape(1, -1)
        codes = np.asarray(site.w, np.float64) / rows[:, None] / scale
        assert np.abs(codes - np.round(codes)).max() < 1e-3
        _, counts = np.unique(np.round(codes), return_counts=True)
        assert float(found.entropy) == pytest.approx(-(counts / 768 * np.log2(counts / 768)).sum(), abs=1e-4)
        smooth = np.ones(24) if site.smooth is None else np.asarray(site.smooth, np.float64)
        step = scale * (rows / smooth)[:, None]
        assert float(found.step) == pytest.approx((step**2).mean(), rel=1e-4)
        assert float(found.step) / 12 == pytest.approx(float(found.error), rel=0.3)


@pytest.mark.parametrize("method", [RTN(), GPTQ()], ids=repr)
def test_errors_of_outputs_are_on_inputs_behind_what_is_quantized(method):
    ptq = PTQ(method=method, quantizer=INT3, calibration=CalibrationText(sequences=24))
    arithmetic, found = made(ptq)
    rounded = {place: site.w for place, site in arithmetic.sites.items()}
    inputs = inputs_of(MODEL, with_matrices(PARAMS, rounded), TEXT)
    for place, w in matrices(PARAMS).items():
        x = np.asarray(inputs[place], np.float64)
        wanted = x @ np.asarray(w, np.float64)
        off = x @ np.asarray(rounded[place], np.float64) - wanted
        assert float(found[place].output) == pytest.approx((off**2).sum() / (wanted**2).sum(), rel=1e-3)


def test_a_text_that_rounding_need_not_see_changes_no_bit():
    plain, seen = made(PTQ(quantizer=INT3)), made(PTQ(quantizer=INT3, calibration=CalibrationText(sequences=24)))
    for place, site in plain[0].sites.items():
        assert np.array_equal(site.w, seen[0].sites[place].w)
        assert plain[1][place].output is None
        assert 0 < seen[1][place].output < 0.2


def test_a_probe_of_a_diagonal_is_its_trace():
    scale = {"a": jnp.asarray([1.0, 2.0, 4.0]), "b": jnp.asarray([[0.5, -3.0]])}
    found = hutchinson(
        lambda x: sum(jnp.sum(s * x[name] ** 2) / 2 for name, s in scale.items()),
        jax.tree.map(jnp.ones_like, scale),
        *(jax.random.key(0), 5),
    )
    assert np.array_equal(found["a"], np.full(5, 7.0))
    assert np.array_equal(found["b"], np.full(5, -2.5))


def test_traces_are_those_of_the_whole_hessian():
    small = ModelSpec(vocab=8, context=8, width=4, layers=1, heads=1, hidden=4)
    params = init(small, jax.random.key(3))
    windows = jnp.asarray(RNG.integers(0, 8, (6, 9)), jnp.int32)
    own = matrices(params)
    whole = jax.jit(jax.hessian(lambda given: losses(small, with_matrices(params, given), windows).mean()))(own)
    blocks = {place: np.asarray(whole[place][place], np.float64).reshape(w.size, w.size) for place, w in own.items()}
    largest = max(abs(np.trace(block)) for block in blocks.values())
    found = TRACES(small, "float32", params, windows, jax.random.key(0), 20_000)
    for place, block in blocks.items():
        truth = np.trace(block)
        each = np.asarray(found[place], np.float64)
        assert abs(each.mean() - truth) < 4 * each.std() / np.sqrt(len(each))
        assert each.std() / np.sqrt(len(each)) < 0.05 * largest


def test_half_the_trace_times_the_error_is_the_penalty_of_small_noise(corpus, trained):
    windows = jnp.asarray(corpus.held_out(1024, MODEL.context))
    own = matrices(trained)
    trace = {
        place: each.mean() for place, each in TRACES(MODEL, "float32", trained, windows, jax.random.key(0), 64).items()
    }

    def penalty(key):
        keys = zip(own.items(), jax.random.split(key, len(own)), strict=True)
        moved = {place: 0.02 * jax.random.normal(k, w.shape) for (place, w), k in keys}
        # noise and its negative: what is left is even
        both = [with_matrices(trained, {p: w + sign * moved[p] for p, w in own.items()}) for sign in (1.0, -1.0)]
        return sum(losses(MODEL, params, windows).mean() for params in both) / 2

    found = np.asarray(
        jax.jit(lambda keys: jax.lax.map(penalty, keys))(jax.random.split(jax.random.key(1), 64)), np.float64
    )
    delta = found - float(LOSSES(MODEL, trained, windows).mean())
    expected = 0.02**2 / 2 * float(sum(trace.values()))
    assert delta.mean() == pytest.approx(expected, rel=0.1)
    assert delta.std() / 8 < 0.05 * expected


def test_the_trace_is_of_the_mean_of_all_tokens_where_none_is_left_out(monkeypatch):
    monkeypatch.setattr("simlaw.curvature.window_means", None)
    windows = jnp.zeros((2, MODEL.context + 1), jnp.int32)
    jax.eval_shape(lambda params: traces(MODEL, "float32", params, windows, jax.random.key(0), 3), PARAMS)
    with pytest.raises(TypeError):
        jax.eval_shape(lambda params: traces(MODEL, "float32", params, windows, jax.random.key(0), 3, (1,)), PARAMS)


def test_rows_say_what_was_done_to_the_matrices(corpus):
    ptqs = [
        PTQ(quantizer=INT4),
        *(PTQ(method=RateDistortion(seed=seed), quantizer=INT4) for seed in (0, 1)),
        PTQ(method=RateDistortion(), quantizer=INT3),
        PTQ(quantizer=INT4, activations=TOKEN4),
    ]
    evals = evaluations(None, *ptqs, curvature=Curvature(windows=16))
    found = measured(corpus, PARAMS, evals)
    rows = done_rows(tiny_run(), "f", None, evals, found)
    assert all(set(row) == set(KINDS) for row in rows)
    plain, rtn, one, two, _, inputs = rows
    assert all(plain[name] is None for name in ("weight_kurtosis", "weight_error", "bits_stored", "delta_quadratic"))
    sizes = {place: w.size for place, w in matrices(PARAMS).items()}
    each = found[1].matrices
    for column, name in (("weight_kurtosis", "kurtosis"), ("weight_error", "relative"), ("weight_step", "step")):
        expected = sum(sizes[p] * getattr(d, name) for p, d in each.items()) / sum(sizes.values())
        assert rtn[column] == pytest.approx(expected)
    assert rtn["bits_stored"] == 8 * rtn["bytes_blocks"] / rtn["params_blocks"]
    scales = rtn["bits_stored"] - 4
    assert scales + 1 < rtn["bits_entropy"] < rtn["bits_stored"]
    assert one["bits_entropy"] == 4
    assert (rtn["hessian_windows"], rtn["hessian_probes"], rtn["hessian_trace"]) == (16, 8, plain["hessian_trace"])
    halves = sum(found[1].traces[place].mean() * one.error / 2 for place, one in each.items())
    assert rtn["delta_quadratic"] == pytest.approx(halves)
    assert inputs["delta_quadratic"] is None
    table = make_table(rows)
    of_matrices = matrix_rows(tiny_run(), "f", evals, found)
    assert Matrices.parse(of_matrices.to_csv()) == of_matrices
    mine = [row for row in of_matrices.rows if row["eval_id"] == rtn["eval_id"]]
    assert [row["matrix"] for row in mine] == ["qkv", "out", "gate_up", "down"]
    assert sum(row["hessian_trace"] for row in mine) == pytest.approx(rtn["hessian_trace"], rel=1e-5)
    means = {"weight_kurtosis": "kurtosis", "weight_peak": "peak", "weight_error": "error", "weight_step": "step"}
    for column, name in means.items():
        mean = sum(row["params"] * row[name] for row in mine) / rtn["params_blocks"]
        assert mean == pytest.approx(rtn[column], rel=1e-5)
    # as trained there is the curvature alone
    assert {row["kurtosis"] for row in of_matrices.rows if row["eval_id"] == plain["eval_id"]} == {None}
    limits = {row["eval_id"]: row["delta_limit"] for row in table}
    limit = (one["delta"] + two["delta"]) / 2
    assert (
        limits[rtn["eval_id"]] == limits[inputs["eval_id"]] == limits[one["eval_id"]] == pytest.approx(limit, abs=1e-12)
    )
    assert limits[plain["eval_id"]] is None
    assert make_table(rows[::-1]) == table
    # without the evaluations that it is read off, it stays
    assert (
        make_table([row for row in table if row["ptq_method"] != "ratedistortion"]).column("delta_limit")[-1] == limit
    )


@pytest.mark.parametrize("parts", [Architecture(), Architecture(norm="layer", feed="gelu", qk_norm=True)], ids=repr)
def test_planted_outliers_change_no_logit(parts):
    model = ModelSpec(vocab=16, context=16, width=16, layers=2, heads=2, hidden=48, architecture=parts)
    params = init(model, jax.random.key(1))
    base = LOGITS(model, params, TEXT)
    moved = planted(model, params, Outliers(share=0.1, factor=64.0))
    assert np.array_equal(LOGITS(model, moved, TEXT), base)
    assert np.allclose(LOGITS(model, planted(model, params, Outliers(share=0.1, factor=30.0)), TEXT), base, atol=1e-4)
    places = set()
    for layer, norms in moved["norms"]["blocks"].items():
        for name in ("attention_norm", "feed_norm"):
            out = np.flatnonzero(np.asarray(norms[name]["gain"]) == 64)
            assert (len(out), np.asarray(norms[name]["gain"]).sum()) == (2, 14 + 128)
            places.add((layer, name, *out.tolist()))
    assert len({place[2:] for place in places}) > 1
    for place, w in matrices(params).items():
        same = np.array_equal(w, matrices(moved)[place])
        assert same == (place.matrix in ("out", "down"))


def test_methods_for_outliers_win_where_there_are_some(corpus, trained):
    """Weights and inputs of four bits: penalties with planted outliers."""
    ways = [(RTN(), None), *((method, Outliers()) for method in (RTN(), SmoothQuant(), Tender()))]
    ptqs = [PTQ(method=m, quantizer=INT4, activations=TOKEN4, outliers=outliers) for m, outliers in ways]
    before, token, smooth, tender = (one.delta for one in measured(corpus, trained, evaluations(*ptqs)))
    assert token > 2 * max(abs(smooth), abs(tender))
    assert token > 2 * abs(before)  # what there is to win, the outliers did


def test_outliers_are_refused_where_the_function_would_change():
    bounded = ModelSpec(
        vocab=16, context=16, width=16, layers=1, heads=2, hidden=48, architecture=Architecture(bound=4.0)
    )
    with pytest.raises(
        SimlawError, match="its inputs of block matrices are bounded by 4 behind each norm; take a model"
    ):
        planted(bounded, init(bounded, jax.random.key(0)), Outliers())
