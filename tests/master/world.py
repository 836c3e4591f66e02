"""A whole master without sockets, in virtual time; its store and nodes are in the test's hands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from piccolo.config.settings import MasterSettings
from piccolo.core.model import Event, Facts, Node, NodeRole, NodeState, NodeType, Resources, Usage
from piccolo.master.clock import Clock
from piccolo.master.cluster import Cluster
from piccolo.master.registration import Registration
from piccolo.master.sessions import Session
from piccolo.roles import master as role
from piccolo.store.mirror import MirroredStore
from tests.master.memory_store import Disk, MemoryStore
from tests.master.virtual_time import utc

ROOMY = Usage(memory_available_percent=50.0, disk_used_percent=20.0)
CROWDED = Usage(memory_available_percent=2.0, disk_used_percent=20.0)


def request(name: str = "n1", **fields: Any) -> Registration:
    values: dict[str, Any] = {
        "node_id": f"id-{name}",
        "name": name,
        "ip": "10.0.0.7",
        "role": NodeRole.SUB,
        "type": NodeType.EMBEDDED,
        "resources": Resources(4, 1024, 16),
        "facts": Facts(os="Debian 12"),
        "labels": {},
    }
    return Registration(**{**values, **fields})


@dataclass(slots=True)
class World:
    cluster: Cluster
    store: MemoryStore
    disk: Disk

    async def register(self, name: str = "n1", **fields: Any) -> Node:
        """As the API server does."""
        node = await self.cluster.nodes.register(request(name, **fields))
        if self.cluster.sessions.of_node(node.id) is None:
            self.cluster.monitoring.expect(node)
        return node

    def connect(self, node: Node, *, synced: bool = True) -> Session:
        """As the API server does when Hello comes."""
        c = self.cluster
        session = c.sessions.open(node.id, "run-1", "10.0.0.7:40000")
        c.nodes.synced(node.id, False)
        c.monitoring.opened(node, session.generation, session.peer)
        if synced:
            c.nodes.synced(node.id, True)
        return session

    def disconnect(self, session: Session, *, said_goodbye: bool = False) -> None:
        c = self.cluster
        c.sessions.close(session)
        c.monitoring.closed(session.node_id, session.generation, said_goodbye=said_goodbye)

    async def joined(self, name: str = "n1", **fields: Any) -> Session:
        return self.connect(await self.register(name, **fields))

    def pulse(self, session: Session, *, datagram: bool = True, heard_ago: float = 0.0) -> None:
        self.cluster.monitoring.heard(
            session.node_id, session.generation, heard_us_ago=heard_ago, datagram=datagram
        )

    def beat(self, session: Session, usage: Usage | None = ROOMY) -> None:
        self.cluster.monitoring.heartbeat(session.node_id, session.generation, usage, 1.0)

    async def lives(
        self,
        session: Session,
        seconds: float,
        *,
        usage: Usage | None = ROOMY,
        datagrams: bool = True,
        beats: bool = True,
    ) -> None:
        """The node pulses twice a second, and beats every ten."""
        for tick in range(int(seconds * 2)):
            await asyncio.sleep(0.5)
            self.pulse(session, datagram=datagrams)
            if beats and tick % 20 == 19:
                self.beat(session, usage)

    def state_of(self, name: str = "n1") -> tuple[NodeState, str]:
        status = self.cluster.state.status(f"id-{name}")
        return status.state, status.reason

    def events(self, reason: str = "") -> list[Event]:
        return [e for e in self.cluster.events.newest() if not reason or e.reason == reason]

    def reasons(self) -> list[str]:
        return [e.reason for e in self.events()]


@asynccontextmanager
async def master(
    disk: Disk | None = None, *, plans: bool = True, **settings: Any
) -> AsyncIterator[World]:
    """A master on `disk` until the end of the block. Without `plans`, assignments are the test's:
    nobody else puts them in order."""
    disk = disk or Disk()
    store = await disk.open()
    mirror = await MirroredStore.load(store)
    try:
        with patch.object(role, "Clock", lambda: Clock(asyncio.get_running_loop().time, utc)):
            cluster = await role._assemble(
                MasterSettings(data_dir=str(disk.directory), **settings), mirror, "memory"
            )
    except BaseException:
        await mirror.close()
        raise
    async with asyncio.TaskGroup() as tasks:
        parts = [
            tasks.create_task(part)
            for part in (
                mirror.run(),
                cluster.state.run(),
                cluster.monitoring.run(),
                cluster.access.run(),
                cluster.audit.run(),
                cluster.desired.run(),
                cluster.restored.run(),
                cluster.agent_events.run(),
                *([cluster.actions.run()] if plans else []),
            )
        ]
        await asyncio.sleep(0)
        try:
            yield World(cluster, store, disk)
        finally:
            for part in parts:
                part.cancel()
    cluster.monitoring.keep_heartbeats()
    await cluster.audit.close()
    await mirror.close()


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Waits for `condition`, at most `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def labels(world: World, name: str = "n1") -> Mapping[str, str]:
    return world.cluster.state.find_node(name).labels
