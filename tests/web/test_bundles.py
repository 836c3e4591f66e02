"""What is offered of what lies in the directory."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

import pytest

from piccolo.web import bundles as module
from piccolo.web.bundles import Bundles, Found
from tests.web.shop import VERSION, bundle


async def found(directory: Path) -> Found:
    return await Bundles(directory, VERSION).find()


async def test_what_is_whole_and_of_this_version_is_offered(tmp_path: Path) -> None:
    for machine in ("amd64", "arm64", "arm"):
        path = bundle(tmp_path, machine=machine, filling=os.urandom(600_000))
    bundle(tmp_path, "1.2.2", "amd64")
    (tmp_path / "piccolo-1.2.3-linux-mips.tar.gz").write_text("of a machine that we do not know")
    (tmp_path / "notes.txt").write_text("something else")
    offered, refused = (there := await found(tmp_path)).offered, there.refused
    assert sorted(offered) == ["amd64", "arm", "arm64"]
    assert refused == ("piccolo-1.2.2-linux-amd64.tar.gz is of version 1.2.2",)
    arm, content = offered["arm"], path.read_bytes()
    assert arm.sha256 == hashlib.sha256(content).hexdigest()
    assert (arm.size, arm.unpacked) == (len(content), len(gzip.decompress(content)))


@pytest.mark.parametrize("size", [0, 1, (256 << 10) - 1, 256 << 10, (512 << 10) + 1, 3 << 20])
async def test_how_much_it_is_unpacked_is_exact(tmp_path: Path, size: int) -> None:
    path = tmp_path / f"piccolo-{VERSION}-linux-arm.tar.gz"
    path.write_bytes(gzip.compress(bytes(size)))  # the worst: much from little
    assert (await found(tmp_path)).offered["arm"].unpacked == size


async def test_nothing_there(tmp_path: Path) -> None:
    assert await found(tmp_path / "missing") == Found()
    assert await found(tmp_path) == Found()
    (tmp_path / "file").touch()
    assert (await found(tmp_path / "file")).refused == (
        f"{tmp_path}/file cannot be read: Not a directory",
    )


async def test_what_is_not_whole_is_named(tmp_path: Path) -> None:
    path = bundle(tmp_path, filling=os.urandom(600_000))
    whole = path.read_bytes()
    bundles = Bundles(tmp_path, VERSION)
    for content, reason in (
        (whole[:-1], "is not whole"),
        (whole[: len(whole) // 2], "is not whole"),
        (b"", "is not whole"),
        (whole + b"more", "is not whole"),
        (whole + bytes((256 << 10) - len(whole) % (256 << 10) + 1), "is not whole"),
        (whole[:300_000] + b"\0" + whole[300_001:], "is damaged"),
        (b"<html>", "is damaged"),
    ):
        path.write_bytes(content)
        there = await bundles.find()
        assert there.offered == {}
        assert there.refused == (f"{path.name} {reason}: copy it again",)
    path.write_bytes(whole)
    assert list((await bundles.find()).offered) == ["amd64"]


async def test_what_anybody_can_write_is_named(tmp_path: Path) -> None:
    path = bundle(tmp_path)
    path.chmod(0o666)
    bundles = Bundles(tmp_path, VERSION)
    assert "chmod o-w" in (await bundles.find()).refused[0]
    path.chmod(0o644)
    assert (await bundles.find()).offered
    os.chmod(tmp_path, 0o777)
    assert (await bundles.find()).refused == (f"anybody may write to {tmp_path}: chmod o-w it",)
    path.unlink()
    os.chmod(tmp_path, 0o755)
    os.mkfifo(path)  # which nobody opens
    assert (await bundles.find()).refused == (f"{path.name} is no file",)


async def test_it_is_read_again_only_when_it_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    really = module._read

    def count(path: Path) -> tuple[str, int | None]:
        read.append(path)
        return really(path)

    monkeypatch.setattr(module, "_read", count)
    path, bundles = bundle(tmp_path), Bundles(tmp_path, VERSION)
    first = (await bundles.find()).offered["amd64"]
    opened = await bundles.open("amd64")
    assert opened is not None
    assert opened[0] == first
    assert read == [path]
    # Another takes its place: whoever has the first still reads the first.
    other = bundle(tmp_path / "other", filling=b"other")
    other.replace(path)
    second = (await bundles.find()).offered["amd64"]
    assert second.sha256 != first.sha256
    assert read == [path, path]
    with os.fdopen(opened[1], "rb") as file:
        assert hashlib.sha256(file.read()).hexdigest() == first.sha256
    assert await bundles.open("arm") is None
