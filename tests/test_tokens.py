"""Token files: every form gives the same tokens, each is checked, and a held-out part that overlaps is refused."""

import csv
import dataclasses
import hashlib
import io
import re

import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner

import simlaw as sl
from simlaw.cli import cli
from simlaw.config import Tokens, run_id
from simlaw.corpora import TokenCorpus, array, open_corpus, overlap, tokens
from simlaw.corpora.tokenizer import tokenizer_of
from simlaw.declared import canonical, decode, digest, encode
from simlaw.errors import SimlawError
from simlaw.plan import Pack, packs
from simlaw.run.found import stored_rows
from simlaw.run.session import Session
from simlaw.run.work import Desk, work
from tests.conftest import ROOT, tiny_eval, tiny_run


def numbers(count, seed=0, vocab=16):
    return np.random.default_rng(seed).integers(0, vocab, count)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with 20,000 tokens to train on and 3,000 held out, which is the working folder."""
    numbers(20_000).astype("<u2").tofile(tmp_path / "train.bin")
    numbers(3_000, 1).astype("<u2").tofile(tmp_path / "val.bin")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def headed(path, found, magic, version, dtype, count=None):
    """Write a file as llm.c does."""
    head = np.zeros(256, "<i4")
    head[:3] = magic, version, len(found) if count is None else count
    path.write_bytes(head.tobytes() + found.astype(dtype).tobytes())


def test_every_form_of_the_same_tokens_is_the_same_corpus(folder, monkeypatch):
    monkeypatch.setattr(tokens, "_PART", 4_096)  # several, the last one shorter
    plain = open_corpus(Tokens(vocab=16))
    assert np.array_equal(plain.train, numbers(20_000))
    assert np.array_equal(plain.test, numbers(3_000, 1))
    assert plain.sha256[0] == hashlib.sha256(numbers(20_000).astype(np.uint8)).hexdigest()
    forms = {"i8.npy": "<i8", "u1.npy": "u1", "big.npy": ">u4", "i1.npy": "i1"}
    for name, dtype in forms.items():
        np.save(folder / name, numbers(20_000).astype(dtype))
    headed(folder / "gpt2.bin", numbers(20_000), 20240520, 1, "<u2")
    headed(folder / "llama3.bin", numbers(20_000), 20240801, 7, "<u4")
    numbers(20_000).astype("u1").tofile(folder / "u1.bin")
    numbers(20_000).astype("<u4").tofile(folder / "u4.bin")
    own = plain.seed_data(3, 16)
    windows = plain.batch(plain.shared_data(), own, jnp.int32(7), 8, 16)
    for name in forms.keys() | {"gpt2.bin", "llama3.bin"}:
        found = open_corpus(Tokens(train=str(folder / name), vocab=16))
        assert found.fingerprint == plain.fingerprint
        assert found.shared_data().dtype == np.uint8
        assert np.array_equal(found.batch(found.shared_data(), own, jnp.int32(7), 8, 16), windows)
        assert np.array_equal(found.gather(np.asarray(own), 7, 1, 8, 16)[0], windows)
    for dtype in ("uint8", "uint32"):
        np.asarray(numbers(3_000, 1), dtype).tofile(folder / "val.bin")
        spec = Tokens(train=f"u{np.dtype(dtype).itemsize}.bin", vocab=16, dtype=dtype)
        assert open_corpus(spec).fingerprint == plain.fingerprint


def test_tokens_are_mapped_and_not_copied(folder):
    numbers(20_000).astype("u1").tofile(folder / "train.bin")
    numbers(3_000, 1).astype("u1").tofile(folder / "val.bin")
    corpus = open_corpus(Tokens(vocab=16, dtype="uint8"))
    assert isinstance(corpus.train.base, np.memmap)
    assert corpus.shared_data().unsafe_buffer_pointer() == corpus.train.ctypes.data  # tests run on a CPU


def test_identity_is_of_tokens_and_vocabulary(folder):
    before = open_corpus(Tokens(vocab=16))
    assert digest(Tokens(train="x.bin", vocab=16, epochs=3.0, dtype="uint8")) == digest(Tokens(vocab=16))
    assert decode(Tokens, encode(before.spec, identity=True)) == before.spec  # as a packed checkpoint has it
    assert canonical(Tokens(vocab=16)) == '{"type":"Tokens","vocab":16}'
    assert open_corpus(Tokens(vocab=17)).fingerprint != before.fingerprint
    changed = numbers(20_000)
    changed[-1] = (changed[-1] + 1) % 16
    changed.astype("<u2").tofile(folder / "train.bin")
    assert open_corpus(Tokens(vocab=16)).fingerprint != before.fingerprint
    assert before.vocab == Tokens(vocab=16).vocab == 16


def test_the_listing_names_what_the_fingerprint_stands_for(folder):
    corpus = open_corpus(Tokens(vocab=16))
    first, second = csv.DictReader(io.StringIO(corpus.listing()))
    assert (first["path"], first["tokens"], first["part"]) == ("train.bin", "20000", "train")
    assert digest(corpus.spec, first["sha256"], second["sha256"]) == corpus.fingerprint
    assert corpus.describe().startswith("tokens of train.bin and val.bin, a vocabulary of 16: 0.0M to train on and ")


def test_large_ones_are_streamed_to_the_same_windows(folder, monkeypatch):
    np.save(folder / "train.npy", numbers(20_000))
    corpus = open_corpus(Tokens(train="train.npy", vocab=16))
    own = corpus.seed_data(0, 16)
    windows = corpus.batch(corpus.shared_data(), own, jnp.int32(2000), 8, 16)  # of another epoch
    assert (corpus.streamed, corpus.resident_bytes, corpus.host_bytes) == (False, 20_000, 20_000)
    monkeypatch.setattr(array, "RESIDENT_BYTES", 20_000)
    assert not corpus.streamed  # by what lies on a device, and not by the file's int64
    monkeypatch.setattr(array, "RESIDENT_BYTES", 19_999)
    assert (corpus.streamed, corpus.shared_data(), corpus.host_bytes) == (True, (), 0)
    found = corpus.gather(np.asarray(own), 2000, 1, 8, 16)[0]
    assert found.dtype == np.uint8
    assert np.array_equal(found, windows)


def test_the_tokenizer_is_of_numbers():
    tokenizer = tokenizer_of(Tokens(vocab=16), 16)
    assert tokenizer.decode(tokenizer.encode([3, 15])) == [3, 15]
    with pytest.raises(SimlawError, match=r"'def' is text, and this model was trained on token files: give tokens of"):
        tokenizer.encode("def")


def other(path, found):
    np.save(path, found)
    return str(path)


@pytest.mark.parametrize(
    ("make", "fields", "sentence"),
    [
        (lambda _: None, {"train": "no.bin"}, "cannot read the token file 'no.bin': No such file or directory; give"),
        (lambda _: None, {"train": "train.txt"}, "'train.txt' ends in '.txt': give .bin or .npy; Text reads text"),
        (lambda f: (f / "train.bin").write_bytes(b""), {}, "'train.bin' is empty: give a file of tokens"),
        (lambda f: (f / "d.bin").mkdir(), {"train": "d.bin"}, "'d.bin' is a folder: give a file of tokens"),
        (lambda f: (f / "val.bin").write_bytes(b"abc"), {}, "'val.bin' has 3 bytes, no multiple of uint16's 2: set"),
        (lambda _: None, {"vocab": 2**17}, "token 0 of train.bin is "),  # pairs of uint16 read as uint32
        (
            lambda f: other(f / "x.npy", np.ones(9)),
            {"train": "x.npy"},
            "holds an array of float64 of shape (9,): tokens",
        ),
        (
            lambda f: other(f / "x.npy", np.ones((3, 3), int)),
            {"train": "x.npy"},
            "of int64 of shape (3, 3): tokens are",
        ),
        (lambda f: other(f / "x.npy", np.array([{}])), {"train": "x.npy"}, "'x.npy' is no array of numbers ("),
        (lambda f: (f / "x.npy").write_bytes(b"no array"), {"train": "x.npy"}, "'x.npy' is no array of numbers ("),
        (lambda f: other(f / "x.npy", np.zeros(0, int)), {"train": "x.npy"}, "holds no token: give a file"),
        (lambda f: headed(f / "x.bin", numbers(0), 20240520, 1, "u2"), {"train": "x.bin"}, "holds no token: give"),
        (
            lambda f: headed(f / "x.bin", numbers(10), 20240520, 1, "<u2", 11),
            {"train": "x.bin"},
            "the header of 'x.bin' says 11 tokens of uint16, and 20 bytes follow: the file was cut off; write it again",
        ),
        (
            lambda f: headed(f / "x.bin", numbers(10), 20240801, 7, "<u4"),
            {"train": "x.bin", "dtype": "uint16"},
            "the header of 'x.bin' says uint32, Tokens.dtype uint16: leave dtype out",
        ),
        (
            lambda f: np.where(np.arange(20_000) < 10_007, 15, 16).astype("<u2").tofile(f / "train.bin"),
            {},
            "token 10007 of train.bin is 16: a vocabulary of 16 has 0 to 15; raise Tokens(vocab=…), or set",
        ),
        (
            lambda f: other(f / "x.npy", np.array([0, 5, -1, 9])),
            {"train": "x.npy"},
            "token 2 of x.npy is -1: a vocabulary of 16 has 0 to 15",
        ),
        (
            lambda f: other(f / "x.npy", numbers(20_000).astype("i1")),
            {"held_out": "x.npy"},
            "x.npy holds the same tokens as train.bin: a loss on what was trained on measures nothing; hold other text",
        ),
        (lambda _: None, {"vocab": 1}, "Tokens.vocab is 1: it must be from 2 to 2147483648"),
    ],
)
def test_refusals(folder, monkeypatch, make, fields, sentence):
    monkeypatch.setattr(tokens, "_PART", 4_096)
    make(folder)
    with pytest.raises(SimlawError, match=re.escape(sentence)):
        open_corpus(Tokens(**{"vocab": 16, **fields}))


def test_too_few_tokens_name_their_file(folder):
    corpus = open_corpus(Tokens(vocab=16))
    with pytest.raises(
        SimlawError, match=r"20000 tokens to train on, less than one window of 20001: give a longer file"
    ):
        corpus.seed_data(0, 20_000)
    with pytest.raises(
        SimlawError, match=r"and the held-out file val.bin has 2992: give a longer file than val.bin, or"
    ):
        corpus.held_out(4096, 16)


def test_doubled_hashes_are_the_polynomial_in_whole_numbers():
    found = overlap._hashes(numbers(70, vocab=50_000).astype(np.uint16))
    powers = [pow(overlap._BASE, 63 - i, 2**64) for i in range(64)]
    wanted = [
        sum(int(x) * p for x, p in zip(numbers(70, vocab=50_000)[at : at + 64], powers, strict=True)) % 2**64
        for at in range(7)
    ]
    assert found.tolist() == wanted


@pytest.mark.parametrize("part", [100, 2**17])
def test_planted_passages_are_found_where_they_are(monkeypatch, part):
    monkeypatch.setattr(overlap, "_PART", part)
    train, test = numbers(20_000, vocab=9_999).astype(np.uint16), numbers(3_000, 1, 9_999).astype(np.int64)
    assert overlap.overlap(train, test) is None
    train[12_345 : 12_345 + 300] = test[1_000:1_300]
    starts = np.unique(np.linspace(0, 3_000 - 64, 1_000).astype(int))
    inside = starts[(starts >= 1_000) & (starts + 64 <= 1_300)]
    found = overlap.overlap(train, test)
    assert (found.looked, found.length) == (1_000, 64)
    assert found.share == len(inside) / 1_000
    assert (found.held_out, found.train) == (inside[0], 12_345 + inside[0] - 1_000)
    train[-64:] = test[:64]  # the very last passage, and the first
    assert (overlap.overlap(train, test).held_out, overlap.overlap(train, test).train) == (0, 20_000 - 64)


def test_equal_hashes_are_compared_token_by_token(monkeypatch):
    monkeypatch.setattr(overlap, "_hashes", lambda x: np.zeros(max(0, len(x) - 63), np.uint64))
    assert overlap.overlap(numbers(500), numbers(80, 1)) is None
    planted = np.concatenate([numbers(500), numbers(80, 1)])
    assert overlap.overlap(planted, numbers(80, 1)).share == 1.0


def test_passages_of_one_token_are_no_overlap():
    test = numbers(3_000, 1)
    test[500:2_500] = 0
    found = overlap.overlap(np.concatenate([np.zeros(500, int), test[2_600:2_700]]), test)
    assert found.looked < 400
    assert found.share < 0.1
    assert overlap.overlap(np.zeros(500, int), np.zeros(500, int)) is None
    assert overlap.overlap(numbers(500), numbers(63)) is None
    assert overlap.overlap(numbers(64), numbers(64)).share == 1.0


@pytest.fixture
def sweep(folder, store):
    """The smoke sweep on token files, with these fields; gives back its path."""
    smoke = (ROOT / "sweeps" / "smoke" / "sweep.py").read_text().replace("import WSD, Graph", "import WSD, Tokens")

    def write(given):
        (folder / "sweep.py").write_text(
            smoke.replace("Graph(nodes=16, out=4)", f"Tokens({given})").replace("80 *", "400 *")
        )
        return "sweep.py"

    return write


def test_a_sweep_on_files_that_overlap_is_refused(sweep, folder, store):
    planted = numbers(20_000)
    planted[5_000:5_200] = numbers(3_000, 1)[:200]
    planted.astype("<u2").tofile(folder / "train.bin")
    wanted = (
        r"4\.7 % of 1000 passages of 64 tokens of val.bin are in train.bin too, the first at 0 there and 5000 here: "
        "a loss on what was trained on measures little; hold other text out"
    )
    with pytest.raises(SimlawError, match=wanted):
        Session.open(sweep("vocab=16, epochs=9"))
    planted[5_080:] = numbers(20_000)[5_080:]  # below a hundredth
    planted.astype("<u2").tofile(folder / "train.bin")
    assert Session.open(sweep("vocab=16, epochs=9")).plan.cells


def test_what_was_submitted_is_not_looked_through_again(sweep, monkeypatch):
    session, calls = Session.open(sweep("vocab=16, epochs=9")), []
    monkeypatch.setattr(TokenCorpus, "check_apart", calls.append)
    session.submit(packs(session.plan.cells, 1))
    Session.open(sweep("vocab=16, epochs=9"))
    assert not calls


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("vocab=16", "one pass over it gives 19984: plan fewer tokens, add text, or allow repeats with Tokens(epochs="),
        ("vocab=8, epochs=9", "token 0 of train.bin is 13: a vocabulary of 8 has 0 to 7"),
        ("vocab=16, train='none.npy'", "cannot read the token file 'none.npy': No such file or directory"),
        ("vocab=16, dtype='float32'", "Tokens.dtype is 'float32': it must be one of 'uint8', 'uint16', 'uint32'"),
        ("epochs=2", "Tokens needs the field 'vocab': add vocab=…"),
    ],
)
def test_the_command_line_says_it_in_one_sentence(sweep, given, sentence):
    said = CliRunner().invoke(cli, ["plan", sweep(given)])
    assert said.exit_code == 2
    assert said.stderr.count("\n") == 1
    assert sentence in said.stderr


def test_a_run_trains_on_them_from_plan_to_sample(sweep, store):
    session = Session.open(sweep("vocab=16, epochs=9"))
    assert session.plan.cells[0].spec.model.vocab == 16
    corpus = session.corpora[session.file.sweep.corpus]
    spec = tiny_run(corpus=dataclasses.replace(session.file.sweep.corpus, epochs=1.0))
    done = Desk(store=store, corpus=corpus, tell=lambda _: None, stop=lambda: False)
    work(Pack(members=((spec,),), evals=(tiny_eval(),)), done, {})
    run = run_id(spec, corpus.fingerprint)
    (row,) = stored_rows(store, run).values()
    assert abs(row["loss"] - np.log(16)) < 0.3  # random tokens have nothing to learn
    model = sl.load_model(run[:6], store=store.root)
    assert model.loss(corpus.held_out(1024, 16)) == pytest.approx(row["loss"], rel=1e-6)
    assert len(model.sample([3, 4], length=5)) == 5
    said = CliRunner().invoke(cli, ["show", run, "--length", "4"])
    assert said.exit_code == 0, said.output
    window = " ".join(map(str, corpus.held_out(16, 16)[0]))
    assert f"a held-out window:\n{window}\n--- and how the model goes on:\n" in said.output
