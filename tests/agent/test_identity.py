"""Who an agent is, kept on disk before it is first used."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from piccolo.agent.identity import Identity
from piccolo.core.errors import Conflict, InvalidSpec, Unavailable


def opened(directory: Path) -> tuple[str, str]:
    identity = Identity.open(directory)
    identity.close()
    return identity.node_id, identity.cluster_id


def test_an_identity_is_made_once(tmp_path: Path) -> None:
    directory = tmp_path / "not" / "there"
    first = opened(directory)
    assert len(first[0]) == 32
    assert first[1] == ""
    assert opened(directory) == first
    assert opened(tmp_path / "other") != first


def test_the_cluster_is_remembered(tmp_path: Path) -> None:
    identity = Identity.open(tmp_path)
    identity.joined("c1")
    written = (tmp_path / "identity.json").stat().st_ino
    identity.joined("c1")
    assert (tmp_path / "identity.json").stat().st_ino == written, "it is no news"
    identity.close()
    assert opened(tmp_path) == (identity.node_id, "c1")


def test_it_is_on_disk_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file, then its name, then the directory: in this order nothing can be lost or half."""
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(file: int) -> None:
        done.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{file}')).name}")
        fsync(file)

    def note_replace(self: Path, target: Any) -> Path:
        done.append(f"{self.name} → {Path(target).name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    opened(tmp_path / "data")
    assert done == ["fsync identity.new", "identity.new → identity.json", "fsync data"]


def test_a_directory_is_one_agents(tmp_path: Path) -> None:
    first = Identity.open(tmp_path)
    with pytest.raises(Conflict, match=r"another agent runs on .* its own --data-dir"):
        Identity.open(tmp_path)
    first.close()
    assert opened(tmp_path)[0] == first.node_id


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"node_id": "x"}', '"x"', "\udcff\udcfe"]
)
def test_a_damaged_file_is_not_replaced_in_silence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "identity.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    for _ in range(2):  # and the lock is let go
        with pytest.raises(InvalidSpec, match=r"is damaged .* or delete it to join as a new node"):
            Identity.open(tmp_path)
    assert path.read_bytes() == content.encode(errors="surrogateescape")


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=r"cannot use the data directory .*--data-dir"):
        Identity.open(tmp_path / "file" / "data")
    (tmp_path / "identity.json").mkdir()
    with pytest.raises(Unavailable, match=r"cannot read .*identity.json"):
        Identity.open(tmp_path)


def test_a_disk_that_takes_nothing_makes_no_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(Unavailable, match=r"cannot write .*No space left"):
            Identity.open(tmp_path)
    assert not (tmp_path / "identity.json").exists()
    identity = Identity.open(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(Unavailable):
            identity.joined("c1")
    identity.joined("c1")  # what failed is tried again
    identity.close()
    found = json.loads((tmp_path / "identity.json").read_text())
    assert found == {"node_id": identity.node_id, "cluster_id": "c1"}
