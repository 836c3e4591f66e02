"""A server behind its gate, with real TLS, and peers good and bad. The benchmarks use it too."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event

from piccolo.core.address import Address
from piccolo.core.errors import NotFound, PermissionDenied
from piccolo.core.security.access import MASTER_NAME, Principal, Role, principal_of, spiffe_id
from piccolo.rpc import wire
from piccolo.rpc.client import Connection, dial
from piccolo.rpc.gate import Limits
from piccolo.rpc.server import Caller, GrpcServer, caller
from piccolo.security.authority import Authority, Request
from piccolo.security.request import make_key, make_request
from piccolo.security.tls import client_context, server_context

CLUSTER = "test"
GET_NODE = "/piccolo.api.v1.ApiServerService/GetNode"
GET_NODES = "/piccolo.api.v1.ApiServerService/GetNodes"
GET_NODE = "/piccolo.api.v1.ApiServerService/GetNode"
DAY = timedelta(days=1)


class Issuer:
    """An authority, and contexts with certificates of it."""

    def __init__(self) -> None:
        self.authority = Authority.create(CLUSTER, datetime.now(UTC))

    def server(self) -> ssl.SSLContext:
        key = make_key()
        public = Request(make_request(key)).key
        signed = self.authority.sign_master(public, ["127.0.0.1"], datetime.now(UTC), DAY)
        return server_context(self.authority.pem, signed.pem, key)

    def client(
        self,
        name: str = "",
        role: Role = Role.ADMIN,
        *,
        lifetime: timedelta = DAY,
        trust: str = "",
    ) -> ssl.SSLContext:
        """Without a name: without a certificate. `trust`: another authority than ours."""
        if not name:
            return client_context(trust or self.authority.pem)
        key = make_key()
        public = Request(make_request(key)).key
        principal = spiffe_id(CLUSTER, Principal(role, name))
        signed = self.authority.sign_client(public, principal, datetime.now(UTC), lifetime)
        return client_context(trust or self.authority.pem, signed.pem, key)


@cache
def ours() -> Issuer:
    return Issuer()


@cache
def foreign() -> Issuer:
    return Issuer()


class Guarding:
    """Lets in who has a certificate, and remembers what it was told."""

    def __init__(self) -> None:
        self.failures: list[tuple[str, str]] = []
        self.ended_with: list[tuple[str, BaseException | None]] = []
        self.block = 0.0

    def admit(self, method: str, address: str, certificate: Mapping[str, Any] | None) -> Caller:
        if not certificate:
            raise PermissionDenied(f"{method.rpartition('/')[2]} needs a certificate")
        uris = [value for kind, value in certificate["subjectAltName"] if kind == "URI"]
        return Caller(address, principal_of(CLUSTER, uris))

    def ended(self, method: str, caller: Caller, error: BaseException | None) -> None:
        self.ended_with.append((method, error))

    def blocked(self, source: str) -> float:
        return self.block

    def handshake_failed(self, source: str, reason: str) -> None:
        self.failures.append((source, reason))


class Service(wire.ApiServerServiceBase):
    """GetNode answers; "crash" is a mistake of ours, "sleep" takes its time, "long" is much."""

    def __init__(self) -> None:
        self.calls = 0
        self.let_go = asyncio.Event()

    async def get_node(self, message: wire.GetNodeRequest) -> wire.GetNodeResponse:
        self.calls += 1
        match message.node_id:
            case "crash":
                raise RuntimeError("a secret detail")
            case "sleep":
                await self.let_go.wait()
            case "unknown":
                raise NotFound("there is no node unknown")
            case "caller":
                who = caller()
                return wire.GetNodeResponse(node=wire.Node(name=who.address, id=str(who.principal)))
        return wire.GetNodeResponse(node=wire.Node(name=f"{len(message.node_id)}"))

    async def watch(self, message: wire.WatchRequest) -> AsyncIterator[wire.WatchResponse]:
        while True:
            yield wire.WatchResponse()
            await self.let_go.wait()


class Ground:
    """An asynchronous context: the server runs in it. With `port`, one that runs elsewhere is
    meant: then only the callers are of use.
    """

    def __init__(
        self, limits: Limits | None = None, *, guard: Guarding | None = None, port: int = 0
    ) -> None:
        self.guard = guard or Guarding()
        self.service = Service()
        self.server = GrpcServer([self.service], self.guard, ours().server(), limits or Limits())
        self.port = port
        self._tls = ours().client("operator")

    async def __aenter__(self) -> Self:
        self.port = await self.server.start("127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.service.let_go.set()
        await self.server.close()
        await asyncio.sleep(0.01)  # transports end in the next turn of the loop

    @asynccontextmanager
    async def caller(
        self, tls: ssl.SSLContext | None = None, *, timeout: float = 8
    ) -> AsyncIterator[Connection]:
        address = Address("127.0.0.1", self.port)
        connection = await dial([address], timeout=timeout, tls=tls or self._tls)
        try:
            yield connection
        finally:
            connection.close()
            await asyncio.sleep(0)

    async def get(self, node_id: str = "n1", tls: ssl.SSLContext | None = None) -> str:
        """A call on a connection of its own; the name in the answer."""
        async with self.caller(tls) as connection:
            return await ask(connection, node_id)

    async def raw(self, tls: ssl.SSLContext | None = None) -> Peer:
        """A connection on which anything may be said, after TLS."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=tls or self._tls, server_hostname=MASTER_NAME
        )
        return Peer(reader, writer)

    async def tcp(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


async def ask(connection: Connection, node_id: str = "n1", timeout: float = 8) -> str:
    stub = wire.ApiServerServiceStub(connection.channel)
    reply = await stub.get_node(wire.GetNodeRequest(node_id=node_id), timeout=timeout)
    return reply.node.name if reply.node is not None else ""


class Peer:
    """HTTP/2 by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        config = H2Configuration(client_side=True, validate_outbound_headers=False)
        self.h2 = H2Connection(config)
        self.events: list[Event] = []

    def greet(self) -> None:
        self.h2.initiate_connection()
        self.flush()

    def request(self, method: str = GET_NODE, *more: tuple[str, str]) -> int:
        """The headers of one; returns the number of the stream."""
        stream = self.h2.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":scheme", "https"),
            (":path", method),
            (":authority", MASTER_NAME),
            ("te", "trailers"),
            ("content-type", "application/grpc+proto"),
            *more,
        ]
        self.h2.send_headers(stream, headers)
        return stream

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    async def read(self, until: Callable[[Event], bool] | None = None, timeout: float = 5) -> bool:
        """Until such an event has come, or (False) the server has closed the connection."""
        async with asyncio.timeout(timeout):
            while until is None or not any(map(until, self.events)):
                data = await self.reader.read(65536)
                if not data:
                    return False
                self.events += self.h2.receive_data(data)
                self.flush()
        return True

    async def closed(self, timeout: float = 5) -> bool:
        """Whether the server closes the connection within that time."""
        try:
            async with asyncio.timeout(timeout):
                while await self.reader.read(65536):
                    pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    async def close(self) -> None:
        self.writer.transport.abort()
        await asyncio.sleep(0)


async def eventually(condition: Callable[[], bool], timeout: float = 5) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        await asyncio.sleep(0.01)
