"""Devices: every mesh gives the same losses and holds only its share; sizes that do not fit are refused."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from simlaw.cli import cli
from simlaw.devices import DeviceMesh
from simlaw.errors import SimlawError
from simlaw.plan import packs
from simlaw.run.found import stored_rows
from simlaw.run.session import Session
from simlaw.run.work import Desk, work
from simlaw.store import Store
from simlaw.train import shape_of
from tests.conftest import MODEL, ROOT, once, tiny_run

MESH = ["--mesh", "1", "1", "1"]
#: Nats per token, over 20 steps: sums over devices add up in another order.
TOLERANCE = 1e-5
#: Optimised less, the programs are ready in half the time.
EIGHT = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"

#: Three seeds, so that an axis of two is filled up; two branches of each, each evaluated twice.
SWEEP = """
from simlaw.config import WSD, Graph
from simlaw.formats import PerChannel
from simlaw.recipe import Family, RateRule
from simlaw.sweep import Grid, PTQGrid, Sweep

SWEEP = Sweep(
    corpus=Graph(nodes=16, out=4), family=Family(layers=1, head_dim=8, hidden_ratio=3, context=16),
    rate=RateRule(rate=0.02, width=16, exponent=-1.0), schedule=WSD(warmup_tokens=256), batch=8,
    grids=(Grid(widths=(16,), tokens=(2560, 5120), seeds=(0, 1, 2)),),
    ptq=(PTQGrid(bits=(4,), granularities=(PerChannel(),)),), eval_tokens=1024, unidentified="a test",
)
"""


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """What tests/eight_devices.py found."""

    def made(folder):
        flags = {"XLA_FLAGS": EIGHT, "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, "-W", "error", "-m", "tests.eight_devices", str(folder)]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | flags, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    found = json.loads(once(tmp_path_factory, "eight", made))
    assert found["devices"] == 8
    return found


def test_losses_do_not_depend_on_the_mesh(eight):
    alone, *meshes = eight["found"]
    loss = np.asarray(alone["loss"])
    assert loss.shape == (4, 20)
    assert loss[:, -1].max() < loss[:, 0].min()  # they learn
    for one in meshes:
        assert np.abs(one["loss"] - loss).max() < TOLERANCE
        assert np.abs(np.divide(one["norm"], alone["norm"]) - 1).max() < 1e-4


def test_a_pack_that_the_axis_does_not_divide_is_filled_up(eight):
    uneven, alone = eight["uneven"], np.asarray(eight["found"][0]["loss"])
    loss = np.concatenate([uneven["first"], uneven["loss"]], axis=1)
    assert loss.shape == (3, 20)
    assert uneven["left"] == 3
    assert np.abs(loss - alone[:3]).max() < TOLERANCE


def test_a_device_holds_its_share_alone(eight):
    held = {tuple(one["mesh"] or ()): one["held"] for one in eight["found"]}
    whole = {"qkv": [4, 16, 48], "down": [4, 48, 16], "head": [4, 16, 16], "gain": [4, 16]}
    assert held[()] == whole | {"moment of down": whole["down"]}
    assert held[4, 1, 1]["qkv"] == [1, 16, 48]
    divided = {"qkv": [2, 16, 24], "down": [2, 24, 16], "head": [2, 16, 8], "gain": [2, 16]}  # columns, rows, columns
    assert held[2, 2, 2] == divided | {"moment of down": divided["down"]}


def test_a_state_of_eight_devices_goes_on_anywhere(eight):
    assert eight["files"] == [["SHA256SUMS", "state.safetensors"], ["SHA256SUMS", "about.json", "arrays"]]
    losses = [np.asarray(one["loss"]) for one in eight["restored"]]
    for one, loss in zip(eight["restored"], losses, strict=True):
        assert one["same"]
        assert np.abs(loss - losses[0]).max() < TOLERANCE
    assert losses[0].mean() < np.asarray(eight["found"][0]["loss"])[:, :10].mean()  # and does not start anew


def test_memory_on_a_mesh_is_estimated_within_a_factor_of_2(eight):
    for one in eight["memory"]:
        for what, truth in one["true"].items():
            assert truth / 2 < one["estimate"][what] < truth * 2, (what, one)
    data, both = (one["estimate"]["step"] for one in eight["memory"])
    assert data < both  # a batch is divided whole, a model in part


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ({"data": 3}, "the mesh's data axis of 3 does not divide a batch of 8 sequences: take 2 or 4"),
        ({"model": 4}, "the mesh's model axis of 4 does not divide 2 heads and 48 hidden: take 2"),
    ],
)
def test_an_axis_that_does_not_divide_is_refused(sizes, sentence):
    with pytest.raises(SimlawError, match=f"^{re.escape(sentence)}$"):
        DeviceMesh(**sizes).fit(MODEL, 8)


def test_a_mesh_of_other_devices_is_refused():
    with pytest.raises(
        SimlawError, match=r"a mesh of 2 × 2 × 1 .* wants 4 devices, and there are 1: take 1 × 1 × 1, or"
    ):
        DeviceMesh(pack=2, data=2).open()
    with pytest.raises(SimlawError, match="XLA_FLAGS=--xla_force_host_platform_device_count=4"):
        DeviceMesh(pack=2, data=2).open()


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (
            ["plan", "smoke", "--own", "--mesh", "1", "3", "1"],
            "the mesh's data axis of 3 does not divide a batch of 8 sequences",
        ),
        (["run", "smoke", "--own", "--mesh", "1", "1", "2"], "the mesh's model axis of 2 does not divide 1 heads"),
        (["work", "--manifest", "m", "--process", "1"], "a team wants all of --mesh, --coordinator, --processes and"),
        (
            ["work", "--manifest", "m", *MESH, "--coordinator", "h:1", "--processes", "2", "--process", "2"],
            "--process 2: a team of 2 has the processes 0 to 1",
        ),
    ],
)
def test_what_cannot_be_divided_is_refused_in_one_line(store, monkeypatch, args, sentence):
    monkeypatch.chdir(ROOT)
    said = CliRunner().invoke(cli, args)
    assert said.exit_code == 2
    assert sentence in said.stderr
    assert said.stderr.count("\n") == 1


def test_a_whole_sweep_on_eight_devices_has_the_rows_of_one(store, monkeypatch, tmp_path, program):
    (tmp_path / "sweep.py").write_text(SWEEP)
    session = Session.open(str(tmp_path))
    todo, specs = packs(session.plan.cells, 1), [cell.spec for cell in session.plan.cells]
    assert {shape_of(spec) for spec in specs} == {shape_of(tiny_run())}
    other = Store(root=tmp_path / "other")
    desk = Desk(store=other, corpus=session.corpora[session.file.sweep.corpus], tell=lambda _: None, stop=lambda: False)
    for pack in todo:
        work(pack, desk, {shape_of(tiny_run()): program})

    monkeypatch.setenv("XLA_FLAGS", EIGHT)
    said = CliRunner().invoke(cli, ["run", str(tmp_path), "--mesh", "2", "2", "2"])
    assert said.exit_code == 0, said.output
    assert len(store.keys("rows")) == len(specs)  # one process writes, each run once
    for cell in session.plan.cells:
        mine, alone = (stored_rows(one, cell.run_id) for one in (store, other))
        assert set(mine) == set(alone) == set(cell.eval_ids)
        for key, row in mine.items():
            different = {name for name in row if row[name] != alone[key][name]}
            weights = {"weight_kurtosis", "weight_peak", "weight_error", "weight_step", "bits_entropy"}
            assert different <= {"loss", "loss_se", "excess", "delta", "delta_se", *weights}
            assert row["loss"] == pytest.approx(alone[key]["loss"], abs=1e-4)
