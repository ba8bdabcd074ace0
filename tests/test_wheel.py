"""The wheel: built, installed outside the repository, imported and used there."""

import os
import subprocess
import sys
import zipfile

import pytest

from simlaw.version import __version__
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    target = tmp_path_factory.mktemp("site")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*install, "--target", str(target), str(wheel)], check=True, capture_output=True)
    return target


def python(installed, *args):
    """Run Python in the installed copy's folder, with that copy first on the path."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, *args], cwd=installed, env=environment, capture_output=True, text=True, check=False
    )


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert f"simlaw-{__version__}.dist-info/licenses/LICENSE" in names
    assert {"simlaw/py.typed", "simlaw/laws/penalty.py", "simlaw/cli/plan.py"} <= set(names)
    assert all(name.startswith(("simlaw/", f"simlaw-{__version__}.dist-info/")) for name in names)


def test_the_installed_package_answers(installed):
    code = "import simlaw.published as p, simlaw; print(simlaw.__file__); print(p.kumar2024.loss(N=3e7, D=6e9))"
    said = python(installed, "-c", code)
    assert said.returncode == 0, said.stderr
    where, loss = said.stdout.split()
    assert where.startswith(str(installed))
    assert float(loss) == pytest.approx(3.851, abs=5e-4)


def test_the_installed_command_line_runs_a_persons_own_sweep(installed, tmp_path):
    (tmp_path / "sweep.py").write_text((ROOT / "sweeps" / "smoke" / "sweep.py").read_text())
    said = python(installed, "-m", "simlaw", "plan", str(tmp_path / "sweep.py"))
    assert said.returncode == 0, said.stderr
    assert "18 runs are left" in said.stdout or "18 are left" in said.stdout


@pytest.mark.parametrize("module", ["simlaw", "simlaw.published", "simlaw.decision", "simlaw.analysis", "simlaw.table"])
def test_planning_reaches_no_trainer(installed, module):
    code = f"import {module}, sys; print(sorted({{'jax', 'flax', 'optax', 'matplotlib'}} & set(sys.modules)))"
    said = python(installed, "-c", code)
    assert said.stdout.strip() == "[]", said.stderr
