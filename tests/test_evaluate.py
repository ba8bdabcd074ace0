"""Evaluation: paired differences, all widths at once, quantised training measured as deployed, samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simlaw.config import GPTQ, PTQ, CalibrationText, EvalSpec, Precision, SmoothQuant
from simlaw.corpora.calibration import calibration_windows
from simlaw.evaluate import measure
from simlaw.formats import FLOATS, Int, PerChannel, PerGroup, PerToken, Quantizer
from simlaw.lowprecision import levels_of, on_formats
from simlaw.model import init, losses
from simlaw.ptq import numbers_of, quantized
from simlaw.sample import sample
from tests.conftest import MODEL, tiny_run

PARAMS = init(MODEL, jax.random.key(0))
EVALS = (
    EvalSpec(tokens=1024),
    *(
        EvalSpec(tokens=1024, ptq=PTQ(quantizer=Quantizer(format=Int(bits=bits), granularity=granularity)))
        for granularity in (PerChannel(), PerGroup(size=8))
        for bits in (2, 4, 8)
    ),
)


@pytest.fixture(scope="module")
def windows(corpus):
    return corpus.held_out(1024, MODEL.context)


@pytest.fixture(scope="module")
def found(corpus, windows):
    return measure(tiny_run(), PARAMS, windows, EVALS, corpus.floor(windows))


def rounded_by(quantizer):
    precision = Precision(weights=quantizer)
    return on_formats(PARAMS, precision.kind, levels_of(precision))


def test_each_measurement_is_the_loss_of_the_rounded_model(found, windows):
    for spec, got in zip(EVALS, found, strict=True):
        params = PARAMS
        if spec.ptq:
            quantizer = spec.ptq.quantizer
            params = rounded_by(quantizer)
        per_window = np.asarray(LOSSES(MODEL, params, jnp.asarray(windows)), np.float64).mean(axis=1)
        base = np.asarray(LOSSES(MODEL, PARAMS, jnp.asarray(windows)), np.float64).mean(axis=1)
        assert got.loss == pytest.approx(per_window.mean(), abs=1e-6)
        assert got.loss_se == pytest.approx(per_window.std(ddof=1) / 8, rel=1e-3)
        assert got.delta == pytest.approx((per_window - base).mean(), abs=1e-6)
        assert got.delta_se == pytest.approx((per_window - base).std(ddof=1) / 8, abs=1e-6)


def test_fewer_bits_move_the_loss_more(found):
    deltas = [abs(m.delta) for m in found]
    assert deltas[0] == 0
    assert deltas[1] > deltas[2] > deltas[3]
    assert found[3].delta_se < found[3].loss_se / 20  # pairing removes nearly all token noise


LOSSES = jax.jit(losses, static_argnums=0)
MADE = jax.jit(quantized, static_argnums=(0, 1, 2))
MANY = (
    PTQ(method=GPTQ(), quantizer=Quantizer(format=Int(bits=3))),
    PTQ(method=GPTQ(), quantizer=Quantizer(format=Int(bits=5))),
    PTQ(
        method=SmoothQuant(),
        quantizer=Quantizer(format=Int(bits=4)),
        activations=Quantizer(format=Int(bits=4), granularity=PerToken()),
    ),
    PTQ(quantizer=Quantizer(format=FLOATS["e2m1"]), kv=Quantizer(format=Int(bits=3), granularity=PerToken())),
)


def test_every_method_is_measured_as_it_computes(corpus, windows):
    def text(wanted):
        return calibration_windows(corpus, wanted, MODEL.context)

    evals = tuple(EvalSpec(tokens=1024, ptq=ptq) for ptq in MANY)
    found = measure(tiny_run(), PARAMS, windows, (*evals, EvalSpec(tokens=1024)), None, text)
    assert found[-1].delta == 0
    for ptq, got in zip(MANY, found, strict=False):
        seen = None if ptq.looks_at is None else jnp.asarray(text(ptq.looks_at))
        made = MADE(MODEL, "float32", ptq.kind, PARAMS, seen, numbers_of(ptq))
        each = LOSSES(MODEL, PARAMS, jnp.asarray(windows), made)
        assert got.loss == pytest.approx(float(np.asarray(each, np.float64).mean()), abs=1e-5)
    assert len({m.loss for m in found}) == len(found)


def test_calibration_windows_are_the_seeds(corpus):
    one, again, other = (
        calibration_windows(corpus, CalibrationText(sequences=8, seed=s), MODEL.context) for s in (0, 0, 1)
    )
    assert one.shape == (8, MODEL.context)
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_only_block_matrices_are_rounded():
    rounded = rounded_by(Quantizer(format=Int(bits=4)))
    for group in ("embedding", "norms", "head"):
        assert rounded[group] is PARAMS[group]
    for before, after in zip(jax.tree.leaves(PARAMS["blocks"]), jax.tree.leaves(rounded["blocks"]), strict=True):
        assert after.shape == before.shape
        assert max(len(np.unique(after[:, j])) for j in range(after.shape[1])) <= 15


def test_a_model_trained_with_rounded_weights_is_measured_with_them(corpus, windows):
    quantizer = Quantizer(format=Int(bits=4), granularity=PerChannel())
    plain = measure(tiny_run(), PARAMS, windows, EVALS, None)
    trained = measure(tiny_run(precision=Precision(weights=quantizer)), PARAMS, windows, EVALS, None)
    assert trained[0].loss == pytest.approx(plain[2].loss, abs=1e-6)
    assert trained[2].delta == pytest.approx(0, abs=1e-7)  # rounding to the grid it was trained on changes nothing
    assert trained[0].floor is None


def test_samples_repeat_and_follow_the_model():
    # a head that prefers token t + 1 after token t: logits depend on the embedding alone when blocks add nothing
    quiet = jax.tree.map(jnp.zeros_like, PARAMS["blocks"])
    eye = jnp.eye(16) * 100.0
    chain = {**PARAMS, "blocks": quiet, "embedding": {"embedding": eye}, "head": {"head": jnp.roll(eye, 1, axis=1)}}
    assert sample(MODEL, chain, [3], 20) == [(4 + i) % 16 for i in range(20)]
    assert sample(MODEL, PARAMS, [0, 1], 8, seed=1) == sample(MODEL, PARAMS, [0, 1], 8, seed=1)
    assert sample(MODEL, PARAMS, [0, 1], 8, seed=1) != sample(MODEL, PARAMS, [0, 1], 8, seed=2)
