"""Layouts: workers and packs that fit in memory, and refusals before anything starts."""

import os
import re
import shutil
import socket
import sys
from dataclasses import replace

import numpy as np
import pytest

from simlaw.config import Text
from simlaw.corpora import open_corpus
from simlaw.declared import canonical
from simlaw.errors import SimlawError
from simlaw.plan import expand
from simlaw.run import layout as module
from simlaw.run.kept import once
from simlaw.run.layout import enough, lay_out, machine_memory
from simlaw.run.local import Local, usable_cores
from simlaw.sweep import Grid, load_sweep
from tests.conftest import ROOT

SMOKE = load_sweep(str(ROOT / "sweeps" / "smoke")).sweep
FAMILY = SMOKE.family


def cells(width=16, batch=8):
    grid = Grid(widths=(8, width), tokens=(20 * 8 * 16 * batch,))
    return expand(replace(SMOKE, grids=(grid,), batch=batch), "f").cells


@pytest.fixture
def lay(corpus, store):
    def made(memory=None, engine=None, **change):
        return lay_out(cells(**change), FAMILY, corpus, engine or Local(workers=4), store, memory)

    return made


def test_every_core_gets_a_worker_where_memory_suffices(lay, monkeypatch):
    monkeypatch.setattr(module, "usable_cores", lambda: 2)
    found = lay(1e12)
    assert (found.engine.workers, found.engine.pack_size) == (4, 1)
    assert found.notes == ()
    assert str(found).startswith("layout: 4 workers, each with one trunk at a time and at most 53")


def test_cores_of_their_own_are_only_promised_where_there_are_as_many(lay, monkeypatch):
    monkeypatch.setattr(module, "can_pin", lambda: True)
    for cores, promised in ((3, False), (4, True)):
        monkeypatch.setattr(module, "usable_cores", lambda cores=cores: cores)
        assert ("core of its own" in str(lay(1e12))) == promised


def test_fewer_workers_where_memory_binds(lay):
    found = lay(2.5 * lay(1e12).worker_bytes)
    assert found.engine.workers == 2
    assert found.notes == ("4 workers would not fit in memory",)


def test_without_a_number_the_machine_is_asked(lay):
    assert 1e8 < machine_memory() < 1e14
    assert lay().memory == pytest.approx(0.8 * machine_memory())


def test_what_does_not_fit_is_refused_with_what_does(lay):
    room = lay(1e15, width=512).worker_bytes
    with pytest.raises(
        SimlawError, match=r"a run of width 1024 needs about .* of memory, and a worker has "
    ) as refusal:
        lay(room, width=1024)
    assert "take width 512, the largest of the family that fits" in str(refusal.value)
    lay(room, width=512)  # what it says to take, does
    with pytest.raises(
        SimlawError, match="take a machine with more, since 530 MB go to the process and the corpus before"
    ):
        lay(1e6)


def test_side_by_side_a_smaller_batch_may_do(lay):
    gpu = Local(device="gpu")
    room = lay(1e15, gpu, batch=256).worker_bytes / 16
    assert lay(room, gpu, batch=256).engine.pack_size == 1
    with pytest.raises(SimlawError) as refusal:
        lay(room, gpu, batch=2048)
    batch = int(re.search(r"a batch of (\d+)", str(refusal.value))[1])
    assert 256 <= batch < 512
    lay(room, gpu, batch=batch)


def test_an_accelerator_gets_the_pack_that_fits(lay):
    gpu = Local(device="gpu")
    whole = lay(1e12, gpu)
    assert (whole.engine.workers, whole.engine.pack_size) == (1, 16)
    assert lay(0.6 * whole.worker_bytes, gpu).engine.pack_size == 8


def test_an_accelerator_gets_the_pack_that_telemetry_says_is_enough(lay, store):
    gpu = Local(device="gpu")
    model = canonical(cells()[-1].spec.model)
    for members in (2, 4):
        for host in (socket.gethostname(), "elsewhere"):
            seconds = 64 * (7.0 + members if host != "elsewhere" else 1000.0)
            record = {"event": "trained", "device": "gpu", "model": model, "host": host}
            store.log({**record, "seconds": seconds, "steps": 64, "tokens_per_s": 1.0, "runs": ["r"] * members})
    assert lay(1e15, gpu).engine.pack_size == 64  # nine tenths of the most are reached at 9 x 7 members


def test_enough_is_nine_tenths_of_the_most():
    sizes = np.repeat([1, 2, 8, 32], 3)
    truth = 5.0 + 0.5 * sizes  # so m / t(m) = 0.9 / 0.5 at m = 90
    assert enough(sizes.tolist(), truth.tolist()) == 128
    assert enough([16, 16], [1.0, 1.1]) == 16
    assert enough([1, 2], [1.0, 2.0]) == 1


def test_a_mesh_gets_whole_packs(lay):
    found = lay(1e12, Local(mesh=(3, 1, 1)))
    assert (found.engine.workers, found.engine.pack_size) == (1, 15)


def test_a_system_that_cannot_pin_works_and_says_so_once(lay, monkeypatch):
    for name in ("sched_getaffinity", "sched_setaffinity"):
        monkeypatch.delattr(os, name, raising=False)
    assert usable_cores() == os.cpu_count()
    assert Local().cores == []
    found = lay(1e12)
    assert str(found).count("cannot keep a worker on one core") == 1
    assert "core of its own" not in str(found)


def test_a_device_that_does_not_say_is_not_guessed(lay, monkeypatch):
    monkeypatch.setattr(module, "_device_memory", lambda *_: None)
    found = lay(None, Local(device="gpu"))
    assert found.memory is None
    assert "memory unknown" in str(found)


def test_a_device_that_is_not_there_is_asked_for_again(store, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    assert module._device_memory(store, "gpu") is None
    assert not (store.root / "machine.json").exists()


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_a_text_is_counted_once_for_every_program_unless_it_is_streamed(tmp_path, store, monkeypatch, device):
    for i in range(20):
        (tmp_path / f"{i}.txt").write_text("some line\n" * 10_000)
    text = open_corpus(Text(folder=str(tmp_path), suffixes=(".txt",), held_out=0.2))
    size = text.epoch_tokens(FAMILY.context)

    def needed():
        layout = lay_out(cells(), FAMILY, text, Local(device=device, workers=1), store, 1e15)
        return layout.worker_bytes, layout.engine.pack_size

    resident, members = needed()
    monkeypatch.setattr("simlaw.corpora.text.RESIDENT_BYTES", text.train.size - 1)
    windows = members * 3 * 64 * 8 * 17  # steps, sequences of a batch, context and one more
    assert windows < size / 2
    assert 2 * size - windows <= resident - needed()[0] <= 2 * size  # two shapes


def test_what_was_measured_once_is_kept(store):
    assert once(store, "speed", lambda: 3.5) == 3.5
    assert once(store, "speed", lambda: 1 / 0) == 3.5
    (store.root / "machine.json").write_text("cut o")
    assert once(store, "speed", lambda: 4.0) == 4.0
