"""What all engines share: the command that they launch, and the environment of a worker."""

import pytest

from simlaw.run.engine import AbstractEngine, command
from simlaw.run.local import Local


def test_every_engine_launches_one_command():
    plain = command(Local(), "/a b/m.json", program=["simlaw"])
    assert plain == ["simlaw", "work", "--manifest", "/a b/m.json", "--device", "cpu"]
    whole = command(Local(device="gpu", mesh=(1, 2, 4), remat=True), "M", "--index", "3", program=["simlaw"])
    assert whole[4:] == ["--device", "gpu", "--mesh", "1", "2", "4", "--remat", "--index", "3"]


def test_a_worker_on_a_cpu_has_one_thread_and_none_inherits_the_platform(store, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "of the parent")
    monkeypatch.setenv("OF_THE_USER", "1")
    for name in ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_JOB_ID"):  # of the job in which the workers' parent is
        monkeypatch.setenv(name, "4")
    on_cpu, on_gpu = (Local(device=device).environment(store) for device in ("cpu", "gpu"))
    assert (on_cpu["JAX_PLATFORMS"], on_cpu["OMP_NUM_THREADS"]) == ("cpu", "1")
    assert not {"JAX_PLATFORMS", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_JOB_ID"} & set(on_gpu)
    assert on_gpu["SIMLAW_STORE"] == str(store.root.resolve())
    assert on_gpu["OF_THE_USER"] == "1"


def test_an_engine_says_how_it_runs():
    with pytest.raises(TypeError, match="abstract"):
        AbstractEngine()
