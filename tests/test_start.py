"""What a process does before its first step: it imports what it needs, loads few programs, and has a text once."""

import ast
import subprocess
import sys

import jax
import numpy as np
import pytest

import simlaw as sl
from simlaw.config import Text
from simlaw.corpora import open_corpus
from simlaw.corpora.order import hashed, order
from simlaw.model import init
from simlaw.train import compile_shape, members, shape_of, start
from tests.conftest import ROOT, tiny_run
from tests.test_layers import LAWS

PACKAGE = ROOT / "simlaw"


@pytest.fixture
def text(tmp_path):
    """Runs on a text, in two shapes."""
    for i in range(20):
        (tmp_path / f"{i}.txt").write_text(f"file {i}: " + "words and words " * 40)
    spec = Text(folder=str(tmp_path), suffixes=(".txt",))
    return open_corpus(spec), tiny_run(corpus=spec), tiny_run(corpus=spec, batch=16)


def declared() -> dict[str, str]:
    """The names that type checkers see, with their modules."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {name.name: node.module for node in block.body for name in node.names}


def loaded(code: str) -> set[str]:
    """The modules that a fresh process has imported after some code."""
    code += "; import sys; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(said.stdout.splitlines()[-1].split())


def test_every_name_is_found_where_type_checkers_see_it():
    modules = {name for name, place in declared().items() if place == "simlaw"}
    assert {name: place for name, place in declared().items() if name not in modules} == sl._HOME
    assert modules == set(sl._MODULES)
    for name, place in sl._HOME.items():
        assert getattr(sl, name) is getattr(sys.modules[place], name)
    assert set(declared()) | {"__version__"} <= set(dir(sl))


def test_a_star_imports_what_needs_no_jax():
    names: dict[str, object] = {}
    exec("from simlaw import *", names)
    assert names.keys() - {"__builtins__"} == set(declared()) - {"load_model", "load_quantized"}
    assert "jax" not in loaded("from simlaw import *; design")


def test_no_name_is_hidden_by_a_module():
    # importing simlaw.NAME would put the module in the place of what `sl.NAME` is
    assert not [name for name in sl._HOME if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists()]


def test_the_package_alone_imports_nothing():
    found = loaded("import simlaw")
    assert "numpy" not in found
    assert {name for name in found if name.startswith("simlaw")} == {"simlaw", "simlaw.version"}


def test_a_worker_imports_only_what_it_needs():
    found = loaded("import simlaw.cli.work, simlaw.run.worker, simlaw.run.cores")
    assert "jax" in found
    assert not {name for name in found if name.startswith("simlaw.") and name.split(".")[1] in LAWS}
    assert not {"orbax", "matplotlib", "scipy", "tensorboard", "wandb"} & {name.split(".")[0] for name in found}


def test_what_imports_made_is_not_looked_through_again(tmp_path):
    # in a process of its own: the tests' garbage is to be collected
    loaded(
        "import gc; from pathlib import Path; from simlaw.run.worker import prepare; from simlaw.store import Store; "
        f"prepare(Store(root=Path({str(tmp_path)!r})), None); assert gc.get_freeze_count() > 100_000"
    )


def test_shapes_share_one_text_with_the_host(text):
    corpus, *specs = text
    one, other = (compile_shape(shape_of(spec), corpus).shared for spec in specs)
    assert one is other
    assert one.unsafe_buffer_pointer() == corpus.train.ctypes.data  # tests run on a CPU
    assert not corpus.train.flags.writeable


def test_what_a_first_step_takes_is_made_by_one_program(text):
    corpus, spec, _ = text
    program, specs, compiled = compile_shape(shape_of(spec), corpus), [spec] * 5, []

    def listen(event, *_, **__):
        if event.endswith("backend_compile_duration"):
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        state, data = start(specs), members(program, specs, cool=True)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves((state, data)))
    assert len(compiled) == 1


def test_a_run_starts_from_the_key_of_its_seed():
    seeds = (3, 2**31 + 3, 2**32 + 7, 2**63 - 1)
    found = start([tiny_run(seed=seed) for seed in seeds]).params
    fresh = jax.jit(lambda key: init(tiny_run().model, key))
    for i, seed in enumerate(seeds):
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(fresh(jax.random.key(seed))), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-6)


def test_an_order_is_that_of_a_stable_sort():
    # no two hashes are equal, so the sort that a library prefers decides nothing
    for seed in (0, 3, 2**40):
        numbers = hashed(seed, 100_000)
        assert len(np.unique(numbers)) == len(numbers)
        assert np.array_equal(order(seed, 100_000), np.argsort(numbers, kind="stable"))
