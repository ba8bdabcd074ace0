"""Mirrors: what TensorBoard reads back is the journal, once, however often it was written."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event

from simlaw.config import RunSpec
from simlaw.declared import decode
from simlaw.errors import SimlawError
from simlaw.run.journal import journal_path
from simlaw.run.mirror import mirror, tensorboard, wandb
from tests.conftest import tiny_run

LINES = [
    {"step": step, "tokens": 128 * step, "loss": 4 / step, "gradient_norm": 0.5, "rate": 0.02,
     "tokens_per_s": None if step == 16 else 1e5, "utilisation": None, "seconds": 0.1}  # and no more in an old store
    for step in (16, 32, 40)
]  # fmt: skip


@pytest.fixture
def runs(store):
    path = journal_path(store, "a" * 16)
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return [("a" * 16, tiny_run()), ("b" * 16, tiny_run(seed=1))]


def test_runs_with_a_journal_are_written(store, runs, tmp_path):
    seen = []
    assert mirror(store, runs, tmp_path, lambda *what: seen.append(what)) == 1
    assert seen == [(tmp_path, "a" * 16, tiny_run(), LINES)]


@pytest.mark.parametrize(("write", "name"), [(tensorboard, "tensorboardX"), (wandb, "wandb")])
def test_a_library_that_is_missing_is_named(store, runs, tmp_path, monkeypatch, write, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SimlawError, match=rf"{name} is not installed: pip install 'simlaw\[{write.__name__}\]'"):
        mirror(store, runs, tmp_path, write)


class Library(ModuleType):
    """W&B as far as it is called, by the names and arguments of its 0.31; it writes down what it is told."""

    def __init__(self):
        super().__init__("wandb")
        self.runs = []

    @dataclass(kw_only=True)
    class Settings:
        silent: bool
        console: str
        x_disable_stats: bool

    def init(self, *, project: str, id: str, dir: str, config: dict[str, Any], mode: str, settings: Settings):
        made = Run(project, id, dir, config, mode, settings)
        (made.folder / f"offline-run-{len(self.runs):08d}-{id}").mkdir(parents=True)
        self.runs.append(made)
        return made


class Run:
    def __init__(self, project, run, folder, config, mode, settings):
        assert (mode, os.environ["WANDB_MODE"]) == ("offline", "offline")  # before anything is written
        assert settings == Library.Settings(silent=True, console="off", x_disable_stats=True)
        self.project, self.run, self.folder = project, run, Path(folder) / "wandb"
        self.config, self.logged, self.ended = config, [], False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ended = True

    def log(self, data: dict[str, float], step: int):
        assert not self.ended
        json.dumps([self.config, data], allow_nan=False)
        self.logged.append((step, data))


def test_offline_runs_of_wandb_are_the_journal(store, runs, tmp_path, monkeypatch):
    library = Library()
    monkeypatch.setitem(sys.modules, "wandb", library)
    monkeypatch.setenv("WANDB_MODE", "online")  # whatever a person has set, nothing leaves the machine
    other = tmp_path / "wandb" / f"offline-run-00000000-{'c' * 16}"
    other.mkdir(parents=True)
    for _ in range(2):
        assert mirror(store, runs, tmp_path, wandb) == 1
    for made in library.runs:
        assert (made.project, made.run, made.ended) == ("simlaw", "a" * 16, True)
        assert decode(RunSpec, made.config) == tiny_run()
        assert [step for step, _ in made.logged] == [16, 32, 40]
        assert made.logged[0][1] == {
            "train/loss": 0.25, "train/gradient_norm": 0.5, "train/rate": 0.02, "tokens": 2048,
        }  # fmt: skip
        assert made.logged[1][1]["speed/tokens_per_s"] == 1e5
    # written again, a run takes the place of what was there, and of nothing else
    assert sorted(path.name for path in (tmp_path / "wandb").iterdir()) == [
        f"offline-run-00000000-{'c' * 16}",
        f"offline-run-00000001-{'a' * 16}",
    ]


def test_speed_and_memory_are_mirrored(store, tmp_path):
    whole = {**LINES[0], "step_ms": 12.5, "state_bytes": 3000, "tokens_per_s": 10.0, "utilisation": 0.5}
    path = journal_path(store, "a" * 16)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(whole) + "\n")
    mirror(store, [("a" * 16, tiny_run())], tmp_path, tensorboard)
    found = {tag: value for (tag, _), value in scalars(tmp_path / ("a" * 16)).items()}
    assert {name: found[f"speed/{name}"] for name in ("step_ms", "tokens_per_s", "utilisation")} == {
        "step_ms": 12.5,
        "tokens_per_s": 10.0,
        "utilisation": 0.5,
    }
    assert found["memory/state_bytes"] == 3000


def scalars(folder):
    """The numbers in the one file of events of a folder, by name and step."""
    (file,) = folder.iterdir()
    data, events = file.read_bytes(), []
    while data:  # records: length, its checksum, the event, its checksum
        length = int.from_bytes(data[:8], "little")
        events.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return {(v.tag, e.step): v.simple_value for e in events for v in e.summary.value if v.HasField("simple_value")}


def test_event_files_read_back_as_the_journal(store, runs, tmp_path):
    for _ in range(2):
        assert mirror(store, runs, tmp_path, tensorboard) == 1
    found = scalars(tmp_path / ("a" * 16))
    assert {step: value for (tag, step), value in found.items() if tag == "train/loss"} == pytest.approx(
        {16: 4 / 16, 32: 4 / 32, 40: 4 / 40}
    )
    assert [step for (tag, step) in found if tag == "speed/tokens_per_s"] == [32, 40]
    assert not [tag for (tag, _) in found if tag == "speed/utilisation"]
