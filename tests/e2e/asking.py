"""Asking a master directly: what `piccolo get` shows, without the 0.3 s that starting it takes."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from piccolo.cli.show import rows
from piccolo.core.address import GRPC_PORT, parse_address
from piccolo.core.nodes.liveness import PROFILES
from piccolo.rpc import wire
from piccolo.rpc.client import Connection, dial
from piccolo.security.context import load
from piccolo.security.tls import client_context
from tests.lab.cluster import Lab

T = TypeVar("T")
Stub = wire.ApiServerServiceStub

DETECTED = 5.0  # s: the promise of the README, for whatever silences or ends an agent
BACK = 3.0 + PROFILES["wired"].backoff_cap  # s: Ready again after whatever it was is over
RETURNED = PROFILES["wired"].backoff_cap + PROFILES["wired"].reconnect_grace  # s: a session is back


def admin(lab: Lab) -> ssl.SSLContext:
    """The lab's administrator, to TLS."""
    found = load(lab.context)
    return client_context(found.ca, found.certificate, found.key)


@asynccontextmanager
async def connection_to(
    address: str, tls: ssl.SSLContext, timeout: float = 5.0
) -> AsyncIterator[Connection]:
    """To the master there; torn off at the end, as the loop may end right behind it: a farewell of
    TLS takes a while, and a transport that is still at it is a warning."""
    connection = await dial([parse_address(address, GRPC_PORT)], timeout=timeout, tls=tls)
    protocol = connection.channel._protocol
    assert protocol is not None
    transport = protocol.connection._transport
    try:
        yield connection
    finally:
        connection.close()
        transport.abort()
        await asyncio.sleep(0)


def ask(lab: Lab, make: Callable[[Stub], Awaitable[T]], timeout: float = 5.0) -> T:
    """One call of the master's service for clients."""

    async def once() -> T:
        async with connection_to(lab.address, admin(lab), timeout) as connection:
            async with asyncio.timeout(timeout):
                return await make(Stub(connection.channel))

    with lab.master.entered():
        return asyncio.run(once())


def nodes(lab: Lab) -> dict[str, dict[str, Any]]:
    """All nodes by name, as `piccolo get nodes -o json` has them."""
    reply = ask(lab, lambda stub: stub.get_nodes(wire.GetNodesRequest()))
    return {node.name: rows.node_dict(node) for node in reply.nodes}


def node(lab: Lab, name: str) -> dict[str, Any]:
    return nodes(lab)[name]


def containers(lab: Lab, name: str = "") -> dict[str, dict[str, Any]]:
    """The containers of a node, or of all, by name."""
    reply = ask(lab, lambda stub: stub.get_containers(wire.GetContainersRequest(node=name)))
    found = [rows.container_dict(container) for container in reply.containers]
    return {container["name"]: container for container in found}


def events(lab: Lab, name: str = "") -> list[dict[str, Any]]:
    """All events, oldest first, or those of a node."""
    reply = ask(lab, lambda stub: stub.get_events(wire.GetEventsRequest()))
    found = [rows.event_dict(event) for event in reply.events]
    return [event for event in found if name in ("", event["node"])]


def reasons(lab: Lab, name: str = "") -> list[str]:
    """Why things happened to a node, in their order."""
    return [event["reason"] for event in events(lab, name)]


def degraded(lab: Lab) -> str:
    """Why the master serves from memory; empty: it does not."""
    reply = ask(lab, lambda stub: stub.get_cluster_status(wire.GetClusterStatusRequest()))
    assert reply.view is not None
    assert reply.view.degraded == bool(reply.view.message)
    return reply.view.message


def condition(of: dict[str, Any], kind: str) -> bool | None:
    """A condition of a node as `nodes` has it; None: nothing was said of it."""
    return next((c["status"] for c in of["conditions"] if c["type"] == kind), None)


def connected(lab: Lab, *names: str) -> bool:
    found = nodes(lab)
    return all(found[name]["link"] and found[name]["link"]["connected"] for name in names)


def eventually(holds: Callable[[], T], within: float) -> T:
    """What `holds` returns as soon as that is true. Fails after `within` seconds."""
    deadline = time.monotonic() + within
    while not (found := holds()):
        assert time.monotonic() < deadline, f"still {found!r} after {within:g} s"
        time.sleep(0.05)
    return found
