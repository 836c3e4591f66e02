"""On the way into the cluster, and out of it: what listeners, guessers, false masters and nodes
that were thrown out get from it, which is nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from grpclib import GRPCError, Status
from grpclib.client import Channel

from piccolo.core.address import Address
from piccolo.core.errors import PermissionDenied
from piccolo.core.security.token import ID_BYTES, SECRET_BYTES, JoinToken
from piccolo.rpc import wire
from piccolo.rpc.client import dial
from piccolo.rpc.server import GrpcServer
from tests.e2e.asking import ask, events, eventually, nodes
from tests.e2e.by_hand import Agent
from tests.e2e.forwarder import TcpForwarder
from tests.e2e.strangers import (
    GONE,
    Doorman,
    Identity,
    Issuer,
    agent_identity,
    another_source,
    call,
    call_on,
    channel,
    method,
    nobody,
    plain_socket,
    trusted,
    undisturbed,
)
from tests.lab.cluster import PORT, LoopbackLab

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def lab() -> Iterator[LoopbackLab]:
    with undisturbed() as cluster:
        yield cluster


def one_token(lab: LoopbackLab) -> str:
    made = lab.piccolo("token", "create", "-o", "json")
    return str(json.loads(made.stdout)["token"])


async def test_a_removed_node_is_out_at_once_and_stays_out(lab: LoopbackLab) -> None:
    agent = Agent(lab, "leaves")
    agent.token = await asyncio.to_thread(one_token, lab)
    await agent.register()
    async with agent.session() as session:
        await session.report()
        begun = time.monotonic()
        await asyncio.to_thread(lab.piccolo, "remove", "node", "leaves")
        goodbye = await session.hear("goodbye", 5)
        assert goodbye.final
        with contextlib.suppress(*GONE):
            assert await session.stream.recv_message() is None
        assert time.monotonic() - begun < 3
    for name, request in (
        ("ReceiveConfig", wire.ConfigRequest(node_id=agent.node_id)),
        ("RegisterNode", agent.registration()),
        ("RenewCertificate", wire.RenewCertificateRequest(csr_pem=agent.request)),
    ):
        with pytest.raises(GRPCError, match="revoked") as refused:
            await agent.call(name, bytes(request), wire.ConfigResponse)
        assert refused.value.status is Status.PERMISSION_DENIED
    assert agent.signed is not None
    old, agent.signed = agent.signed, None
    renewal = wire.RenewCertificateRequest(csr_pem=agent.request, expired_pem=old.certificate_pem)
    with pytest.raises(GRPCError, match="revoked"):
        await agent.call("RenewCertificate", bytes(renewal), wire.RenewCertificateResponse)
    with pytest.raises(GRPCError, match="the join token is not valid"):  # it had one use
        await agent.register()
    assert "leaves" not in await asyncio.to_thread(nodes, lab)


def test_a_recorded_join_is_no_use(lab: LoopbackLab) -> None:
    """Who has listened to a join has learnt nothing, and to say it all again does nothing."""
    listen = (another_source(), PORT)
    with TcpForwarder(listen, (lab.master.ip, PORT)) as line:
        lab.nodes.setdefault("recorded", lab.net.add_host("recorded"))
        lab.start_agent("recorded", master=f"{listen[0]}:{PORT}")
        eventually(lambda: nodes(lab).get("recorded", {}).get("status") == "Ready", 10)
        lab.agents.pop("recorded").terminate()
        recorded = [bytes(said) for said in line.sent]
    assert len(recorded) >= 2  # its question for the authority, the join, the session
    secret = JoinToken.parse(lab.token).secret.encode()
    assert not any(secret in said or b"CERTIFICATE" in said for said in recorded)
    before = nodes(lab)["recorded"], certificates(lab)
    for said in recorded:
        with contextlib.suppress(OSError), plain_socket(lab) as replay:
            replay.sendall(said)
            while replay.recv(65536):
                pass
    assert (nodes(lab)["recorded"], certificates(lab)) == before
    lab.piccolo("remove", "node", "recorded")


def certificates(lab: LoopbackLab) -> set[str]:
    reply = ask(lab, lambda stub: stub.get_certificates(wire.GetCertificatesRequest()))
    return {c.serial for c in reply.certificates}


GUESSES = 10_000


async def test_guessing_tokens_is_hopeless_and_harms_nobody(lab: LoopbackLab) -> None:
    master, source = lab.master_proc, another_source()
    assert master is not None
    trail = lab.master.dir / "data" / "audit"
    memory, size = master.rss_kb(), size_of(trail)
    guesser, honest = Guesser(lab, source), Agent(lab, "neighbour")
    async with asyncio.TaskGroup() as tasks:
        guessing = tasks.create_task(guesser.run())
        await honest.register()  # from another address
        async with asyncio.timeout(20):
            await guesser.blocked.wait()
        # It shares the guesser's address now, as behind a NAT, and has a certificate.
        identity = Identity(trusted(lab), honest.signed_pem, honest.key)
        for _ in range(5):
            begun = time.monotonic()
            config = wire.ConfigRequest(node_id=honest.node_id)
            assert await call(lab, identity, method("ReceiveConfig"), bytes(config), source) is None
            assert time.monotonic() - begun < 2.0
            await asyncio.sleep(0.2)
        assert not guessing.done()
    assert sum(guesser.statuses.values()) == GUESSES
    looked_at = guesser.statuses[Status.PERMISSION_DENIED]
    assert 5 < looked_at < 50, guesser.statuses  # the others were not even read
    assert guesser.statuses == {
        Status.PERMISSION_DENIED: looked_at,
        Status.UNAVAILABLE: GUESSES - looked_at,
    }
    assert master.rss_kb() - memory < 10 * 1024
    assert size_of(trail) - size < 64 * 1024
    seen = await asyncio.to_thread(events, lab)
    blocked = [e for e in seen if e["reason"] == "SourceBlocked" and e["subject"] == source]
    assert blocked
    assert len(blocked) < 12


class Guesser:
    """Tries one token after the other, over as few connections as it is let."""

    def __init__(self, lab: LoopbackLab, source: str) -> None:
        self.statuses: Counter[Status] = Counter()
        self.blocked = asyncio.Event()
        self._lab, self._source = lab, source
        self._agent = Agent(lab, "guesser")
        self._pin = JoinToken.parse(lab.token).pin

    async def run(self) -> None:
        while sum(self.statuses.values()) < GUESSES:
            try:
                async with (
                    channel(self._lab, nobody(self._lab), self._source) as opened,
                    asyncio.TaskGroup() as tasks,
                ):
                    for _ in range(8):
                        tasks.create_task(self._guess(opened))
            except* (*GONE, TimeoutError):  # its connections live for 20 s
                await asyncio.sleep(0.1)

    async def _guess(self, opened: Channel) -> None:
        while sum(self.statuses.values()) < GUESSES:
            self.statuses[Status.OK] += 1  # counted beforehand, for the others
            token = JoinToken.make(os.urandom(ID_BYTES + SECRET_BYTES), self._pin).text
            request = self._agent.registration()
            request.credentials = wire.Credentials(token=token, csr_pem=self._agent.request)
            try:
                refused = await call_on(opened, method("RegisterNode"), bytes(request))
                assert refused is not None, token
                self.statuses[refused.status] += 1
                if refused.status is Status.UNAVAILABLE:
                    self.blocked.set()
            finally:
                self.statuses[Status.OK] -= 1
                self.statuses += Counter()  # drops what is 0


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


# ---- a false master ----


async def test_a_man_in_the_middle_learns_nothing(lab: LoopbackLab) -> None:
    """He has an authority of his own, which calls itself as ours does. One node is on its way in,
    with a good token; the other has joined, and its line was bent."""
    await asyncio.to_thread(lab.join_token)
    ground, host = FalseMaster(await asyncio.to_thread(Issuer.foreign, lab)), another_source()
    server = GrpcServer([ground], Doorman(), ground.tls())
    await server.start(host, PORT)
    try:
        lab.nodes.setdefault("lured", lab.net.add_host("lured"))
        lured = lab.start_agent("lured", master=f"{host}:{PORT}")
        assert await asyncio.to_thread(lured.wait, 10) != 0
        assert "does not have the authority that the token is of" in lured.output()
        assert "nothing was told to it" in lured.output()
        with pytest.raises(PermissionDenied, match="another cluster"):
            await dial([Address(host, PORT)], timeout=3, tls=agent_identity(lab, "steady").tls)
        assert ground.heard == [wire.GetTrustBundleRequest()]
    finally:
        await server.close()


class FalseMaster(wire.NodeAgentServiceBase):
    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self.heard: list[object] = []

    def tls(self) -> ssl.SSLContext:
        return self._issuer.master_tls()

    async def get_trust_bundle(
        self, message: wire.GetTrustBundleRequest
    ) -> wire.GetTrustBundleResponse:
        self.heard.append(message)
        return wire.GetTrustBundleResponse(ca_pem=self._issuer.pem)

    async def register_node(
        self, message: wire.NodeRegistrationRequest
    ) -> wire.NodeRegistrationResponse:
        self.heard.append(message)
        return wire.NodeRegistrationResponse()
