"""Files that are put into containers."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from piccolo.agent.workloads import files
from piccolo.core.errors import NotFound
from piccolo.core.workloads.containers import Container, File, SecretKey

SECRETS = {"tls/key": base64.b64encode(b"\xff\x00private").decode()}
CONTAINER = Container(
    "main",
    "image",
    files=(
        File("/etc/app.conf", "größe = 1\n"),
        File("/bin/blob", base64.b64encode(b"\x00\x01").decode(), base64=True, mode=0o555),
        File("/etc/key", secret=SecretKey("tls", "key"), mode=0o400),
    ),
)


def test_text_bytes_and_secrets_are_written_and_bound(tmp_path: Path) -> None:
    binds = files.write(tmp_path, "h", CONTAINER, SECRETS)
    assert [bind.path for bind in binds] == ["/etc/app.conf", "/bin/blob", "/etc/key"]
    sources = [Path(bind.source) for bind in binds]
    assert [path.read_bytes() for path in sources] == [
        "größe = 1\n".encode(),
        b"\x00\x01",
        b"\xff\x00private",
    ]
    assert [path.stat().st_mode & 0o7777 for path in sources] == [0o444, 0o555, 0o400]
    assert all(path.is_relative_to(tmp_path / "files" / "h" / "main") for path in sources)
    assert (tmp_path / "files").stat().st_mode & 0o777 == 0o700


def test_without_files_nothing_is_touched(tmp_path: Path) -> None:
    assert files.write(tmp_path, "h", Container("main", "image"), {}) == ()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_right_stays_the_same_one(tmp_path: Path) -> None:
    """A container may have it mounted: another one in its place would not be seen there."""
    (first, *others) = files.write(tmp_path, "h", CONTAINER, SECRETS)
    before = Path(first.source).stat()
    Path(others[0].source).chmod(0o600)
    Path(others[1].source).unlink()
    again = files.write(tmp_path, "h", CONTAINER, SECRETS)
    assert Path(first.source).stat().st_ino == before.st_ino
    assert Path(again[1].source).stat().st_mode & 0o777 == 0o555
    assert Path(again[2].source).read_bytes() == b"\xff\x00private"
    assert list((tmp_path / "files/h/main").glob("*.new")) == []


def test_a_secret_that_did_not_come_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="piccolo secret set tls key=VALUE"):
        files.write(tmp_path, "h", CONTAINER, {})


def test_a_disk_that_fails_is_told_and_leaves_no_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(descriptor: int, mode: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fchmod", fails)
    with pytest.raises(OSError, match="No space left"):
        files.write(tmp_path, "h", CONTAINER, SECRETS)
    assert list((tmp_path / "files/h/main").iterdir()) == []


def test_cleaning_keeps_one_version_or_none(tmp_path: Path) -> None:
    files.clean(tmp_path, "h1")
    for hash in ("h1", "h2"):
        files.write(tmp_path, hash, CONTAINER, SECRETS)
    files.clean(tmp_path, "h2")
    assert [path.name for path in (tmp_path / "files").iterdir()] == ["h2"]
    files.clean(tmp_path, "")
    assert list(tmp_path.iterdir()) == []
