"""Whoever calls a master besides its own agents and clients: with what certificates the test wants,
good or bad, from what address it wants.

Sources that fail are blocked, so every bad one comes from a loopback address of its own: whatever
it does stays with it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from cryptography.x509.oid import NameOID
from grpclib import GRPCError
from grpclib.client import Channel
from grpclib.config import Configuration
from grpclib.exceptions import ProtocolError, StreamTerminatedError
from grpclib.protocol import H2Protocol

from piccolo.core.security.access import MASTER_NAME, RULES, Principal, Role, spiffe_id
from piccolo.rpc import wire
from piccolo.rpc.codec import Codec
from piccolo.rpc.server import Caller
from piccolo.security import authority as ca
from piccolo.security.request import make_key, make_request
from piccolo.security.tls import client_context, server_context, unverified_context
from tests.e2e.asking import ask, node
from tests.e2e.secrets import assert_nothing_secret_was_written
from tests.lab.cluster import PORT, Lab, LoopbackLab

_hosts = itertools.count(1)


def another_source() -> str:
    """A loopback address that nobody has called from yet, in no other process of the tests."""
    return f"127.77.{os.getpid() % 250}.{next(_hosts)}"


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, and whom its holder trusts; without one: nobody in particular."""

    trusts: str = ""
    certificate: str = ""
    key: str = ""

    @property
    def tls(self) -> ssl.SSLContext:
        if not self.trusts:
            return unverified_context()
        return client_context(self.trusts, self.certificate, self.key)

    def options(self, directory: Path) -> list[str]:
        """For openssl-s_client(1)."""
        if not self.certificate:
            return []
        file = directory / f"{next(_hosts)}.pem"
        file.write_text(self.certificate + self.key)
        return ["-cert", str(file), "-key", str(file)]


class Issuer:
    """Signs whatever it is asked to: by the cluster's own authority, or by another."""

    def __init__(self, lab: Lab, authority: ca.Authority) -> None:
        self._authority = authority
        self.trusts = trusted(lab)
        status = ask(lab, lambda stub: stub.get_cluster_status(wire.GetClusterStatusRequest()))
        assert status.cluster is not None
        self._cluster = status.cluster.id

    @classmethod
    def own(cls, lab: Lab) -> Self:
        """Has the key of the cluster's authority, as nobody should."""
        pki = lab.master.dir / "data" / "pki"
        own = ca.Authority.load((pki / "ca.crt").read_text(), (pki / "ca.key").read_text())
        return cls(lab, own)

    @classmethod
    def foreign(cls, lab: Lab) -> Self:
        """Calls itself by the name of the cluster's authority."""
        own = ca.load_certificate(trusted(lab))
        name = str(own.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
        return cls(lab, ca.Authority.create(name, datetime.now(UTC)))

    @property
    def pem(self) -> str:
        """The authority's certificate."""
        return self._authority.pem

    def master_tls(self) -> ssl.SSLContext:
        """Of a master that has its certificate from here."""
        key = make_key()
        public = ca.Request(make_request(key)).key
        signed = self._authority.sign_master(public, [], datetime.now(UTC), timedelta(hours=1))
        return server_context(self.pem, signed.pem, key)

    def identity(
        self, role: Role, name: str, *, expired: bool = False, cluster: str = ""
    ) -> Identity:
        """Of somebody; it holds for an hour, or has expired a while ago."""
        key = make_key()
        public = ca.Request(make_request(key)).key
        uri = spiffe_id(cluster or self._cluster, Principal(role, name))
        # The authority is younger than the test, but dates itself back a little.
        made = datetime.now(UTC) - (ca.BACKDATED / 2 if expired else timedelta(0))
        lifetime = timedelta(minutes=1) if expired else timedelta(hours=1)
        signed = self._authority.sign_client(public, uri, made, lifetime)
        return Identity(self.trusts, signed.pem, key)


def trusted(lab: Lab) -> str:
    return (lab.master.dir / "data" / "pki" / "ca.crt").read_text()


def agent_identity(lab: Lab, node: str) -> Identity:
    """What a real agent of the lab has."""
    pki = lab.nodes[node].dir / "data" / "pki"
    return Identity(*((pki / name).read_text() for name in ("ca.crt", "node.crt", "node.key")))


def nobody(lab: Lab) -> Identity:
    """Knows the master, and has no certificate."""
    return Identity(trusted(lab))


class _From(Channel):
    """A channel from an address of our choice."""

    source = ""

    async def _create_connection(self) -> H2Protocol:
        _, protocol = await self._loop.create_connection(
            self._protocol_factory,
            self._host,
            self._port,
            ssl=self._ssl,
            server_hostname=MASTER_NAME,
            local_addr=(self.source, 0),
        )
        return protocol


@asynccontextmanager
async def channel(lab: Lab, who: Identity, source: str = "") -> AsyncIterator[Channel]:
    """To the master; torn off at the end."""
    made = _From(
        lab.master.ip,
        PORT,
        ssl=who.tls,
        codec=Codec(),
        config=Configuration(ssl_target_name_override=MASTER_NAME),
    )
    made.source = source or another_source()
    async with asyncio.timeout(10):
        await made.__connect__()
    assert made._protocol is not None
    transport = made._protocol.connection._transport
    try:
        yield made
    finally:
        made.close()
        transport.abort()
        await asyncio.sleep(0)


def s_client(lab: Lab, *options: str, source: str = "", wait: bool = True) -> str:
    """What openssl-s_client(1) says of its talk with the master. `wait`: until the master ends it,
    as in TLS 1.3 a client has done its part before the master looks at its certificate.
    """
    host = source or another_source()
    argv = ["openssl", "s_client", "-connect", lab.address, "-bind", f"{host}:0"]
    argv += ["-servername", MASTER_NAME, "-alpn", "h2", *options, *(["-ign_eof"] if wait else [])]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False
    )
    return (done.stdout + done.stderr).decode(errors="replace")


def plain_socket(lab: Lab, source: str = "") -> socket.socket:
    return socket.create_connection((lab.master.ip, PORT), 5, (source or another_source(), 0))


class Doorman:
    """A guard who admits everybody."""

    def admit(self, method: str, address: str, certificate: Mapping[str, Any] | None) -> Caller:
        return Caller(address)

    def ended(self, method: str, caller: Caller, error: BaseException | None) -> None:
        pass

    def blocked(self, source: str) -> float:
        return 0.0

    def handshake_failed(self, source: str, reason: str) -> None:
        pass


@contextmanager
def undisturbed() -> Iterator[LoopbackLab]:
    """A cluster with two honest agents, `steady` and `other`. Whatever is done to it, `steady` must
    not notice, and nothing secret may be written anywhere."""
    with LoopbackLab(["steady", "other"]) as lab:
        lab.start_master()
        lab.start_agents()
        before = node(lab, "steady")
        yield lab
        after = node(lab, "steady")
        for key in ("status", "generation", "since"):
            assert after[key] == before[key]
        assert_nothing_secret_was_written(lab)


GONE = (GRPCError, StreamTerminatedError, ProtocolError, OSError)  # what a cut connection raises


async def call(
    lab: Lab, who: Identity, method: str, request: bytes = b"", source: str = ""
) -> GRPCError | None:
    """A call with these bytes; how it was refused, or None."""
    async with channel(lab, who, source) as opened:
        return await call_on(opened, method, request)


async def call_on(opened: Channel, method: str, request: bytes) -> GRPCError | None:
    handler = {
        **wire.ApiServerServiceBase().__mapping__(),
        **wire.NodeAgentServiceBase().__mapping__(),
    }[method]
    made = opened.request(method, handler.cardinality, bytes, handler.reply_type)
    try:
        async with made as stream:
            await stream.send_message(request, end=True)
            await stream.recv_message()
            await stream.recv_trailing_metadata()
    except GRPCError as error:
        return error
    return None


def method(name: str, service: str = "NodeAgentService") -> str:
    """As it is called on the wire."""
    return next(m for m in RULES if m.endswith(f"{service}/{name}"))
