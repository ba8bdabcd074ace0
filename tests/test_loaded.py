"""Loaded models: what they compute is what their rows say, and each wrong request gets a sentence."""

import dataclasses
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import simlaw as sl
from simlaw.checkpoint import from_bytes, to_bytes
from simlaw.config import EMA, LAWA, PTQ, AdamW, Precision, Text, run_id
from simlaw.corpora.tokenizer import tokenizer_of
from simlaw.declared import encode
from simlaw.errors import SimlawError
from simlaw.formats import Int, Quantizer
from simlaw.model import logits
from simlaw.plan import Pack, shapes_of
from simlaw.run.found import stored_rows
from simlaw.run.work import Desk, work
from simlaw.store import Store
from simlaw.train import shape_of
from tests.conftest import MODEL, ROOT, tiny_eval, tiny_run

INT3, INT4 = PTQ(quantizer=Quantizer(format=Int(bits=3))), Quantizer(format=Int(bits=4))
EVALS = (tiny_eval(), tiny_eval(ptq=INT3))
WILD = AdamW(rate=0.02, rate_multiple=1e30)


def renamed(files, run):
    """The weights of a stored run as if they were another's."""
    return to_bytes(from_bytes(files["params.safetensors"], shapes_of(MODEL)), of=run)


@pytest.fixture(scope="module")
def filled(tmp_path_factory, corpus, program):
    """A store with one good run, the same as if trained with 4-bit weights, and one that diverged."""
    store = Store(root=tmp_path_factory.mktemp("loaded"))
    desk = Desk(store=store, corpus=corpus, tell=lambda _: None, stop=lambda: False)
    specs = [tiny_run(), tiny_run(precision=Precision(weights=INT4)), tiny_run(optimizer=WILD)]
    ids = [run_id(spec, corpus.fingerprint) for spec in specs]
    for spec in (specs[0], specs[2]):
        work(Pack(members=((spec,),), evals=EVALS), desk, {shape_of(tiny_run()): program})
    files = store.get("run", ids[0])
    copied = {"params.safetensors": renamed(files, ids[1]), "spec.json": json.dumps(encode(specs[1])).encode()}
    store.put("run", ids[1], files | copied)
    return store, ids


def test_its_losses_are_those_of_its_rows(filled, corpus):
    store, (plain, *_) = filled
    windows = corpus.held_out(1024, MODEL.context)
    model = sl.load_model(plain, store=store.root)
    rows = stored_rows(store, plain).values()
    assert len(rows) == 2
    for row in rows:
        one = model if row["ptq_bits"] is None else model.quantized(INT3)
        assert one.loss(windows) == pytest.approx(row["loss"], rel=1e-6)


def test_what_trained_with_quantized_weights_computes_with_them(filled):
    store, (plain, four, _) = filled
    model, other = sl.load_model(four, store=store.root), sl.load_model(plain, store=store.root)
    tokens = np.arange(16)
    assert np.array_equal(model(tokens), other.quantized(INT4)(tokens))
    assert not np.array_equal(model(tokens), other(tokens))
    # an evaluation quantizes the checkpoint, and not the weights that are on a grid already
    assert np.array_equal(model.quantized(INT3)(tokens), other.quantized(INT3)(tokens))
    assert "trained with W4" in repr(model)


def test_logits_give_the_loss_and_do_not_see_the_future(filled):
    store, (plain, *_) = filled
    model = sl.load_model(plain[:8], store=store.root)
    tokens = np.random.default_rng(0).integers(0, MODEL.vocab, (3, 12))
    z = model(tokens).astype(np.float64)
    assert z.shape == (3, 12, MODEL.vocab)
    assert np.allclose(model(tokens[1, :7]), z[1, :7], atol=1e-5)
    log_p = z - np.log(np.exp(z).sum(axis=2, keepdims=True))
    by_hand = -np.take_along_axis(log_p[:, :-1], tokens[:, 1:, None], axis=2).mean()
    assert model.loss(tokens) == pytest.approx(by_hand, rel=1e-6)


def test_a_long_text_is_cut_into_windows(filled):
    store, (plain, *_) = filled
    model = sl.load_model(plain, store=store.root)
    tokens = np.random.default_rng(1).integers(0, MODEL.vocab, 40)
    pieces = [tokens[:17], tokens[16:33], tokens[32:]]
    by_hand = sum(model.loss(piece) * (len(piece) - 1) for piece in pieces) / 39
    assert model.loss(tokens) == pytest.approx(by_hand, rel=1e-6)


def test_samples_repeat_by_their_seed(filled):
    store, (plain, *_) = filled
    model = sl.load_model(plain, store=store.root)
    drawn = model.sample([3, 5], length=30, seed=1)
    assert drawn == model.sample([3, 5], length=30, seed=1) != model.sample([3, 5], length=30, seed=2)
    assert len(drawn) == 30
    assert set(drawn) <= set(range(16))
    assert model.sample(length=30) == model.sample([0], length=30)


def test_samples_are_drawn_from_the_logits_divided_by_the_temperature(filled):
    store, (plain, *_) = filled
    model = sl.load_model(plain, store=store.root)
    keys = jax.random.split(jax.random.key(3), 30)
    noise = [np.asarray(jax.random.gumbel(key, (MODEL.vocab,)), np.float64) for key in keys]
    for temperature, top_k in ((1.0, None), (0.25, None), (3.0, None), (3.0, 2), (0.0, None)):
        seen = [3, 5]
        for i in range(30):
            z = model(seen[-MODEL.context :])[-1].astype(np.float64)
            z[np.argsort(z)[: MODEL.vocab - (top_k or MODEL.vocab)]] = -np.inf
            seen.append(int(np.argmax(z / temperature + noise[i] if temperature else z)))
        drawn = model.sample([3, 5], length=30, seed=3, temperature=temperature, top_k=top_k)
        assert drawn == seen[2:], (temperature, top_k)
    # the last were at temperature 0; a colder one than float32 can divide by is the same
    assert model.sample([3, 5], length=30, seed=3, temperature=1e-39) == drawn


def test_an_unheated_sample_is_what_it_always_was(filled):
    store, (plain, *_) = filled
    model = sl.load_model(plain, store=store.root)
    one = model.sample(length=40, seed=2)
    assert one == model.sample(length=40, seed=2, temperature=1, top_k=MODEL.vocab)
    # 0.1.0 on the same weights; of one that learned to walk, so that no rounding decides
    assert one == sampled_by_0_1_0(model, 40, 2)


def sampled_by_0_1_0(model, length, seed):
    """The loop of version 0.1.0, one token at a time."""
    window, used, drawn = jnp.zeros(MODEL.context, jnp.int32), 1, []
    step = jax.jit(
        lambda key, window, used: jax.random.categorical(
            key, logits(MODEL, model.weights, window[None])[0, used - 1]
        ).astype(jnp.int32)
    )
    for key in jax.random.split(jax.random.key(seed), length):
        token = step(key, window, jnp.int32(used))
        drawn.append(int(token))
        window = jnp.roll(window, -1) if used == MODEL.context else window
        used = min(used + 1, MODEL.context)
        window = window.at[used - 1].set(token)
    return drawn


def test_an_average_that_was_kept_is_loaded(filled, corpus, tmp_path):
    store, (plain, *_) = filled
    ema, lawa = EMA(tokens=512), LAWA(every_tokens=256, count=3)
    spec = tiny_run(averages=(ema, lawa))
    run = run_id(spec, corpus.fingerprint)
    params = sl.load_model(plain, store=store.root).params
    means = tuple(jax.tree.map(lambda w, by=by: w * jnp.float32(by), params) for by in (0.5, 0.25))
    files = {
        "params.safetensors": to_bytes(params, of=run), "averages.safetensors": to_bytes(means, of=run),
        "spec.json": json.dumps(encode(spec)).encode(), "status.json": b'{"status": "trained"}',
    }  # fmt: skip
    other = Store(root=tmp_path)
    other.put("run", run, files)
    for average, by in ((None, 1.0), (ema, 0.5), (lawa, 0.25)):
        model = sl.load_model(run, average=average, store=tmp_path)
        assert model.average == average
        for mine, theirs in zip(jax.tree.leaves(model.params), jax.tree.leaves(params), strict=True):
            assert np.array_equal(mine, by * theirs)
        assert np.array_equal(model.quantized(INT3).params["head"], model.params["head"])
    assert "width 16, 1 layers, mean of 3 snapshots 256 tokens apart, 2.56k tokens" in repr(model)
    assert "1 layers, EMA of 512 tokens, 2.56k" in repr(sl.load_model(run, average=ema, store=tmp_path))
    with pytest.raises(SimlawError, match=r"kept no average EMA\(tokens=7\), but EMA\(tokens=512\), LAWA\(count=3, "):
        sl.load_model(run, average=EMA(tokens=7), store=tmp_path)
    with pytest.raises(SimlawError, match=r"kept no average EMA\(tokens=512\), but none: "):
        sl.load_model(plain, average=ema, store=store.root)


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_average_gets_a_sentence(filled):
    store, (plain, *_) = filled
    with pytest.raises(SimlawError, match=r"'ema' is no average: give one of simlaw\.config, such as EMA"):
        sl.load_model(plain, average="ema", store=store.root)


def test_its_display_is_one_line(filled):
    store, (plain, *_) = filled
    assert repr(sl.load_model(plain, store=store.root)) == (
        f"LoadedModel({plain}: 3.33k block parameters, width 16, 1 layers, 2.56k tokens of Graph, seed 0)"
    )
    assert "rounded to int3" in repr(sl.load_model(plain, store=store.root).quantized(INT3))


def test_bytes_stand_for_text():
    tokenizer = tokenizer_of(Text(), 256)
    assert tokenizer.encode("é\n").tolist() == [0xC3, 0xA9, 10]
    assert tokenizer.decode(tokenizer.encode("größer")) == "größer"
    assert tokenizer.decode([0xC3]) == "\ufffd"
    assert tokenizer.encode(b"\x00a").tolist() == [0, 97]


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda model: model("text"), "'text' is text, and this model walks on a graph: give nodes, such as"),
        (lambda model: model([3, 16]), "the token 16 is not of this vocabulary: give 0 to 15"),
        (lambda model: model([-1]), "the token -1 is not of this vocabulary"),
        (lambda model: model([0.5]), "tokens are of type float64: give whole numbers from 0 to 15"),
        (lambda model: model([1] * 17), r"tokens of shape \(17,\): the model takes 1 to 16 of them"),
        (lambda model: model([]), r"tokens of shape \(0,\): the model takes 1 to 16"),
        (lambda model: model.loss([3]), r"tokens of shape \(1,\): a loss takes 2 tokens or more"),
        (lambda model: model.loss([[1] * 18]), r"tokens of shape \(1, 18\): .* or windows of at most 17"),
        (lambda model: model.quantized(4), "4 is no quantizer: give one, such as Quantizer"),
        (lambda model: model.sample(length=0), "length=0: a sample has 1 token or more"),
        (lambda model: model.sample(temperature=-0.5), "temperature=-0.5: it is 0, which takes the likeliest token"),
        (lambda model: model.sample(temperature=float("nan")), "temperature=nan: it is 0, .* or a number above 0"),
        (lambda model: model.sample(top_k=0), "top_k=0: the vocabulary has 16 tokens; give 1 to 16, or None"),
        (lambda model: model.sample(top_k=17), "top_k=17: the vocabulary has 16 tokens"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_it_cannot_see_gets_a_sentence(filled, ask, sentence):
    store, (plain, *_) = filled
    with pytest.raises(SimlawError, match=sentence):
        ask(sl.load_model(plain, store=store.root))


def test_weights_that_are_not_finite_are_not_quantized(filled):
    store, (plain, *_) = filled
    model = sl.load_model(plain, store=store.root)
    wild = dataclasses.replace(model, params=jax.tree.map(lambda x: x.at[(0,) * x.ndim].set(jnp.nan), model.params))
    with pytest.raises(SimlawError, match="the matrix qkv of layer 0 holds numbers that are not finite"):
        wild.quantized(INT3)


def test_what_is_no_model_gets_a_sentence(filled, tmp_path, corpus):
    store, (plain, _, wild) = filled
    with pytest.raises(SimlawError, match="'zzz' is no run here: `simlaw status SWEEP --json` lists the runs"):
        sl.load_model("zzz", store=store.root)
    with pytest.raises(SimlawError, match="'' is the beginning of 3 runs"):
        sl.load_model("", store=store.root)
    with pytest.raises(SimlawError, match=f"run {wild} diverged and has no model: training loss became nan at step"):
        sl.load_model(wild, store=store.root)
    with pytest.raises(SimlawError, match=r"there is no store at .*none: give store=…, or run a sweep first"):
        sl.load_model(plain, store=tmp_path / "none")


def test_a_checkpoint_of_another_version_is_refused(filled, tmp_path, monkeypatch):
    store, (plain, *_) = filled
    other = Store(root=tmp_path)
    files = dict(store.get("run", plain))
    spec = json.loads(files["spec.json"])
    files["spec.json"] = json.dumps({**spec, "dropout": 0.1}).encode()
    other.put("run", plain, files)
    with pytest.raises(SimlawError, match=r"was stored by another version of simlaw .*'dropout'.*: read it with that"):
        sl.load_model(plain, store=tmp_path)
    files["spec.json"] = json.dumps({**spec, "model": {**spec["model"], "hidden": 32}}).encode()
    files["params.safetensors"] = renamed(files, "0" * 16)
    other.put("run", "0" * 16, files)
    with pytest.raises(SimlawError, match=r"the checkpoint's .* it is of another model"):
        sl.load_model("0000", store=tmp_path)
    other.put("run", "1" * 16, dict(store.get("run", plain)))
    with pytest.raises(SimlawError, match=f"the checkpoint is of {plain}, wanted 1111111111111111"):
        sl.load_model("1111", store=tmp_path)
    monkeypatch.setattr("simlaw.run.stored.NUMERICS", 99)
    with pytest.raises(
        SimlawError, match=f"run {plain} was computed under numerics 1, and this version computes under 99"
    ):
        sl.load_model(plain, store=store.root)


def test_only_asking_for_a_model_brings_jax():
    code = (
        "import sys, simlaw as sl; print('jax' in sys.modules, 'load_model' in dir(sl)); sl.load_model; "
        "print('jax' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", "True", "True"]
    with pytest.raises(AttributeError, match="module 'simlaw' has no attribute 'load_modell'"):
        _ = sl.load_modell


def test_a_spec_says_what_was_trained(filled):
    store, (plain, *_) = filled
    model = sl.load_model(plain, store=store.root)
    assert model.spec == dataclasses.replace(tiny_run())
    assert set(model.params) == {"embedding", "blocks", "norms", "head"}
