"""A project with one small sweep and one stored run, and the check that all of it outlives a bad input."""

import hashlib
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from click.testing import CliRunner

from simlaw.checkpoint import to_bytes
from simlaw.cli import cli
from simlaw.config import run_id
from simlaw.corpora import AbstractCorpus
from simlaw.declared import encode
from simlaw.history import History, pack_history
from simlaw.model import init
from simlaw.store import Store
from tests.conftest import MODEL, ROOT, tiny_run

#: Called as the command line is: the sentence on standard error must hold these words.
Refused = Callable[..., None]

pytestmark = pytest.mark.usefixtures("unchecked")


def contents(folder: Path) -> dict[str, str]:
    """What every file, folder and link below a folder holds."""

    def held(path: Path) -> str:
        if path.is_symlink():
            return f"a link to {path.readlink()}"
        return "a folder" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()

    return {str(path.relative_to(folder)): held(path) for path in sorted(folder.rglob("*"))}


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory, corpus: AbstractCorpus) -> Path:
    """A folder with the smoke sweep, and a store with a run as a worker leaves it, which was not trained."""
    folder = tmp_path_factory.mktemp("ground")
    smoke = folder / "sweeps" / "smoke"
    smoke.mkdir(parents=True)
    for name in ("sweep.py", "table.csv"):
        shutil.copy(ROOT / "sweeps" / "smoke" / name, smoke / name)
    Store(root=folder / ".simlaw").put("run", run_id(tiny_run(), corpus.fingerprint), run_files(corpus.fingerprint))
    return folder


def run_files(fingerprint: str) -> dict[str, bytes]:
    """The files of a stored run of the tiny shape."""
    spec, losses = tiny_run(), np.linspace(3, 1, 20, dtype=np.float32)
    return {
        "spec.json": json.dumps(encode(spec)).encode(),
        "history.safetensors": pack_history(History(losses, losses)),
        "status.json": b'{"status": "trained"}',
        "params.safetensors": to_bytes(init(MODEL, jax.random.key(0)), of=run_id(spec, fingerprint)),
    }


@pytest.fixture
def project(ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, in which commands run."""
    shutil.copytree(ground, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("SIMLAW_STORE", str(tmp_path / "project" / ".simlaw"))
    return tmp_path / "project"


@pytest.fixture
def refused(project: Path, unchecked: None) -> Iterator[Refused]:
    """Call a command in this process: one sentence with these words, status 2, and the store as it was."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def check(words: str, *args: str) -> None:
        before = contents(project / ".simlaw")
        said = CliRunner().invoke(cli, args)
        assert said.exception is None or isinstance(said.exception, SystemExit), repr(said.exception)
        assert said.stderr.startswith("simlaw: ")
        assert said.stderr.count("\n") == 1, said.stderr
        assert words in said.stderr
        assert (said.exit_code, said.stdout) == (2, "")
        assert contents(project / ".simlaw") == before

    yield check
    for number, handler in handlers.items():
        signal.signal(number, handler)


def as_bytes(content: str | bytes) -> bytes:
    """A text in UTF-8, or bytes as they are."""
    return content if isinstance(content, bytes) else content.encode()
