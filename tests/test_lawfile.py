"""Law files: what was saved comes back, and what cannot be relied on gets one sentence."""

import json
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest

import simlaw as sl
from simlaw.analysis import analyse
from simlaw.decision.choice import decide
from simlaw.errors import SimlawError
from simlaw.external import load_table
from simlaw.fitting.fit import fit
from simlaw.fitting.quantized import QuantizedFit
from simlaw.fitting.uncertainty import trunk_weights
from simlaw.law import AbstractLossLaw, positive
from simlaw.lawfile import _FIELDS, SCHEMA, _checksum, analysis_json, load_law
from simlaw.laws import Chinchilla, PrecisionExponential, StepPenalty
from simlaw.laws.factors import Coefficient, falls
from simlaw.observations import loss_observations
from simlaw.table import read_table
from tests.conftest import ROOT
from tests.planted import planted

SEEN = loss_observations(planted(log_loss=0.01, bits=()))
FIT = fit(Chinchilla, SEEN, trunk_weights(SEEN.trunk, SEEN.x["N"], draws=50))


@dataclass(frozen=True, kw_only=True)
class Mine(AbstractLossLaw):
    """A form of one's own: data alone."""

    E: float = positive(0.3, 3.0)
    B: float = positive(1.0, 1e5)
    beta: float = positive(0.1, 1.0)
    needs = ("N", "D")
    terms = ((Coefficient("E"),), (Coefficient("B"), falls("D", "beta")))


@pytest.fixture
def path(tmp_path):
    FIT.save(tmp_path / "law.json")
    return tmp_path / "law.json"


def test_what_was_saved_comes_back(path):
    back = load_law(path)
    assert back.law == FIT.law
    assert (back.health, back.sentence, back.ranges, back.error) == (FIT.health, FIT.sentence, FIT.ranges, FIT.error)
    assert np.allclose(back.draws.loss(N=1e5, D=1e7), FIT.draws.loss(N=1e5, D=1e7), rtol=1e-4)
    assert str(back) == str(FIT)
    assert json.loads(path.read_text())["N"] == "params_blocks"


def test_what_n_counts_is_declared_once_and_comes_back(tmp_path):
    columns = {**SEEN.x, "loss": SEEN.y}
    seen = load_table(columns, N="N", D="D", loss="loss", counts="with embeddings").keep(SEEN.x["N"] > 1e4)
    found = fit(Chinchilla, seen, fixed={"E": 1.2, "alpha": 0.35, "beta": 0.5})
    assert " to 1.065e+05 (with embeddings)\n" in str(found)
    found.save(tmp_path / "law.json")
    assert load_law(tmp_path / "law.json").counts == "with embeddings"
    found.save(tmp_path / "law.json", counts="all")  # of a table that did not say it
    assert load_law(tmp_path / "law.json").counts == "all"


def test_unknown_parameters_stay_unknown(tmp_path):
    found = fit(PrecisionExponential, SEEN)
    assert set(found.unknown) == {"g_w", "n_w", "g_a", "n_a", "g_kv", "n_kv", "C_T", "gD", "gN", "g_post", "b"}
    assert found.law.loss(N=1e5, D=1e7) == pytest.approx(float(FIT.law.loss(N=1e5, D=1e7)), rel=1e-5)
    found.save(tmp_path / "law.json")
    back = load_law(tmp_path / "law.json")
    assert back.unknown == found.unknown
    with pytest.raises(SimlawError, match="PrecisionExponential does not know g_w, n_w"):
        back.law.loss(N=1e5, D=1e7, P_w=4)


def test_forms_of_ones_own_are_named_when_loading(tmp_path):
    found = fit(Mine, SEEN)
    found.save(tmp_path / "law.json")
    assert load_law(tmp_path / "law.json", forms=[Mine]).law == found.law
    with pytest.raises(SimlawError, match="it names the form 'Mine', and the forms are Chinchilla, "):
        load_law(tmp_path / "law.json")


def altered(path, change):
    body = json.loads(path.read_text())
    del body["checksum"]
    change(body)
    path.write_text(json.dumps({**body, "checksum": _checksum(body)}))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda body: body.update(form="Kaplan"), "it names the form 'Kaplan', and the forms are Chinchilla, "),
        (lambda body: body.pop("health"), "it lacks the field 'health'; save the fit again"),
        (lambda body: body["parameters"].pop("beta"), "it lacks the field 'parameters.beta'; save the fit again"),
        (
            lambda body: body.update(schema=SCHEMA + 1),
            f"it has the schema {SCHEMA + 1} of a newer simlaw, and this one",
        ),
        (lambda body: body.update(ranges=3), "ranges is 3, and it must be an object; save the fit again"),
        (lambda body: body.update(schema="3"), "schema is '3', and it must be a whole number"),
        (lambda body: body.update(schema=None), "schema is None, and it must be a whole number"),
        (lambda body: body.update(schema=[3]), "schema is [3], and it must be a whole number"),
        (lambda body: body["ranges"].update(N=[1e4]), "its 'N' is [10000.0]: it must be a list of 2"),
        (
            lambda body: body["ranges"].update(N=[2.0, 1.0]),
            "ranges.N is [2.0, 1.0]: it is a variable of Chinchilla, the",
        ),
        (lambda body: body["ranges"].update(P_w=[3, 4]), "ranges.P_w is [3, 4]: it is a variable of Chinchilla"),
        (lambda body: body["draws"]["E"].pop(), "draws has 49 and 50 numbers, and every parameter has as many"),
        (
            lambda body: body["draws"].pop("alpha"),
            "draws is of A, B, E, beta, and what was estimated is A, B, E, alpha",
        ),
        (lambda body: body["draws"]["A"].append(None), "draws is {'E': ["),
        (
            lambda body: body["draws"]["A"].__setitem__(3, -1.0),
            "A or one of its draws is 0 or below, and Chinchilla takes",
        ),
        (lambda body: body["parameters"].update(alpha=-1), "alpha or one of its draws is 0 or below, and Chinchilla"),
        (lambda body: body["parameters"].update(alpha=0), "alpha or one of its draws is 0 or below, and Chinchilla"),
        (lambda body: body["parameters"].update(alpha=10**400), "it holds 100000000…, no number"),
        (
            lambda body: body["parameters"].update(alpha=None),
            "parameters.alpha is None, and null is what stands for each",
        ),
        (
            lambda body: body["parameters"].update(gamma=1),
            "parameters names 'gamma', and Chinchilla has E, A, B, alpha",
        ),
        (lambda body: body.update(unknown=["alpha"]), "parameters.alpha is 0."),
        (
            lambda body: body.update(fixed=["alpha"]),
            "draws is of A, B, E, alpha, beta, and what was estimated is A, B, E",
        ),
        (
            lambda body: body["error"].pop("alpha"),
            "error is of A, B, E, beta, and what was estimated is A, B, E, alpha",
        ),
        (lambda body: body["covariance"]["E"].pop("alpha"), "covariance is no square of what was estimated"),
        (lambda body: body.update(kind="weighted"), "kind is 'weighted': objective='weighted' does not fit Chinchilla"),
        (lambda body: body.update(kind="nats"), "of kind 'nats', and it is a number of kind 'huber' alone"),
        (lambda body: body.update(rows=0), "rows is 0, and it must be at least 1"),
        (lambda body: body.update(agreeing=1.5), "agreeing is 1.5, and it must be from 0 to 1"),
    ],
)
def test_a_file_that_does_not_fit(path, change, sentence):
    altered(path, change)
    with pytest.raises(SimlawError, match="is no law file to rely on: ") as caught:
        load_law(path)
    assert sentence in str(caught.value)


#: Fields of the file that may be null in a fit of the loss with draws, and what no field is.
NULLS, WRONG = {"misfit", "condition", "engines", "chi2"}, {str: 3, list: "abc", dict: [3], int: "abc", float: "abc"}


@pytest.mark.parametrize("field", sorted({*_FIELDS, "schema", "code_version"}))
def test_every_field_is_needed_and_checked(path, field):
    body = json.loads(path.read_text())
    kind = type(body[field])
    changes = [lambda body: body.pop(field), lambda body: body.update({field: WRONG.get(kind, "abc")})]
    changes += [lambda body: body.update({field: None})] * (field not in NULLS)
    for change in changes:
        FIT.save(path)
        altered(path, change)
        with pytest.raises(SimlawError, match=rf"is no law file to rely on: .*{field}|it names the form"):
            load_law(path)


@pytest.mark.parametrize("field", ["table_sha256", "N", "granularity", "loss", "penalty", "penalty_rivals"])
def test_every_field_of_the_file_of_a_sweep_is_needed_and_checked(tmp_path, field):
    path = tmp_path / "law.json"
    for change in (lambda body: body.pop(field), lambda body: body.update({field: 3})):
        path.write_text((ROOT / "sweeps" / "quickstart" / "law.json").read_text())
        altered(path, change)
        if field == "loss" and "loss" not in json.loads(path.read_text()):
            sentence = "it lacks the field 'form'"
        else:
            sentence = f"it lacks the field {field!r}|{field} is 3, and it must be"
        with pytest.raises(SimlawError, match=sentence):
            load_law(path)


def test_what_loads_prints_and_saves(path, tmp_path):
    for field in NULLS:
        FIT.save(path)
        altered(path, lambda body, field=field: body.update({field: None}))
        back = load_law(path)
        assert repr(back)
        back.save(tmp_path / "again.json")
        assert load_law(tmp_path / "again.json").law == FIT.law


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"\x89PNG\xff", "it is no text in UTF-8"),
        (b'{"schema": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "its fields are nested too deeply to read"),
        (b"[3]", "it lacks the field 'schema'"),
    ],
)
def test_what_is_no_json_of_a_law(path, text, sentence):
    path.write_bytes(text)
    with pytest.raises(SimlawError, match=f"law.json is no law file to rely on: {sentence}; save the fit again"):
        load_law(path)


def test_fits_of_a_sweep_have_equally_many_draws(tmp_path):
    path = tmp_path / "law.json"
    path.write_text((ROOT / "sweeps" / "quickstart" / "law.json").read_text())
    altered(path, lambda body: [values.pop() for values in body["penalty"]["draws"].values()])
    with pytest.raises(SimlawError, match="its fits have 999 and 1000 draws, and draws are paired; save the fit again"):
        load_law(path)


def test_settings_are_written_as_plain_numbers(tmp_path):
    settings = {**FIT.settings, "seed": np.int64(1), "bounds": {"beta": (np.float32(0.25), np.float64(0.75))}}
    found = replace(FIT, settings=settings)
    found.save(tmp_path / "law.json")
    settings = load_law(tmp_path / "law.json").settings
    assert settings["bounds"] == {"beta": [0.25, 0.75]}
    assert settings["seed"] == 1


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"rows": 54', '"rows": 55', "its checksum does not fit its contents"),
        ('"rows": 54', '"rows": NaN', "it holds NaN, no number"),
        ('"rows": 54', '"rows": ', "line "),
    ],
)
def test_an_altered_file(path, old, new, sentence):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(SimlawError, match="is no law file to rely on: ") as caught:
        load_law(path)
    assert sentence in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(
        SimlawError, match=r"there is no law file at .*none.json \(No such file or directory\): `fit.save"
    ):
        load_law(tmp_path / "none.json")


def test_the_file_of_a_sweep_gives_both_fits(tmp_path):
    analysis = analyse(planted(log_loss=0.005, relative=0.1, token=1e-4, seeds=4), draws=50)
    path = tmp_path / "law.json"
    path.write_text(analysis_json(analysis, "0" * 64))
    back = load_law(path)
    assert isinstance(back, QuantizedFit)
    assert (back.base.law, back.penalty.law) == (analysis.base.law, analysis.penalty.law)
    # the draws of both come back in their order, so that decisions have the same intervals
    both = QuantizedFit(base=analysis.base, penalty=analysis.penalty)
    mine, theirs = (decide(one, bytes=29e3, flops=1e12) for one in (back, both))
    assert [c.option for c in mine.candidates] == [c.option for c in theirs.candidates]
    for a, b in zip(mine.candidates, theirs.candidates, strict=True):
        assert a.gap_interval == pytest.approx(b.gap_interval, abs=1e-4)
    assert back.law.loss(N=1e5, D=1e7, P_post=4) > back.law.loss(N=1e5, D=1e7)


def test_the_file_of_a_sweep_without_a_penalty_gives_the_loss(tmp_path):
    (tmp_path / "law.json").write_text(analysis_json(analyse(planted(log_loss=0.005, bits=()), draws=20), "0" * 64))
    assert isinstance(load_law(tmp_path / "law.json").law, Chinchilla)


def test_a_penalty_that_is_no_fit_is_refused(tmp_path):
    path = tmp_path / "law.json"
    path.write_text(analysis_json(analyse(planted(log_loss=0.005, bits=()), draws=20), "0" * 64))
    altered(path, lambda body: body.update(penalty=3))
    with pytest.raises(SimlawError, match="is no law file to rely on: penalty is 3, and it must be "):
        load_law(path)


def test_the_committed_fits_decide():
    found = decide(load_law(ROOT / "sweeps" / "quickstart" / "law.json"), bytes=29e3, flops=1e12)
    assert found.identified
    assert found.candidates[0].interval[0] < found.candidates[0].loss < found.candidates[0].interval[1]


def test_two_fits_that_are_no_pair_are_refused():
    with pytest.raises(SimlawError, match="Chinchilla and Chinchilla are no law of the loss and law of the penalty"):
        QuantizedFit(base=FIT, penalty=FIT)


def test_a_law_of_the_quickstart_loads_and_decides_where_there_is_no_jax(tmp_path):
    table = read_table(ROOT / "sweeps" / "quickstart" / "table.csv")
    for form, name in ((Chinchilla, "loss.json"), (StepPenalty, "penalty.json")):
        sl.fit(form, table, bootstrap=100).save(tmp_path / name)
    code = f"""
import sys
for name in ("jax", "jaxlib", "flax", "optax", "matplotlib"):
    sys.modules[name] = None
import simlaw as sl
base, penalty = (sl.load_law({str(tmp_path)!r} + "/" + name) for name in ("loss.json", "penalty.json"))
print(sl.decide(base, penalty=penalty, bytes=29e3, flops=1e12).sentence)
print(sl.decide(sl.load_law({str(ROOT / "sweeps" / "quickstart" / "law.json")!r}), bytes=29e3, flops=1e12).sentence)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert [line.split(",")[0] for line in said.splitlines()] == ["quantize N=45.3k in int5 g128"] * 2
