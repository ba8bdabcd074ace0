"""Test settings: annotated shapes are checked, dtypes and ranks must be written out, and one tiny shape serves all."""

from pathlib import Path

import jaxtyping
import pytest
from jaxtyping import install_import_hook

# every annotated signature of simlaw is checked at run time (an int may stand for a float); set before the import
hook = install_import_hook("simlaw", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

import jax  # noqa: E402

from simlaw.config import WSD, AdamW, EvalSpec, Graph, ModelSpec, RunSpec  # noqa: E402
from simlaw.corpora import AbstractCorpus, open_corpus  # noqa: E402
from simlaw.store import Store  # noqa: E402
from simlaw.train import Program, compile_shape, shape_of  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = Path(__file__).parent.parent

#: The one shape that the tests compile.
MODEL = ModelSpec(vocab=16, context=16, width=16, layers=1, heads=2, hidden=48)


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
