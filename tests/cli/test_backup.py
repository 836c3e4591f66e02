"""Where a backup is written to, and where its passphrase comes from; the master is played."""

from __future__ import annotations

import getpass
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from piccolo.cli import backup, passphrase, restore
from piccolo.core.errors import Conflict, InvalidSpec, Unavailable


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is typed there, in this order."""
    typed: list[str] = []
    monkeypatch.delenv(passphrase.VARIABLE, raising=False)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(getpass, "getpass", lambda prompt: typed.pop(0))
    return typed


def test_the_passphrase_is_the_first_line_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes("  gär nicht so leicht \r\nsecond\n".encode())
    assert passphrase.passphrase(file, twice=True) == "  gär nicht so leicht "


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from a pipe it came\nsecond\n")
    with (tmp_path / "in").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert passphrase.passphrase(Path("-"), twice=True) == "from a pipe it came"
        with pytest.raises(InvalidSpec, match="stdin cannot be both"):
            restore.restore("-", passphrase_file=Path("-"))


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, True), (0o644, True)])
def test_a_file_that_others_can_read_is_taken_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: int, warned: bool
) -> None:
    file = tmp_path / "passphrase"
    file.write_text("of the file")
    file.chmod(mode)
    assert passphrase.passphrase(file, twice=True) == "of the file"
    said = capsys.readouterr().err
    assert (f"others than its owner can read {file} (mode 0{mode:o}): chmod go=" in said) is warned
    assert warned or not said


def test_a_file_goes_before_the_environment_and_that_before_the_terminal(
    tmp_path: Path, terminal: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal += ["typed", "typed"]
    assert passphrase.passphrase(None, twice=True) == "typed"
    monkeypatch.setenv(passphrase.VARIABLE, "of the environment")
    assert passphrase.passphrase(None, twice=True) == "of the environment"
    (tmp_path / "p").write_text("of the file")
    assert passphrase.passphrase(tmp_path / "p", twice=True) == "of the file"


def test_a_slip_of_the_finger_is_noticed(terminal: list[str]) -> None:
    terminal += ["secret words", "secret wrods"]
    with pytest.raises(InvalidSpec, match="two different") as refused:
        passphrase.passphrase(None, twice=True)
    assert "secret" not in str(refused.value)
    terminal += ["once is enough"]
    assert passphrase.passphrase(None, twice=False) == "once is enough"


@pytest.mark.parametrize(
    ("data", "said"), [(b"\xff\xfe", "this is no text"), (None, "No such file or directory")]
)
def test_a_file_that_is_no_passphrase_is_named(
    tmp_path: Path, data: bytes | None, said: str
) -> None:
    file = tmp_path / "passphrase"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(InvalidSpec, match=f"--passphrase-file {file}: {said}"):
        passphrase.passphrase(file, twice=True)


def test_without_a_terminal_there_is_nobody_to_ask(
    terminal: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: False))
    with pytest.raises(InvalidSpec, match=r"--passphrase-file FILE, or set \$PICCOLO_PASSPHRASE"):
        passphrase.passphrase(None, twice=True)


def test_a_backup_is_in_its_place_only_when_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "b"
    (tmp_path / "b.partial").write_text("of a former life")
    old = os.umask(0)
    try:
        with backup._written(str(file)) as write:
            write(b"one")
            assert not file.exists()
            write(b"two")
    finally:
        os.umask(old)
    assert file.read_bytes() == b"onetwo"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


def _full(write: Callable[[bytes], object]) -> None:
    raise OSError(28, "No space left on device")


def _lost(write: Callable[[bytes], object]) -> None:
    raise Unavailable("the master closed the connection")


def _stopped(write: Callable[[bytes], object]) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("end", "expected"),
    [(_full, Unavailable), (_lost, Unavailable), (_stopped, KeyboardInterrupt)],
)
def test_what_is_not_whole_is_removed_and_an_older_one_stays(
    tmp_path: Path, end: Callable[[object], None], expected: type[BaseException]
) -> None:
    file = tmp_path / "b"
    file.write_bytes(b"older")

    def write_half() -> None:
        with backup._written(str(file)) as write:
            write(b"half")
            end(write)

    with pytest.raises(expected):
        write_half()
    assert file.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [file]


def test_nothing_is_overwritten_unless_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "b"
    backup._refuse(str(file), force=False)
    file.symlink_to("nowhere")
    with pytest.raises(Conflict, match="add --force"):
        backup._refuse(str(file), force=False)
    backup._refuse(str(file), force=True)
    with pytest.raises(InvalidSpec, match="is a directory"):
        backup._refuse(str(tmp_path), force=True)
    with pytest.raises(InvalidSpec, match=f"there is no directory {tmp_path}/none: make it first"):
        backup._refuse(str(tmp_path / "none" / "b"), force=False)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InvalidSpec, match=f"you cannot write in the directory {tmp_path}"):
        backup._refuse(str(tmp_path / "c"), force=False)


def test_a_check_names_what_it_does_not_take(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"leave out --data-dir, --replace$"):
        restore.restore("b", check=True, replace=True, data_dir=tmp_path)


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("etcd://10.0.0.5:2379", "etcd://10.0.0.5:2379"),
        ("etcds://root:geheim%40@10.0.0.5", "etcds://root:PASSWORD@10.0.0.5"),
        ("etcds://10.0.0.5?ca=a&key=b", "'etcds://10.0.0.5?ca=a&key=b'"),
    ],
)
def test_the_command_that_comes_next_can_be_typed(store: str, said: str) -> None:
    command = restore._start(Path("node.yaml"), {"data_dir": "/my data", "store": store})
    assert command == f"piccolo master --config node.yaml --data-dir '/my data' --store {said}"


def test_no_backup_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: True))
    with pytest.raises(InvalidSpec, match="name a FILE, or use a pipe"):
        backup._refuse("-", force=False)
