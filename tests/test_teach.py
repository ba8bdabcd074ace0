"""Teachers: windows drawn exactly, floors that are the teacher's own, and folders that are whole or refused."""

import functools
import json
import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner

from simlaw import teacher as teaching
from simlaw.cli import cli
from simlaw.cli.teach import _average
from simlaw.config import EMA, Architecture, ModelSpec, Precision, Teach, Text, ZFact, run_id
from simlaw.corpora import TeachCorpus, open_corpus
from simlaw.corpora.lessons import make_lessons, read_lessons
from simlaw.corpora.tokenizer import Bytes, Numbers, tokenizer_of
from simlaw.errors import SimlawError
from simlaw.formats import Int, PerTensor, PerToken, Quantizer
from simlaw.lowprecision import arithmetic_of, levels_of
from simlaw.model import blank, following, init, logits, losses
from simlaw.plan import Pack
from simlaw.recipe import PRECISION_STABLE
from simlaw.run.work import Desk, weights_of, work
from simlaw.teacher import Teacher
from simlaw.train import shape_of
from tests.conftest import MODEL, tiny_eval, tiny_run


def model_of(seed):
    """Parameters as a run starts with: the logits are neither equal nor certain."""
    return init(MODEL, jax.random.key(seed))


@pytest.fixture(scope="module")
def teacher():
    return Teacher.of("0123456789abcdef", tiny_run(), model_of(0), 0)


@pytest.fixture(scope="module")
def folder(teacher, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teach") / "lessons"
    make_lessons(teacher, folder, tokens=32_000, held_out=16_000, seed=0)
    return folder


@pytest.fixture(scope="module")
def taught(folder):
    return open_corpus(Teach(folder=str(folder), vocab=16))


def drawn(teacher, count, seed=0, stream=0):
    return np.concatenate(list(teacher.draw(seed, stream, count)))


def test_windows_are_those_of_drawing_token_by_token(teacher):
    found = drawn(teacher, 100)
    key = jax.random.fold_in(jax.random.key(0), 0)
    noise = teaching.noise(MODEL, key, jnp.arange(100))
    after = jax.jit(functools.partial(logits, MODEL, teacher.weights))
    windows = np.zeros((100, 17), np.int32)
    for t in range(16):
        z = after(jnp.asarray(windows[:, :-1]))[:, t]
        windows[:, t + 1] = np.argmax(np.asarray(z) + np.asarray(noise[:, t]), axis=1)
    assert np.array_equal(found, windows)


def test_a_wrong_draft_changes_nothing(teacher, monkeypatch):
    right = drawn(teacher, 32)
    monkeypatch.setattr(teaching, "_draft", lambda *given: jnp.zeros((given[4].shape[0], 17), jnp.int32))
    assert np.array_equal(drawn(teacher, 32), right)


def test_a_window_depends_on_seed_stream_and_number_alone(teacher):
    few, many = drawn(teacher, 3), drawn(teacher, 300)
    assert many.shape == (300, 17)
    assert np.array_equal(few, many[:3])
    assert (many[:, 0] == 0).all()
    assert len(np.unique(many, axis=0)) == 300
    for other in (drawn(teacher, 3, seed=1), drawn(teacher, 3, stream=1)):
        assert not np.array_equal(few, other)


def test_frequencies_are_the_models(teacher):
    windows = drawn(teacher, 4096)
    p = np.asarray(jax.nn.softmax(logits(MODEL, teacher.weights, jnp.zeros((1, 16), jnp.int32))[0, 0]), np.float64)
    found = np.bincount(windows[:, 1], minlength=16) / 4096
    assert np.allclose(found, p, atol=4.5 * np.sqrt(p.max() * (1 - p.max()) / 4096))
    assert p.max() > 0.2


INT4 = Quantizer(format=Int(bits=4), granularity=PerToken())


@pytest.mark.parametrize(
    ("changes", "precision"),
    [
        ({}, Precision()),
        ({"heads": 4, "kv_heads": 2, "layers": 2}, Precision(activations=INT4, kv=INT4)),
        ({"architecture": PRECISION_STABLE}, Precision()),
        ({"architecture": Architecture(positions="learned", norm="layer", feed="gelu", tied=True)}, Precision()),
    ],
)
def test_token_by_token_the_logits_are_those_of_whole_windows(changes, precision):
    spec: ModelSpec = replace(MODEL, **changes)
    params = init(spec, jax.random.key(1))
    arithmetic = arithmetic_of(precision, levels_of(precision), "float32")
    windows = jax.random.randint(jax.random.key(2), (3, 16), 0, 16)

    def step(past, at):
        z, past = following(spec, params, windows[:, at], past, at, arithmetic)
        return past, z

    _, found = jax.jit(lambda: jax.lax.scan(step, blank(spec, 3), jnp.arange(16)))()
    whole = jax.jit(functools.partial(logits, spec, params, windows, arithmetic))()
    assert np.allclose(found.transpose(1, 0, 2), whole, atol=2e-5)


def test_one_scale_for_a_batch_is_no_teacher():
    quantizer = Quantizer(format=Int(bits=8), granularity=PerTensor())
    spec = tiny_run(precision=Precision(activations=quantizer))
    with pytest.raises(SimlawError, match=r"run abc was trained with one scale for a whole batch.*PerToken\(\)"):
        Teacher.of("abc", spec, init(MODEL, jax.random.key(0)), 0)


def test_a_model_of_items_with_markers_is_no_teacher():
    facts = ZFact(entities=4, relations=2, values=3, base=2)
    spec = tiny_run(corpus=facts, model=replace(MODEL, vocab=facts.vocab))
    with pytest.raises(SimlawError, match="run abc was trained on ZFact, and no loss told it where the markers of"):
        Teacher.of("abc", spec, init(spec.model, jax.random.key(0)), 0)


def test_the_floor_is_the_teachers_own_loss_and_its_mean_the_entropy(taught, teacher):
    windows = taught.held_out(16_000, 16)
    floor, exact = taught.floor_nll(windows), taught.entropies(windows)
    # by hand, in float64 from the logits on
    z = np.asarray(logits(MODEL, teacher.weights, jnp.asarray(windows[:, :-1])), np.float64)
    p = np.exp(z - z.max(axis=2, keepdims=True))
    p /= p.sum(axis=2, keepdims=True)
    assert np.allclose(floor, -np.log(np.take_along_axis(p, windows[:, 1:, None], axis=2)[:, :, 0]), atol=1e-5)
    assert np.allclose(exact, -(p * np.log(p)).sum(axis=2), atol=1e-5)
    assert taught.entropy == pytest.approx(exact.mean(), rel=1e-12)
    off = (floor - exact).mean(axis=1)  # a martingale: no mean, and windows are independent
    assert abs(off.mean()) < 4 * off.std() / np.sqrt(len(off))
    assert off.std() / np.sqrt(len(off)) < 0.02 * taught.entropy
    assert np.allclose(taught.floor(windows), floor.mean(axis=1), rtol=1e-12)


def test_the_excess_of_another_model_is_its_divergence(taught, teacher):
    windows = taught.held_out(16_000, 16)
    for student, least in ((teacher.weights, 0.0), (model_of(1), 0.5)):
        of_student = jax.nn.log_softmax(logits(MODEL, student, jnp.asarray(windows[:, :-1])), axis=2)
        of_teacher = jax.nn.log_softmax(logits(MODEL, teacher.weights, jnp.asarray(windows[:, :-1])), axis=2)
        divergence = np.asarray(jnp.sum(jnp.exp(of_teacher) * (of_teacher - of_student), axis=2), np.float64)
        nll = -np.take_along_axis(np.asarray(of_student, np.float64), windows[:, 1:, None], axis=2)[:, :, 0]
        off = (nll - taught.floor_nll(windows) - divergence).mean(axis=1)
        assert abs(off.mean()) < 4 * off.std() / np.sqrt(len(off)) + 1e-6
        assert divergence.mean() >= least
        if not least:
            assert np.abs(divergence).max() < 1e-6


def test_a_shorter_student_gets_the_beginnings_of_windows(taught):
    whole, cut = (taught.held_out(8 * context, context) for context in (16, 10))
    assert np.array_equal(whole[:, :11], cut)
    assert np.allclose(taught.floor_nll(whole)[:, :10], taught.floor_nll(cut), rtol=1e-5)
    assert taught.epoch_tokens(16) == 32_000
    assert taught.epoch_tokens(10) == 20_000


def test_training_windows_come_once_an_epoch_in_the_seeds_order(taught):
    own = taught.seed_data(3, 16)
    first, second = (np.asarray(taught.batch(taught.shared_data(), own, jnp.int32(step), 1000, 16)) for step in (0, 1))
    assert sorted(map(bytes, np.concatenate([first, second]))) == sorted(map(bytes, taught.lessons.train.astype("i4")))
    again = np.asarray(taught.batch(taught.shared_data(), own, jnp.int32(2), 1000, 16))
    assert np.array_equal(again, first)
    other = np.asarray(taught.batch(taught.shared_data(), taught.seed_data(4, 16), jnp.int32(0), 1000, 16))
    assert not np.array_equal(other, first)
    held = {bytes(row) for row in taught.held_out(16_000, 16)}
    assert not held & {bytes(row) for row in np.concatenate([first, second])}


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda c: c.seed_data(0, 17), r"windows of 17 tokens are longer than the teacher's context of 16, beyond"),
        (lambda c: c.held_out(34, 17), r"windows of 17 tokens are longer than the teacher's context of 16"),
        (lambda c: c.floor_nll(np.zeros((1, 18), np.int32)), r"windows of 17 tokens are longer than"),
        (lambda c: c.held_out(16_016, 16), r"wants 16016 tokens in windows of 16, and the teacher wrote 1000 held-out"),
        (
            lambda c: c.floor_nll(np.array([[0, 3, 16]])),
            r"the token 16 at position 2 of window 0 is not of this vocabulary",
        ),
        (lambda c: c.floor_nll(np.array([[0, 3], [2, 3]])), r"the token 2 at position 0 of window 1 .* begins with 0"),
        (lambda c: c.held_out(1000, 2), r"9\d\.\d% of the held-out windows of 2 tokens also occur in training, and at"),
    ],
)
def test_what_a_teacher_cannot_give_is_refused(taught, ask, sentence):
    with pytest.raises(SimlawError, match=sentence):
        ask(taught)


@pytest.mark.parametrize("name", ["teacher.safetensors", "train.npy", "held_out.npy", "teacher.json"])
def test_every_file_of_the_folder_is_checked(folder, tmp_path, name):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert read_lessons(copy).fingerprint == read_lessons(folder).fingerprint
    data = bytearray((copy / name).read_bytes())
    data[data.index(b"g" if name.endswith("json") else b"\x01", len(data) // 2)] ^= 2
    (copy / name).write_bytes(data)
    with pytest.raises(SimlawError, match=rf"{name}.* damaged or changed: make it again with `simlaw teach`"):
        read_lessons(copy)
    (copy / name).unlink()
    with pytest.raises(SimlawError, match=rf"cannot read .*{name} \(No such file"):
        read_lessons(copy)


def test_another_teacher_than_the_declared_one_is_refused(folder):
    with pytest.raises(SimlawError, match=r"Teach\.run is fed, and the teacher in .* is run 0123456789abcdef"):
        open_corpus(Teach(folder=str(folder), vocab=16, run="fed"))
    with pytest.raises(SimlawError, match=r"Teach\.vocab is 256, and the teacher in .* has 16"):
        open_corpus(Teach(folder=str(folder), vocab=256))


def test_lessons_are_made_once_and_whole(teacher, folder, tmp_path):
    with pytest.raises(SimlawError, match=r"lessons is there already, and lessons are made once"):
        make_lessons(teacher, folder, tokens=16, held_out=16, seed=0)

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_lessons(teacher, tmp_path / "half", tokens=16, held_out=16, seed=0, tell=stop)
    assert list(tmp_path.iterdir()) == []
    again = make_lessons(teacher, tmp_path / "again", tokens=32_000, held_out=16_000, seed=0)
    other = make_lessons(teacher, tmp_path / "other", tokens=32_000, held_out=16_000, seed=1)
    assert again.fingerprint == read_lessons(folder).fingerprint != other.fingerprint


def test_the_identity_is_of_contents_and_not_of_places(folder):
    here = Teach(folder=str(folder), vocab=16)
    there = Teach(folder="elsewhere", vocab=16, run="abc", epochs=2.0)
    assert run_id(tiny_run(corpus=here), "x") == run_id(tiny_run(corpus=there), "x")
    with pytest.raises(SimlawError, match="Teach needs the field 'vocab'"):
        Teach(folder="lessons")


def test_tokens_are_read_as_the_teachers_own(folder, tmp_path):
    assert tokenizer_of(Teach(folder=str(folder), vocab=16), 16).decode([3, 0]) == [3, 0]
    spec = tiny_run(corpus=Text(folder="gone"), model=replace(MODEL, vocab=256))
    of_text = Teacher.of("abc", spec, init(spec.model, jax.random.key(0)), 0)
    make_lessons(of_text, tmp_path / "text", tokens=16, held_out=16, seed=0)
    assert tokenizer_of(Teach(folder=str(tmp_path / "text"), vocab=256), 256) == Bytes(vocab=256)
    gone = tokenizer_of(Teach(folder=str(tmp_path / "gone"), vocab=256), 256)
    assert isinstance(gone, Numbers)
    with pytest.raises(SimlawError, match=r"'a' is text, and the teacher in .*gone cannot be read: give tokens"):
        gone.encode("a")


def test_a_run_of_the_store_teaches(store, corpus, program, tmp_path):
    spec = tiny_run()
    desk = Desk(store=store, corpus=corpus, tell=lambda _: None, stop=lambda: False)
    work(Pack(members=((spec,),), evals=(tiny_eval(),)), desk, {shape_of(spec): program})
    run = run_id(spec, corpus.fingerprint)
    out = tmp_path / "out"
    sizes = ("--tokens", "4k", "--held-out", "1.6k")
    said = CliRunner().invoke(cli, ["teach", run[:6], "--out", str(out), *sizes])
    assert said.exit_code == 0, said.output
    assert f'Teach(folder="{out}", vocab=16, run="{run}")' in said.output
    about = json.loads((out / "teacher.json").read_text())
    assert about["windows"] == {"train.npy": 250, "held_out.npy": 100}
    params = weights_of(spec, store.get("run", run), None, run)
    shutil.rmtree(store.root)
    student = open_corpus(Teach(folder=str(out), vocab=16, run=run))
    assert isinstance(student, TeachCorpus)
    windows = student.held_out(1600, 16)
    own = losses(MODEL, params, jnp.asarray(windows))
    assert np.allclose(student.floor_nll(windows), own, atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (("--tokens", "many"), "'many' is no number of tokens, such as 200k, 4M or 1e6"),
        (("--tokens", "1.2.3M"), "'1.2.3M' is no number of tokens"),
        ((), "there is no store at"),
    ],
)
@pytest.mark.usefixtures("store")
def test_on_the_command_line_mistakes_are_one_line(tmp_path, wrong, sentence):
    said = CliRunner().invoke(cli, ["teach", "3fa9", "--out", str(tmp_path / "out"), *wrong])
    assert said.exit_code == 2
    assert sentence in said.output
    assert said.output.count("\n") == 1


def test_an_average_is_named_as_it_is_declared():
    spec = tiny_run(averages=(EMA(tokens=512),))
    assert _average(spec, "EMA( tokens=512)") == EMA(tokens=512)
    with pytest.raises(SimlawError, match=r"kept no average EMA, but EMA\(tokens=512\): name one as it is written"):
        _average(spec, "EMA")


def test_the_command_shows_lessons_in_the_teachers_own_context(folder):
    said = CliRunner().invoke(cli, ["corpus", "teach", "--set", f"folder={folder}", "--set", "vocab=16"])
    assert said.exit_code == 0, said.output
    assert "held-out windows of 16 tokens" in said.output
