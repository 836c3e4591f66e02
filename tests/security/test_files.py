"""Private files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from piccolo.core.errors import InvalidSpec, Unavailable
from piccolo.security.files import private_dir, read_private, write_private


def test_made_private_and_whole(tmp_path: Path) -> None:
    pki = private_dir(tmp_path / "a" / "pki")
    write_private(pki / "key", "one")
    write_private(pki / "key", "two")
    assert read_private(pki / "key") == "two"
    assert pki.stat().st_mode & 0o777 == 0o700
    assert (pki / "key").stat().st_mode & 0o777 == 0o600
    assert os.listdir(pki) == ["key"]


def test_a_wide_umask_changes_nothing(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        pki = private_dir(tmp_path / "pki")
        write_private(pki / "key", "x")
    finally:
        os.umask(before)
    assert pki.stat().st_mode & 0o777 == 0o700
    assert (pki / "key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o710, 0o701, 0o750, 0o755, 0o777])
def test_a_directory_that_others_can_look_into_is_refused(tmp_path: Path, mode: int) -> None:
    pki = private_dir(tmp_path / "pki")
    pki.chmod(mode)
    with pytest.raises(InvalidSpec, match=f"chmod go= {pki}"):
        private_dir(pki)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "key"
    write_private(file, "x")
    file.chmod(mode)
    with pytest.raises(InvalidSpec, match=f"chmod go= {file}"):
        read_private(file)


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    assert read_private(tmp_path / "key") is None


def test_what_is_no_text_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.touch(0o600)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidSpec, match="damaged"):
        read_private(file)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    write_private(file, "old")
    (tmp_path / "key.new").mkdir()  # stands in the way
    with pytest.raises(Unavailable, match="cannot write"):
        write_private(file, "new")
    assert read_private(file) == "old"
