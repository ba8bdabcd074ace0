"""Files written whole or not at all."""

from pathlib import Path

import pytest

from simlaw.errors import SimlawError
from simlaw.files import write_file


def test_write_file_replaces_whole(tmp_path):
    path = tmp_path / "deep" / "table.csv"
    write_file(path, b"one")
    write_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["table.csv"]
    with pytest.raises(SimlawError, match="cannot write"):
        write_file(Path("/proc/none/table.csv"), b"")
