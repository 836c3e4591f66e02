"""What a service manager hears of us: real datagrams, also when the loop of events hangs."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from piccolo.roles.service_manager import ServiceManager


class Manager:
    """The other side: a socket, and all that has come."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a path, unless the test asks for an abstract name too."""
    abstract = getattr(request, "param", "") == "an abstract name"
    return f"@piccolo-test-{secrets.token_hex(8)}" if abstract else str(tmp_path / "notify")


both_kinds = pytest.mark.parametrize("address", ["a path", "an abstract name"], indirect=True)


@pytest.fixture
def manager(address: str) -> Iterator[Manager]:
    found = Manager(address)
    yield found
    found.close()


@both_kinds
def test_the_life_of_a_service(address: str, manager: Manager) -> None:
    ours = ServiceManager(address)
    ours.status("looking for\nREADY=1")
    ours.ready()
    assert manager.heard() == ["STATUS=looking for READY=1", "READY=1"]
    ours.status("connected")
    ours.status("connected")
    assert manager.heard() == ["STATUS=connected"]
    before = time.monotonic_ns() // 1000
    ours.reloading()
    [reload] = manager.heard()
    state, _, stamp = reload.partition("\nMONOTONIC_USEC=")
    assert state == "RELOADING=1"
    assert before <= int(stamp) <= time.monotonic_ns() // 1000
    ours.stopping()
    assert manager.heard() == ["STOPPING=1"]


@both_kinds
def test_a_manager_that_is_away_does_no_harm(address: str) -> None:
    ServiceManager(address).ready()
    ServiceManager("/" + "x" * 200).ready()
    ServiceManager("vsock:2:1234").ready()
    ServiceManager("/a\0b").ready()


def test_a_manager_that_hears_nothing_does_not_hold_us_up(address: str, manager: Manager) -> None:
    ours = ServiceManager(address)
    for n in range(1000):  # until its queue is full
        began = time.monotonic()
        ours.status(str(n))
        if time.monotonic() - began > 0.1:
            break
    else:
        pytest.fail("the queue was never full")
    assert time.monotonic() - began < 1


def test_the_environment_is_not_our_childrens() -> None:
    environ = {
        "NOTIFY_SOCKET": "/run/x",
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": str(os.getpid()),
        "PATH": "/bin",
    }
    assert ServiceManager.take(environ).watchdog == 30
    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"},
        {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "-3"},
        {"NOTIFY_SOCKET": "/run/x"},
        {"WATCHDOG_USEC": "3000000"},
    ],
)
def test_no_watchdog_watches_us(said: dict[str, str]) -> None:
    assert ServiceManager.take(said).watchdog == 0


async def test_a_loop_that_hangs_is_not_heard(
    address: str, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    enabled: list[int] = []
    monkeypatch.setattr(faulthandler, "enable", enabled.append)  # pytest has its own
    alive = asyncio.create_task(ServiceManager(address, watchdog=0.06).keep_alive())
    try:
        await asyncio.sleep(0.1)
        assert set(manager.heard()) == {"WATCHDOG=1"}
        time.sleep(0.1)  # noqa: ASYNC251 - it hangs, for longer than the watchdog waits
        assert manager.heard() == []
        await asyncio.sleep(0.03)
        assert set(manager.heard()) == {"WATCHDOG=1"}
    finally:
        alive.cancel()
        await asyncio.gather(alive, return_exceptions=True)
    assert enabled == [2]  # the journal is told where it hung


async def test_without_a_watchdog_nothing_is_sent(address: str, manager: Manager) -> None:
    await ServiceManager(address).keep_alive()
    assert manager.heard() == []
