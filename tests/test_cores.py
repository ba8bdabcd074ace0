"""A worker on a CPU keeps to one core, which the index of its task chooses or a person names."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from simlaw.cli import cli
from simlaw.errors import SimlawError
from simlaw.run.cores import can_pin, cores


def test_a_task_keeps_to_a_core_by_its_index(monkeypatch):
    def pinned(core):
        raise SimlawError(f"on core {core}")

    monkeypatch.setattr("simlaw.run.cores.cores", lambda: [4, 6])
    monkeypatch.setattr("simlaw.run.cores.pin", pinned)
    call = ["work", "--manifest", "M", "--device", "cpu"]
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert CliRunner().invoke(cli, call).stderr == "simlaw: on core 4\n"
    assert CliRunner().invoke(cli, [*call, "--offset", "1"]).stderr == "simlaw: on core 6\n"
    assert CliRunner().invoke(cli, [*call, "--core", "5"]).stderr == "simlaw: on core 5\n"
    assert CliRunner().invoke(cli, [*call, "--index", "7", "--offset", "1"]).stderr == "simlaw: on core 6\n"


@pytest.mark.skipif(not can_pin(), reason="this system cannot keep a process on one core")
@pytest.mark.parametrize("core", ["9999", "-1", "99999999999999999999"])
def test_a_core_that_is_not_there_is_said_in_a_sentence(core):
    # in a process of its own: JAX is in the tests'
    call = [sys.executable, "-m", "simlaw", "work", "--manifest", "M", f"--core={core}"]
    said = subprocess.run(call, capture_output=True, text=True, check=False)
    there = ", ".join(str(one) for one in sorted(cores()))
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == f"simlaw: core {core}: this process may use {there}: name one of them, or none\n"
