"""Checkpoints in the store, and packed ones, that no model can be made of."""

import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load, save

import simlaw as sl
from simlaw.config import run_id
from simlaw.corpora import AbstractCorpus
from simlaw.errors import SimlawError
from simlaw.formats import Int, Quantizer
from simlaw.history import History, pack_history
from simlaw.packed import _checksum
from simlaw.store import Store
from tests.bad_input.conftest import Refused, contents, run_files
from tests.conftest import tiny_run

FILES = run_files("0123456789abcdef")
SPEC: dict[str, Any] = json.loads(FILES["spec.json"])
WEIGHTS = load(FILES["params.safetensors"])
FIRST = min(WEIGHTS)


def spec(**changes: object) -> dict[str, bytes | None]:
    """Another spec.json."""
    return {"spec.json": json.dumps({**SPEC, **changes}).encode()}


def weights(data: bytes | None) -> dict[str, bytes | None]:
    """Another file of weights."""
    return {"params.safetensors": data}


def about(text: str) -> dict[str, bytes | None]:
    """Weights whose header says something else."""
    return weights(save(WEIGHTS, metadata={"about": text}))


#: Files of a stored run, None where one is left out, by the rule that they break. Their checksums fit.
RUNS: dict[str, tuple[dict[str, bytes | None], str]] = {
    "a spec is there": ({"spec.json": None}, "lacks spec.json"),
    "a spec is JSON": ({"spec.json": b"{"}, "no JSON in UTF-8"),
    "a spec is UTF-8": ({"spec.json": b"\xff{}"}, "no JSON in UTF-8: 'utf-8' codec can't decode"),
    "a spec is not deep": ({"spec.json": b"[" * 100_000}, "nested too deeply to read"),
    "a spec is of a run": ({"spec.json": b"[]"}, "[] is not a RunSpec"),
    "fields are known": (spec(color=1), "RunSpec has no field 'color'"),
    "fields are of their types": (spec(batch="8"), "RunSpec.batch is '8': it must be a whole number"),
    "fields are in bounds": (spec(batch=-8), "RunSpec.batch is -8: it must be at least 1"),
    "lists are lists": (spec(averages=3), "RunSpec.averages is 3: it must be a tuple"),
    "numbers are no lists": (spec(optimizer={"type": "AdamW", "rate": [1]}), "AdamW.rate is [1]: it must be a finite"),
    "numbers fit a float": (spec(z_loss=10**400), "RunSpec.z_loss is 1000"),
    "steps fit 32 bits": (spec(tokens=128 * 10**30), "would be more than 2147483647 steps"),
    "a corpus is known": (spec(corpus={"type": "Nope"}), "{'type': 'Nope'} is none of Text, Tokens"),
    "layers can be made": (spec(model={**SPEC["model"], "layers": 10**9}), "ModelSpec.layers is 1000000000"),
    "weights are of the spec": (spec(model={**SPEC["model"], "width": 32}), "wanted float32[32, 32]"),
    "a run without weights says why": (weights(None) | {"status.json": b"{}"}, "its status {} does not say why"),
    "a status is an object": (weights(None) | {"status.json": b"[]"}, "its status [] does not say why"),
    "a status is JSON": (weights(None) | {"status.json": b"{"}, "no JSON in UTF-8"),
    "weights are whole": (weights(FILES["params.safetensors"][:-9]), "is not a safetensors file"),
    "weights are no pickle": (weights(pickle.dumps(WEIGHTS)), "is not a safetensors file"),
    "headers are short": (weights(struct.pack("<Q", 2**60) + b"{}"), "header too large"),
    "weights are all there": (weights(save({k: v for k, v in WEIGHTS.items() if k != FIRST})), f"{FIRST} is missing"),
    "no others are": (weights(save({**WEIGHTS, "../x": WEIGHTS[FIRST]})), "holds ../x, which is not wanted"),
    "weights are float32": (weights(save({**WEIGHTS, FIRST: WEIGHTS[FIRST].astype(np.float16)})), "is float16["),
    "NumPy knows their kind": (
        weights(save({**WEIGHTS, FIRST: WEIGHTS[FIRST].astype(ml_dtypes.bfloat16)})),
        "holds numbers of the kind 'BF16'",
    ),
    "a header is an object": (about("[]"), "the checkpoint's header says [], no object"),
    "a header is not deep": (about("[" * 100_000), "the checkpoint's header is nested too deeply"),
    "a header's form is known": (about('{"form": 9}'), "has form 9, and this version reads 1"),
    "weights are of the run": (about('{"of": "another"}'), "the checkpoint is of another, wanted"),
}
#: What `simlaw show` reads besides.
HISTORIES: dict[str, tuple[dict[str, bytes | None], str]] = {
    "a history is there": ({"history.safetensors": None}, "lacks history.safetensors"),
    "a history is whole": ({"history.safetensors": FILES["history.safetensors"][:50]}, "is not a safetensors file"),
    "a history is of all steps": (
        {"history.safetensors": pack_history(History(*np.ones((2, 5), np.float32)))},
        "is float32[5], wanted float32[20]",
    ),
}


@pytest.fixture
def stored(project: Path, corpus: AbstractCorpus) -> Callable[[dict[str, bytes | None]], str]:
    """Store a run with some files of its own in place of the one that is there; gives back its id."""

    def put(changes: dict[str, bytes | None]) -> str:
        run, store = run_id(tiny_run(), corpus.fingerprint), Store(root=project / ".simlaw")
        files = {**run_files(corpus.fingerprint), **changes}
        store.remove("run", run)
        store.put("run", run, {name: data for name, data in files.items() if data is not None})
        return run

    return put


@pytest.mark.parametrize("rule", [*RUNS, *HISTORIES])
def test_a_broken_run_is_not_shown(rule: str, stored: Callable[..., str], refused: Refused) -> None:
    changes, words = {**RUNS, **HISTORIES}[rule]
    refused(words, "show", stored(changes)[:8], "--length", "2")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("rule", RUNS)
def test_a_broken_run_is_not_loaded(rule: str, stored: Callable[..., str], project: Path) -> None:
    changes, words = RUNS[rule]
    run = stored(changes)
    before = contents(project / ".simlaw")
    with pytest.raises(SimlawError) as said:
        sl.load_model(run[:8])
    assert words in str(said.value)
    assert "\n" not in str(said.value)
    assert contents(project / ".simlaw") == before


def test_a_damaged_run_is_set_aside_with_all_that_it_held(stored: Callable[..., str], project: Path) -> None:
    run = stored({})
    path = project / ".simlaw" / "run" / run / "params.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    held = sorted(data for data in contents(path.parent).values())
    with pytest.raises(SimlawError, match=f"run {run}: its checkpoint was damaged and is set aside in "):
        sl.load_model(run)
    (aside,) = (project / ".simlaw" / "aside").iterdir()
    assert sorted(contents(aside).values()) == held


@pytest.mark.parametrize("line", ["{", "[1]", "null", '{"step": "x"}', '{"a": 1}', "[" * 100_000, "\xff"])
def test_broken_lines_of_a_journal_are_passed_over(line: str, project: Path, corpus: AbstractCorpus) -> None:
    from click.testing import CliRunner

    from simlaw.cli import cli

    run = run_id(tiny_run(), corpus.fingerprint)
    path = project / ".simlaw" / "history" / f"{run}.jsonl"
    path.parent.mkdir()
    path.write_bytes(line.encode("latin-1") + b"\n")
    said = CliRunner().invoke(cli, ["show", run, "--history"])
    assert said.exit_code == 0
    assert [json.loads(text)["step"] for text in said.stdout.splitlines()] == [16, 20]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, ground: Path, corpus: AbstractCorpus) -> Path:
    """A model packed in four bits."""
    path = tmp_path_factory.mktemp("packed") / "model.safetensors"
    loaded = sl.load_model(run_id(tiny_run(), corpus.fingerprint), store=ground / ".simlaw")
    loaded.quantized(Quantizer(format=Int(bits=4))).save(path)
    return path


Header, Arrays = dict[str, Any], dict[str, np.ndarray]


def changed(**fields: object) -> Callable[[Header, Arrays], bytes]:
    """The file with other fields in its header."""
    return lambda header, arrays: written({**header, **fields}, arrays)


def lacking(name: str) -> Callable[[Header, Arrays], bytes]:
    """The file without a field in its header."""
    return lambda header, arrays: written({key: value for key, value in header.items() if key != name}, arrays)


def holding(change: Callable[[Arrays], Arrays]) -> Callable[[Header, Arrays], bytes]:
    """The file with other arrays, whose checksum fits."""

    def made(header: Header, arrays: Arrays) -> bytes:
        found = change(arrays)
        return written({**header, "sha256": _checksum(found)}, found)

    return made


def written(header: Header, arrays: Arrays) -> bytes:
    """A packed file."""
    return save(arrays, metadata={"about": json.dumps(header)})


def of_model(**fields: object) -> Callable[[Header, Arrays], bytes]:
    """The file of another shape."""
    return lambda header, arrays: written(
        {**header, "spec": {**header["spec"], "model": {**header["spec"]["model"], **fields}}}, arrays
    )


SCALES, CODES = "0.down.scales", "0.down.codes"
#: Packed files, by the rule that they break.
PACKED: dict[str, tuple[Callable[[Header, Arrays], bytes], str]] = {
    "it is no empty file": (lambda *_: b"", "is not a safetensors file"),
    "it is whole": (lambda header, arrays: written(header, arrays)[:-1], "is not a safetensors file"),
    "it is no pickle": (lambda _, arrays: pickle.dumps(arrays), "is not a safetensors file"),
    "it has a header": (lambda _, arrays: save(arrays), "the file holds no quantized checkpoint"),
    "it is no checkpoint": (
        lambda *_: FILES["params.safetensors"],
        "the file holds no quantized checkpoint",
    ),
    "its form is known": (changed(form=9), "has form 9, and this version reads 1"),
    "its checksum fits": (changed(sha256="0" * 64), "its arrays have another checksum than its header says"),
    "it says of which run": (lacking("run_id"), "the file's header lacks 'run_id'"),
    "runs have names": (changed(run_id=3), "the file's header has run_id=3, and it must be a text"),
    "it has a spec": (lacking("spec"), "the file's header lacks 'spec'"),
    "a spec is an object": (changed(spec=[]), "the file's header has spec=[], and it must be an object"),
    "an average is known": (changed(average={"type": "X"}), "{'type': 'X'} is none of EMA, LAWA, None"),
    "layers are there": (of_model(layers=7), "the file holds 1 layers, and its header declares 7"),
    "widths are those of arrays": (of_model(width=10**6, heads=2), "is float16[16, 16], wanted float16[16, 1000000]"),
    "codes are there": (
        holding(lambda arrays: {name: array for name, array in arrays.items() if name != CODES}),
        f"{CODES} is missing",
    ),
    "codes are all there": (holding(lambda arrays: {**arrays, CODES: arrays[CODES][1:]}), f"{CODES} is uint8[383]"),
    "no others are": (holding(lambda arrays: {**arrays, "x": arrays[CODES]}), "holds x, which is not wanted"),
    "scales are float16": (
        holding(lambda arrays: {**arrays, SCALES: arrays[SCALES].astype(np.float32)}),
        f"{SCALES} is float32[1, 16]",
    ),
    "scales are finite": (
        holding(lambda arrays: {**arrays, SCALES: arrays[SCALES] * np.float16("nan")}),
        f"the file's {SCALES} holds a number that is not finite",
    ),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("rule", PACKED)
def test_a_broken_packed_model_is_refused(rule: str, packed: Path, tmp_path: Path) -> None:
    make, words = PACKED[rule]
    data = packed.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["about"])
    path = tmp_path / "model.safetensors"
    path.write_bytes(make(header, load(data)))
    with pytest.raises(SimlawError) as said:
        sl.load_quantized(path)
    assert words in str(said.value)
    assert "\n" not in str(said.value)


def test_a_packed_model_must_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path, why in (
        (tmp_path, "Is a directory"),
        (tmp_path / "loop", "symbolic links"),
        (Path("a" * 5000), "too long"),
    ):
        with pytest.raises(SimlawError, match=why):
            sl.load_quantized(path)


def test_a_run_that_is_not_there_is_not_loaded(project: Path) -> None:
    shutil.rmtree(project / ".simlaw")
    with pytest.raises(SimlawError, match="there is no store at "):
        sl.load_model("abc")
    assert not (project / ".simlaw").exists()


def test_the_good_ones_are_good(stored: Callable[..., str], packed: Path) -> None:
    assert sl.load_model(stored({})).spec == sl.load_quantized(packed).spec
