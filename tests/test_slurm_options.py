"""Values for SLURM that are refused before SLURM sees them, and those that are not."""

import click
import pytest
from click.testing import CliRunner

from simlaw.cli.engines import engine_choice
from simlaw.cli.options import engine_options
from simlaw.errors import SimlawError
from simlaw.run.slurm import Slurm


@click.command()
@engine_options
@engine_choice
def device(engine, **others):
    """What the options have tasks train on."""
    click.echo(engine.device)


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("time", "soon", "it must read MINUTES"),
        ("time", "1:2:3:4", "it must read MINUTES"),
        ("time", "00:04:59", "ask for five minutes or more"),
        ("time", "٣٠", "it must read MINUTES"),
        ("gres", "gpu:1\n#", "SLURM knows no such value"),
        ("gres", "", "SLURM knows no such value"),
        ("partition", "-x", "SLURM knows no such value"),
        ("qos", "a;b", "SLURM knows no such value"),
        ("constraint", "a b", "SLURM knows no such value"),
        ("mem", "16GB", "SLURM knows no such value"),
        ("sbatch", ("array=0-3",), "simlaw sets array itself"),
        ("sbatch", ("arr=0-3",), "simlaw sets arr itself"),
        ("sbatch", ("wait",), "simlaw sets wait itself"),
        ("sbatch", ("-p=gpu",), "it must read NAME=VALUE"),
        ("sbatch", ("reservation=",), "it must read NAME=VALUE"),
        ("sbatch", ("mail-user=a\nb",), "it must read NAME=VALUE"),
    ],
)
def test_values_that_no_cluster_takes_are_refused(option, value, rule):
    with pytest.raises(SimlawError, match=rule) as refusal:
        Slurm(**{option: value})
    assert str(refusal.value).startswith(f"--{option} ")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("time", ["5", "05:00", "1:00:00", "2-0", "2-01:30", "2-01:30:00", "300:00"])
def test_times_read_as_slurm_writes_them(time):
    Slurm(time=time)


@pytest.mark.parametrize(
    ("mem", "size"), [("100", 100 * 2**20), ("3K", 3072), ("16G", 2**34), ("0", None), (None, None)]
)
def test_the_memory_of_a_task_is_what_packs_must_fit_into(mem, size):
    assert Slurm(mem=mem).memory == size


@pytest.mark.parametrize(
    ("gres", "sbatch", "there"),
    [
        ("gpu", (), True),
        ("gpu:a100:2", (), True),
        ("lustre:1,gpu:1", (), True),
        ("gpu:0", (), False),
        ("shard:1,gpumem:8", (), False),
        ("", ("gpus=2",), True),
        ("", ("gpus-per-node=a100:2",), True),
        ("nvme:1", ("exclusive", "gpus-per-task=1"), True),
        ("", ("gres=lustre:1,gpu:2",), True),
        ("", ("gpus=0", "cpus-per-gpu=4", "gpu-bind=closest"), False),
    ],
)
def test_tasks_train_on_gpus_wherever_they_are_asked_for(gres, sbatch, there):
    given = [*(["--gres", gres] if gres else []), *(f"--sbatch={text}" for text in sbatch)]
    assert CliRunner().invoke(device, ["--engine", "slurm", *given]).output == ("gpu\n" if there else "cpu\n")
    assert CliRunner().invoke(device, ["--engine", "slurm", *given, "--device", "cpu"]).output == "cpu\n"
