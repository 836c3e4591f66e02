"""What is not as asked is found by those who look at the whole: `piccolo status`, `doctor`; and
what a deletion leaves behind is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from piccolo.core.model import NodeState
from piccolo.core.security.access import Principal, Role
from piccolo.core.workloads.instances import Phase
from piccolo.core.workloads.workload import Placement
from piccolo.master.api_server.client_service import ClientService
from piccolo.rpc import wire
from tests.master.insiders import calling
from tests.master.virtual_time import virtual_time
from tests.master.workload_world import agent, declare, settled, workload
from tests.master.world import World, master


@pytest.fixture(autouse=True)
def _admin() -> Iterator[None]:
    with calling(Principal(Role.ADMIN, "anna")):
        yield


async def findings(world: World) -> list[tuple[wire.Severity, str, str, str]]:
    reply = await ClientService(world.cluster).diagnose(wire.DiagnoseRequest())
    found = [f for f in reply.findings if f.subject.startswith("workload")]
    return [(f.severity, f.subject, f.message, f.remedy) for f in found]


async def status(world: World) -> wire.GetClusterStatusResponse:
    service = ClientService(world.cluster)
    return await service.get_cluster_status(wire.GetClusterStatusRequest())


@virtual_time
async def test_workloads_in_trouble_are_found() -> None:
    async with master() as world:
        well = (wire.Severity.INFO, "workloads", "none is in trouble", "")
        assert await findings(world) == [well]
        n1 = await agent(world)
        on = Placement(nodes=("n9",))
        await declare(world, workload(), workload("two", replicas=2))
        await settled([n1])
        assert await findings(world) == [well], "they are on their way"
        n1.report()
        await declare(world, workload("lost", placement=on))
        await settled([n1])
        n1.report("web.0", phase=Phase.CRASH_LOOP, ready=False)
        n1.report("two.1", phase=Phase.FAILED, ready=False)
        assert await findings(world) == [
            (
                wire.Severity.ERROR,
                "workload lost",
                'Pending: Unplaced: no node for 1 of 1: "n9" is no node of the cluster',
                "piccolo describe workload lost",
            ),
            (
                wire.Severity.ERROR,
                "workload web",
                "CrashLoop: web.0 on n1",
                "piccolo describe workload web",
            ),
            (
                wire.Severity.WARNING,
                "workload two",
                "Degraded: Failed: two.1 on n1",
                "piccolo describe workload two",
            ),
        ]
        found = await status(world)
        assert found.workloads_total == 3
        shown = [(w.name, w.state, w.instances) for w in found.workloads_in_trouble]
        assert shown == [("lost", "Pending", []), ("two", "Degraded", []), ("web", "CrashLoop", [])]


@virtual_time
async def test_a_workload_whose_node_is_away_is_not_the_worst() -> None:
    async with master() as world:
        n1, n2 = await agent(world), await agent(world, "n2")
        await declare(world, workload(placement=Placement(nodes=("n2",))))
        await settled([n1, n2])
        n2.disconnect()
        await settled([n1], 30)
        assert world.state_of("n2")[0] is NodeState.NOT_READY
        [(severity, _, message, _)] = await findings(world)
        assert severity == wire.Severity.WARNING
        assert message == "Pending: NodeNotReady: n2: not ready; what is there is not known"


@virtual_time
async def test_a_deletion_says_what_it_leaves_behind() -> None:
    async with master() as world:
        n1, n2 = await agent(world), await agent(world, "n2")
        await declare(world, workload("one", one_per_node=True), workload("other"))
        await settled([n1, n2])
        for one in (n1, n2):
            one.report()
        service = ClientService(world.cluster)
        delete = wire.DeleteWorkloadsRequest(names=["one"], dry_run=True)
        assert (await service.delete_workloads(delete)).notices == []
        n2.disconnect()
        await settled([n1], 30)
        left = ["one.0 on n2: its node is away; it stops there when it is back"]
        assert (await service.delete_workloads(delete)).notices == left
        delete.dry_run = False
        assert (await service.delete_workloads(delete)).notices == left
