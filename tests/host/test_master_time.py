"""The master's time, from a real server over real TLS, for the program and the script."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from piccolo.core.address import Address
from piccolo.host.master_time import ahead
from piccolo.rpc import server, wire
from piccolo.rpc.server import Caller, GrpcServer
from piccolo.security.tls import unverified_context
from tests.host import fake_root
from tests.rpc.ground import Guarding, ours


class Everybody(Guarding):
    def admit(self, method: str, address: str, certificate: Mapping[str, Any] | None) -> Caller:
        return Caller(address)


class Agents(wire.NodeAgentServiceBase):
    async def get_trust_bundle(
        self, message: wire.GetTrustBundleRequest
    ) -> wire.GetTrustBundleResponse:
        return wire.GetTrustBundleResponse(ca_pem="-")


@pytest.fixture
async def master() -> AsyncIterator[Address]:
    served = GrpcServer([Agents()], Everybody(), ours().server())
    yield Address("127.0.0.1", await served.start("127.0.0.1", 0))
    await served.close()
    await asyncio.sleep(0.01)


async def seconds_ahead(master: Address) -> float:
    found = await asyncio.to_thread(ahead, master, unverified_context(), 5.0)
    assert found is not None
    return found


async def test_equal_clocks(master: Address) -> None:
    assert abs(await seconds_ahead(master)) < 2


@pytest.mark.parametrize("skew", [-3600, 3600])
async def test_clocks_that_differ(
    master: Address, skew: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        server, "formatdate", lambda usegmt: formatdate(time.time() - skew, usegmt=usegmt)
    )
    assert abs(await seconds_ahead(master) - skew) < 2


@pytest.mark.slow
@pytest.mark.parametrize(("skew", "level"), [(0, "ok"), (60, "warning"), (-3600, "error")])
async def test_the_script_sees_it_too(
    master: Address, skew: int, level: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        server, "formatdate", lambda usegmt: formatdate(time.time() - skew, usegmt=usegmt)
    )
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    script = Path(__file__).parents[2] / "packaging/node_ready_check.sh"
    root = str(fake_root.make(tmp_path))
    command = ["sh", str(script), "--no-write", "--root", root, "--master", str(master)]
    done = await asyncio.to_thread(
        lambda: subprocess.run(command, capture_output=True, text=True, check=False)
    )
    (line,) = [line for line in done.stdout.splitlines() if " clock: " in line]
    assert line.startswith(f"{level} ")
    assert "not checked" not in line


def test_somebody_else_does_not_tell() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = Address("127.0.0.1", silent.getsockname()[1])
        with pytest.raises(TimeoutError):
            ahead(address, unverified_context(), 0.05)
    with pytest.raises(ConnectionRefusedError):
        ahead(address, ssl.create_default_context(), 0.05)
