"""Layouts: workers and packs that fit in memory, and refusals before anything starts."""

import os
import re
import shutil
import socket
import sys
from dataclasses import replace

import pytest

from simlaw.config import AWQ, GPTQ, Text
from simlaw.corpora import open_corpus
from simlaw.declared import canonical
from simlaw.errors import SimlawError
from simlaw.plan import expand
from simlaw.run import layout as module
from simlaw.run import throughput
from simlaw.run.cores import usable_cores
from simlaw.run.kept import once
from simlaw.run.layout import lay_out, machine_memory
from simlaw.run.local import Local
from simlaw.run.slurm import Slurm
from simlaw.run.throughput import Step
from simlaw.sweep import Grid, PTQGrid, load_sweep
from tests.conftest import ROOT

SMOKE = load_sweep(str(ROOT / "sweeps" / "smoke")).sweep
FAMILY = SMOKE.family


def cells(width=16, batch=8, seeds=1, steps=20, ptq=()):
    grid = Grid(widths=(8, width), tokens=(steps * 8 * 16 * batch,), seeds=tuple(range(seeds)), ptq=ptq)
    return expand(replace(SMOKE, grids=(grid,), batch=batch), "f").cells


def tell(store, spec, seconds, members=1, at=None, device="cpu", mesh=None, host=None, **change):
    """Dispatches in the store's telemetry, one after the other and far from all others; the time of the first."""
    first = at = at or 1e9 + 1e4 * len(list(store.telemetry()))
    for took in seconds:
        at += 64 * took + 1
        record = {"event": "trained", "model": canonical(spec.model), "batch": spec.batch, "dtype": spec.dtype}
        record |= {"device": device, "mesh": mesh, "seconds": 64 * took, "steps": 64, "compiled": False}
        store.log(record | {"runs": ["r"] * members, "time": at, "host": host or socket.gethostname()} | change)
    return first


@pytest.fixture
def lay(corpus, store):
    def made(memory=None, engine=None, **change):
        return lay_out(cells(**change), FAMILY, (corpus,), engine or Local(workers=4), store, memory)

    return made


def test_every_core_gets_a_worker_where_memory_suffices(lay, monkeypatch):
    monkeypatch.setattr(module, "usable_cores", lambda: 2)
    found = lay(1e12)
    assert (found.engine.workers, found.pack_size) == (4, 1)
    assert found.notes == ()
    assert str(found).startswith("layout: 4 workers, each with one trunk at a time (assumed) and at most 66")


def test_cores_of_their_own_are_only_promised_where_there_are_as_many(lay, monkeypatch):
    monkeypatch.setattr(module, "can_pin", lambda: True)
    for cores, promised in ((3, False), (4, True)):
        monkeypatch.setattr(module, "usable_cores", lambda cores=cores: cores)
        assert ("core of its own" in str(lay(1e12))) == promised


def test_fewer_workers_where_memory_binds(lay):
    found = lay(2.5 * lay(1e12).worker_bytes)
    assert found.engine.workers == 2
    assert found.notes == ("4 workers would not fit in memory",)


def test_programs_of_every_kind_of_quantization_are_counted(lay):
    more = PTQGrid(methods=(GPTQ(), AWQ()), bits=(3, 4))
    assert lay(1e12, ptq=(more,)).worker_bytes - lay(1e12).worker_bytes == pytest.approx(6e7, rel=0.02)


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
        SimlawError, match="take a machine with more, since 660 MB go to the process and the corpus before"
    ):
        lay(1e6)


def test_side_by_side_a_smaller_batch_may_do(lay):
    gpu = Local(device="gpu")
    room = lay(1e15, gpu, batch=256).worker_bytes
    assert lay(room, gpu, batch=256).pack_size == 1
    with pytest.raises(SimlawError) as refusal:
        lay(room, gpu, batch=2048)
    batch = int(re.search(r"a batch of (\d+)", str(refusal.value))[1])
    assert 256 <= batch < 512
    lay(room, gpu, batch=batch)


def test_an_accelerator_gets_the_pack_that_fits(lay):
    gpu = Local(device="gpu")
    whole = lay(1e12, gpu, seeds=32)
    assert (whole.engine.workers, set(whole.sizes.values())) == (1, {16})
    tight = lay(0.6 * whole.worker_bytes, gpu, seeds=32)
    assert by_width(tight) == {8: 16, 16: 8}  # the narrow ones fit as they are
    assert "packs of up to 16, 8 trunks (widths 8, 16) (assumed)" in str(tight)


def by_width(layout):
    return {shape.model.width: trunks for shape, trunks in layout.sizes.items()}


def test_each_shape_gets_the_pack_that_telemetry_says_is_enough(lay, store):
    gpu = Local(device="gpu")
    for cell, fixed in zip(cells(), (0.015, 0.7), strict=True):
        for members in (2, 4):
            tell(store, cell.spec, [fixed + 0.1 * members] * 3, members=members, device="gpu")
            tell(store, cell.spec, [1000.0] * 9, members=members, device="gpu", host="elsewhere")
            tell(store, cell.spec, [1000.0] * 9, members=members, device="gpu", compiled=True)
            tell(store, cell.spec, [1000.0] * 9, members=members, device="gpu", mesh=[2, 1, 1])
            tell(store, cell.spec, [1000.0] * 9, members=members, device="gpu", batch=9)
    found = lay(1e15, gpu, seeds=40, steps=2000)
    # a trunk's step takes 0.1 + 0.7 / n seconds: within a ninth of 0.1175, that of all 40 together, from n = 23 on
    assert by_width(found) == {8: 2, 16: 40}
    assert "(measured here)" in str(found)


def test_a_cpu_packs_where_that_is_quicker_and_only_there(lay, store, monkeypatch):
    monkeypatch.setattr(module, "trial", lambda *_: pytest.fail("nothing to try"))
    two = Local(workers=2)
    # ten minutes of wide models: a dispatch adds nothing beside a step, and the last pack would be waited for
    assert lay(1e12, two, seeds=8, width=256, steps=4000).pack_size == 1
    for cell in cells(width=512):
        for members in (1, 4):
            tell(store, cell.spec, [0.1 + 0.001 * members], members=members)
    assert by_width(lay(1e12, two, width=512, seeds=12)) == {8: 4, 512: 4}  # three packs for each worker
    assert by_width(lay(1e12, two, width=512, seeds=3)) == {8: 1, 512: 1}
    # no more in a pack than fit beside the other worker's
    one = lay(1e12, two, width=512).worker_bytes
    assert by_width(lay(2 * one, two, width=512, seeds=12))[512] == 1


def test_a_long_sweep_of_tiny_models_tries_its_packs_once(lay, monkeypatch):
    asked, found = [], {}

    def trial(spec, sizes, *_):
        asked.append((spec.model.width, sizes))
        return found["step"]

    monkeypatch.setattr(module, "trial", trial)
    monkeypatch.setattr(throughput, "assumed_speed", lambda _: 1e10)
    for fixed, trunks in ((0.0, 1), (4e-4, 4)):
        found["step"] = Step(fixed=fixed, each=2e-4, measured=True)
        made = lay(1e12, Local(workers=2), seeds=16, steps=300_000)
        assert made.pack_size == trunks
        assert "(tried here)" in str(made)
    assert asked == [(16, (1, 4))] * 2
    monkeypatch.setattr(module, "trial", lambda *_: None)  # no such device
    assert "(assumed)" in str(lay(1e12, Local(workers=2), seeds=16, steps=300_000))


def test_fewer_workers_where_they_were_seen_to_be_as_fast(lay, store):
    spec = cells()[0].spec
    tell(store, spec, [0.1] * 16)
    for _ in range(16):  # two workers, each half as fast
        at = tell(store, spec, [0.2])
        tell(store, spec, [0.2], at=at)
    found = lay(1e12, Local(workers=2))
    assert found.engine.workers == 1
    assert found.notes == ("2 workers together were measured no faster; --workers 2 starts them",)
    assert lay(1e12, Local(workers=2, asked=True)).engine.workers == 2
    assert lay(1e12, Local(workers=3)).engine.workers == 3  # nobody saw three


def test_a_mesh_gets_whole_packs(lay):
    found = lay(1e12, Local(device="gpu", mesh=(3, 1, 1)), seeds=30)
    assert (found.engine.workers, found.pack_size) == (1, 15)


def test_every_axis_of_a_mesh_makes_room(lay):
    def needed(*mesh, device="gpu"):
        return lay(1e15, Local(device=device, mesh=mesh), batch=256, width=64).worker_bytes

    alone = needed(1, 1, 1)
    assert needed(1, 4, 1) < alone / 2
    assert needed(1, 1, 4) < alone / 1.5
    # simulated devices have one memory: what is whole on each is there many times
    assert needed(1, 4, 1, device="cpu") > needed(1, 1, 1, device="cpu")


def test_a_refusal_on_a_mesh_names_what_the_mesh_divides(lay):
    mesh = Local(device="gpu", mesh=(1, 4, 2))
    less, more = (lay(1e15, mesh, batch=batch, width=64).worker_bytes for batch in (1024, 1028))
    room = (less + 2 * more) / 3  # for 1026, which the mesh does not divide
    with pytest.raises(SimlawError) as refusal:
        lay(room, mesh, batch=2048, width=64)
    batch, width = (int(re.search(rf"{what} (\d+)", str(refusal.value))[1]) for what in ("a batch of", "take width"))
    assert batch == 1024
    assert width % 16 == 0


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


@pytest.mark.parametrize(
    ("device", "mesh", "copies"),
    [("cpu", None, 0), ("gpu", None, 1), ("gpu", (1, 1, 1), 2), ("cpu", (2, 1, 1), 4)],  # there are two shapes
)
def test_a_text_is_counted_as_often_as_it_is_there(tmp_path, store, monkeypatch, device, mesh, copies):
    for i in range(20):
        (tmp_path / f"{i}.txt").write_text("some line\n" * 10_000)
    text = open_corpus(Text(folder=str(tmp_path), suffixes=(".txt",), held_out=0.2))
    size = text.train.nbytes

    def needed():
        layout = lay_out(cells(), FAMILY, (text,), Local(device=device, workers=1, mesh=mesh), store, 1e15)
        return layout.worker_bytes, layout.pack_size

    resident, members = needed()
    monkeypatch.setattr("simlaw.corpora.array.RESIDENT_BYTES", text.train.size - 1)
    windows = members * 3 * 64 * 8 * 17  # steps, sequences of a batch, context and one more
    assert windows < size / 2
    streamed = needed()[0]
    assert copies * size - windows <= resident - streamed <= copies * size
    # beside one that is streamed, another is there as it is alone
    corpora = (text, open_corpus(Text(folder=str(tmp_path), suffixes=(".txt",), held_out=0.6)))
    other = corpora[1].resident_bytes
    assert (text.streamed, corpora[1].streamed) == (True, False)
    layout = lay_out(cells(), FAMILY, corpora, Local(device=device, workers=1, mesh=mesh), store, 1e15)
    host = corpora[1].host_bytes if device == "cpu" else 0
    assert layout.worker_bytes - streamed == pytest.approx(copies * other + host)


def test_what_was_measured_once_is_kept(store):
    assert once(store, "speed", lambda: 3.5) == 3.5
    assert once(store, "speed", lambda: 1 / 0) == 3.5
    (store.root / "machine.json").write_text("cut o")
    assert once(store, "speed", lambda: 4.0) == 4.0


def test_work_on_other_machines_is_not_laid_out_by_this_one(lay, monkeypatch):
    monkeypatch.setattr(module, "machine_memory", lambda: 1.0)
    monkeypatch.setattr(module, "trial", lambda *_: pytest.fail("tried on a login node"))
    there = lay(None, Slurm(workers=100), seeds=16, steps=300_000)
    assert (there.engine.workers, there.memory, there.pack_size) == (100, None, 1)
    lay(1e12, Slurm(workers=2), seeds=16, steps=300_000)  # which this machine would try
    assert lay(None, Slurm(workers=100, mem="4G")).engine.workers == 100  # that much each, not together
    assert lay(None, Slurm(device="gpu", workers=100), seeds=16, steps=300_000).pack_size == 16
    assert lay(None, Slurm(mem="4G")).memory == pytest.approx(0.8 * 2**32)  # some stays free, as everywhere
    assert lay(None, Slurm(mem="0")).memory is None  # all that a node has
    with pytest.raises(SimlawError, match="--mem asks for more"):
        lay(None, Slurm(mem="64M"))
    assert lay(None, Slurm(mem="64M", device="gpu")).memory is None  # it is the host's
