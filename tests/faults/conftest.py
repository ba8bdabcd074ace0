"""The undisturbed table, made once."""

import pytest

from tests.faults.scene import Scene


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    scene = Scene(tmp_path_factory.mktemp("undisturbed"))
    done = scene.run()
    assert done.returncode == 0, done.stderr
    table = scene.table()
    assert len(table.splitlines()) == 1 + 6 * 3
    return table


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)
