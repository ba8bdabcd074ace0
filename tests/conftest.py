"""Test settings: annotated shapes are checked, dtypes and ranks must be written out, and one tiny shape serves all."""

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import jaxtyping
import pytest
from jaxtyping import install_import_hook

ROOT = Path(__file__).parent.parent
#: What every fit calls in its inner loop, and what is called for every cell or row of a table: to check those calls
#: took two thirds of the time of the tests of fits and claims.
UNCHECKED = (
    *("simlaw.law", "simlaw.laws.factors"),
    *("simlaw.fitting.lm", "simlaw.fitting.problem", "simlaw.fitting.varpro"),
    *("simlaw.lines", "simlaw.export", "simlaw.quantizations", "simlaw.precisions"),
)


def checked_modules() -> list[str]:
    """The modules of simlaw but for those, and for packages that hold one: a package stands for all that is in it."""
    paths = [path.relative_to(ROOT).with_suffix("") for path in sorted((ROOT / "simlaw").rglob("*.py"))]
    names = [".".join(path.parts).removesuffix(".__init__") for path in paths]
    return [name for name in names if not any(f"{one}.".startswith(f"{name}.") for one in UNCHECKED)]


# not optimised, programs are ready in half the time; what is run as people run it is (`project` of test_cli.py)
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

# annotated signatures of simlaw are checked at run time (an int may stand for a float); set before the import
hook = install_import_hook(checked_modules(), "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

import jax  # noqa: E402
from jax import Array  # noqa: E402

from simlaw.arithmetic import Place, Plain  # noqa: E402
from simlaw.config import WSD, AdamW, EvalSpec, Graph, ModelSpec, RunSpec  # noqa: E402
from simlaw.corpora import AbstractCorpus, open_corpus  # noqa: E402
from simlaw.declared import digest  # noqa: E402
from simlaw.files import write_file  # noqa: E402
from simlaw.model import Params, logits  # noqa: E402
from simlaw.run.machine import processor  # noqa: E402
from simlaw.store import Store  # noqa: E402
from simlaw.train import Program, compile_shape, shape_of  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# the same programs are compiled by many tests, by every process of a run, and by the workers that tests start
COMPILED = ROOT / ".pytest_cache" / "compiled"
os.environ["SIMLAW_COMPILED"] = str(COMPILED)
jax.config.update("jax_compilation_cache_dir", str(COMPILED / digest((version("jaxlib"), processor()))))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

#: Calls of a notebook, where no annotation is checked; each prints the type and the text of what it raises.
_NOTEBOOK = """
import json, math, sys
import numpy as np
import simlaw as sl
for line in json.loads(sys.argv[1]):
    try:
        exec(line)
    except Exception as error:
        print(f"{type(error).__name__}: {error}".splitlines()[0])
"""


def said_in_a_notebook(*lines: str) -> list[str]:
    """What each line of a notebook that has numpy and simlaw raises: the type of the exception, then its sentence."""
    command = [sys.executable, "-c", _NOTEBOOK, json.dumps(lines)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


#: The one shape that the tests compile.
MODEL = ModelSpec(vocab=16, context=16, width=16, layers=1, heads=2, hidden=48)


@functools.partial(jax.jit, static_argnums=0)
def inputs_of(model: ModelSpec, params: Params, windows: Array) -> dict[Place, Array]:
    """The inputs of every block matrix, tokens × inputs."""
    found = {}

    class Recording(Plain):
        def linear(self, place: Place, x: Array, w: Array) -> Array:
            found[place] = x
            return super().linear(place, x, w)

    logits(model, params, windows, Recording())
    return found


def tiny_run(**changes: object) -> RunSpec:
    """A run of the tiny shape: 20 steps of 128 tokens, of which the last 4 cool down."""
    fields: dict[str, object] = {
        "corpus": Graph(nodes=16, out=4),
        "model": MODEL,
        "optimizer": AdamW(rate=0.02),
        "schedule": WSD(warmup_tokens=256),
        "batch": 8,
        "tokens": 20 * 128,
    }
    return RunSpec(**{**fields, **changes})  # type: ignore[arg-type]


def tiny_eval(**changes: object) -> EvalSpec:
    """An evaluation of the tiny shape."""
    return EvalSpec(**{"tokens": 1024, **changes})  # type: ignore[arg-type]


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], str]) -> str:
    """The text that one of all processes of this call of pytest makes in a folder of its own, for all of them."""
    # they have folders side by side
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    made = folder.with_suffix(".txt")
    try:
        folder.mkdir()
    except FileExistsError:
        end = time.monotonic() + 300
        while not made.is_file():
            assert time.monotonic() < end, f"the process that makes {name} failed, or took five minutes"
            time.sleep(0.1)
        return made.read_text()
    text = make(folder)
    write_file(made, text.encode())
    return text


@pytest.fixture(scope="session")
def corpus() -> AbstractCorpus:
    return open_corpus(tiny_run().corpus)


@pytest.fixture(scope="session")
def program(corpus: AbstractCorpus) -> Program:
    return compile_shape(shape_of(tiny_run()), corpus)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("SIMLAW_STORE", str(tmp_path / "store"))
    return Store(root=tmp_path / "store")


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check of annotated types, as a person has it who gives a wrong one."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
