"""What comes over the network besides well-behaved agents of our own version: agents and masters
of newer versions, sessions that linger, strangers, forgers."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest
from grpclib import GRPCError, Status
from grpclib.exceptions import StreamTerminatedError

from piccolo.core.errors import StaleGeneration
from piccolo.core.nodes.liveness import PROFILES
from piccolo.core.security.access import Principal, Role, spiffe_id
from piccolo.core.security.token import ID_BYTES, SECRET_BYTES, JoinToken
from piccolo.rpc import wire
from piccolo.rpc.server import GrpcServer
from piccolo.security.authority import Authority, Request
from piccolo.security.request import make_key, make_request
from piccolo.security.tls import server_context
from tests.e2e.asking import DETECTED, containers, events, eventually, node, nodes
from tests.e2e.by_hand import NEWER, NEWER_CASE, Agent, Session
from tests.e2e.strangers import Doorman
from tests.lab.cluster import PORT, LoopbackLab

pytestmark = pytest.mark.slow

WIRED = PROFILES["wired"]


@pytest.fixture(scope="module")
def lab() -> Iterator[LoopbackLab]:
    """A master and one real agent, which nothing here may disturb."""
    with LoopbackLab(["steady"]) as cluster:
        cluster.start_master()
        cluster.start_agents()
        yield cluster
        assert cluster.master_proc is not None
        assert "Traceback" not in cluster.master_proc.output()
        assert node(cluster, "steady")["status"] == "Ready"
        assert not any("NotReady" in event["message"] for event in events(cluster, "steady"))


async def there(lab: LoopbackLab, name: str) -> str:
    """The node's status, asked in a thread."""
    return str((await asyncio.to_thread(node, lab, name))["status"])


async def becomes(lab: LoopbackLab, name: str, status: str, within: float) -> None:
    await asyncio.to_thread(eventually, lambda: node(lab, name)["status"] == status, within)


# ---- other versions ----


async def test_a_newer_agent_is_understood_as_far_as_we_can(lab: LoopbackLab) -> None:
    agent = Agent(lab, "newer-agent")
    reply = await agent.register(NEWER)
    assert reply.status == wire.RegistrationStatus.REGISTERED
    async with agent.session(NEWER, protocol=2) as session:
        await session.report(wire.ContainerStatus(id="c1", name="web", state="hibernating"))
        await session.say(NEWER_CASE)  # a message of which we do not know the kind
        await session.say(NEWER)  # of no kind at all
        await session.beat(wire.ContainerStatus(id="c1", name="web", state="hibernating"))
        ack = await session.hear("heartbeat_ack")
        assert ack.seq == 5
        assert await there(lab, "newer-agent") == "Ready"
    shown = await asyncio.to_thread(containers, lab, "newer-agent")
    assert shown["web"]["state"] == "hibernating"


async def test_unknown_fields_of_a_newer_client(lab: LoopbackLab) -> None:
    agent = Agent(lab, "newer-client")
    await agent.register()
    request = bytes(wire.ConfigRequest(node_id=agent.node_id)) + NEWER
    reply = await agent.call("ReceiveConfig", request, wire.ConfigResponse)
    assert reply.changed
    assert reply.config.link_profile == "wired"  # so it was read


class NewerMaster(wire.NodeAgentServiceBase):
    """A master of a later version, as far as an agent of this one can tell."""

    def __init__(self) -> None:
        self.authority = Authority.create("newer", datetime.now(UTC))
        self.heard: asyncio.Queue[wire.AgentMessage] = asyncio.Queue()
        self.outgoing: asyncio.Queue[bytes | Exception] = asyncio.Queue()

    @property
    def token(self) -> str:
        pin = self.authority.fingerprint
        return JoinToken.make(os.urandom(ID_BYTES + SECRET_BYTES), pin).text

    def tls(self) -> ssl.SSLContext:
        key, now = make_key(), datetime.now(UTC)
        public = Request(make_request(key)).key
        signed = self.authority.sign_master(public, [], now, timedelta(hours=1))
        return server_context(self.authority.pem, signed.pem, key)

    async def get_trust_bundle(
        self, message: wire.GetTrustBundleRequest
    ) -> wire.GetTrustBundleResponse:
        reply = wire.GetTrustBundleResponse(ca_pem=self.authority.pem)
        return bytes(reply) + NEWER  # type: ignore[return-value]

    async def register_node(
        self, message: wire.NodeRegistrationRequest
    ) -> wire.NodeRegistrationResponse:
        reply = wire.NodeRegistrationResponse(node_id=message.node_id, message="come in")
        if message.credentials is not None:
            name = spiffe_id("c1", Principal(Role.AGENT, message.node_id))
            public = Request(message.credentials.csr_pem).key
            now = datetime.now(UTC)
            signed = self.authority.sign_client(public, name, now, timedelta(hours=1))
            reply.certificate = wire.SignedCertificate(
                certificate_pem=signed.pem,
                ca_pem=self.authority.pem,
                not_before=signed.not_before,
                not_after=signed.not_after,
            )
        return bytes(reply) + NEWER  # type: ignore[return-value]

    async def session(
        self, messages: AsyncIterator[wire.AgentMessage]
    ) -> AsyncIterator[wire.MasterMessage]:
        self.heard.put_nowait(await anext(messages))
        welcome = wire.Welcome(
            generation=1,
            session_id=1,
            session_key=b"k" * 32,
            config=wire.NodeConfig(version=1),
            cluster_info=wire.ClusterInfo(id="c1"),
        )
        yield bytes(wire.MasterMessage(seq=1, welcome=welcome)) + NEWER  # type: ignore[misc]
        reading = asyncio.ensure_future(self._read(messages))
        try:
            while not isinstance(said := await self.outgoing.get(), Exception):
                yield said  # type: ignore[misc]
            raise said
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, messages: AsyncIterator[wire.AgentMessage]) -> None:
        async for message in messages:
            self.heard.put_nowait(message)

    async def hear(self, name: str) -> object:
        async with asyncio.timeout(5):
            while True:
                found, value = wire.which_one_of(await self.heard.get(), "body")
                if found == name:
                    return value


@asynccontextmanager
async def newer_master(address: str) -> AsyncIterator[NewerMaster]:
    service = NewerMaster()
    server = GrpcServer([service], Doorman(), service.tls())
    await server.start(address, PORT)
    try:
        yield service
    finally:
        service.outgoing.put_nowait(StaleGeneration("the test is over"))
        await server.close()


async def test_an_agent_gets_on_with_a_newer_master() -> None:
    with LoopbackLab(["n1"]) as lab:
        async with newer_master(lab.master.ip) as master:
            agent = lab.start_agent("n1", env={"PICCOLO_TOKEN": master.token})
            hello = await master.hear("hello")
            assert isinstance(hello, wire.Hello)
            await master.hear("heartbeat")
            master.outgoing.put_nowait(NEWER_CASE)
            master.outgoing.put_nowait(
                bytes(wire.MasterMessage(call=wire.Call(call_id=7, deadline_ms=1000)))
            )
            answer = await master.hear("result")
            assert isinstance(answer, wire.CallResult)
            assert answer.call_id == 7
            assert "does not know that call" in answer.error
            health = wire.Call(call_id=8, deadline_ms=1000, health=wire.HealthCheck())
            master.outgoing.put_nowait(bytes(wire.MasterMessage(call=health)) + NEWER)
            answer = await master.hear("result")
            assert isinstance(answer, wire.CallResult)
            assert answer.call_id == 8
            assert answer.health is not None

            master.outgoing.put_nowait(StaleGeneration("for a reason of its own"))
            await asyncio.to_thread(agent.wait_for_output, "no session with the master", 5)
            assert "no session with the master: for a reason of its own;" in agent.output()
            await master.hear("hello")  # and it is back
            assert agent.alive
            assert "Traceback" not in agent.output()


# ---- sessions that linger ----


async def test_an_old_session_cannot_touch_what_a_newer_one_says(lab: LoopbackLab) -> None:
    agent = Agent(lab, "fenced")
    await agent.register()
    mine = wire.ContainerStatus(id="c1", name="mine", state="running")
    old = wire.ContainerStatus(id="c2", name="old", state="running")
    async with agent.session() as first:
        await first.report(mine)
        async with agent.session() as second:
            assert second.welcome.generation > first.welcome.generation
            await second.report(mine)
            goodbye = await first.hear("goodbye")
            assert goodbye.reason == "Replaced"
            with suppress(GRPCError, StreamTerminatedError):  # it may be gone by then
                await first.say(delta=wire.StatusDelta(containers=[old], removed=["c1"]))
                await first.beat(old)
            for _ in range(5):
                first.pulse()
            await second.beat(mine)
            await second.hear("heartbeat_ack")

            stale = first.welcome.generation
            report = wire.StatusReport(node_id=agent.node_id, generation=stale, containers=[old])
            for method, request, answer in (
                ("ReportStatus", report, wire.StatusAck),
                (
                    "Heartbeat",
                    wire.HeartbeatRequest(node_id=agent.node_id, generation=stale),
                    wire.HeartbeatResponse,
                ),
            ):
                with pytest.raises(GRPCError) as refused:
                    await agent.call(method, bytes(request), answer)
                assert refused.value.status is Status.FAILED_PRECONDITION

            assert set(await asyncio.to_thread(containers, lab, "fenced")) == {"mine"}
            found = await asyncio.to_thread(node, lab, "fenced")
            assert (found["status"], found["generation"]) == ("Ready", second.welcome.generation)


async def test_a_copy_under_another_name_changes_nothing(lab: LoopbackLab) -> None:
    """An image that was copied from a living node to a machine with a host name of its own."""
    before = await asyncio.to_thread(node, lab, "steady")
    copy = Agent.copy_of(lab, "steady", name="impostor")
    with pytest.raises(GRPCError) as refused:
        await copy.register()
    assert refused.value.status is Status.ALREADY_EXISTS
    assert "delete the data directory" in (refused.value.message or "")
    after = await asyncio.to_thread(node, lab, "steady")
    assert [after[key] for key in ("id", "ip", "generation")] == [
        before[key] for key in ("id", "ip", "generation")
    ]


async def test_the_id_of_another_is_no_use_without_its_key(lab: LoopbackLab) -> None:
    """Ids are no secrets: they are in every list."""
    before = await asyncio.to_thread(node, lab, "steady")
    thief = Agent(lab, "steady")
    thief.node_id = before["id"]
    with pytest.raises(GRPCError) as refused:
        await thief.register()
    assert refused.value.status is Status.ABORTED
    assert "is known with another key" in (refused.value.message or "")
    assert (await asyncio.to_thread(node, lab, "steady"))["generation"] == before["generation"]


# ---- strangers ----


def test_garbage_disturbs_nobody(lab: LoopbackLab) -> None:
    chance = random.Random(1)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    said = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50),  # a TLS ClientHello
        preface + os.urandom(4096),
        preface + b"\xff\xff\xff\x00\x00\x00\x00\x00\x00",  # a frame of 16 MB
        *(os.urandom(chance.randrange(1, 5000)) for _ in range(20)),
    ]
    before = node(lab, "steady")
    begun = time.monotonic()
    idle = [socket.create_connection((lab.master.ip, PORT)) for _ in range(50)]
    with lab.watch_nodes() as watch, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.connect((lab.master.ip, PORT))
        for _ in range(50):
            for words in said:
                stranger.send(words[:1400])
            for size in (0, 1, 33, 34, 35):
                stranger.send(b"P" + os.urandom(size))
        for words in said:
            with socket.create_connection((lab.master.ip, PORT)) as connection:
                connection.sendall(words)
        time.sleep(WIRED.silent_after)
        changes = [c.object for c in watch.since(begun) if c.name == "steady" and c.type != "ADDED"]
    for each in idle:
        each.close()
    assert changes == []
    assert node(lab, "steady")["generation"] == before["generation"]


# ---- forgers ----


async def pulsing(session: Session, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        session.pulse()
        await asyncio.sleep(0.1)


async def be_forged(lab: LoopbackLab) -> None:
    """A forger who knows the session's id, but not its key, says the highest number there is."""
    agent = Agent(lab, "forged")
    await agent.register()
    async with agent.session() as session:
        await session.report()
        await pulsing(session, 0.3)
        for key in (bytes(32), b"k" * 32):
            session.send(session.forge(0xFFFFFFFF, key))
        await pulsing(session, 0.2)
        session.answers()
        await pulsing(session, WIRED.silent_after + 0.7)  # these must count
        assert session.answers() > 15
        assert await there(lab, "forged") == "Ready"


async def be_replayed(lab: LoopbackLab) -> None:
    """A forger who has recorded what the node sent, and repeats it when the node is gone."""
    agent = Agent(lab, "replayed")
    await agent.register()
    async with agent.session() as session:
        await session.report()
        await pulsing(session, 1.0)
        assert await there(lab, "replayed") == "Ready"
        stopped = time.monotonic()
        await asyncio.sleep(0.05)
        assert session.answers() == len(session.sent)

        async def replay() -> None:
            while True:
                for datagram in session.sent:
                    session.send(datagram)
                    session.send(session.forge(len(session.sent) + 10, bytes(32)))
                await asyncio.sleep(0.05)

        async with asyncio.TaskGroup() as tasks:
            replaying = tasks.create_task(replay())
            await becomes(lab, "replayed", "NotReady", stopped + DETECTED - time.monotonic())
            await asyncio.sleep(1.0)
            assert await there(lab, "replayed") == "NotReady"
            replaying.cancel()
        assert session.answers() == 0

        await pulsing(session, 0.5)  # a genuine one does
        assert await there(lab, "replayed") == "Ready"
    assert "Silent" in [e["reason"] for e in await asyncio.to_thread(events, lab, "replayed")]
    assert set(await asyncio.to_thread(nodes, lab)) >= {"steady", "replayed"}


async def test_forgers_neither_kill_nor_revive(lab: LoopbackLab) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(be_forged(lab))
        tasks.create_task(be_replayed(lab))
