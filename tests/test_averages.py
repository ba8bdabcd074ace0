"""Averages of the weights: against NumPy over the exact weights of every step, and the weights none the wiser."""

import dataclasses

import jax
import numpy as np
import pytest

from simlaw.averages import average_of
from simlaw.checkpoint import from_bytes
from simlaw.config import EMA, LAWA, PTQ
from simlaw.errors import SimlawError
from simlaw.evaluate import measure
from simlaw.formats import Int, Quantizer
from simlaw.plan import Pack, shapes_of
from simlaw.run.work import weights_of
from simlaw.store import Store
from simlaw.train import compile_shape, members, shape_of, start
from tests.conftest import MODEL, tiny_eval, tiny_run
from tests.test_work import Clerk, assert_same

AVERAGES = (EMA(tokens=4 * 128), LAWA(count=3, every_tokens=2 * 128))
SPEC = tiny_run(averages=AVERAGES)
PTQS = (None, *(PTQ(quantizer=Quantizer(format=Int(bits=bits))) for bits in (3, 4)))
PACK = Pack(members=((SPEC,),), evals=tuple(tiny_eval(ptq=p, average=a) for a in (None, *AVERAGES) for p in PTQS))


@pytest.fixture(scope="module")
def averaging(corpus):
    return compile_shape(shape_of(SPEC), corpus)


@pytest.fixture(scope="module")
def weights(program):
    """The weights after every step, as the program without averages has them."""
    plain = dataclasses.replace(SPEC, averages=())
    state, data, seen = start([plain]), members(program, [plain], cool=True), []
    for _ in range(SPEC.steps):
        state, _ = program.advance(state, data, 1)
        seen.append(jax.tree.map(lambda x: np.asarray(x[0]), state.params))
    return seen


def trained(averaging, steps):
    state, _ = averaging.advance(start([SPEC]), members(averaging, [SPEC], cool=True), steps)
    return jax.tree.map(lambda x: np.asarray(x[0]), state)


def mean(trees, counts):
    counts = np.asarray(counts, np.float64)
    return jax.tree.map(lambda *leaves: np.tensordot(counts / counts.sum(), np.float64(leaves), 1), *trees)


def assert_close(found, truth):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=2e-6), found, truth)


@pytest.mark.parametrize("steps", [1, 7, 20])
def test_an_ema_weighs_the_weights_by_their_age(averaging, weights, steps):
    state = trained(averaging, steps)
    counts = np.exp(-np.arange(steps)[::-1] / 4)
    assert_close(average_of(AVERAGES[0], state.averages[0], steps, 128), mean(weights[:steps], counts))


@pytest.mark.parametrize(("steps", "snapshots"), [(2, [2]), (5, [2, 4]), (7, [2, 4, 6]), (20, [16, 18, 20])])
def test_a_lawa_is_the_mean_of_the_latest_snapshots(averaging, weights, steps, snapshots):
    state = trained(averaging, steps)
    truth = mean([weights[at - 1] for at in snapshots], np.ones(len(snapshots)))
    assert_close(average_of(AVERAGES[1], state.averages[1], steps, 128), truth)


def test_the_weights_are_the_same_bits_as_without_averages(averaging, weights):
    jax.tree.map(np.testing.assert_array_equal, trained(averaging, 20).params, weights[-1])


def test_averages_are_evaluated_beside_the_last_weights(store, corpus, averaging):
    clerk = Clerk(store, corpus, averaging)
    clerk.do(PACK)
    rows = list(clerk.rows(SPEC).values())
    assert {(row["average"], row["average_tokens"], row["average_count"]) for row in rows} == {
        (None, None, None),
        ("ema", 512, None),
        ("lawa", 256, 3),
    }
    files = store.get("run", clerk.id(SPEC))
    windows = corpus.held_out(1024, MODEL.context)
    for average in (None, *AVERAGES):
        found = measure(SPEC, weights_of(SPEC, files, average), windows, PACK.evals[:3], corpus.floor(windows))
        kind = {None: None, EMA: "ema", LAWA: "lawa"}[average if average is None else type(average)]
        mine = {row["ptq_bits"]: row for row in rows if row["average"] == kind}
        for bits, one in zip((None, 3, 4), found, strict=True):
            assert (mine[bits]["loss"], mine[bits]["delta"]) == (one.loss, one.delta)
    assert len({row["loss"] for row in rows}) == 9
    # deltas are against the same average as trained
    assert [row["delta"] for row in rows if row["ptq_bits"] is None] == [0, 0, 0]


def test_resumed_they_are_the_same_bits(store, tmp_path, corpus, averaging, monkeypatch):
    monkeypatch.setattr("simlaw.run.work.DISPATCH_STEPS", 3)
    clerk, other = Clerk(store, corpus, averaging), Clerk(Store(root=tmp_path / "other"), corpus, averaging)
    other.do(PACK)
    for part in (SPEC.trunk, SPEC):  # once within the trunk, once within the branch
        key = clerk.id(SPEC) if part is SPEC else None
        clerk.do(PACK, stop_when=lambda key=key: bool(clerk.store.keys("partial", *([key] if key else []))))
    assert not store.has("run", clerk.id(SPEC))
    clerk.do(PACK)
    assert_same(clerk, other, (SPEC,))
    like = tuple(shapes_of(MODEL) for _ in AVERAGES)
    kept = [from_bytes(c.store.get("run", c.id(SPEC))["averages.safetensors"], like) for c in (clerk, other)]
    jax.tree.map(np.testing.assert_array_equal, *kept)


def test_an_average_that_the_run_does_not_keep_is_refused():
    with pytest.raises(
        SimlawError, match=r"the run kept no average EMA\(tokens=7\), but EMA\(.*\), LAWA\(.*: Sweep\(averages=…\) adds"
    ):
        weights_of(SPEC, {}, EMA(tokens=7))


@pytest.mark.parametrize("every", [100, 21 * 128])
def test_snapshots_that_no_step_takes_are_refused(every):
    with pytest.raises(
        SimlawError, match=f"LAWA.every_tokens is {every}: snapshots are taken after whole batches of 128"
    ):
        tiny_run(averages=(LAWA(count=2, every_tokens=every),))


def test_an_average_is_named_once():
    with pytest.raises(SimlawError, match=r"RunSpec.averages holds EMA\(tokens=512\) twice"):
        tiny_run(averages=AVERAGES[:1] * 2)
