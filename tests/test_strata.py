"""A corpus with markers and strata, through training and evaluation: what counts, and what each kind of item costs."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simlaw.config import PTQ, EvalSpec, ZFact
from simlaw.corpora import Stratum, open_corpus
from simlaw.evaluate import _part, measure
from simlaw.formats import Int, PerChannel, PerToken, Quantizer
from simlaw.model import init, losses
from simlaw.rows import stratum_rows
from simlaw.strata import Strata
from simlaw.train import compile_shape, members, shape_of, start
from tests.conftest import MODEL, tiny_run

SPEC = ZFact(entities=32, relations=2, values=6, base=6)
RUN = tiny_run(corpus=SPEC, model=replace(MODEL, vocab=SPEC.vocab, context=10))
RUN = replace(RUN, tokens=20 * RUN.batch_tokens)
PARAMS = init(RUN.model, jax.random.key(0))
INT4 = Quantizer(format=Int(bits=4), granularity=PerChannel())
EVALS = (
    EvalSpec(tokens=400),
    EvalSpec(tokens=400, ptq=PTQ(quantizer=INT4)),
    EvalSpec(tokens=400, ptq=PTQ(quantizer=INT4, activations=replace(INT4, granularity=PerToken()))),
)
LOSSES = jax.jit(losses, static_argnums=0)


@pytest.fixture(scope="module")
def corpus():
    return open_corpus(SPEC)


@pytest.fixture(scope="module")
def found(corpus):
    windows = corpus.held_out(400, 10)
    return measure(RUN, PARAMS, windows, EVALS, corpus.floor(windows), None, corpus.strata(10))


def test_the_loss_is_that_of_the_tokens_that_count(corpus, found):
    windows = corpus.held_out(400, 10)
    each = np.asarray(LOSSES(RUN.model, PARAMS, jnp.asarray(windows)), np.float64)
    assert SPEC.item == 5
    kept = [t for t in range(10) if t not in (4, 9)]  # the next marker stands behind every fact
    assert found[0].loss == pytest.approx(each[:, kept].mean(), abs=1e-6)
    assert found[0].floor == pytest.approx(corpus.floor_nll(windows)[:, kept].mean(), rel=1e-12)


def test_training_counts_the_same_tokens(corpus):
    program = compile_shape(shape_of(RUN), corpus)
    _, history = program.advance(start([RUN]), members(program, [RUN], cool=True), 1)
    own = corpus.seed_data(0, 10)
    windows = corpus.batch(corpus.shared_data(), own, jnp.int32(0), RUN.batch, 10)
    each = np.asarray(LOSSES(RUN.model, PARAMS, windows), np.float64)
    assert history.loss[0, 0] == pytest.approx(np.delete(each, (4, 9), axis=1).mean(), abs=1e-6)


def test_strata_are_the_losses_of_their_tokens_under_every_quantization(corpus, found):
    strata = corpus.strata(10)
    for stratum, part in zip(strata, found[0].parts, strict=True):
        each = np.asarray(LOSSES(RUN.model, PARAMS, jnp.asarray(stratum.windows)), np.float64)[stratum.looked_at]
        assert part.tokens == each.size == stratum.looked_at.sum()
        assert part.loss == pytest.approx(each.mean(), abs=1e-6)
        assert part.loss_se == pytest.approx(each.std(ddof=1) / np.sqrt(each.size), rel=1e-4)
    plain, weights, inputs = ([part.loss for part in one.parts] for one in found)
    assert 0 < np.abs(np.subtract(weights, plain)).max() < 0.1
    assert 0 < np.abs(np.subtract(inputs, weights)).max() < 0.1


def test_the_error_of_problems_is_over_problems():
    rng = np.random.default_rng(0)
    own, looked_at = rng.normal(size=(5000, 16)), np.arange(10) < rng.integers(2, 11, 16)[:, None]
    # tokens of a window share all that they have
    each = np.broadcast_to(own[:, :, None], (5000, 16, 10))
    stratum = Stratum(
        axis="steps", low=1, high=1, items=None, windows=np.zeros((16, 11), np.int32), looked_at=looked_at, floor=0.0
    )
    parts = [_part(one, replace(stratum, one_item=True)) for one in each]
    spread = np.std([part.loss for part in parts])
    assert np.mean([part.loss_se**2 for part in parts]) ** 0.5 == pytest.approx(spread, rel=0.1)
    apart = [_part(one, stratum) for one in each[:100]]
    assert [part.loss for part in apart] == [part.loss for part in parts[:100]]
    assert np.mean([part.loss_se for part in apart]) < 0.6 * spread  # as if each were of an item of its own


def test_rows_of_strata_are_written_and_read(corpus, found):
    rows = stratum_rows(RUN, corpus.fingerprint, EVALS, found, corpus.strata(10))
    assert len(rows) == 3 * 5
    assert Strata.parse(rows.to_csv()) == rows
    first = rows.rows[0]
    assert (first["axis"], first["low"], first["high"], first["items"], first["tokens"]) == ("rank", 1, 1, 2, 2)
    assert len(rows.of([rows.rows[7]["eval_id"]])) == 5
