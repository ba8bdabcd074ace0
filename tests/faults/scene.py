"""A sweep in a folder of its own, run by real processes in which faults strike."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from simlaw.store import Store
from tests.conftest import ROOT

#: `make faults` asks for all of it; the test suite has a short form.
FULL = os.environ.get("SIMLAW_FAULTS") == "full"

#: What the unit tests of its parts prove as well.
LONG = pytest.mark.skipif(not FULL, reason="`make faults` runs it: it takes many processes")

SWEEP = '''"""Three seeds on two lengths."""

from simlaw.config import WSD, Graph
from simlaw.recipe import Family, RateRule
from simlaw.sweep import Grid, PTQGrid, Sweep

SWEEP = Sweep(
    corpus=Graph(nodes=16, out=4),
    family=Family(context=16, head_dim=8, layers=1),
    rate=RateRule(rate=0.02, width=16, exponent=-1.0),
    schedule=WSD(warmup_tokens=256),
    batch=8,
    grids=(Grid(widths=(16,), tokens=(256 * 128, STEPS * 128), seeds=(0, 1, 2)),),
    ptq=(PTQGrid(bits=(3, 4)),),
    eval_tokens=1024,
    unidentified="it is a test",
)
'''
INJECT = Path(__file__).parent / "inject"


class Scene:
    """A folder with the sweep and a store; each call is a process of its own."""

    def __init__(self, folder: Path, steps: int = 512, store: str | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sweep.py").write_text(SWEEP.replace("STEPS", str(steps)))
        self.folder, self.store = folder, Store(root=Path(store or folder / "store"))

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, "-m", "simlaw", *map(str, arguments)]

    def environment(self, fault: Mapping[str, object] | None = None) -> dict[str, str]:
        mine = {"SIMLAW_STORE": str(self.store.root), "PYTHONPATH": f"{INJECT}{os.pathsep}{ROOT}"}
        return os.environ | mine | {"SIMLAW_TEST_FAULT": json.dumps(fault or {})}

    def start(self, *arguments: object, fault: Mapping[str, object] | None = None) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(
            self.command(*arguments), cwd=self.folder, env=self.environment(fault), start_new_session=True, **pipes
        )

    def call(self, *arguments: object, fault: Mapping[str, object] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(fault),
            capture_output=True,
            text=True,
            check=False,
        )

    def run(self, *options: object, fault: Mapping[str, object] | None = None) -> subprocess.CompletedProcess[str]:
        return self.call("run", "sweep.py", "--workers", 2, *options, fault=fault)

    def table(self) -> str:
        done = self.call("table", "sweep.py")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def status(self) -> str:
        done = self.call("status", "sweep.py")
        assert done.returncode == 0, done.stderr
        return done.stdout


def rows_of(table: str, seed: int) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The rows of a table that are of a seed, and the others, as text."""
    rows = list(csv.DictReader(io.StringIO(table)))
    mine = [row for row in rows if row["seed"] == str(seed)]
    return mine, [row for row in rows if row not in mine]
