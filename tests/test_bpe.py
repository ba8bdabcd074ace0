"""Byte-pair encoding: every text comes back, training is the same everywhere, and a run's samples are read."""

import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner

import simlaw as sl
from simlaw.cli import cli
from simlaw.config import BPE, Text, run_id
from simlaw.corpora import array, bpe, open_corpus
from simlaw.corpora.tokenizer import tokenizer_of
from simlaw.declared import decode, digest, encode
from simlaw.errors import SimlawError
from simlaw.formats import Int, Quantizer
from simlaw.plan import Pack, packs
from simlaw.run.found import stored_rows
from simlaw.run.session import Session
from simlaw.run.work import Desk, work
from tests.conftest import MODEL, ROOT, tiny_eval, tiny_run

VOCAB = 300
WORDS = "the cat sat on a mat and said naïve things über 你好 to the other cats\n"
ODD = "\ufeffa\r\n\r\n  \t x\u00a0y \n\n\n   é e\u0301 🙂👩‍👩‍👧 \x00\x01\x7f Ġ Ā ſ don't 12345   \n "


def written(folder):
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(40):
        (folder / f"{i:02d}.txt").write_text(" ".join(rng.permutation(WORDS.split(" ")).tolist() * 20))
    return folder


@pytest.fixture
def spec(tmp_path, store):
    """A text of 40 files, merged to 300 tokens."""
    return Text(folder=str(written(tmp_path / "text")), suffixes=(".txt",), held_out=0.2, bpe=BPE(vocab=VOCAB))


def test_the_text_comes_back_with_a_zero_behind_each_file(spec):
    merged, plain = open_corpus(spec), open_corpus(Text(folder=spec.folder, suffixes=spec.suffixes, held_out=0.2))
    tokenizer = tokenizer_of(spec, VOCAB, merged.tokenizer)
    for tokens, text in ((merged.train, plain.train), (merged.test, plain.test)):
        assert tokens.dtype == np.uint16
        assert tokenizer.decode(tokens) == text.tobytes().decode()
        assert np.count_nonzero(tokens == 0) == np.count_nonzero(text == 0)
        assert tokens.max() == VOCAB - 1
    assert merged.train.size < 0.7 * plain.train.size
    assert (merged.vocab, merged.dtype, plain.vocab) == (VOCAB, np.uint16, 256)


@pytest.mark.parametrize("text", ["", ODD, WORDS * 3, "".join(map(chr, range(0x2000))), "\U0010ffff\ud7ff"])
def test_any_text_is_encoded_without_loss(spec, text):
    tokenizer = tokenizer_of(spec, VOCAB, open_corpus(spec).tokenizer)
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert np.array_equal(tokenizer.encode(text.encode()), tokens)
    assert tokenizer.decode(list(text.encode())) == text  # tokens below 256 are the bytes


def test_tokens_are_the_bytes_and_merges_in_their_order(spec):
    model = json.loads(open_corpus(spec).tokenizer)["model"]
    tokens = {token: name for name, token in model["vocab"].items()}
    assert sorted(tokens) == list(range(VOCAB))
    assert [tokens[byte] for byte in b"aZ~"] == ["a", "Z", "~"]
    assert [left + right for left, right in model["merges"]] == [tokens[i] for i in range(256, VOCAB)]
    assert model["merges"][0] in (["a", "t"], ["Ġ", "t"], ["t", "h"])  # the commonest pairs of these words


def test_the_held_out_part_decides_no_merge(spec):
    before = open_corpus(spec)
    for file in before.files:
        if file.held_out:
            with open(f"{spec.folder}/{file.path}", "a") as held:
                held.write("qqzz " * 10_000)
    after = open_corpus(spec)
    assert after.tokenizer == before.tokenizer
    assert after.fingerprint != before.fingerprint
    assert np.array_equal(after.train, before.train)


def test_training_again_gives_the_same_tokenizer_and_fingerprint(spec, tmp_path):
    here = open_corpus(spec)
    code = (
        "from simlaw.config import BPE, Text; from simlaw.corpora import open_corpus; "
        f"c = open_corpus(Text(folder={spec.folder!r}, suffixes=('.txt',), held_out=0.2, bpe=BPE(vocab={VOCAB}))); "
        "import hashlib; print(c.fingerprint, hashlib.sha256(c.tokenizer.encode() + c.train.tobytes()).hexdigest())"
    )
    wanted = here.fingerprint, hashlib.sha256(here.tokenizer.encode() + here.train.tobytes()).hexdigest()
    for seed in ("1", "2"):
        environment = {**os.environ, "SIMLAW_STORE": str(tmp_path / f"other{seed}"), "PYTHONHASHSEED": seed}
        environment |= {"TOKENIZERS_PARALLELISM": "true" if seed == "1" else "false"}
        command = [sys.executable, "-c", code]
        said = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
        assert said.stdout.split() == list(wanted), said.stderr


def test_tokens_are_kept_for_the_next_process(spec, store, monkeypatch):
    first = open_corpus(spec)
    assert store.keys(bpe.KIND) == [*first.kept]
    with monkeypatch.context() as patch:
        patch.setattr(bpe, "train_bpe", lambda *_: 1 / 0)
        again = open_corpus(spec)
    assert again.fingerprint == first.fingerprint
    assert isinstance(again.train.base, np.memmap)
    assert np.array_equal(again.test, first.test)
    kept = store.root / bpe.KIND / first.kept[0] / "train.bin"
    kept.unlink()  # and not written over: it is mapped
    kept.write_bytes(b"damaged")
    assert np.array_equal(open_corpus(spec).train, first.train)  # made anew
    with open(f"{spec.folder}/00.txt", "a") as file:
        file.write("more\n")
    assert open_corpus(spec).kept != first.kept


def test_identity_has_the_encoding_and_lets_bytes_be_what_they_were(spec):
    assert digest(Text()) == digest(Text(bpe=None))
    assert '"bpe"' not in json.dumps(encode(Text(), identity=True))
    assert decode(Text, encode(spec)) == spec
    fingerprints = {open_corpus(Text(folder=spec.folder, suffixes=(".txt",), held_out=0.2, bpe=b)).fingerprint
                    for b in (None, BPE(vocab=VOCAB), BPE(vocab=VOCAB + 1))}  # fmt: skip
    assert len(fingerprints) == 3


def test_pieces_are_encoded_as_the_whole(monkeypatch):
    gaps = bpe.train_bpe(BPE(vocab=260), [b"a\n\n\n\nb  c\n\n d\n" * 50])  # whose tokens are runs of newlines
    encoder = bpe.library().Tokenizer.from_str(gaps)
    texts = [(ODD + WORDS) * 100, "", "x" * 50, "\n" * 50, "a\n b\n\nc \n" * 20]
    whole = [encoder.encode(text).ids for text in texts]
    monkeypatch.setattr(bpe, "_PIECE", 7)
    monkeypatch.setattr(bpe, "_AT_ONCE", 3)
    assert len(list(bpe._pieces(texts[0]))) > 100
    assert ["".join(bpe._pieces(text)) for text in texts] == texts
    found = np.concatenate(list(bpe._encoded(encoder, [text.encode() for text in texts], 0)))
    assert found.tolist() == [token for ids in whole for token in (*ids, 0)]


def test_a_long_one_is_streamed(spec, monkeypatch):
    corpus = open_corpus(spec)
    own = corpus.seed_data(0, 16)
    windows = corpus.batch(corpus.shared_data(), own, jnp.int32(3), 8, 16)
    monkeypatch.setattr(array, "RESIDENT_BYTES", corpus.train.nbytes - 1)
    assert corpus.streamed
    assert np.array_equal(corpus.gather(np.asarray(own), 3, 1, 8, 16)[0], windows)


def test_it_says_how_many_bytes_a_token_is(spec):
    corpus = open_corpus(spec)
    size = sum(file.size + 1 for file in corpus.files if file.held_out)
    assert f"as 300 tokens of {size / corpus.test.size:.2f} bytes (other" in corpus.describe()
    with pytest.raises(
        SimlawError, match=f"the corpus has {corpus.train.size} tokens to train on, less than one window"
    ):
        corpus.seed_data(0, 10**6)


def test_equal_files_of_both_parts_are_counted(spec):
    assert "an equal one" not in open_corpus(spec).describe()
    paths = [file.path for file in open_corpus(spec).files if not file.held_out][:2]
    held = [file.path for file in open_corpus(spec).files if file.held_out]
    for path in held[:2]:
        shutil.copy(Path(spec.folder, paths[0]), Path(spec.folder, path))
    for path in (paths[1], held[2]):  # too small to be worth a word
        Path(spec.folder, path).write_text("x = 1\n")
    assert ", 2 held out of which training has an equal one, " in open_corpus(spec).describe()


def test_too_few_merges_are_counted(spec):
    with pytest.raises(
        SimlawError, match=r"the training text yields \d+ tokens, .*, and BPE.vocab is 5000: take \d+ or"
    ):
        open_corpus(Text(folder=spec.folder, suffixes=(".txt",), bpe=BPE(vocab=5000)))
    try:
        open_corpus(Text(folder=spec.folder, suffixes=(".txt",), bpe=BPE(vocab=5000)))
    except SimlawError as error:
        most = int(re.search(r"yields (\d+)", str(error))[1])
    open_corpus(Text(folder=spec.folder, suffixes=(".txt",), bpe=BPE(vocab=most)))  # what it says to do, does it
    with pytest.raises(SimlawError, match=r"BPE.vocab is 256: it must be from 257 to 65536"):
        BPE(vocab=256)


def test_without_the_library_it_says_what_to_install(spec, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(
        SimlawError, match=r"tokenizers is not installed, .*: pip install 'simlaw\[bpe\]', or pip install"
    ):
        open_corpus(spec)


def test_what_is_no_text_is_refused(spec):
    tokenizer = tokenizer_of(spec, VOCAB, open_corpus(spec).tokenizer)
    with pytest.raises(SimlawError, match="bytes that are no UTF-8 at 1: give text, or tokens"):
        tokenizer.encode(b"a\xff")
    with pytest.raises(SimlawError, match="the token 300 is not of this vocabulary"):
        tokenizer.decode([300])
    assert tokenizer.decode([0xFF]) == "\ufffd"
    with pytest.raises(
        SimlawError, match="'a' is text, and the tokenizer of this model is not in the store: give tokens"
    ):
        tokenizer_of(spec, VOCAB).encode("a")


def test_a_run_trains_on_it_and_its_samples_are_read(spec, store, tmp_path):
    smoke = (ROOT / "sweeps" / "smoke" / "sweep.py").read_text().replace("import WSD, Graph", "import BPE, WSD, Text")
    given = f"Text(folder={spec.folder!r}, suffixes=('.txt',), held_out=0.2, epochs=9, bpe=BPE(vocab={VOCAB}))"
    (tmp_path / "sweep.py").write_text(smoke.replace("Graph(nodes=16, out=4)", given))
    session = Session.open(str(tmp_path / "sweep.py"))
    session.submit(packs(session.plan.cells, 1))
    (corpus,) = session.corpora.values()
    assert {cell.spec.model.vocab for cell in session.plan.cells} == {corpus.vocab} == {VOCAB}
    run = tiny_run(corpus=session.file.sweep.corpus, model=dataclasses.replace(MODEL, vocab=VOCAB))
    desk = Desk(store=store, corpus=corpus, tell=lambda _: None, stop=lambda: False)
    work(Pack(members=((run,),), evals=(tiny_eval(),)), desk, {})
    name = run_id(run, corpus.fingerprint)
    (row,) = stored_rows(store, name).values()
    assert row["loss"] < np.log(VOCAB)
    model = sl.load_model(name, store=store.root)
    assert model.loss(corpus.held_out(1024, 16)) == pytest.approx(row["loss"], rel=1e-6)
    assert isinstance(model.sample("the cat", length=4), str)
    said = CliRunner().invoke(cli, ["show", name, "--length", "4"])
    window = model.tokenizer.decode(corpus.held_out(16, 16)[0])
    assert f"a held-out window:\n{window}\n--- and how the model goes on:\n" in said.output
    model.quantized(Quantizer(format=Int(bits=4))).save(tmp_path / "model.safetensors")
    assert sl.load_quantized(tmp_path / "model.safetensors").tokenizer == model.tokenizer
    with open(f"{spec.folder}/00.txt", "a") as file:
        file.write("more\n")
    assert "the start of a file (the text here is another" in CliRunner().invoke(cli, ["show", name]).output
    store.remove("corpus", corpus.fingerprint)
    assert isinstance(sl.load_model(name, store=store.root).sample(length=4), list)


@pytest.mark.parametrize("mixed", [False, True])
def test_gc_keeps_what_a_sweep_uses(spec, store, tmp_path, monkeypatch, mixed):
    smoke = (ROOT / "sweeps" / "smoke" / "sweep.py").read_text().replace("import WSD, Graph", "import *")
    given = f"Text(folder={spec.folder!r}, suffixes=('.txt',), held_out=0.2, epochs=9, bpe=BPE(vocab={VOCAB}))"
    if mixed:
        given = f"Mix(parts=(Part(source={given}, share=0.5), Part(source=Graph(nodes=16, out=4), share=0.5)))"
    (tmp_path / "sweeps" / "mine").mkdir(parents=True)
    (tmp_path / "sweeps" / "mine" / "sweep.py").write_text(smoke.replace("Graph(nodes=16, out=4)", given))
    monkeypatch.chdir(tmp_path)
    used = open_corpus(spec).kept
    open_corpus(Text(folder=spec.folder, suffixes=(".txt",), bpe=BPE(vocab=VOCAB)))
    assert len(store.keys(bpe.KIND)) == 2
    said = CliRunner().invoke(cli, ["gc", "--yes"])
    assert said.exit_code == 0, said.output
    assert "1 tokenized" in said.output
    assert store.keys(bpe.KIND) == [*used]
