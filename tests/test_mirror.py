"""Mirrors: what TensorBoard reads back is the journal, once, however often it was written."""

import json
import sys

import pytest

from simlaw.errors import SimlawError
from simlaw.run.journal import journal_path
from simlaw.run.mirror import mirror, tensorboard, wandb
from tests.conftest import tiny_run

LINES = [
    {"step": step, "tokens": 128 * step, "loss": 4 / step, "gradient_norm": 0.5, "rate": 0.02,
     "tokens_per_s": None if step == 16 else 1e5, "utilisation": None, "seconds": 0.1}
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


def test_event_files_read_back_as_the_journal(store, runs, tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is an extra, and not installed here")
    from tensorboardX.event_file_writer import EventsWriter  # noqa: F401  # the library is whole
    from tensorboardX.proto.event_pb2 import Event

    for _ in range(2):
        assert mirror(store, runs, tmp_path, tensorboard) == 1
    files = list((tmp_path / ("a" * 16)).iterdir())
    assert len(files) == 1
    data, events = files[0].read_bytes(), []
    while data:  # records: length, its checksum, the event, its checksum
        length = int.from_bytes(data[:8], "little")
        events.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    found = {(v.tag, e.step): v.simple_value for e in events for v in e.summary.value if v.HasField("simple_value")}
    assert {step: value for (tag, step), value in found.items() if tag == "train/loss"} == pytest.approx(
        {16: 4 / 16, 32: 4 / 32, 40: 4 / 40}
    )
    assert [step for (tag, step) in found if tag == "speed/tokens_per_s"] == [32, 40]
    assert not [tag for (tag, _) in found if tag == "speed/utilisation"]
