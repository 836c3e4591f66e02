"""What clients ask and change: the topology, checks, and lists."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from piccolo.config.settings import Discovery
from piccolo.core.errors import Conflict, InvalidSpec, NotFound, Unavailable
from piccolo.core.model import Container, NodeState
from piccolo.core.security.access import Principal, Role
from piccolo.master.api_server.client_service import ClientService
from piccolo.rpc import wire
from tests.master.insiders import calling
from tests.master.memory_store import Disk
from tests.master.virtual_time import now, virtual_time
from tests.master.world import World, labels, master


@pytest.fixture(autouse=True)
def _admin() -> Iterator[None]:
    with calling(Principal(Role.ADMIN, "admin")):
        yield


HYBRID = wire.TopologyType.EDGE_CLOUD_HYBRID


async def update(world: World, **fields: object) -> wire.ClusterTopology:
    values: dict[str, object] = {"type": HYBRID, **fields}
    topology = wire.ClusterTopology(**values)  # type: ignore[arg-type]
    reply = await ClientService(world.cluster).update_topology(
        wire.UpdateTopologyRequest(topology=topology)
    )
    assert reply.success
    assert reply.updated_topology is not None
    return reply.updated_topology


async def topology(world: World) -> wire.ClusterTopology:
    reply = await ClientService(world.cluster).get_topology(wire.GetTopologyRequest())
    assert reply.topology is not None
    return reply.topology


@virtual_time
async def test_a_topology_is_changed_where_it_was_read() -> None:
    disk = Disk()
    async with master(disk) as world:
        fresh = await topology(world)
        assert (fresh.revision, fresh.name) == (0, "piccolo")
        first = await update(world, name="car", config={"region": "eu"})
        assert (first.id, first.name, first.config) == (fresh.id, "car", {"region": "eu"})
        second = await update(world, parent_cluster="fleet", revision=first.revision)
        assert (second.name, second.parent_cluster, second.config) == ("car", "fleet", {})
        with pytest.raises(Conflict, match="read it again"):
            await update(world, name="late", revision=first.revision)
        with pytest.raises(Conflict):
            await asyncio.gather(
                *(update(world, name=n, revision=second.revision) for n in ("one", "two"))
            )
        assert (await topology(world)).name == "one"
    async with master(disk) as world:
        assert (await topology(world)).name == "one"
        assert (await topology(world)).type == HYBRID


@virtual_time
async def test_a_topology_that_makes_no_sense_is_refused() -> None:
    async with master() as world:
        for fields, message in (
            ({"sub_nodes": [wire.Node(name="n1")]}, "piccolo remove node"),
            ({"master_nodes": [wire.Node(name="n1")]}, "members cannot be set"),
            ({"type": wire.TopologyType.UNSPECIFIED}, "geo-distributed"),
            ({"config": {"a b": "1"}}, "label key"),
        ):
            with pytest.raises(InvalidSpec, match=message):
                await update(world, **fields)
        with pytest.raises(InvalidSpec, match="no topology"):
            await ClientService(world.cluster).update_topology(wire.UpdateTopologyRequest())
        assert (await topology(world)).revision == 0
        world.store.away = "the disk is full"
        with pytest.raises(Unavailable, match="the disk is full"):
            await update(world, name="x")
        assert (await topology(world)).name == "piccolo"


@virtual_time
async def test_the_members_of_the_topology() -> None:
    async with master() as world:
        await world.register("n2")
        await world.register("n1")
        await world.cluster.nodes.configure(Discovery.LISTED, [])
        await world.register("waits")
        found = await topology(world)
        assert [n.name for n in found.sub_nodes] == ["n1", "n2"]
        assert found.master_nodes == []


@virtual_time
async def test_checking_a_node_asks_its_agent() -> None:
    async with master() as world:
        service = ClientService(world.cluster)
        session = await world.joined()

        async def check(**answer: object) -> wire.CheckNodeResponse:
            asking = asyncio.create_task(
                service.check_node(wire.CheckNodeRequest(node="n1", timeout_ms=2000))
            )
            request = (await session.next_outgoing()).call
            assert request is not None
            assert request.health is not None
            await asyncio.sleep(0.25)
            session.answered(wire.CallResult(call_id=request.call_id, **answer))  # type: ignore[arg-type]
            return await asking

        good = await check(health=wire.HealthReport(runtime_ready=True, containers=3))
        assert (good.healthy, good.message) == (True, "the agent answers")
        assert good.round_trip_ms == pytest.approx(250)
        assert good.health is not None
        assert good.health.containers == 3
        half = await check(health=wire.HealthReport(runtime_message="no Podman"))
        assert half.healthy
        assert "no Podman" in half.message
        old = await check(error="upgrade it")
        assert (old.healthy, old.message) == (False, "upgrade it")

        began = now()
        silent = await service.check_node(wire.CheckNodeRequest(node="n1"))
        assert (silent.healthy, now() - began) == (False, 5.0)
        assert "did not answer within 5 s" in silent.message
        with pytest.raises(NotFound):
            await service.check_node(wire.CheckNodeRequest(node="n9"))


@virtual_time
async def test_lists_and_status() -> None:
    async with master() as world:
        service = ClientService(world.cluster)
        await world.joined("n2")
        await world.register("n1", labels={"zone": "front"})
        running, ended = Container("1", "b", state="running"), Container("2", "a", state="exited")
        world.cluster.reports.snapshot("id-n2", (running, ended))

        nodes = await service.get_nodes(wire.GetNodesRequest())
        assert [n.name for n in nodes.nodes] == ["n1", "n2"]
        nodes = await service.get_nodes(wire.GetNodesRequest(filter="zone"))
        assert [n.name for n in nodes.nodes] == ["n1"]
        by_id = await service.get_node(wire.GetNodeRequest(node_id="id-n2"))
        assert by_id.node is not None
        assert by_id.node.name == "n2"
        found = await service.get_containers(wire.GetContainersRequest())
        assert [c.status.name for c in found.containers if c.status] == ["a", "b"]
        found = await service.get_containers(wire.GetContainersRequest(node="n1"))
        assert found.containers == []
        events = await service.get_events(wire.GetEventsRequest(node="n1", limit=1))
        assert [e.reason for e in events.events] == ["Admitted"]
        status = await service.get_cluster_status(wire.GetClusterStatusRequest())
        assert (status.containers_running, status.containers_total) == (1, 2)
        assert status.view is not None
        assert not status.view.degraded
        for refused in (
            service.get_nodes(wire.GetNodesRequest(filter="!!")),
            service.get_containers(wire.GetContainersRequest(filter=".nope=1")),
        ):
            with pytest.raises(InvalidSpec):
                await refused


@virtual_time
async def test_nodes_are_changed() -> None:
    async with master() as world:
        service = ClientService(world.cluster)
        await world.register("n1")
        labelled = await service.label_node(
            wire.LabelNodeRequest(node="n1", set={"a": "1"}, remove=["b"])
        )
        assert labelled.node is not None
        assert labelled.node.labels == labels(world) == {"a": "1"}
        removed = await service.remove_node(wire.RemoveNodeRequest(node="n1"))
        assert removed.node is not None
        assert removed.node.status == wire.NodeStatus.TERMINATING
        assert world.cluster.state.status("id-n1").state is NodeState.PENDING
