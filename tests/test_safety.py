"""What a stranger's file cannot do: run code, lead out of its folder, or learn what is in the environment."""

import ast
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from simlaw.errors import SimlawError
from simlaw.files import write_file
from simlaw.store import Store
from tests.conftest import ROOT

#: Modules whose files run code when they are read, or that hand text to a shell.
_FORBIDDEN = {
    "pickle",
    "cPickle",
    "_pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "pty",
    "torch",
}
#: Builtins and functions that run what they are given.
_RUN = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "runpy.run_path", "runpy.run_module"}
#: What makes any object of a text in YAML; of its readers only `safe_load` does not.
_RUN |= {f"yaml.{how}load{many}" for how in ("", "full_", "unsafe_") for many in ("", "_all")}
#: A person's own sweep file and figure script are Python, and run as such.
_JUSTIFIED = {("simlaw/sweep.py", "runpy.run_path"), ("simlaw/cli/figure.py", "runpy.run_path")}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Each call with the name that is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield ast.unparse(node.func), node


def imported(tree: ast.AST) -> set[str]:
    """The top-level modules that a file imports."""
    found = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    found |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in found}


def unsafe(path: str, code: str) -> set[str]:
    """What of a file's code runs text or files that it is given."""
    tree = ast.parse(code)
    found = {f"import {name}" for name in imported(tree) & _FORBIDDEN}
    for name, call in calls(tree):
        given = {word.arg: word.value for word in call.keywords}
        if name in _RUN and (path, name) not in _JUSTIFIED:
            found.add(name)
        if "shell" in given:
            found.add(f"{name}(shell=…)")
        allowed = given.get("allow_pickle")
        if name in ("np.load", "numpy.load", "np.save", "numpy.save") and ast.unparse(allowed or call) != "False":
            found.add(f"{name} without allow_pickle=False")
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "simlaw").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_is_read_is_run(path: Path) -> None:
    assert unsafe(path.relative_to(ROOT).as_posix(), path.read_text()) == set()


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import pickle", "import pickle"),
        ("from torch import load", "import torch"),
        ("eval(text)", "eval"),
        ("os.system(text)", "os.system"),
        ("yaml.load(text, Loader)", "yaml.load"),
        ("runpy.run_path(text)", "runpy.run_path"),
        ("subprocess.run(text, shell=True)", "subprocess.run(shell=…)"),
        ("np.load(path)", "np.load without allow_pickle=False"),
        ("np.load(path, allow_pickle=True)", "np.load without allow_pickle=False"),
    ],
)
def test_what_would_run_is_seen(code: str, found: str) -> None:
    assert unsafe("simlaw/x.py", code) == {found}


SECRET = "the contents of a file elsewhere"


@pytest.fixture
def lured(tmp_path: Path) -> tuple[Store, Path]:
    """A store with an artefact that is whole, and a file beside the store that is none of it."""
    store = Store(root=tmp_path / "store")
    store.put("run", "abc", {"a.txt": b"a"})
    (tmp_path / "secret.txt").write_text(SECRET)
    return store, tmp_path / "store" / "run" / "abc"


@pytest.mark.parametrize("name", ["../../../secret.txt", "{absolute}", "x/../../../../secret.txt", "", ".", "a\0b"])
def test_no_name_of_an_artefact_leads_out_of_its_folder(name: str, lured: tuple[Store, Path], tmp_path: Path) -> None:
    store, folder = lured
    (folder / "x").mkdir()
    name = name.format(absolute=tmp_path / "secret.txt")
    with (folder / "SHA256SUMS").open("a") as sums:
        sums.write(f"{hashlib.sha256(SECRET.encode()).hexdigest()}  {name}\n")
    assert store.get("run", "abc") is None
    assert (tmp_path / "secret.txt").read_text() == SECRET
    assert not store.has("run", "abc")


@pytest.mark.parametrize(("link", "to", "name"), [("b.txt", "secret.txt", "b.txt"), ("x", ".", "x/secret.txt")])
def test_no_link_leads_out_of_an_artefact(
    link: str, to: str, name: str, lured: tuple[Store, Path], tmp_path: Path
) -> None:
    store, folder = lured
    (folder / link).symlink_to(tmp_path / to)
    with (folder / "SHA256SUMS").open("a") as sums:
        sums.write(f"{hashlib.sha256(SECRET.encode()).hexdigest()}  {name}\n")
    assert store.get("run", "abc") is None


def test_a_link_within_an_artefact_is_followed(lured: tuple[Store, Path]) -> None:
    store, folder = lured
    files = store.get("run", "abc")
    assert files is not None
    name = next(iter(files))
    (folder / name).rename(folder / "moved")
    (folder / name).symlink_to("moved")
    assert store.get("run", "abc") == files


@pytest.mark.parametrize("key", ["../../outside", "..", ".", "", "/outside", "a/../../../outside"])
def test_no_key_leads_out_of_the_store(key: str, lured: tuple[Store, Path], tmp_path: Path) -> None:
    store, _ = lured
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.txt").write_text("kept")
    with pytest.raises(SimlawError, match="is no key"):
        store.get("run", key.replace("/outside", str(outside)) if key.startswith("/") else key)
    assert (outside / "kept.txt").read_text() == "kept"


@pytest.fixture
def umask() -> Iterator[None]:
    """Files for a group to read, and nobody else."""
    before = os.umask(0o027)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, str]:
    """The permissions of all files and folders below one."""
    return {str(path.relative_to(folder)): f"{path.stat().st_mode & 0o777:o}" for path in folder.rglob("*")}


@pytest.mark.usefixtures("umask")
def test_artefacts_follow_the_umask(tmp_path: Path) -> None:
    store = Store(root=tmp_path / "store")
    store.put("run", "abc", {"a.txt": b"a"})
    draft = store.draft()
    (draft / "b.txt").write_bytes(b"b")
    store.adopt("trunk", "abc/00000001", draft)
    store.log({"event": "tested"})
    write_file(tmp_path / "store" / "manifests" / "m.json", b"{}")
    found = modes(tmp_path / "store")
    assert {found[name] for name in ("run", "run/abc", "trunk/abc/00000001", "manifests", "tmp")} == {"750"}
    assert {mode for name, mode in found.items() if "." in name or name.endswith("SHA256SUMS")} == {"640"}


#: The smallest sweep that there is: one run, and one quantization of it.
SWEEP = """\
from simlaw.config import WSD, Graph
from simlaw.recipe import Family, RateRule
from simlaw.sweep import Grid, PTQGrid, Sweep

SWEEP = Sweep(
    corpus=Graph(nodes=16, out=4),
    family=Family(layers=1, head_dim=8, hidden_ratio=3, context=16),
    rate=RateRule(rate=0.02, width=16, exponent=-1.0),
    schedule=WSD(warmup_tokens=256),
    batch=8,
    grids=(Grid(widths=(16,), tokens=(20 * 128,)),),
    ptq=(PTQGrid(bits=(4,)),),
    eval_tokens=1024,
    unidentified="one run: a test of what it leaves",
)
"""


def test_a_run_leaves_no_secret_and_follows_the_umask(tmp_path: Path) -> None:
    (tmp_path / "sweeps" / "tiny").mkdir(parents=True)
    (tmp_path / "sweeps" / "tiny" / "sweep.py").write_text(SWEEP)
    secret = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"
    names = ("AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "HF_TOKEN", "SIMLAW_SECRET")
    store = tmp_path / "store"
    done = subprocess.run(
        [sys.executable, "-m", "simlaw", "run", "tiny", "--workers", "1", "--profile", str(store / "profile")],
        cwd=tmp_path,
        env={**os.environ, **dict.fromkeys(names, secret), "SIMLAW_STORE": str(store)},
        umask=0o027,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert secret not in done.stdout + done.stderr
    files = [path for path in store.rglob("*") if path.is_file()]
    assert {path.relative_to(store).parts[0] for path in files} >= {
        "run",
        "rows",
        "corpus",
        "history",
        "logs",
        "profile",
    }
    assert [path for path in files if secret.encode() in path.read_bytes()] == []
    assert {mode for name, mode in modes(store).items() if int(mode, 8) & 0o027} == set()
