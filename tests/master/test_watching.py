"""List, then watch: every change once, what left the selection as deleted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from piccolo.core.errors import InvalidSpec, NotFound
from piccolo.core.model import Container, ContainerUsage, Severity
from piccolo.core.report import Delta
from piccolo.master.api_server.client_service import ClientService
from piccolo.rpc import wire
from piccolo.store.mirror import memory
from tests.master.virtual_time import virtual_time
from tests.master.world import World, master

NODE, CONTAINER = wire.WatchKind.NODE, wire.WatchKind.CONTAINER
EVENT, TOPOLOGY = wire.WatchKind.EVENT, wire.WatchKind.TOPOLOGY


class Client:
    """Keeps what a client would show, from nothing but what it is sent."""

    def __init__(self) -> None:
        self.log: list[str] = []  # "ADDED n1" …
        self.shown: dict[str, wire.WatchResponse] = {}
        self.slow = asyncio.Event()
        self.slow.set()

    async def follow(self, responses: AsyncIterator[wire.WatchResponse]) -> None:
        async for sent in responses:
            response = wire.WatchResponse.FromString(bytes(sent))  # as it was at this moment
            kind = wire.ChangeType(response.type).name
            assert kind is not None
            name = self._name(response)
            if kind == "ADDED":
                assert name not in self.shown
            if kind in ("MODIFIED", "DELETED"):
                assert name in self.shown
            if kind == "RESYNC":
                self.shown.clear()
            elif kind == "DELETED":
                del self.shown[name]
            elif kind != "SYNCED":
                self.shown[name] = response
            self.log.append(f"{kind} {name}".strip())
            await self.slow.wait()

    def _name(self, r: wire.WatchResponse) -> str:
        if r.node:
            return r.node.name
        if r.container and r.container.status:
            return f"{r.container.node_name}/{r.container.status.name}"
        if r.event:
            return r.event.message
        return "topology" if r.topology else ""

    async def news(self) -> list[str]:
        """What came since this was last asked."""
        await asyncio.sleep(0.1)
        log, self.log = self.log, []
        return log


@asynccontextmanager
async def watching(
    world: World,
    kind: wire.WatchKind,
    filter: str = "",
    node: str = "",
    *,
    usage: bool = False,
) -> AsyncIterator[Client]:
    request = wire.WatchRequest(kind=kind, filter=filter, node=node, usage=usage)
    client = Client()
    following = asyncio.create_task(
        client.follow(ClientService(world.cluster).watch(request)), name="a client's watch"
    )
    try:
        yield client
    finally:
        following.cancel()
        await asyncio.wait([following])
        if not following.cancelled():
            await following


@virtual_time
async def test_nodes_are_listed_then_watched() -> None:
    async with master() as world:
        await world.register("n2")
        await world.register("n1")
        async with watching(world, NODE) as client:
            assert await client.news() == ["ADDED n1", "ADDED n2", "SYNCED"]
            world.connect(await world.register("n1"), synced=False)
            assert set(await client.news()) == {"MODIFIED n1"}
            world.cluster.nodes.synced("id-n1", True)
            assert await client.news() == ["MODIFIED n1"]
            shown = client.shown["n1"].node
            assert shown is not None
            assert shown.status == wire.NodeStatus.READY
            await world.register("n3")
            assert (await client.news())[0] == "ADDED n3"
            await world.cluster.remove("n2")
            assert await client.news() == ["DELETED n2"]
            assert client.shown.keys() == {"n1", "n3"}


@virtual_time
async def test_what_enters_and_leaves_the_selection() -> None:
    async with master() as world:
        await world.register("n1", labels={"zone": "front"})
        await world.register("n2", labels={"zone": "rear"})
        nodes = world.cluster.nodes
        async with watching(world, NODE, "zone=front") as client:
            assert await client.news() == ["ADDED n1", "SYNCED"]
            await nodes.label("n2", {"zone": "front"}, [], overwrite=True)
            assert await client.news() == ["ADDED n2"]
            await nodes.label("n2", {"other": "1"}, [], overwrite=True)
            assert await client.news() == ["MODIFIED n2"]
            await nodes.label("n1", {}, ["zone"], overwrite=True)
            assert await client.news() == ["DELETED n1"]
            await nodes.label("n1", {"x": "1"}, [], overwrite=True)
            await world.cluster.remove("n1")
            assert await client.news() == []
        async with watching(world, NODE, ".connected=true") as client:
            assert await client.news() == ["SYNCED"]
            world.connect(await world.register("n2"))
            assert "ADDED n2" in await client.news()
            await asyncio.sleep(10)
            assert (await client.news())[-1] == "DELETED n2"


@virtual_time
async def test_usage_is_told_only_to_those_who_ask() -> None:
    async with master() as world:
        session = await world.joined()
        await world.lives(session, 20)
        async with watching(world, NODE) as quiet, watching(world, NODE, usage=True) as curious:
            await quiet.news(), await curious.news()
            await world.lives(session, 60)
            assert await quiet.news() == []
            assert await curious.news() == ["MODIFIED n1"] * 6


@virtual_time
async def test_containers() -> None:
    web, db = Container("1", "web", state="running"), Container("2", "db", state="running")
    async with master() as world:
        for name in ("n1", "n2"):
            await world.joined(name)
            world.cluster.reports.snapshot(f"id-{name}", (web, db))
        reports = world.cluster.reports
        async with (
            watching(world, CONTAINER) as all_,
            watching(world, CONTAINER, node="n2") as of_n2,
            watching(world, CONTAINER, ".state=running,.name=web") as selected,
        ):
            everything = ["ADDED n1/db", "ADDED n1/web", "ADDED n2/db", "ADDED n2/web", "SYNCED"]
            assert await all_.news() == everything
            assert await of_n2.news() == ["ADDED n2/db", "ADDED n2/web", "SYNCED"]
            assert await selected.news() == ["ADDED n1/web", "ADDED n2/web", "SYNCED"]

            reports.delta("id-n1", Delta((Container("1", "web", state="exited"),), ("2",)))
            assert await all_.news() == ["MODIFIED n1/web", "DELETED n1/db"]
            assert await selected.news() == ["DELETED n1/web"]
            assert await of_n2.news() == []
            reports.delta("id-n1", Delta((web,)))
            assert await selected.news() == ["ADDED n1/web"]

            await world.cluster.remove("n2")
            assert set(await of_n2.news()) == {"DELETED n2/web", "DELETED n2/db"}
            assert await selected.news() == ["DELETED n2/web"]
            assert all_.shown.keys() == {"n1/web"}


@virtual_time
async def test_containers_of_a_lost_node_are_shown_as_stale() -> None:
    async with master() as world:
        session = await world.joined()
        world.cluster.reports.snapshot("id-n1", (Container("1", "web"),))
        async with watching(world, CONTAINER) as client:

            def stale() -> bool:
                found = client.shown["n1/web"].container
                assert found is not None
                return found.stale

            await client.news()
            assert not stale()
            world.disconnect(session)
            await asyncio.sleep(5)
            assert await client.news() == ["MODIFIED n1/web"]
            assert stale()
            await world.joined()
            assert await client.news() == ["MODIFIED n1/web"]
            assert not stale()


@virtual_time
async def test_usage_of_containers_is_told_only_to_those_who_ask() -> None:
    async with master() as world:
        session = await world.joined()
        world.cluster.reports.snapshot("id-n1", (Container("1", "web"), Container("2", "db")))
        async with (
            watching(world, CONTAINER) as quiet,
            watching(world, CONTAINER, usage=True) as curious,
        ):
            await quiet.news(), await curious.news()
            for percent in (1.0, 2.0, 2.0):
                world.beat(session)
                world.cluster.reports.usage("id-n1", (ContainerUsage("1", percent),))
                await asyncio.sleep(0.1)
            assert await quiet.news() == []
            assert await curious.news() == ["MODIFIED n1/web"] * 2


@virtual_time
async def test_events() -> None:
    async with master() as world:
        await world.register("n1")
        events = world.cluster.events
        async with watching(world, EVENT) as client, watching(world, EVENT, node="n1") as of_n1:
            assert len(await client.news()) == 3  # registered, admitted, and SYNCED
            assert len(await of_n1.news()) == 3
            events.add(Severity.INFO, "test", "it", "Said", "hello")
            events.add(Severity.INFO, "test", "it", "Said", "of n1", "n1")
            assert await client.news() == ["ADDED hello", "ADDED of n1"]
            assert await of_n1.news() == ["ADDED of n1"]


@virtual_time
async def test_topology() -> None:
    async with master() as world, watching(world, TOPOLOGY) as client:
        assert await client.news() == ["ADDED topology", "SYNCED"]
        session = await world.joined("n1")
        assert set(await client.news()) == {"MODIFIED topology"}
        found = client.shown["topology"].topology
        assert found is not None
        assert [n.name for n in found.sub_nodes] == ["n1"]
        world.cluster.reports.snapshot(session.node_id, (Container("1", "web"),))
        world.beat(session)
        assert await client.news() == [], "that is no matter of the topology"
        await world.cluster.remove("n1")
        await client.news()
        found = client.shown["topology"].topology
        assert found is not None
        assert found.sub_nodes == []


@virtual_time
async def test_who_falls_behind_gets_a_new_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LOG_CHANGES", 50)
    async with master() as world:
        await world.register("n1")
        await world.register("gone")
        async with watching(world, NODE) as client:
            await client.news()
            client.slow.clear()
            await world.register("n2")
            await world.cluster.remove("gone")
            for number in range(100):
                await world.cluster.nodes.label("n1", {"n": str(number)}, [], overwrite=True)
            client.slow.set()
            log = await client.news()
            assert log[log.index("RESYNC") :] == ["RESYNC", "ADDED n1", "ADDED n2", "SYNCED"]
            assert client.shown.keys() == {"n1", "n2"}
            shown = client.shown["n1"].node
            assert shown is not None
            assert shown.labels == {"n": "99"}
            await world.cluster.nodes.label("n2", {"a": ""}, [], overwrite=True)
            assert await client.news() == ["MODIFIED n2"]


@virtual_time
async def test_a_watch_that_makes_no_sense_is_refused() -> None:
    async with master() as world:
        await world.register("n1")
        watch = ClientService(world.cluster).watch
        for request, error, message in (
            (wire.WatchRequest(), InvalidSpec, "kind 0"),
            (wire.WatchRequest(kind=NODE, filter="a=="), None, ""),
            (wire.WatchRequest(kind=NODE, filter="!a=b"), InvalidSpec, "selector"),
            (wire.WatchRequest(kind=NODE, filter=".nope=1"), InvalidSpec, "there are .arch"),
            (wire.WatchRequest(kind=CONTAINER, filter=".role=sub"), InvalidSpec, "there are"),
            (wire.WatchRequest(kind=CONTAINER, node="n9"), NotFound, "nodes: n1"),
        ):
            if error is None:
                watch(request)
                continue
            with pytest.raises(error, match=message):
                watch(request)
