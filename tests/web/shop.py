"""A server of bundles with real TLS on this machine, what is put into it, and real curl."""

from __future__ import annotations

import asyncio
import io
import os
import re
import ssl
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from piccolo.rpc.gate import Limits
from piccolo.security import authority as ca
from piccolo.security.authority import Authority, Request
from piccolo.security.request import make_key, make_request
from piccolo.security.tls import unverified_context, web_context
from piccolo.web.bundles import Bundles
from piccolo.web.install_script import Origin
from piccolo.web.install_site import InstallSite
from piccolo.web.server import LIMITS, WebServer
from tests.rpc.ground import DAY, Guarding, ours

VERSION = "1.2.3"
# In the place of the real installer: says what it was given, and ends as it is told.
INSTALLER = """#!/usr/bin/env bash
[[ -f $(dirname "$0")/VERSION ]] || exit 99
printf 'installer: %s\\n' "$*"
exit "${ENDS_WITH:-0}"
"""


def bundle(
    directory: Path,
    version: str = VERSION,
    machine: str = "amd64",
    *,
    filling: bytes = b"",
    installer: str | None = INSTALLER,
) -> Path:
    """A bundle with an installer that only says how it was called."""
    directory.mkdir(exist_ok=True)
    top = f"piccolo-{version}-linux-{machine}"
    path = directory / f"{top}.tar.gz"
    files = {"VERSION": version.encode(), "filling": filling}
    if installer is not None:
        files["install_nodeagent.sh"] = installer.encode()
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size, member.uid = len(content), 4242
            archive.addfile(member, io.BytesIO(content))
    return path


class Key:
    """A master's key, and what is signed for it."""

    def __init__(self, authority: Authority | None = None) -> None:
        self.authority = authority or ours().authority
        self._key = make_key()
        self._public = Request(make_request(self._key)).key
        print_ = ca.key_fingerprint(self._public)
        self.pin = f"sha256//{print_.removeprefix('SHA256:')}="

    def tls(self, made: datetime | None = None, life: timedelta = DAY) -> ssl.SSLContext:
        signed = self.authority.sign_master(self._public, [], made or datetime.now(UTC), life)
        return web_context(signed.pem, self._key)


@dataclass(frozen=True, slots=True)
class Done:
    """A program that has ended."""

    code: int
    out: bytes
    err: str


async def run(*argv: str, env: Mapping[str, str] | None = None, text: str = "") -> Done:
    program = await asyncio.create_subprocess_exec(
        *argv, stdin=-1, stdout=-1, stderr=-1, env={**os.environ, **(env or {})}
    )
    out, err = await program.communicate(text.encode())
    assert program.returncode is not None
    return Done(program.returncode, out, err.decode())


class Shop:
    """An asynchronous context: the server runs in it."""

    def __init__(self, directory: Path, limits: Limits = LIMITS, rate: float = 1e9) -> None:
        self.directory = directory
        self.guard = Guarding()
        self.key = Key()
        self.origin = Origin(VERSION, 50051, self.key.authority.pem, self.key.pin)
        self.bundles = Bundles(directory, VERSION)
        site = InstallSite(self.bundles, lambda: self.origin)
        self.server = WebServer(site, self.guard, self.key.tls(), limits=limits, rate=rate)
        self.port = 0

    async def __aenter__(self) -> Self:
        self.port = await self.server.start("127.0.0.1", 0, "the test")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.close()
        await asyncio.sleep(0.01)  # transports end in the next turn of the loop

    def put(self, machine: str = "amd64", *, filling: bytes = b"") -> Path:
        return bundle(self.directory, machine=machine, filling=filling)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def say(self, said: bytes, source: str = "127.0.0.1", timeout: float = 5) -> bytes:
        """Send that and nothing more; the answer, or what there is of it when the server closes."""
        reader, writer = await self.connect(source)
        writer.write(said)
        head = b""
        try:
            async with asyncio.timeout(timeout):
                head = await reader.readuntil(b"\r\n\r\n")
                found = re.search(rb"Content-Length: (\d+)", head)
                length = int(found[1]) if found and not said.startswith(b"HEAD") else 0
                return head + await reader.readexactly(length)
        except asyncio.IncompleteReadError as error:
            return head + error.partial
        finally:
            writer.transport.abort()

    async def connect(
        self, source: str = "127.0.0.1"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """From another address of this machine than others, if need be."""
        return await asyncio.open_connection(
            "127.0.0.1",
            self.port,
            local_addr=(source, 0),
            ssl=unverified_context(),
            server_hostname="x",
        )

    async def curl(self, path: str, *options: str, pin: str = "") -> Done:
        """As the line that is printed does it."""
        pinned = ("-k", "--pinnedpubkey", pin or self.key.pin)
        return await run("curl", "-sS", *pinned, *options, f"{self.url}{path}")
