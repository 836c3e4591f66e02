from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from piccolo.config.yaml_file import MAX_BYTES, load_file, read_text
from piccolo.core.errors import InvalidSpec

ROOT = Path(__file__).parents[2]


def refusal(path: Path) -> str:
    with pytest.raises(InvalidSpec) as caught:
        load_file(path)
    return str(caught.value)


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "node.yaml"
    path.write_bytes("\ufeffcluster: {name: 클러스터}\r\n".encode())
    document = load_file(path)
    assert document.value == {"cluster": {"name": "클러스터"}}
    assert document.place(("cluster",)) == f"{path}:1:1"


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"# only a comment\n", b"---\n", b"\xef\xbb\xbf"]
)
def test_an_empty_file_is_an_empty_document(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "node.yaml"
    path.write_bytes(content)
    document = load_file(path)
    assert document.value is None
    assert document.place(("a",)).startswith(f"{path}:")


def test_a_second_document_is_refused_where_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "node.yaml"
    path.write_text("a: 1\n---\nb: 2\n")
    assert refusal(path).startswith(f"{path}:3:1: a second document begins here")


def test_no_such_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "x.yaml") == (
        f"{tmp_path}/x.yaml: cannot be read: No such file or directory"
    )


def test_a_directory(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: this is a directory: name a file"


def test_a_pipe_does_not_hold_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path / "pipe")


def test_devices_and_sockets(tmp_path: Path) -> None:
    assert "not a regular file" in refusal(Path("/dev/zero"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        assert "cannot be read" in refusal(tmp_path / "s")


def test_a_loop_of_links(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "a")
    assert "cannot be read: Too many levels of symbolic links" in refusal(tmp_path / "a")


def test_a_path_that_is_none() -> None:
    assert "is not a path" in refusal(Path("a\0b"))


def test_a_path_that_cannot_be_printed() -> None:
    message = refusal(Path(os.fsdecode(b"/nowhere/\xff\n\x1b[31m.yaml")))
    assert message.startswith(r"/nowhere/\udcff\n\x1b[31m.yaml: cannot be read")


def test_an_error_while_reading() -> None:
    assert "cannot be read: Input/output error" in refusal(Path("/proc/self/mem"))


@pytest.mark.needs_root
def test_a_file_of_someone_else(tmp_path: Path) -> None:
    path = Path("/tmp") / f"{tmp_path.name}-{os.getpid()}.yaml"  # nobody may enter tmp_path
    path.write_text("a: 1\n")
    path.chmod(0o600)
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from piccolo.config.yaml_file import load_file\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "load_file(Path(sys.argv[2]))\n"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(ROOT), str(path)], capture_output=True, text=True
        )
    finally:
        path.unlink()
    assert done.returncode == 1
    assert done.stderr.endswith(f"InvalidSpec: {path}: cannot be read: Permission denied\n")


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "node.yaml"
    path.write_bytes(b"a: 1\n" * 2_000_000)
    began = time.process_time()
    message = refusal(path)
    assert message == f"{path}: the file has 10.0 MB; at most 1 MiB are read"
    assert time.process_time() - began < 0.1


def test_the_limit_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "node.yaml"
    path.write_bytes(b"#" * MAX_BYTES)
    assert load_file(path).value is None
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    assert "at most 1 MiB" in refusal(path)


def test_a_file_that_says_it_has_no_size() -> None:
    assert read_text(Path("/proc/self/status")).startswith("Name:")


@pytest.mark.parametrize(
    ("content", "place", "reason"),
    [
        (b"a: 1\nb: caf\xe9\n", ":2:7", "byte 0xe9 is not UTF-8"),
        (b"\xc0\x80", ":1:1", "is not UTF-8"),
        (b"a: 1\nb: \x00\n", ":2:4", "a NUL byte"),
        (b"\x7fELF\x02\x01\x01\x00", ":1:8", "a NUL byte"),
        ("a: 1".encode("utf-16"), "", "UTF-16"),
        ("a: 1".encode("utf-16-le"), ":1:2", "a NUL byte"),
    ],
)
def test_what_is_no_text(tmp_path: Path, content: bytes, place: str, reason: str) -> None:
    path = tmp_path / "node.yaml"
    path.write_bytes(content)
    message = refusal(path)
    assert message.startswith(f"{path}{place}: ")
    assert reason in message
