"""Files written whole or not at all."""

import os
from pathlib import Path

import pytest

from simlaw.errors import SimlawError
from simlaw.files import private_folder, write_file


def test_write_file_replaces_whole(tmp_path):
    path = tmp_path / "deep" / "table.csv"
    write_file(path, b"one")
    write_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["table.csv"]
    with pytest.raises(SimlawError, match="cannot write"):
        write_file(Path("/proc/none/table.csv"), b"")


def test_a_folder_of_this_user_alone_is_no_link_and_nobody_elses(tmp_path, monkeypatch):
    folder = private_folder(tmp_path / "mine", "look elsewhere")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert private_folder(folder, "look elsewhere") == folder
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    (tmp_path / "file").touch(0o600)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o770)
    for name in ("link", "dangling", "file", "open"):
        with pytest.raises(SimlawError, match=f"{name} is no folder of yours .*: take it away, or look elsewhere$"):
            private_folder(tmp_path / name, "look elsewhere")
    assert not (tmp_path / "none").exists()
    somebody = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: somebody)
    with pytest.raises(SimlawError, match="mine is no folder of yours"):
        private_folder(folder, "look elsewhere")
    with pytest.raises(SimlawError, match=r"cannot make the folder .*: No such file or directory; look elsewhere"):
        private_folder(tmp_path / "no" / "such", "look elsewhere")
