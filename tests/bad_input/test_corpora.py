"""Corpora that cannot be opened: declarations, token files, folders of text and of teachers."""

import hashlib
import io
import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from simlaw.corpora.lessons import ABOUT, HELD_OUT, TRAIN, WEIGHTS, make_lessons
from simlaw.model import init
from simlaw.teacher import Teacher
from tests.bad_input.conftest import Refused, as_bytes, contents
from tests.conftest import MODEL, tiny_run

TOKENS = (np.arange(2000) % 50).astype("<u2")
HELD = ((np.arange(2000) * 7 + 3) % 50).astype("<u2")


def npy(array: np.ndarray) -> bytes:
    """An array as `np.save` writes it."""
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npy_of(header: str) -> bytes:
    """A file whose header says this."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + b"ab"


def llmc(count: int) -> bytes:
    """A file of llm.c that says that it has so many tokens."""
    head = np.zeros(256, "<i4")
    head[:3] = 20240520, 1, count
    return head.tobytes() + TOKENS.tobytes()


SHAPE = "{'descr': '<u2', 'fortran_order': False, 'shape': (%s,), }\n"
#: Files of tokens, by the rule that they break.
TOKEN_FILES: dict[str, tuple[str, bytes, str]] = {
    "there are tokens": ("a.bin", b"", "the token file 'a.bin' is empty"),
    "tokens are whole": ("a.bin", b"abc", "has 3 bytes, no multiple of uint16's 2"),
    "tokens are of the vocabulary": ("a.bin", (TOKENS + 7).tobytes(), "token 43 of a.bin is 50"),
    "held-out tokens are others": ("a.bin", HELD.tobytes(), "b.bin holds the same tokens as a.bin"),
    "headers count tokens": ("a.bin", llmc(5000), "says 5000 tokens of uint16, and 4000 bytes follow"),
    "headers count up": ("a.bin", llmc(-5), "says -5 tokens of uint16"),
    "suffixes are known": ("a.txt", b"abc", "the token file 'a.txt' ends in '.txt'"),
    "arrays are of integers": ("a.npy", npy(TOKENS * 0.5), "holds an array of float64 of shape (2000,)"),
    "arrays have one dimension": ("a.npy", npy(TOKENS.reshape(2, -1)), "of shape (2, 1000)"),
    "arrays have tokens": ("a.npy", npy(TOKENS[:0]), "holds no token"),
    "tokens are not below 0": ("a.npy", npy(-TOKENS.astype(int)), "token 1 of a.npy is -1"),
    "arrays hold no objects": ("a.npy", npy(np.array([{}], object)), "is no array of numbers (Array can't be memory-"),
    "arrays are no pickles": ("a.npy", pickle.dumps([1]), "(This file contains pickled (object) data): write it"),
    "arrays are whole": ("a.npy", npy(TOKENS)[:60], "is no array of numbers (EOF"),
    "shapes fit the file": ("a.npy", npy_of(SHAPE % (10**14)), "mmap length is greater than file size"),
    "shapes count up": ("a.npy", npy_of(SHAPE % -5), "negative dimensions are not allowed"),
    "headers are literals": ("a.npy", npy_of("{'descr': __import__('os')}\n"), "is no array of numbers"),
    "headers are not deep": ("a.npy", npy_of("(" * 3000 + "\n"), "is no array of numbers"),
}
#: Fields of corpora as `--set` takes them, by the rule that they break.
DECLARATIONS: dict[str, tuple[str, str, str]] = {
    "fields have values": ("graph", "nodes", "--set nodes: it must read FIELD=VALUE"),
    "fields are known": ("graph", "colour=1", "Graph has no field 'colour'"),
    "kinds are known": ("nope", "a=1", "there is no corpus and no sweep 'nope'"),
    "numbers are whole": ("graph", "nodes=1e3", "Graph.nodes is 1000.0: it must be a whole number"),
    "graphs have nodes": ("graph", "nodes=1", "Graph.nodes is 1: it must be from 2 to 16384"),
    "successors are nodes": ("graph", "out=65", "Graph.out is 65: a node has at most 64 successors"),
    "seeds fit 31 bits": ("graph", f"seed={10**30}", "Graph.seed is 1000000000000000000000000000000"),
    "values are not deep": ("graph", "seed=" + "[" * 100_000, "Graph.seed is '[[["),
    "values have digits": ("graph", "seed=" + "9" * 5000, "Graph.seed is '999"),
    "entities are a power of two": ("zfact", "entities=3", "ZFact.entities is 3: it must be a power of two"),
    "exponents are numbers": ("zfact", "exponent=NaN", "ZFact.exponent is nan: it must be a finite number"),
    "rules are distinct": ("zrhm", "rules=4096", "ZRHM.rules is 4096"),
    "levels are few": ("zrhm", "levels=99", "ZRHM.levels is 99: it must be from 1 to 12"),
    "forms are known": ("step", "form=poem", "Step.form is 'poem': it must be one of 'symbols', 'words'"),
    "mixtures have parts": ("mix", "parts=[]", "Mix.parts has 0"),
    "parts have sources": ("mix", 'parts=[{"type": "Part"}]', "Part needs the field 'source'"),
    "folders are texts": ("text", "folder=3", "Text.folder is 3: it must be a text or None"),
    "folders are there": ("text", "folder=nowhere", "the corpus folder 'nowhere' does not exist"),
    "names are short": ("text", "folder=" + "a" * 5000, "(File name too long)"),
    "suffixes are a list": ("text", "suffixes=.py", "Text.suffixes is '.py': it must be a tuple"),
    "shares are shares": ("text", "held_out=2", "Text.held_out is 2: it must be from 0 to 1"),
    "merges are declared": ("text", 'bpe={"type": "BPE", "vocab": 100}', "BPE.vocab is 100: it must be from 257"),
    "merges are of a kind": ("text", 'bpe={"vocab": 300}', "{'vocab': 300} is none of BPE, None"),
    "a vocabulary is said": ("tokens", "train=a.bin", "token files say nothing of their vocabulary: give it"),
    "a teacher is said": ("teach", "folder=x", "what a teacher wrote lies in a folder"),
}
#: Files of a folder of text, by the rule that they break.
TEXTS: dict[str, tuple[dict[str, str | bytes], str]] = {
    "there are files": ({}, "holds no UTF-8 file ending in .py to train on (none skipped)"),
    "they have the suffix": ({"a.txt": "x"}, "holds no UTF-8 file ending in .py to train on (none skipped)"),
    "they are UTF-8": ({"a.py": b"\xff" * 99}, "(a.py: not UTF-8)"),
    "they have no zero bytes": ({"a.py": b"a\0b"}, "(a.py: holds a zero byte)"),
    "they are long enough": ({"a.py": "x", "b.py": "y"}, "the evaluation wants 32 tokens in windows of 16"),
}


@pytest.mark.parametrize("rule", TOKEN_FILES)
def test_broken_tokens_are_refused(rule: str, project: Path, refused: Refused) -> None:
    name, content, words = TOKEN_FILES[rule]
    (project / name).write_bytes(content)
    (project / "b.bin").write_bytes(HELD.tobytes())
    fields = ("vocab=50", f"train={name}", "held_out=b.bin")
    refused(words, "corpus", "tokens", "--context", "8", *(text for field in fields for text in ("--set", field)))


@pytest.mark.parametrize("rule", DECLARATIONS)
def test_a_wrong_declaration_is_refused(rule: str, refused: Refused) -> None:
    name, given, words = DECLARATIONS[rule]
    refused(words, "corpus", name, "--set", given)


@pytest.mark.parametrize("rule", TEXTS)
def test_broken_text_is_refused(rule: str, project: Path, refused: Refused) -> None:
    files, words = TEXTS[rule]
    folder = project / "text"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(as_bytes(content))
    refused(words, "corpus", "text", "--set", "folder=text", "--context", "16")


def test_links_that_lead_in_circles_are_not_followed(project: Path, refused: Refused) -> None:
    (project / "text").mkdir()
    (project / "text" / "inner").symlink_to(project / "text")
    (project / "text" / "a.py").symlink_to("a.py")
    refused("(a.py: unreadable (Too many levels of symbolic links))", "corpus", "text", "--set", "folder=text")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file: run the tests as a person")
def test_files_that_may_not_be_read_are_named(project: Path, refused: Refused) -> None:
    path = project / "own.csv"
    path.write_text("x")
    path.chmod(0)
    refused("cannot use 'own.csv' (Permission denied)", "claims", "own.csv")


@pytest.fixture(scope="module")
def lessons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a teacher of the tiny shape wrote, which was not trained."""
    folder = tmp_path_factory.mktemp("teach") / "lessons"
    teacher = Teacher.of("0123456789abcdef", tiny_run(), init(MODEL, jax.random.key(0)), 0)
    make_lessons(teacher, folder, tokens=512, held_out=512, seed=0)
    return folder


About = dict[str, Any]


def sealed(**fields: object) -> Callable[[Path], None]:
    """Other fields in `teacher.json`, whose own checksum fits."""

    def change(folder: Path) -> None:
        about: About = json.loads((folder / ABOUT).read_text())
        about |= fields
        about.pop("sum")
        about = {name: value for name, value in about.items() if value is not ...}
        about["sum"] = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        (folder / ABOUT).write_text(json.dumps(about))

    return change


def holding(name: str, data: bytes) -> Callable[[Path], None]:
    """Another file, whose checksum fits."""

    def change(folder: Path) -> None:
        (folder / name).write_bytes(data)
        sums = json.loads((folder / ABOUT).read_text())["sha256"]
        sealed(sha256={**sums, name: hashlib.sha256(data).hexdigest()})(folder)

    return change


def written(name: str, data: bytes) -> Callable[[Path], None]:
    """Another file, and nothing said of it."""

    def change(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return change


def removed(name: str) -> Callable[[Path], None]:
    """One file less."""

    def change(folder: Path) -> None:
        (folder / name).unlink()

    return change


WINDOWS = np.zeros((4, 17), np.uint8)
#: What is done to a teacher's folder, by the rule that it breaks.
TEACHERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "it says what it is": (removed(ABOUT), "cannot read lessons/teacher.json (No such file"),
    "windows are there": (removed(TRAIN), "cannot read lessons/train.npy (No such file"),
    "it is JSON": (written(ABOUT, b"{"), "teacher.json is damaged, no JSON in UTF-8"),
    "it is not deep": (written(ABOUT, b"[" * 100_000), "teacher.json is damaged, nested too deeply"),
    "it is an object": (written(ABOUT, b"[]"), "teacher.json is damaged or changed"),
    "it was not changed": (written(ABOUT, b'{"form": 1, "sum": "x"}'), "teacher.json is damaged or changed"),
    "its form is known": (sealed(form=9), "teacher.json has form 9, and this version reads 1"),
    "it says its form": (sealed(form=...), "teacher.json has form None"),
    "its numerics are these": (sealed(numerics=99), "computed under numerics 99"),
    "its run has a name": (sealed(run=3), "teacher.json has run=3, and it must be a text"),
    "it has a spec": (sealed(spec=...), "teacher.json has spec=None, and it must be an object"),
    "its spec is of a run": (sealed(spec={}), "{} is not a RunSpec"),
    "it has checksums": (sealed(sha256=[]), "teacher.json has sha256=[], and it must be an object"),
    "all files have checksums": (sealed(sha256={"../x": "0"}), "teacher.safetensors is not what teacher.json says"),
    "files were not changed": (written(HELD_OUT, npy(WINDOWS)), "held_out.npy is not what teacher.json says"),
    "weights are safetensors": (holding(WEIGHTS, pickle.dumps(3)), "the checkpoint is not a safetensors file"),
    "windows are arrays": (holding(TRAIN, b"junk"), "train.npy is no array of numbers"),
    "windows are no pickles": (holding(TRAIN, npy(np.array([{}], object))), "train.npy is no array of numbers (Object"),
    "windows are of integers": (holding(TRAIN, npy(WINDOWS * 0.5)), "train.npy holds float64[4, 17]"),
    "windows are of its context": (holding(TRAIN, npy(WINDOWS[:, :9])), "train.npy holds uint8[4, 9]"),
    "windows are there at all": (holding(TRAIN, npy(WINDOWS[:0])), "train.npy holds no window"),
    "windows are of its tokens": (holding(TRAIN, npy(WINDOWS + 99)), "train.npy holds the token 99"),
}


@pytest.mark.parametrize("rule", TEACHERS)
def test_a_broken_teacher_is_refused(rule: str, lessons: Path, project: Path, refused: Refused) -> None:
    change, words = TEACHERS[rule]
    (project / "lessons").mkdir()
    for path in lessons.iterdir():
        (project / "lessons" / path.name).write_bytes(path.read_bytes())
    change(project / "lessons")
    before = contents(project / "lessons")
    refused(words, "corpus", "teach", "--set", "folder=lessons", "--set", "vocab=16")
    assert contents(project / "lessons") == before


def test_another_vocabulary_or_run_than_the_teachers_is_refused(lessons: Path, project: Path, refused: Refused) -> None:
    folder = f"folder={lessons}"
    refused("Teach.vocab is 17, and the teacher in ", "corpus", "teach", "--set", folder, "--set", "vocab=17")
    fields = ("--set", folder, "--set", "vocab=16", "--set", "run=abc")
    refused("Teach.run is abc, and the teacher in ", "corpus", "teach", *fields)
