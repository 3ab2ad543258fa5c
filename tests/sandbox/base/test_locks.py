"""Folders that one process at a time works in."""

from pathlib import Path

import pytest

from sandbox.base.errors import UserError
from sandbox.base.locks import hold


def test_whoever_comes_second_is_told(tmp_path: Path) -> None:
    with (
        hold(tmp_path / "a", ".lock", "busy"),
        pytest.raises(UserError, match="busy"),
        hold(tmp_path / "a", ".lock", "busy"),
    ):
        pass
    with hold(tmp_path / "a", ".lock", "busy"):
        pass


def test_a_lock_that_is_a_link_becomes_a_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch()
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with hold(tmp_path, ".lock", "busy"):
        assert not (tmp_path / ".lock").is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "elsewhere"}
