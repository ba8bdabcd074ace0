"""Law files: what was saved comes back, and what cannot be relied on gets one sentence."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from simlaw.analysis import analyse
from simlaw.decision.choice import decide
from simlaw.errors import SimlawError
from simlaw.external import load_table
from simlaw.fitting.fit import fit
from simlaw.fitting.quantized import QuantizedFit
from simlaw.fitting.uncertainty import trunk_weights
from simlaw.law import AbstractLossLaw, positive
from simlaw.lawfile import SCHEMA, _sealed, analysis_json, load_law
from simlaw.laws import Chinchilla, PrecisionExponential
from simlaw.laws.factors import Coefficient, falls
from simlaw.observations import loss_observations
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
    path.write_text(_sealed(body))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda body: body.update(form="Kaplan"), "it names the form 'Kaplan', and the forms are Chinchilla, "),
        (lambda body: body.pop("health"), "it lacks the field 'health'; save the fit again"),
        (lambda body: body["parameters"].pop("beta"), "it lacks the field 'beta'"),
        (
            lambda body: body.update(schema=SCHEMA + 1),
            f"it has the schema {SCHEMA + 1} of a newer simlaw, and this one",
        ),
        (lambda body: body.update(ranges=3), "a field has the wrong kind"),
    ],
    ids=["form", "field", "parameter", "schema", "kind"],
)
def test_a_file_that_does_not_fit(path, change, sentence):
    altered(path, change)
    with pytest.raises(SimlawError, match="is no law file to rely on: ") as caught:
        load_law(path)
    assert sentence in str(caught.value)


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
    with pytest.raises(SimlawError, match="is no law file to rely on: its loss or its penalty is no fit; save the fit"):
        load_law(path)


def test_the_committed_fits_decide():
    found = decide(load_law(ROOT / "sweeps" / "quickstart" / "law.json"), bytes=29e3, flops=1e12)
    assert found.identified
    assert found.candidates[0].interval[0] < found.candidates[0].loss < found.candidates[0].interval[1]


def test_two_fits_that_are_no_pair_are_refused():
    with pytest.raises(SimlawError, match="Chinchilla and Chinchilla are no law of the loss and law of the penalty"):
        QuantizedFit(base=FIT, penalty=FIT)
