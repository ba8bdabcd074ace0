"""What a worker knows of its scheduler."""

import os
import subprocess
import sys

import pytest

from simlaw.errors import SimlawError
from simlaw.run.job import entry, job

NAMES = ("SIMLAW_JOB", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_PROCID", "JOB_COMPLETION_INDEX")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, (None, None)),
        ({"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3", "SLURM_PROCID": "0"}, (3, "slurm 12_3")),
        ({"SIMLAW_JOB": "kubernetes grid", "JOB_COMPLETION_INDEX": "7"}, (7, "kubernetes grid_7")),
        ({"SIMLAW_JOB": "ray 5"}, (None, "ray 5")),
        ({"SLURM_ARRAY_TASK_ID": "4", "JOB_COMPLETION_INDEX": "5"}, (4, None)),
    ],
)
def test_an_entry_and_its_name_come_from_the_scheduler(given, wanted, monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert (entry(), job()) == wanted


@pytest.mark.parametrize("text", ["", "-1", "1 2", "٣", "$(reboot)"])
def test_what_is_no_index_is_refused(text, monkeypatch):
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    monkeypatch.setenv("JOB_COMPLETION_INDEX", text)
    with pytest.raises(SimlawError, match="an index is a whole number from 0"):
        entry()


def test_a_log_is_where_standard_error_goes_if_that_is_a_file(tmp_path):
    code = "from simlaw.run.job import log; print(log())"
    with (tmp_path / "log").open("wb") as errors:
        done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=errors, check=True)
    assert done.stdout.decode().strip() == str(tmp_path / "log")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=dict(os.environ))
    assert done.stdout.decode().strip() == "None"
