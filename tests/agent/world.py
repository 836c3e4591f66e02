"""An agent with a fake runtime, and masters for it: a real one in memory, and one by script.

Everything is in virtual time, over real sockets on the loopback interface.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import grpclib.const
import grpclib.server

from piccolo.agent.master_link import MasterLink, Membership
from piccolo.agent.pulser import Pulser
from piccolo.agent.reporter import Reporter
from piccolo.agent.session import Machine
from piccolo.config.settings import MasterSettings
from piccolo.core.address import Address
from piccolo.core.errors import PiccoloError
from piccolo.core.model import Facts, NodeRole, NodeType, Resources, Usage
from piccolo.master.clock import Clock
from piccolo.master.cluster import Cluster
from piccolo.roles import master as role
from piccolo.rpc import wire
from piccolo.rpc.server import GrpcServer
from piccolo.store.base import Store
from tests.master.memory_store import Disk
from tests.master.virtual_time import now, utc
from tests.runtime.fake import FakeRuntime

SETTLE = 0.002  # s of real time for packets on the loopback interface
SESSION = "/piccolo.v1.NodeAgentService/Session"
CLUSTER = wire.ClusterInfo(id="cluster-1", name="piccolo")
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
    reporter: Reporter
    pulser: Pulser
    runtime: FakeRuntime
    identity: Known
    run: asyncio.Task[None]  # of the link


@asynccontextmanager
async def agent(
    *ports: int, identity: Known | None = None, runtime: FakeRuntime | None = None, name: str = "n1"
) -> AsyncIterator[Agent]:
    """An agent of the master on any of these ports, as `roles.agent` puts it together."""
    runtime = runtime or FakeRuntime()
    identity = identity or Known(f"id-{name}")
    reporter, pulser = Reporter(runtime), Pulser()
    link = MasterLink(
        [Address("127.0.0.1", port) for port in ports],
        Membership(name, NodeRole.SUB, NodeType.EMBEDDED, "wired", {"zone": "front"}),
        identity,
        Machine(identity.node_id, Facts(os="Debian 12"), Resources(4), Usage, 5.0),
        reporter,
        pulser,
    )
    background = [asyncio.create_task(reporter.run()), asyncio.create_task(pulser.run())]
    running = asyncio.create_task(link.run(), name="master link")
    try:
        yield Agent(link, reporter, pulser, runtime, identity, running)
    finally:
        for task in (*background, running):
            task.cancel()
        await asyncio.gather(*background, running, return_exceptions=True)
        pulser.close()
        await asyncio.sleep(0.1)  # sockets are closed by the loop, a moment later


# ---- a real master ----


@asynccontextmanager
async def master(
    disk: Disk | None = None, port: int = 0, **settings: Any
) -> AsyncIterator[Cluster]:
    disk = disk or Disk()

    async def open_store(settings: MasterSettings) -> tuple[Store, str]:
        return await disk.open(), "memory"

    with (
        patch.object(role, "Clock", lambda: Clock(asyncio.get_running_loop().time, utc)),
        patch.object(role, "_open_store", open_store),
    ):
        settings = {"data_dir": "/nowhere", "listen": f"127.0.0.1:{port}", **settings}
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
    def __init__(self, script: Script) -> None:
        self.script = script
        self.conversations: list[Conversation] = []
        self.registrations: list[wire.NodeRegistrationRequest] = []
        self.refusal: PiccoloError | None = None
        self.port = 0

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
            node_id=message.node_id, status=wire.RegistrationStatus.REGISTERED
        )

    async def _session(self, stream: Any) -> None:
        first = await stream.recv_message()
        assert first.hello is not None
        conversation = Conversation(stream, first.hello, now())
        self.conversations.append(conversation)
        await self.script(conversation)


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[ScriptedMaster]:
    master = ScriptedMaster(script)
    server = GrpcServer([master])
    master.port = await server.start("127.0.0.1", 0)
    try:
        yield master
    finally:
        await server.close()
        await asyncio.sleep(0.1)
