"""The page for users of clusters: its commands, on the sweep that it shows, in a clone whose tables are there."""

import re
import shlex

import pytest
from click.testing import CliRunner

from simlaw.cli import cli
from simlaw.store import Store
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "cluster.md").read_text()
#: What the page has a reader write, and lines that a reader types; a backslash goes on in the next line.
(SWEEP,) = (block for block in re.findall(r"(?:^    .*\n|^\n)+", PAGE, flags=re.MULTILINE) if "SWEEP = " in block)
TYPED = [line.partition(" #")[0] for line in re.findall(r"^    (simlaw .*)", PAGE.replace("\\\n", ""), re.MULTILINE)]
PRINTED = [
    shlex.split(line.partition(" >")[0].replace("IMAGE", "registry/simlaw:1"))[1:]
    for line in TYPED
    if line.startswith("simlaw manifest")
]


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder with the sweep of the page, and those of the repository."""
    (tmp_path / "sweeps/mine").mkdir(parents=True)
    (tmp_path / "sweeps/mine/sweep.py").write_text("\n".join(line[4:] for line in SWEEP.splitlines()))
    for name in ("ptq_grid", "quickstart"):
        (tmp_path / "sweeps" / name).symlink_to(ROOT / "sweeps" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIMLAW_STORE", str(tmp_path / "store"))
    return tmp_path


@pytest.mark.usefixtures("clone")
def test_the_plan_of_the_page_has_something_to_run():
    said = CliRunner().invoke(cli, ["plan", "mine"])
    assert said.exit_code == 0, said.output
    assert "0 runs are done, 48 are left" in said.output
    assert "refused" not in said.output
    assert {line.split()[1] for line in TYPED if line.split()[2] == "mine"} == {
        *("plan", "run", "status", "table", "manifest")
    }


@pytest.mark.parametrize("call", PRINTED, ids=lambda call: " ".join(call[2:5]))
def test_the_page_prints_jobs(clone, call, monkeypatch):
    monkeypatch.setattr("simlaw.run.session.open_store", lambda: Store(root=clone / "store"))
    said = CliRunner().invoke(cli, call)
    assert said.exit_code == 0, said.output
    assert "apiVersion: " in said.stdout


def test_an_image_holds_no_store_and_no_environment():
    left_out = (ROOT / ".dockerignore").read_text().splitlines()
    assert {".git", ".simlaw", "**/.venv*"} <= set(left_out)
    for line in (ROOT / ".gitignore").read_text().splitlines():
        name = line.removesuffix("/")
        assert {name, f"**/{name}"} & set(left_out), f"{line} is no part of the project"
