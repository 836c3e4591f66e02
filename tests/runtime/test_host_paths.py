"""What has to be on the node before a container is made."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from piccolo.core.workloads.containers import Container, HostPathType, Mount, MountKind
from piccolo.core.workloads.workload import Network
from piccolo.runtime.base import Bind, ContainerRequest, Refusal, Refused
from piccolo.runtime.podman.host_paths import needed, prepare


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "Directory").mkdir()
    (tmp_path / "File").touch()
    monkeypatch.chdir(tmp_path)  # the path of a socket may not be long
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("Socket")
    (tmp_path / "CharDevice").symlink_to("/dev/null")
    return tmp_path


KINDS = [HostPathType.DIRECTORY, HostPathType.FILE, HostPathType.SOCKET, HostPathType.CHAR_DEVICE]


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(there: Path, kind: HostPathType) -> None:
    prepare([(str(there / kind), kind), (str(there / kind), HostPathType.ANY)])
    for other in {*KINDS, HostPathType.BLOCK_DEVICE} - {kind}:
        with pytest.raises(Refused, match="is not a") as refused:
            prepare([(str(there / kind), other)])
        assert refused.value.reason is Refusal.MOUNT_MISSING


@pytest.mark.parametrize("kind", [kind for kind in HostPathType if "OrCreate" not in kind])
def test_nothing_there(tmp_path: Path, kind: HostPathType) -> None:
    with pytest.raises(Refused, match=r"/none cannot be mounted.*No such file.*make it") as refused:
        prepare([(str(tmp_path / "none"), kind)])
    assert refused.value.reason is Refusal.MOUNT_MISSING
    assert not (tmp_path / "none").exists()


def test_created(tmp_path: Path) -> None:
    directory, file = tmp_path / "a" / "b", tmp_path / "file"
    paths = [
        (str(directory), HostPathType.DIRECTORY_OR_CREATE),
        (str(file), HostPathType.FILE_OR_CREATE),
    ]
    prepare(paths)
    (directory / "kept").touch()
    file.write_text("kept")
    prepare(paths)
    assert (directory / "kept").exists()
    assert file.read_text() == "kept"
    for path, kind in ((file, paths[0][1]), (directory, paths[1][1])):
        with pytest.raises(Refused, match="is not a"):
            prepare([(str(path), kind)])
    with pytest.raises(Refused, match="cannot be mounted"):  # Kubernetes makes no parents of files
        prepare([(str(tmp_path / "no" / "file"), HostPathType.FILE_OR_CREATE)])


def test_devices() -> None:
    prepare([], [os.devnull])
    with pytest.raises(Refused, match="device /dev/none9 is not there; connect it") as refused:
        prepare([], [os.devnull, "/dev/none9"])
    assert refused.value.reason is Refusal.MOUNT_MISSING


def test_what_is_needed() -> None:
    mounts = (
        Mount("/h", MountKind.HOST, "/host", HostPathType.FILE),
        Mount("/v", MountKind.VOLUME, "vol"),
    )
    asked = Container("main", "img", mounts=mounts)
    request = ContainerRequest("a", {}, asked, Network(), binds=(Bind("/file", "/etc/file"),))
    assert needed(request) == [
        ("/host", HostPathType.FILE),
        ("/file", HostPathType.ANY),
    ]
