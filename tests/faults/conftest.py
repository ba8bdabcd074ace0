"""The undisturbed table, made once for all processes of the tests."""

import os
import time

import pytest

from simlaw.files import write_file
from tests.faults.scene import Scene


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    # processes of one call of pytest have folders side by side
    several = "PYTEST_XDIST_WORKER" in os.environ
    place = tmp_path_factory.getbasetemp().parent if several else tmp_path_factory.getbasetemp()
    made = place / "undisturbed.csv"
    try:
        (place / "undisturbed").mkdir()
    except FileExistsError:
        end = time.monotonic() + 300
        while not made.is_file() and time.monotonic() < end:
            time.sleep(0.1)
        return made.read_text()
    scene = Scene(place / "undisturbed")
    done = scene.run()
    assert done.returncode == 0, done.stderr
    table = scene.table()
    assert len(table.splitlines()) == 1 + 6 * 3
    write_file(made, table.encode())
    return table


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)
