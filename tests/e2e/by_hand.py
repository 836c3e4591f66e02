"""An agent made by hand: says to a master just what a test wants said, byte by byte if need be."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

from grpclib.client import Stream
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from piccolo.core.address import GRPC_PORT, parse_address
from piccolo.core.nodes.pulse import PULSE, Pulse, encode
from piccolo.core.report import Report
from piccolo.rpc import convert, wire
from piccolo.security.request import make_key, make_request
from piccolo.security.tls import client_context, unverified_context
from tests.e2e.asking import connection_to
from tests.lab.cluster import Lab

SESSION = "/piccolo.v1.NodeAgentService/Session"
# What a message of a newer version holds besides: fields 1000 and 1001, see
# protobuf.dev/programming-guides/encoding: a varint and a text.
NEWER = b"\xc0\x3e\x2a" + b"\xca\x3e\x05hello"
# And a case of a oneof that we do not know, in a message that has no other.
NEWER_CASE = b"\xca\x3e\x02\x08\x01"


class Session:
    """One session with the master, and its pulses."""

    def __init__(self, stream: Stream[Any, wire.MasterMessage], port: tuple[str, int]) -> None:
        self.stream = stream
        self.welcome = wire.Welcome()
        self.sent: list[bytes] = []  # every valid pulse
        self._seq = 0
        self._pulse_seq = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(port)
        self._socket.setblocking(False)

    async def say(self, extra: bytes = b"", **body: Any) -> None:
        """Send a message, with `extra` bytes behind it."""
        self._seq += 1
        message = wire.AgentMessage(seq=self._seq, **body)
        await self.stream.send_message(bytes(message) + extra)

    async def hear(self, name: str, within: float = 2.0) -> Any:
        """The next message of that kind; others are passed over."""
        async with asyncio.timeout(within):
            while message := await self.stream.recv_message():
                found, value = wire.which_one_of(message, "body")
                if found == name:
                    return value
        raise EOFError(f"the master closed the session before it sent {name}")

    async def report(self, *containers: wire.ContainerStatus) -> None:
        await self.say(snapshot=wire.StatusSnapshot(containers=list(containers)))

    async def beat(self, *containers: wire.ContainerStatus) -> None:
        """A heartbeat that claims to have reported these."""
        digest = Report(convert.containers_from_wire(containers)).digest
        await self.say(heartbeat=wire.Beat(digest=digest, containers=len(containers)))

    def pulse(self) -> None:
        self._pulse_seq += 1
        self.sent.append(self.forge(self._pulse_seq, self.welcome.session_key))
        self.send(self.sent[-1])

    def forge(self, seq: int, key: bytes) -> bytes:
        return encode(Pulse(PULSE, self.welcome.session_id, seq, 0), key)

    def send(self, datagram: bytes) -> None:
        self._socket.send(datagram)

    def answers(self) -> int:
        """How many datagrams have come back since this was asked last."""
        count = 0
        while True:
            try:
                self._socket.recv(100)
            except BlockingIOError:
                return count
            count += 1

    def close(self) -> None:
        self._socket.close()


class Agent:
    """A node that is no program. It has a key of its own, joins with a token of the lab, and does
    all else with the certificate that it got."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.address = lab.address
        self.host = lab.master.ip
        self.name = name
        self.token = lab.join_token()
        self.node_id = uuid.uuid4().hex
        self.instance_id = uuid.uuid4().hex
        self.key = make_key()
        self.request = make_request(self.key)
        self.signed: wire.SignedCertificate | None = None

    @classmethod
    def copy_of(cls, lab: Lab, node: str, name: str = "") -> Self:
        """Has all that a real agent of the lab has in its data directory."""
        data = lab.nodes[node].dir / "data"
        made = cls(lab, name or node)
        made.node_id = json.loads((data / "identity.json").read_text())["node_id"]
        made.key = (data / "pki/node.key").read_text()
        made.request = (data / "pki/node.csr").read_text()
        made.signed = wire.SignedCertificate(
            certificate_pem=(data / "pki/node.crt").read_text(),
            ca_pem=(data / "pki/ca.crt").read_text(),
        )
        return made

    def registration(self) -> wire.NodeRegistrationRequest:
        return wire.NodeRegistrationRequest(
            node_id=self.node_id,
            hostname=self.name,
            ip_address=self.host,
            role=wire.NodeRole.SUB,
            type=wire.NodeType.EMBEDDED,
            instance_id=self.instance_id,
        )

    @property
    def signed_pem(self) -> str:
        assert self.signed is not None
        return self.signed.certificate_pem

    @property
    def tls(self) -> ssl.SSLContext:
        """With its certificate; before it has one, of a node that believes anybody."""
        if self.signed is None:
            return unverified_context()
        return client_context(self.signed.ca_pem, self.signed.certificate_pem, self.key)

    async def call(self, method: str, request: Any, answer: type[Any]) -> Any:
        """A call of NodeAgentService; `request` may be bytes."""
        async with connection_to(self.address, self.tls, 3) as connection:
            path = f"/piccolo.v1.NodeAgentService/{method}"
            stub = connection.channel.request(path, Cardinality.UNARY_UNARY, type(request), answer)
            async with stub as stream:
                await stream.send_message(request, end=True)
                return await stream.recv_message()

    async def register(self, extra: bytes = b"") -> wire.NodeRegistrationResponse:
        """Join with the token; with a certificate: say anew who we are."""
        request = self.registration()
        if self.signed is None:
            request.credentials = wire.Credentials(token=self.token, csr_pem=self.request)
        found: wire.NodeRegistrationResponse = await self.call(
            "RegisterNode", bytes(request) + extra, wire.NodeRegistrationResponse
        )
        self.signed = found.certificate or self.signed
        return found

    @asynccontextmanager
    async def session(self, extra: bytes = b"", protocol: int = 1) -> AsyncIterator[Session]:
        """A session that was welcomed. How it ends is no concern of the test's any more."""
        async with connection_to(self.address, self.tls, 3) as connection:
            request = connection.channel.request(
                SESSION, Cardinality.STREAM_STREAM, wire.AgentMessage, wire.MasterMessage
            )
            stream = await request.__aenter__()
            address = parse_address(self.address, GRPC_PORT)
            session = Session(stream, (address.host, address.port))
            try:
                hello = wire.Hello(
                    node_id=self.node_id, instance_id=self.instance_id, protocol=protocol
                )
                await session.say(extra, hello=hello)
                session.welcome = await session.hear("welcome")
                yield session
            finally:
                session.close()
                with suppress(GRPCError, StreamTerminatedError, ProtocolError):
                    await request.__aexit__(None, None, None)
