"""The undisturbed table, made once for all processes of the tests."""

from pathlib import Path

import pytest

from tests.conftest import once
from tests.faults.scene import Scene


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    return once(tmp_path_factory, "undisturbed", _table)


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def _table(folder: Path) -> str:
    scene = Scene(folder)
    done = scene.run()
    assert done.returncode == 0, done.stderr
    table = scene.table()
    assert len(table.splitlines()) == 1 + 6 * 3
    return table
