"""Who a master knows by a certificate: throw-away authorities, nodes with keys, and callers.

OpenSSL looks at the real clock, so the times of `virtual_time` begin near it.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from piccolo.core.security.access import ANONYMOUS, Principal, Role, spiffe_id
from piccolo.master.cluster import Cluster
from piccolo.rpc import server as rpc_server
from piccolo.rpc.server import Caller
from piccolo.security.authority import Authority, Request, Signed
from piccolo.security.files import private_dir, write_private
from piccolo.security.request import make_key, make_request
from piccolo.security.tls import client_context, server_context

CLUSTER_ID = "cluster-1"
LIFE = timedelta(days=30)


@dataclass(frozen=True)
class Machine:
    """A key, and the request that it signs."""

    key: str = field(default_factory=make_key, repr=False)

    @property
    def csr(self) -> str:
        return make_request(self.key)

    @property
    def request(self) -> Request:
        return Request(self.csr)


@cache
def authority() -> Authority:
    """Of this process: those who come and go share it."""
    return Authority.create("PICCOLO test", datetime.now(UTC))


@cache
def machine(name: str) -> Machine:
    """The same key for the same name."""
    return Machine()


def signed(
    who: Principal,
    key: Machine,
    *,
    by: Authority | None = None,
    cluster_id: str = CLUSTER_ID,
    now: datetime | None = None,
    lifetime: timedelta = LIFE,
) -> Signed:
    """A certificate that no record tells of."""
    uri = spiffe_id(cluster_id, who)
    made = now or datetime.now(UTC)
    return (by or authority()).sign_client(key.request.key, uri, made, lifetime)


def client(who: Principal, key: Machine, by: Authority | None = None) -> ssl.SSLContext:
    by = by or authority()
    return client_context(by.pem, signed(who, key, by=by).pem, key.key)


async def insider(cluster: Cluster, who: Principal, lifetime: timedelta = LIFE) -> ssl.SSLContext:
    """For somebody whose certificate that master gave, and knows of."""
    key = machine(who.name)
    made = await cluster.certificates.issue(who, key.request, lifetime)
    return client_context(cluster.certificates.trust.bundle, made.certificate_pem, key.key)


def serving_tls(by: Authority | None = None, now: datetime | None = None) -> ssl.SSLContext:
    """Of a master whose certificate was made at `now`."""
    by, key = by or authority(), machine("master")
    made = by.sign_master(key.request.key, ["127.0.0.1"], now or datetime.now(UTC), LIFE)
    return server_context(by.pem, made.pem, key.key)


def joined_pki(directory: Path, node_id: str) -> Path:
    """The directory of a node that has joined the cluster `CLUSTER_ID` of `authority`."""
    key = machine(node_id)
    found = signed(Principal(Role.AGENT, node_id), key)
    times = f"Made: {found.not_before.isoformat()}\nNot After: {found.not_after.isoformat()}\n"
    private_dir(directory)
    write_private(directory / "node.key", key.key)
    write_private(directory / "node.csr", key.csr)
    write_private(directory / "node.crt", times + found.pem)
    write_private(directory / "ca.crt", authority().pem)
    return directory


class OpenDoor:
    """A guard that lets everybody in."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failures: list[str] = []

    def admit(self, method: str, address: str, certificate: Mapping[str, Any] | None) -> Caller:
        self.asked.append(method.rpartition("/")[2])
        return Caller(address)

    def ended(self, method: str, caller: Caller, error: BaseException | None) -> None: ...

    def blocked(self, source: str) -> float:
        return 0.0

    def handshake_failed(self, source: str, reason: str) -> None:
        self.failures.append(reason)


@contextmanager
def calling(
    who: Principal = ANONYMOUS, address: str = "10.0.0.9:4000", serial: str = ""
) -> Iterator[Caller]:
    """What is called inside is called by `who`, as the server puts it."""
    caller = Caller(address, who, serial)
    before = rpc_server._caller.set(caller)
    try:
        yield caller
    finally:
        rpc_server._caller.reset(before)
