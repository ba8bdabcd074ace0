"""`simlaw corpus` as a user meets it: every kind, on wide and narrow screens and as JSON, and what it refuses."""

import json
import math
import re

import numpy as np
import pytest
from click.testing import CliRunner

from simlaw.cli import cli
from simlaw.cli.corpus import KINDS, _text
from simlaw.config import Graph, Part, ZFact
from simlaw.declared import encode

#: Small corpora of every kind that needs no files, as --set has them.
SMALL = {
    "zfact": ("entities=64", "values=8", "base=8"),
    "zrhm": ("symbols=8", "rules=2", "levels=2"),
    "step": ("modulus=5", "most_steps=1", "distractors=0"),
    "words": ("modulus=5", "most_steps=1", "distractors=0"),
    "digits": ("most_digits=2",),
    "graph": ("nodes=8", "out=3"),
    "mix": (
        "parts="
        + json.dumps(
            [encode(Part(source=Graph(nodes=8, out=3), share=0.75)), encode(Part(source=ZFact(), share=0.25))]
        ),
    ),
}


def call(name, *given):
    """Call the command; whatever has a sign of equality is for --set."""
    settings = [word for one in given for word in (("--set", one) if "=" in one and one[0] != "-" else (one,))]
    return CliRunner().invoke(cli, ["corpus", name, *settings])


@pytest.mark.parametrize("kind", SMALL)
def test_every_kind_prints_samples_with_their_floors(kind, monkeypatch):
    monkeypatch.setattr("simlaw.cli.corpus._MEAN_OVER", 2048)
    said = call(kind, *SMALL[kind], "--show", "2", "--json")
    assert said.exit_code == 0, said.output
    (found,) = json.loads(said.output)["corpora"]
    assert len(found["samples"]) == 2
    assert found["floor"] > 0
    for sample in found["samples"]:
        assert len(sample["tokens"]) == len(sample["floor"]) + 1 == found["context"] + 1 > 16
        assert min(sample["floor"]) >= 0
    if kind == "mix":  # a graph's first step is from an untold node, so nobody knows it in closed form
        assert found["entropy"] is None
    elif kind not in ("step", "words", "digits"):  # windows of problems hold more of the short ones
        assert abs(found["floor"] - found["entropy"]) < 5 * found["floor_se"] + 1e-9

    for columns in (100, 60, 5):
        monkeypatch.setenv("COLUMNS", str(columns))
        sample = found["samples"][0]
        names = sample["names"] or list(map(str, sample["tokens"]))
        lines = _text(found).splitlines()
        assert max(map(len, lines)) <= max(columns, *(len(word) + 1 for word in [*found["corpus"].split(), *names]))
        gaps = [i for i, line in enumerate(lines) if not line and lines[i - 1]]
        assert len(gaps) >= 3
        rows = lines[gaps[0] + 1 : gaps[-2]]
        ends = [i for i, line in enumerate(rows) if i % 2 == 0 and not line]
        rows = rows[: ends[0]] if ends else rows
        assert " ".join(rows[::2]).split() == names
        counts = sample["counted"] or [True] * len(sample["floor"])
        floors = [f"{x:.2f}" if one else "·" for x, one in zip(sample["floor"], counts, strict=True)]
        assert " ".join(rows[1::2]).split() == floors
        if columns == 100:  # a floor ends where its token ends
            assert {match.end() for match in re.finditer(r"\S+", rows[1])} <= {
                match.end() for match in re.finditer(r"\S+", rows[0])
            }


def test_a_mixture_needs_no_field_and_shows_its_longest_item(monkeypatch):
    monkeypatch.setattr("simlaw.cli.corpus._MEAN_OVER", 2)
    said = call("mix", "--json", "--show", "0")
    assert said.exit_code == 0, said.output
    (found,) = json.loads(said.output)["corpora"]
    assert found["context"] == 195
    assert found["windows"] == 2
    assert found["entropy"] == pytest.approx(0.4 * 1.5163 + 0.25 * 0.5039 + 0.2 * 0.6599 + 0.15 * 1.2757, abs=1e-4)


def test_a_mean_of_few_long_windows_has_an_error():
    (found,) = json.loads(call("graph", *SMALL["graph"], "--context", "40000", "--show", "0", "--json").output)[
        "corpora"
    ]
    assert math.isfinite(found["floor_se"])


def files(folder, train, held_out):
    """Token files in a folder, and the fields that name them there."""
    np.save(folder / "train.npy", train.astype(np.uint16))
    np.save(folder / "val.npy", held_out.astype(np.uint16))
    return "train=train.npy", "held_out=val.npy", "vocab=100"


def test_token_files_of_fewer_tokens_than_a_mean_is_taken_over_are_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    given = files(tmp_path, rng.integers(100, size=5000), rng.integers(100, size=600))
    said = call("tokens", *given, "--show", "2")
    assert said.exit_code == 0, said.output
    assert "its floor is not known" in said.output


def texts(folder):
    for i in range(40):
        (folder / f"{i}.py").write_text(f"naïve = {i} * x\n" * 60)
    return f"folder={folder}", "held_out=0.3"


def test_a_text_is_shown_as_text_and_so_is_one_of_merges(tmp_path):
    pytest.importorskip("tokenizers")
    given = texts(tmp_path)
    for more in ((), ('bpe={"type": "BPE", "vocab": 280}',)):
        said = call("text", *given, *more)
        assert said.exit_code == 0, said.output
        assert "naïve = " in said.output


#: What a person may give that cannot be: a kind, fields for --set, and the sentence.
WRONG = {
    "rules": ("zrhm", ("symbols=8", "rules=9"), "at most 8 distinct rules for each (rules <= symbols^(branching - 1))"),
    "prime": ("step", ("modulus=21",), "Step.modulus is 21, no prime: take 19 or 23"),
    "shares": (
        "mix",
        (SMALL["mix"][0].replace("0.75", "0.7"),),
        "the shares of Mix.parts are 0.7 + 0.25 = 0.95: they must sum to 1",
    ),
    "power of two": ("zfact", ("entities=100",), "ZFact.entities is 100: it must be a power of two"),
    "successors": ("graph", ("nodes=4", "out=5"), "Graph.out is 5: a node has at most 4 successors"),
    "steps": ("words", ("least_steps=3", "most_steps=2"), "lower least_steps or raise most_steps"),
    "names": ("step", ("most_steps=12", "distractors=5"), "there are only 16 variable names"),
    "digits": ("digits", ("most_digits=9",), "Digits.most_digits is 9: it must be from 1 to 8"),
    "beyond": ("tokens", "beyond", "token 1234 of train.npy is 100: a vocabulary of 100 has 0 to 99"),
    "overlap": (
        "tokens",
        "overlap",
        "passages of 64 tokens of val.npy are in train.npy too, the first at 0 there and 0 here",
    ),
    "no folder": ("teach", (), "make one with `simlaw teach RUN --out FOLDER`"),
    "nothing there": ("teach", ("folder=nowhere", "vocab=16"), "nowhere"),
    "no vocabulary": ("tokens", (), "token files say nothing of their vocabulary: give it"),
    "no file": ("tokens", ("vocab=9",), "train.bin"),
    "no such field": ("zfact", ("entites=64",), "ZFact has no field 'entites': did you mean 'entities'?"),
    "no value": ("zfact", ("entities=many",), "ZFact.entities is 'many': it must be a whole number"),
    "no kind": ("zfacts", (), "there is no corpus and no sweep 'zfacts': the corpora are zfact, zrhm"),
    "no part": ("mix", ('parts=[{"type": "Prt"}]',), "is not a Part"),
}


@pytest.fixture
def given(tmp_path, monkeypatch):
    """The fields of a wrong corpus, with the files that it wants."""
    monkeypatch.chdir(tmp_path)

    def made(fields):
        rng = np.random.default_rng(0)
        train = rng.integers(100, size=50_000)
        if fields == "beyond":
            train[1234] = 100
            return files(tmp_path, train, rng.integers(100, size=10_000))
        return files(tmp_path, train, train[:10_000]) if fields == "overlap" else fields

    return made


def refused(said, sentence):
    assert said.exit_code == 2, said.output
    assert said.stderr.startswith("simlaw: ")
    assert sentence in said.stderr
    assert said.stderr.count("\n") == 1


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_gets_one_sentence_and_exit_status_2(given, wrong):
    kind, fields, sentence = WRONG[wrong]
    refused(call(kind, *given(fields)), sentence)


def test_what_is_no_setting_gets_one_too():
    refused(CliRunner().invoke(cli, ["corpus", "zfact", "--set", "entities"]), "it must read FIELD=VALUE")
    refused(call("zrhm", "--context", "5"), "raise --context, best to a multiple of them")
    refused(call("step", "--context", "50"), "raise --context to that or more; a mean problem has 119")


SWEEP = """
from simlaw.config import WSD, ZRHM, Digits, Graph, Mix, Part, Step, Tokens, ZFact
from simlaw.recipe import Family, RateRule
from simlaw.sweep import Grid, Sweep

SWEEP = Sweep(
    corpus={corpus},
    family=Family(layers=1, head_dim=8, context=16),
    rate=RateRule(rate=0.02, width=16, exponent=-1.0),
    schedule=WSD(warmup_tokens=512),
    batch=8,
    grids=(Grid(widths=(16,), tokens=(20 * 128,)),),
    eval_tokens=1024,
)
"""


@pytest.mark.parametrize(
    ("corpus", "files_of", "sentence"),
    [
        ("ZRHM(symbols=8, rules=9)", (), WRONG["rules"][2]),
        ("Step(modulus=21)", (), WRONG["prime"][2]),
        (
            "Mix(parts=(Part(source=Graph(nodes=8, out=3), share=0.7), Part(source=ZFact(), share=0.25)))",
            (),
            WRONG["shares"][2],
        ),
        (
            "Step()",
            (),
            "the context of 16 is shorter than one item of Step, which has 195 tokens: raise Family.context",
        ),
        ("ZRHM()", (), "shorter than one item of ZRHM, which has 17 tokens: raise Family.context, best to a multiple"),
        (
            "Mix(parts=(Part(source=Graph(nodes=8, out=3), share=0.5), Part(source=Digits(), share=0.5)))",
            (),
            "the part <DIGITS> of the mixture: the context of 16 is shorter than one item of Digits",
        ),
        ("Tokens(train='train.npy', held_out='val.npy', vocab=100)", "beyond", WRONG["beyond"][2]),
        ("Tokens(train='train.npy', held_out='val.npy', vocab=100)", "overlap", WRONG["overlap"][2]),
    ],
)
def test_a_sweep_on_a_corpus_that_cannot_be_is_refused_before_it_runs(tmp_path, given, corpus, files_of, sentence):
    given(files_of)
    (tmp_path / "sweep.py").write_text(SWEEP.format(corpus=corpus))
    for command in ("plan", "run"):
        refused(CliRunner().invoke(cli, [command, "sweep.py"]), sentence)


def test_the_help_names_every_kind():
    said = CliRunner().invoke(cli, ["corpus", "--help"]).output
    assert f"NAME is a kind ({', '.join(KINDS)})" in " ".join(said.split())
