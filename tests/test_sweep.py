"""Sweeps: every mistake in a sweep file gets one sentence that names the place."""

import shutil
from pathlib import Path

import pytest

from simlaw.config import GPTQ, RTN, CalibrationText
from simlaw.errors import SimlawError
from simlaw.formats import FLOATS, Int, PerToken, Quantizer
from simlaw.recipe import Family, RateRule
from simlaw.sweep import PTQGrid, load_sweep
from tests.conftest import ROOT

GOOD = (ROOT / "sweeps" / "smoke" / "sweep.py").read_text()


def test_a_sweep_is_found_by_name_folder_and_file(monkeypatch):
    monkeypatch.chdir(ROOT)
    files = [load_sweep(where) for where in ("smoke", "sweeps/smoke", "sweeps/smoke/sweep.py")]
    assert {file.name for file in files} == {"smoke"}
    assert len({file.sweep for file in files}) == 1
    assert files[0].claim.startswith("The whole loop in seconds")
    assert files[0].table.name == "table.csv"


def test_a_variant_lies_beside_its_sweep_and_what_is_committed_of_it_in_a_folder_of_its_own(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "sweeps" / "smoke", tmp_path / "sweeps" / "smoke")
    (tmp_path / "sweeps" / "smoke" / "large.py").write_text(
        '"""Larger."""\n'
        "from dataclasses import replace\nfrom pathlib import Path\nfrom simlaw.sweep import load_sweep\n"
        'SWEEP = replace(load_sweep(str(Path(__file__).with_name("sweep.py"))).sweep, batch=16)\n'
    )
    monkeypatch.chdir(tmp_path)
    plain, large = load_sweep("smoke"), load_sweep("smoke/large")
    assert (large.name, large.figure, large.variant, large.claim) == ("smoke/large", "smoke", "large", "Larger.")
    assert large.sweep.batch == 16 != plain.sweep.batch
    assert (plain.table, large.table) == (Path("sweeps/smoke/table.csv"), Path("sweeps/smoke/large/table.csv"))
    assert large.law.parent == large.curves.parent == large.verdicts.parent == large.table.parent


def test_an_unknown_sweep_names_those_there_are(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SimlawError, match=r"there is no sweep 'smok': the sweeps here are .*quickstart, .*smoke"):
        load_sweep("smok")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SimlawError, match="run it from the folder that holds sweeps/"):
        load_sweep("smoke")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("batch=8", "bacth=8", r"sweep.py, line \d+: Sweep has no field 'bacth': did you mean 'batch'\?"),
        ("batch=8", 'batch="8"', r"line \d+: Sweep.batch is '8': it must be a whole number"),
        ("widths=(8, 16)", "widths=(8, -16)", r"Grid.widths is \(8, -16\): item 1 is -16, it must be at least 1"),
        ("widths=(8, 16)", "widths=[8, 16]", r"Grid.widths is \[8, 16\]: it must be a tuple, for example \(8, 16\)"),
        ("widths=(8, 16)", "widths=()", "Grid.widths is empty, so the grid holds no run: give it at least one value"),
        ("bits=(3, 4, 8)", "bits=(3, 17)", r"PTQGrid.bits is \(3, 17\): item 1 is 17, it must be from 1 to 16"),
        ("BATCH_TOKENS = 8 * 16", "BATCH_TOKENS = 8 * 16 / 0", "line 1.* raises ZeroDivisionError: division by zero"),
        ("BATCH_TOKENS = 8 * 16", "BATCH_TOKENS = = 8", "raises SyntaxError: invalid syntax"),
        ("batch=8", 'batch=8, analysis="law "', r"Sweep.analysis is 'law ': it must be one of 'law', 'rates'"),
        ("batch=8", 'batch=8, analysis="rates"', r"Sweep.analysis is 'rates', and no grid has three rates: add Grid\("),
        (
            "seeds=(0, 1, 2)),)",
            'seeds=(0, 1), rate_multiples=(0.5, 1.0, 2.0)),), analysis="rates"',
            "Sweep.analysis is 'rates', which answers no Sweep.budget: leave one of them out",
        ),
        ("batch=8", 'batch=8, analysis="claims"', r"Sweep.analysis is 'claims', and there are none: add Sweep\(claims"),
        (
            "batch=8",
            'batch=8, analysis="claims", claims=("A1",)',
            "Sweep.analysis is 'claims', which answers no Sweep.budget: leave one of them out",
        ),
        ("BATCH_TOKENS = 8 * 16", "raise SystemExit(0)", "raises SystemExit: 0; mend the sweep file"),
        ("SWEEP = Sweep(", "OTHER = Sweep(", r"defines no SWEEP = Sweep\(...\): add one"),
        (
            "from simlaw.config import WSD, Graph",
            "from simlaw.config import WSD, Graf",
            "raises ImportError: cannot import name",
        ),
    ],
)
def test_a_bad_sweep_file(tmp_path, old, new, sentence):
    assert old in GOOD
    path = tmp_path / "sweep.py"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(SimlawError, match=sentence) as caught:
        load_sweep(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_width_must_hold_whole_heads():
    with pytest.raises(SimlawError, match="width 24 is no multiple of the head dimension 16"):
        Family(head_dim=16).model(24, 256)


def test_the_family_is_12_l_d_squared_but_for_its_rounder_hidden_width():
    model = Family(layers=2, hidden_ratio=3).model(32, 256)
    assert (model.heads, model.hidden) == (2, 96)


def test_the_rate_rule_is_a_power_of_the_width():
    rule = RateRule(rate=0.015, width=32, exponent=-0.8)
    assert rule.at(32) == 0.015
    assert rule.at(64) == 0.00861524  # 0.015 / 2^0.8 to six digits: part of identities, so the same everywhere


def test_a_ptq_grid_takes_formats_calibration_seeds_and_inputs_of_the_same_bits():
    grid = PTQGrid(methods=(RTN(), GPTQ()), bits=(1, 4), formats=(FLOATS["e2m1"],), calibration_seeds=(0, 1))
    names = [(type(p.method).__name__, p.quantizer.format.name, p.looks_at and p.looks_at.seed) for p in grid.each]
    # rounding looks at no text, so seeds are one to it; one bit is on the grid that it has
    assert names == [
        *(("RTN", name, None) for name in ("int1", "int4", "e2m1")),
        *(("GPTQ", name, seed) for seed in (0, 1) for name in ("int1", "int4", "e2m1")),
    ]
    assert grid.each[0].quantizer.format.grid == "sign"
    same = PTQGrid(bits=(4, 8), same_bits=PerToken()).each
    assert [(p.quantizer.format.bits, p.activations.format.bits) for p in same] == [(4, 4), (8, 8)]
    with pytest.raises(SimlawError, match="leave activations out, or same_bits"):
        PTQGrid(bits=(4,), same_bits=PerToken(), activations=(Quantizer(format=Int(bits=8), granularity=PerToken()),))
    with pytest.raises(SimlawError, match="give each axis a value, and bits or formats"):
        PTQGrid()


def test_errors_of_outputs_are_measured_where_a_grid_asks():
    plain, seen = PTQGrid(methods=(RTN(), GPTQ()), bits=(4,)), PTQGrid(methods=(RTN(), GPTQ()), bits=(4,), outputs=True)
    assert [ptq.looks_at for ptq in plain.each] == [None, CalibrationText()]
    assert [ptq.looks_at for ptq in seen.each] == [CalibrationText()] * 2
    assert plain.each[1] == seen.each[1]


def test_a_ptq_grid_is_every_combination():
    each = PTQGrid(bits=(3, 4)).each
    assert [ptq.quantizer.format.bits for ptq in each] == [3, 4]
    with pytest.raises(SimlawError, match="PTQGrid has an empty axis"):
        PTQGrid(bits=())
