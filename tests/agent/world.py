"""An agent with a fake runtime, and masters for it: a real one in memory, and one by script.

Everything is in virtual time, over real sockets on the loopback interface.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import grpclib.const
import grpclib.server

from piccolo.agent.enrolment import Enrolment
from piccolo.agent.master_link import MasterLink, Membership
from piccolo.agent.pki import Pki
from piccolo.agent.pulser import Pulser
from piccolo.agent.reporter import Reporter
from piccolo.agent.session import Machine
from piccolo.agent.workloads.service import Workloads
from piccolo.config.settings import MasterSettings
from piccolo.core.address import Address
from piccolo.core.errors import PiccoloError
from piccolo.core.model import Facts, NodeRole, NodeType, Resources, Usage
from piccolo.core.security.access import Principal, Role, spiffe_id
from piccolo.master import keys
from piccolo.master.clock import Clock
from piccolo.master.cluster import Cluster
from piccolo.roles import master as role
from piccolo.rpc import wire
from piccolo.rpc.server import GrpcServer
from piccolo.security.authority import Authority, Request
from piccolo.security.files import private_dir, write_private
from piccolo.store.base import Entry, Store
from piccolo.store.codec import encode
from tests.master import insiders
from tests.master.memory_store import Disk
from tests.master.virtual_time import now, utc
from tests.runtime.fake import FakeRuntime

SETTLE = 0.002  # s of real time for packets on the loopback interface
SESSION = "/piccolo.v1.NodeAgentService/Session"
CLUSTER = wire.ClusterInfo(id=insiders.CLUSTER_ID, name="piccolo")
CONFIG = wire.NodeConfig(
    version=1, link_profile="wired", heartbeat_interval_ms=10_000, metrics_interval_ms=5_000
)


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


# ---- the agent ----


@dataclass(slots=True)
class Known:
    """An identity that is not on disk."""

    node_id: str = "id-n1"
    cluster_id: str = ""

    def joined(self, cluster_id: str) -> None:
        self.cluster_id = cluster_id


@dataclass(slots=True)
class Agent:
    link: MasterLink
    pki: Pki
    reporter: Reporter
    pulser: Pulser
    runtime: FakeRuntime
    identity: Known
    run: asyncio.Task[None]  # of the link
    workloads: Workloads


@asynccontextmanager
async def agent(
    *ports: int,
    identity: Known | None = None,
    runtime: FakeRuntime | None = None,
    name: str = "n1",
    pki: Path | None = None,
    token: str = "",
    pin: str = "",
    data: Path | None = None,
    link_profile: str = "wired",
) -> AsyncIterator[Agent]:
    """An agent of the master on any of these ports, as `roles.agent` puts it together. Its end is
    as by SIGKILL, if it did not say goodbye.

    Without a directory `pki` it has joined already; `data`: what outlives it.
    """
    runtime = runtime or FakeRuntime()
    identity = identity or Known(f"id-{name}")
    with tempfile.TemporaryDirectory(prefix="piccolo-agent-") as directory:
        held = Pki(pki or insiders.joined_pki(Path(directory) / "pki", identity.node_id))
        reporter, pulser = Reporter(runtime), Pulser()
        workloads = Workloads(runtime, reporter, identity.node_id, data or Path(directory))
        link = MasterLink(
            [Address("127.0.0.1", port) for port in ports],
            Membership(name, NodeRole.SUB, NodeType.EMBEDDED, link_profile, {"zone": "front"}),
            identity,
            Machine(identity.node_id, Facts(os="Debian 12"), Resources(4), Usage, 5.0),
            reporter,
            pulser,
            held,
            Enrolment(held, token, pin),
            workloads,
        )
        background = [
            asyncio.create_task(reporter.run()),
            asyncio.create_task(pulser.run()),
            asyncio.create_task(workloads.run()),
        ]
        running = asyncio.create_task(link.run(), name="master link")
        try:
            yield Agent(link, held, reporter, pulser, runtime, identity, running, workloads)
        finally:
            for task in (*background, running):
                task.cancel()
            await asyncio.gather(*background, running, return_exceptions=True)
            pulser.close()
            await asyncio.sleep(0.1)  # sockets are closed by the loop, a moment later


# ---- a real master ----


def settle(disk: Disk) -> Disk:
    """Make it the disk of a master that has lived before, with the authority of `insiders`."""
    if keys.MASTER not in disk.entries:
        record = keys.MasterRecord(keys.FORMAT, insiders.CLUSTER_ID, 0)
        disk.revision += 1
        disk.entries[keys.MASTER] = Entry(keys.MASTER, encode(record), disk.revision)
        pki = private_dir(disk.directory / "pki")
        write_private(pki / "ca.key", insiders.authority().key_pem)
        write_private(pki / "ca.crt", insiders.authority().pem)
    return disk


@asynccontextmanager
async def master(
    disk: Disk | None = None, port: int = 0, **settings: Any
) -> AsyncIterator[Cluster]:
    """A master that knows whoever holds a certificate of `insiders`; with a `disk` that is new: as
    at its first start.
    """
    disk = disk or settle(Disk())

    async def open_store(settings: MasterSettings) -> tuple[Store, str]:
        return await disk.open(), "memory"

    with (
        patch.object(role, "Clock", lambda: Clock(asyncio.get_running_loop().time, utc)),
        patch.object(role, "_open_store", open_store),
    ):
        settings = {"data_dir": str(disk.directory), "listen": f"127.0.0.1:{port}", **settings}
        async with role.serving(MasterSettings(**settings)) as cluster:
            yield cluster
    await asyncio.sleep(0.1)


# ---- a master that does as the test says ----


class Garbage:
    """What no decoder takes."""

    def __bytes__(self) -> bytes:
        return b"\x0a\xff\xff"


@dataclass(slots=True)
class Conversation:
    """One session, seen from the master."""

    stream: grpclib.server.Stream[wire.AgentMessage, wire.MasterMessage]
    hello: wire.Hello
    opened_at: float
    heard: list[wire.AgentMessage] = field(default_factory=list)
    acks: bool = True  # what is asked of a master at all times
    answers: bool = True

    async def welcome(self, **fields: Any) -> None:
        values: dict[str, Any] = {
            "generation": 1,
            "session_id": 1,
            "session_key": b"k" * 32,
            "config": CONFIG,
            "cluster_info": CLUSTER,
        }
        await self.say(welcome=wire.Welcome(**{**values, **fields}))

    async def say(self, **body: Any) -> None:
        await self.stream.send_message(wire.MasterMessage(**body))

    async def garbage(self) -> None:
        await self.stream.send_message(Garbage())  # type: ignore[arg-type]

    async def hear(self) -> wire.AgentMessage | None:
        message = await self.stream.recv_message()
        if message is None:
            return None
        self.heard.append(message)
        if message.heartbeat is not None and self.acks:
            await self.say(heartbeat_ack=wire.HeartbeatAck(seq=message.seq))
        if message.pulse is not None and self.answers:
            await self.say(pulse=wire.StreamPulse(seq=message.pulse.seq, answer=True))
        return message

    async def hear_until(self, what: str) -> Any:
        while (message := await self.hear()) is not None:
            name, value = wire.which_one_of(message, "body")
            if name == what:
                return value
        raise AssertionError(f"the agent hung up before {what}")

    async def serve(self, *, acks: bool = True, answers: bool = True) -> None:
        """Until the agent hangs up."""
        self.acks, self.answers = acks, answers
        while await self.hear() is not None:
            pass


Script = Callable[[Conversation], Awaitable[None]]


class ScriptedMaster(wire.NodeAgentServiceBase):
    def __init__(self, script: Script, authority: Authority) -> None:
        self.script = script
        self.authority = authority
        self.conversations: list[Conversation] = []
        self.registrations: list[wire.NodeRegistrationRequest] = []
        self.refusal: PiccoloError | None = None
        self.port = 0
        self.door = insiders.OpenDoor()
        self.server: GrpcServer

    async def get_trust_bundle(
        self, message: wire.GetTrustBundleRequest
    ) -> wire.GetTrustBundleResponse:
        return wire.GetTrustBundleResponse(ca_pem=self.authority.pem)

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        mapping: dict[str, grpclib.const.Handler] = super().__mapping__()
        mapping[SESSION] = mapping[SESSION]._replace(func=self._session)
        return mapping

    async def register_node(
        self, message: wire.NodeRegistrationRequest
    ) -> wire.NodeRegistrationResponse:
        self.registrations.append(message)
        if self.refusal is not None:
            raise self.refusal
        return wire.NodeRegistrationResponse(
            node_id=message.node_id,
            status=wire.RegistrationStatus.REGISTERED,
            certificate=self._certificate(message),
        )

    def _certificate(self, message: wire.NodeRegistrationRequest) -> wire.SignedCertificate | None:
        if message.credentials is None:
            return None
        key, who = Request(message.credentials.csr_pem).key, Principal(Role.AGENT, message.node_id)
        uri = spiffe_id(insiders.CLUSTER_ID, who)
        made = self.authority.sign_client(key, uri, utc(), insiders.LIFE)
        return wire.SignedCertificate(made.pem, self.authority.pem, made.not_before, made.not_after)

    async def _session(self, stream: Any) -> None:
        first = await stream.recv_message()
        assert first.hello is not None
        conversation = Conversation(stream, first.hello, now())
        self.conversations.append(conversation)
        await self.script(conversation)


@asynccontextmanager
async def scripted(
    script: Script, *, by: Authority | None = None, now: datetime | None = None
) -> AsyncIterator[ScriptedMaster]:
    """`by`: with an authority of its own; `now`: when its certificate was made."""
    master = ScriptedMaster(script, by or insiders.authority())
    server = GrpcServer([master], master.door, insiders.serving_tls(master.authority, now))
    master.server = server
    master.port = await server.start("127.0.0.1", 0)
    try:
        yield master
    finally:
        await server.close()
        await asyncio.sleep(0.1)
