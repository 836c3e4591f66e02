"""Fetching images, from a server that plays Podman; and what a node can run."""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from piccolo.core.errors import Unavailable
from piccolo.core.workloads.containers import PullPolicy
from piccolo.runtime.base import Refusal, Refused
from piccolo.runtime.podman import Podman
from piccolo.runtime.podman import images as podman_images
from tests.runtime.recorded import dump
from tests.runtime.server import OK, Handler, answer, listening, read_request

NAME = "registry.example/app:1"
ERROR = b"HTTP/1.1 500 Internal Server Error\r\n"
MISSING = answer(b'{"message":"image not known"}', b"HTTP/1.1 404 Not Found\r\n")
TRYING = b'{"stream":"Trying to pull registry.example/app:1...\\n"}\n'
DONE = b'{"images":["c9a7"],"id":"c9a7"}\n'


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "podman.sock"


@pytest.fixture
async def podman(socket: Path) -> AsyncIterator[Podman]:
    podman = Podman(socket, timeout=0.3)
    yield podman
    await podman.close()


class Registry:
    """What Podman has, and what it says when it fetches."""

    def __init__(self, *said: bytes, architecture: str = "", there: bool = False) -> None:
        self.asked: list[str] = []
        self._said = said
        self._there = there
        self._image = answer(dump({"Id": "c9a7", "Architecture": architecture}))

    @property
    def handler(self) -> Handler:
        return self._handle

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await read_request(reader)) is not None:
            method, target = request
            path, _, query = target.partition("?")
            self.asked.append(method)
            if method == "GET":
                assert path.endswith("/json")
                writer.write(self._image if self._there else MISSING)
                continue
            self.asked[-1] += f" {parse_qs(query)['policy'][0]}"
            writer.write(OK + b"\r\n")
            self._there = DONE in self._said
            for line in self._said:
                writer.write(line)
                await asyncio.sleep(0.02)
            await reader.read()


@pytest.mark.parametrize(
    ("there", "pull", "asked"),
    [
        (True, PullPolicy.IF_NOT_PRESENT, ["GET"]),
        (True, PullPolicy.NEVER, ["GET"]),
        (True, PullPolicy.ALWAYS, ["POST always", "GET"]),
        (False, PullPolicy.ALWAYS, ["POST always", "GET"]),
        (False, PullPolicy.IF_NOT_PRESENT, ["GET", "POST missing", "GET"]),
    ],
)
async def test_what_is_asked(
    socket: Path, podman: Podman, there: bool, pull: PullPolicy, asked: list[str]
) -> None:
    registry = Registry(TRYING, b"\n", DONE, there=there)
    async with listening(socket, registry.handler):
        assert await podman.ensure_image(NAME, pull) == "c9a7"
    assert registry.asked == asked


@pytest.mark.parametrize("name", ["localhost/app:1", NAME])
async def test_nothing_is_fetched_that_may_not_or_cannot(
    socket: Path, podman: Podman, name: str
) -> None:
    registry = Registry(DONE)
    pulls = [PullPolicy.NEVER] if name == NAME else [*PullPolicy]
    async with listening(socket, registry.handler):
        for pull in pulls:
            with pytest.raises(Refused, match="podman pull, podman load") as refused:
                await podman.ensure_image(name, pull)
            assert refused.value.reason is Refusal.IMAGE_MISSING
    assert {*registry.asked} == {"GET"}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("connection refused", Refusal.IMAGE_MISSING),
        ('short-name "app" did not resolve to an alias', Refusal.IMAGE_MISSING),
        ("no image found in image index for architecture arm", Refusal.WRONG_ARCHITECTURE),
    ],
)
async def test_a_fetch_that_fails(socket: Path, podman: Podman, said: str, reason: Refusal) -> None:
    registry = Registry(TRYING, dump({"error": said}) + b"\n")
    async with listening(socket, registry.handler):
        with pytest.raises(Refused, match="could not be fetched") as refused:
            await podman.ensure_image(NAME, PullPolicy.IF_NOT_PRESENT)
    assert refused.value.reason is reason
    assert said in str(refused.value)


async def test_a_fetch_may_take_longer_than_a_request_but_not_be_silent(
    socket: Path, podman: Podman, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(podman_images, "SILENCE", 0.2)
    slow = Registry(*[TRYING] * 20, DONE)
    async with listening(socket, slow.handler):
        began = time.monotonic()
        assert await podman.ensure_image(NAME, PullPolicy.IF_NOT_PRESENT) == "c9a7"
        assert time.monotonic() - began > 0.3
    silent = Registry(TRYING)
    async with listening(socket, silent.handler) as server:
        with pytest.raises(Unavailable, match="nothing came for"):
            await podman.ensure_image(NAME, PullPolicy.IF_NOT_PRESENT)
        await podman.close()  # the connection that is kept
        await server.left()


@pytest.mark.parametrize(
    ("machine", "architecture", "runs"),
    [
        ("x86_64", "amd64", True),
        ("x86_64", "386", True),
        ("x86_64", "arm64", False),
        ("aarch64", "arm64", True),
        ("aarch64", "arm", True),
        ("armv7l", "arm", True),
        ("armv7l", "arm64", False),
        ("riscv64", "riscv64", True),
        ("riscv64", "amd64", False),
        ("x86_64", "", True),  # an image that does not say
    ],
)
async def test_architectures(
    socket: Path,
    podman: Podman,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    machine: str,
    architecture: str,
    runs: bool,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(podman_images, "_BINFMT", tmp_path)
    registry = Registry(architecture=architecture, there=True)
    async with listening(socket, registry.handler):
        if runs:
            assert await podman.ensure_image(NAME, PullPolicy.NEVER) == "c9a7"
            return
        with pytest.raises(Refused, match=f"for {architecture}, this node is") as refused:
            await podman.ensure_image(NAME, PullPolicy.NEVER)
        assert refused.value.reason is Refusal.WRONG_ARCHITECTURE
        (tmp_path / {"arm64": "qemu-aarch64", "amd64": "qemu-x86_64"}[architecture]).touch()
        assert await podman.ensure_image(NAME, PullPolicy.NEVER) == "c9a7"
