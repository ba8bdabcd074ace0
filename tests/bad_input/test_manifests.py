"""Manifests that no worker can work through."""

import copy
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from simlaw.declared import encode
from simlaw.plan import Pack
from simlaw.run.manifest import Manifest, seal
from tests.bad_input.conftest import Refused, as_bytes
from tests.conftest import tiny_eval, tiny_run

PACK = Pack(
    members=((tiny_run(), tiny_run(tokens=40 * 128)), (tiny_run(seed=1), tiny_run(seed=1, tokens=40 * 128))),
    evals=(tiny_eval(),),
)
FORM: Any = encode(Manifest(corpora=(tiny_run().corpus,), fingerprints=("0123456789abcdef",), packs=(PACK,)))


def sealed(form: Any) -> str:
    """A manifest as it is submitted."""
    return json.dumps({"sha256": seal(form), "manifest": form})


TEXT = sealed(FORM)
GONE = object()

#: Files that are none, by the rule that they break.
FILES: dict[str, tuple[str | bytes, str]] = {
    "it is JSON": ("", "is no manifest (no JSON in UTF-8: Expecting value"),
    "it is whole": (TEXT[:900], "is no manifest (no JSON in UTF-8"),
    "it is UTF-8": (TEXT.replace("Graph", "Gräph", 1).encode("latin-1"), "'utf-8' codec can't decode byte 0xe4"),
    "it has no zero bytes": (b"\0" + TEXT.encode(), "is no manifest (no JSON in UTF-8"),
    "it is not deep": ("[" * 100_000, "is no manifest (nested too deeply to read)"),
    "it is an object": ("[]", "is no manifest (it lacks sha256 or manifest)"),
    "it is no pickle": (pickle.dumps(FORM), "is no manifest (no JSON in UTF-8: 'utf-8' codec can't decode byte 0x80"),
    "it was not altered": (TEXT.replace("0.02", "0.03", 1), "m.json is not what it was when it was written"),
    "numbers are short": ('{"type": %s}' % ("9" * 5000), "is no manifest (no JSON in UTF-8: Exceeds the limit"),
}
RUN = ("packs", 0, "members", 0, 0)
#: Fields of a manifest, by the rule that they break.
FIELDS: dict[str, tuple[Sequence[str | int], object, str]] = {
    "it says that it is one": (("type",), GONE, "is not a Manifest: was it written by another version?"),
    "it is no sweep": (("type",), "Sweep", "{'type': 'Sweep', "),
    "fields are known": (("colour",), 1, "Manifest has no field 'colour'"),
    "it has packs": (("packs",), GONE, "Manifest needs the field 'packs'"),
    "packs are a list": (("packs",), {}, "Manifest.packs is {}: it must be a tuple"),
    "packs are packs": (("packs",), [1], "1 is not a Pack"),
    "there is work": (("packs",), [], "Manifest.packs is empty"),
    "corpora have fingerprints": (("fingerprints",), [], "Manifest has 0 fingerprints of 1 different corpora"),
    "fingerprints are texts": (("fingerprints",), [3], "Manifest.fingerprints is (3,): item 0 is 3, it must be a text"),
    "fingerprints are those here": (("fingerprints",), ["../../x"], "the manifest wants ../../x"),
    "corpora are there": (("corpora", 0, "out"), 5, "item 0 is on a corpus that Manifest.corpora lacks"),
    "packs have members": (("packs", 0, "members"), [], "Pack.members have [] runs"),
    "members have runs": (("packs", 0, "members"), [[]], "Pack.members have [0] runs"),
    "members have as many": (
        ("packs", 0, "members", 0),
        FORM["packs"][0]["members"][0][:1],
        "Pack.members have [1, 2]",
    ),
    "members have equal tokens": ((*RUN, "tokens"), 30 * 128, "Pack.members differ in their tokens"),
    "a pack has one corpus": ((*RUN, "corpus", "out"), 5, "Pack.members are on several corpora"),
    "each run has its own": (("packs", 0, "also"), [[]], "Pack.also has 1 items for 2 runs of a member"),
    "evaluations are a list": (("packs", 0, "evals"), {"a": 1}, "Pack.evals is {'a': 1}: it must be a tuple"),
    "evaluations fit memory": (("packs", 0, "evals", 0, "tokens"), 10**18, "EvalSpec.tokens is 1000000000000000000"),
    "batches are above 0": ((*RUN, "batch"), -8, "RunSpec.batch is -8: it must be at least 1"),
    "seeds are whole": ((*RUN, "seed"), 1.5, "RunSpec.seed is 1.5: it must be a whole number"),
    "rates are numbers": ((*RUN, "optimizer", "rate"), "0.1", "AdamW.rate is '0.1': it must be a finite number"),
    "rates are finite": ((*RUN, "optimizer", "rate"), float("inf"), "AdamW.rate is inf: it must be a finite number"),
    "rates fit a float": ((*RUN, "optimizer", "rate"), 10**400, "it must be a finite number"),
    "rates are there": ((*RUN, "optimizer", "rate"), None, "AdamW.rate is None: it must be a finite number"),
    "steps fit 32 bits": ((*RUN, "tokens"), 128 * 10**30, "would be more than 2147483647 steps"),
    "layers can be made": ((*RUN, "model", "layers"), 10**9, "ModelSpec.layers is 1000000000"),
    "models have all tokens": ((*RUN, "model", "vocab"), 8, "ModelSpec.vocab is 8, and the corpus has 16 tokens"),
    "arithmetic is known": ((*RUN, "dtype"), "float8", "RunSpec.dtype is 'float8': it must be one of 'float32'"),
}
#: Options of a worker, by the rule that they break.
OPTIONS: dict[str, tuple[Sequence[str], str]] = {
    "entries are counted from 0": (("--index", "-1"), "--index -1: the manifest has the entries 0 to 0; take one"),
    "entries are there": (("--index", "1"), "--index 1: the manifest has the entries 0 to 0; take one"),
    "entries are whole": (("--index", "1.5"), "'1.5' is not a valid integer"),
    "devices are known": (("--device", "abacus"), "'abacus' is not one of 'cpu', 'gpu', 'tpu'"),
    "devices are there": (("--device", "gpu"), "--device gpu: JAX finds cpu here"),
    "a mesh has three sides": (("--mesh", "1", "1"), "option '--mesh' requires 3 arguments"),
    "a team is told all": (
        ("--processes", "2"),
        "a team wants all of --mesh, --coordinator, --processes and --process",
    ),
}


@pytest.mark.parametrize("rule", FILES)
def test_a_broken_file_is_refused(rule: str, project: Path, refused: Refused) -> None:
    content, words = FILES[rule]
    (project / "m.json").write_bytes(as_bytes(content))
    refused(words, "work", "--manifest", "m.json")


@pytest.mark.parametrize("rule", FIELDS)
def test_a_wrong_field_is_refused(rule: str, project: Path, refused: Refused) -> None:
    path, value, words = FIELDS[rule]
    form = copy.deepcopy(FORM)
    inner = form
    for name in path[:-1]:
        inner = inner[name]
    if value is GONE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    (project / "m.json").write_text(sealed(form))
    refused(words, "work", "--manifest", "m.json")


@pytest.mark.parametrize("rule", OPTIONS)
def test_a_wrong_option_is_refused(rule: str, project: Path, refused: Refused) -> None:
    options, words = OPTIONS[rule]
    (project / "m.json").write_text(TEXT)
    refused(words, "work", "--manifest", "m.json", *options)


def test_a_manifest_must_be_a_file(project: Path, refused: Refused) -> None:
    (project / "loop.json").symlink_to("loop.json")
    refused("is no manifest (Is a directory)", "work", "--manifest", str(project))
    refused("loop.json is no manifest (Too many levels of symbolic links)", "work", "--manifest", "loop.json")
    refused("none.json is no manifest (No such file or directory)", "work", "--manifest", "none.json")
    refused("is no manifest (File name too long)", "work", "--manifest", "a" * 5000)
