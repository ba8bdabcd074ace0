"""The analysis of training precision: planted roles are found again, and what the forms do not tell apart is said."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import simlaw as sl
from simlaw.analysis import analyse_precision, held_in_unified
from simlaw.cli import cli
from simlaw.errors import SimlawError
from simlaw.fitting.fit import fit
from simlaw.fitting.holdout import SeveralRoles
from simlaw.laws import EffectiveTokens, PrecisionExponential, PrecisionSum, PrecisionUnified
from simlaw.precisions import precision_observations, unified_observations
from tests.planted import PRECISIONS as ALL
from tests.planted import ROLES, TOKENS, planted, planted_precisions, planted_unified

FEW = tuple(bits for bits in ALL if sum(b is not None for b in bits) < 2)
SWEEP = """
from simlaw.config import WSD, Text
from simlaw.recipe import RateRule
from simlaw.sweep import Grid, Sweep
SWEEP = Sweep(
    corpus=Text(), rate=RateRule(rate=0.01, width=64, exponent=-1.0), schedule=WSD(warmup_tokens=65_536), batch=32,
    grids=(Grid(widths=(16,), tokens=(655_360,)),), eval_tokens=65_536, analysis="precision", claims=("A10",),
)
"""


#: Enough to tell the forms apart, and quick to fit.
SMALL = {"tokens": TOKENS[:4], "log_loss": 0.003}
RIVALS = (PrecisionExponential, PrecisionSum, EffectiveTokens)


@pytest.fixture(scope="module")
def analysis():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simlaw.analysis.PRECISIONS", RIVALS)
        return analyse_precision(planted_precisions(**SMALL), draws=60)


def test_the_product_of_effective_shares_is_found_and_predicts_runs_with_several_roles(analysis):
    assert type(analysis.chosen.law) is PrecisionExponential
    assert analysis.together.decided
    for name in ("g_w", "g_a", "g_kv"):
        low, high = np.quantile(analysis.chosen.draws.values[name], [0.01, 0.99])
        assert low < ROLES.values[name] < high
    assert {form.__name__ for form in RIVALS} == {entry.name for entry in analysis.together.entries}
    assert set(analysis.roles) == {(role, "int") for role in ("P_w", "P_a", "P_kv")}


def test_holding_out_several_roles_leaves_one_role_and_none():
    seen = precision_observations(planted_precisions())
    away = SeveralRoles().mask(seen)
    quantized = np.isfinite([seen.x[name] for name in ("P_w", "P_a", "P_kv")]).sum(axis=0)
    assert np.array_equal(away, quantized > 1)
    assert str(SeveralRoles()) == "several roles together"


def test_forms_of_roles_that_never_meet_are_asked_for_the_largest_size_and_the_lowest_bits(monkeypatch):
    monkeypatch.setattr("simlaw.analysis.PRECISIONS", RIVALS[:2])
    found = analyse_precision(planted_precisions(**SMALL, precisions=FEW[:5]), draws=20)
    assert type(found.chosen.law) is PrecisionExponential
    assert [str(holdout) for holdout in found.together.holdouts] == ["largest N", "lowest P_w"]
    with pytest.raises(SimlawError, match="no run has several tensor roles quantized, so none is held out"):
        SeveralRoles().mask(found.observations)


def test_a_table_without_low_precision_is_refused():
    with pytest.raises(SimlawError, match="no run was trained in low precision beside one at full precision"):
        analyse_precision(planted())


def test_the_command_fits_it_says_what_is_undecided_and_writes_a_law_that_decides(tmp_path, monkeypatch):
    folder = tmp_path / "sweeps" / "tiny"
    folder.mkdir(parents=True)
    (folder / "sweep.py").write_text(SWEEP)
    planted_precisions(**SMALL).write(folder / "table.csv")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("simlaw.analysis.PRECISIONS", RIVALS[:2])
    said = CliRunner().invoke(cli, ["fit", "sweeps/tiny/table.csv", "--write"])
    assert said.exit_code == 0, said.output
    assert "weights alone" in said.output
    assert "inputs of block matrices alone" in said.output
    law = sl.load_law(folder / "law.json")
    assert law.law.loss(N=1e5, D=1e6, P_w=3.0) > law.law.loss(N=1e5, D=1e6)
    written = json.loads((folder / "law.json").read_text())["contests"]
    assert written["together"]["verdict"] in said.output
    assert {entry["form"] for entry in written["P_w"]["entries"]} == {"PrecisionExponential", "PrecisionSum"}


#: How much less rounding costs after training in each role's precision.
PREPARED = {"C_w": 0.4, "C_a": 1.5, "C_kv": 3.0}
PENALTY = {"C_T": 0.5, "gD": 0.4, "gN": 0.4, "g_post": 0.7, "b": 0.3}


def test_the_unified_law_finds_how_each_role_prepares_for_rounding():
    truth = PrecisionUnified(**{**ROLES.values, **PENALTY, **PREPARED})
    seen = unified_observations(planted_unified(truth))
    rounded = np.isfinite(seen.x["P_post"])
    assert (seen.x["P_post"][rounded] >= 3).all()
    for role in ("P_w", "P_a", "P_kv"):  # of the rest the law says nothing
        assert (seen.x[role] > seen.x["P_post"])[rounded].all()
        assert len(np.unique(seen.x[role][rounded])) > 2
    found = fit(PrecisionUnified, seen, fixed={"b": 0.0})
    assert found.health == "VALID"
    for name, value in {**PREPARED, "gD": 0.4, "g_w": ROLES.g_w}.items():
        assert found.law.values[name] == pytest.approx(value, rel=0.2), name
    blind = fit(PrecisionExponential, seen, fixed={"b": 0.0})
    assert blind.objective > 1.5 * found.objective


def test_a_role_whose_training_changes_nothing_of_rounding_has_its_constant_at_the_end_and_full_precision_is_given():
    truth = PrecisionUnified(**{**ROLES.values, **PENALTY, **PREPARED, "C_kv": 1e3})
    table = planted_unified(truth)
    seen = unified_observations(table)
    held = held_in_unified(table, seen)
    assert set(held) == {"b", "E", "A", "B", "alpha", "beta", "C_kv"}
    assert held["C_kv"] == 100
    assert held["E"] == pytest.approx(ROLES.E, rel=0.05)
    found = fit(PrecisionUnified, seen, fixed=held)
    assert found.health == "VALID"
    assert found.law.C_w == pytest.approx(PREPARED["C_w"], rel=0.2)
