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
from tests.conftest import MODEL, ROOT

MESH = ["--mesh", "1", "1", "1"]
#: Nats per token, over 20 steps: sums over devices add up in another order.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """What tests/eight_devices.py found."""
    # optimised less, the programs are ready in half the time
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    flags = {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-W", "error", "-m", "tests.eight_devices", str(tmp_path_factory.mktemp("store"))]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | flags, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
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


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ({"pack": 2}, "the mesh's pack axis of 2 does not divide a pack of 3 runs: take 1 or 3"),
        ({"data": 3}, "the mesh's data axis of 3 does not divide a batch of 8 sequences: take 2 or 4"),
        ({"model": 4}, "the mesh's model axis of 4 does not divide 2 heads and 48 hidden: take 2"),
    ],
)
def test_an_axis_that_does_not_divide_is_refused(sizes, sentence):
    with pytest.raises(SimlawError, match=f"^{re.escape(sentence)}$"):
        DeviceMesh(**sizes).fit(MODEL, 8, 3)


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
        (
            ["plan", "smoke", "--own", "--mesh", "2", "1", "1"],
            "axis of 2 does not divide a pack of 3 runs: take 1 or 3",
        ),
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
