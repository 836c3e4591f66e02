"""What people are told of a rebuild: meanwhile, at its end, and by `piccolo doctor` afterwards."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta

import pytest

from piccolo.core.model import Severity
from piccolo.master import keys
from piccolo.master.api_server.client_service import ClientService
from piccolo.master.api_server.diagnosis import diagnose
from piccolo.master.api_server.views import Views
from piccolo.master.api_server.workload_views import WorkloadViews
from piccolo.master.workloads.rebuild import PATIENCE, STRANGERS
from piccolo.rpc import convert, wire
from tests.master.insiders import calling
from tests.master.memory_store import Disk
from tests.master.virtual_time import utc, virtual_time
from tests.master.workload_world import agent, declare, settled, workload
from tests.master.workloads.test_rebuild import lost_an_hour, rebuilt, restored
from tests.master.world import World, master


async def findings(world: World, about: str) -> list[str]:
    """What `piccolo doctor` finds of it that is not well."""
    found = await diagnose(world.cluster, WorkloadViews(world.cluster, Views(world.cluster)))
    assert not [f for f in found if f.severity is wire.Severity.ERROR]
    well = convert.severity_to_wire(Severity.INFO)
    return [f.message for f in found if f.subject == about and f.severity != well]


async def take_backup(world: World) -> None:
    with calling():
        chunks = ClientService(world.cluster).backup(wire.BackupRequest(passphrase="x" * 12))
        assert [chunk async for chunk in chunks]


@virtual_time
async def test_without_a_backup_nobody_speaks_of_one() -> None:
    _, a, b = await lost_an_hour()
    async with master(Disk(), rebuild=120.0) as world:
        restored = world.cluster.restored
        assert restored.waits_for.endswith("nothing is started, changed or stopped for 120 s more")
        for one in (a, b):
            one.world, one.told = world, []
            one.node = await world.register(one.node.name)
            one.connect()
        await settled([a, b], 119.5)
        assert restored.waits_for.endswith("for 1 s more"), "and not for 0 s"
        await settled([a, b], 1)
        told = [e.message for e in world.events() if e.reason != "Restored"]
        assert not [m for m in told if "backup" in m]
        assert {d.cause for d in world.cluster.state.declared().values()} == {
            "found on nodes by a rebuild"
        }
        assert [e.message for e in world.events("Rebuilt") if e.kind == "master"] == ["from n1, n2"]
        assert await findings(world, "backup") == [
            "none was ever taken: if the master's disk is lost, only the nodes know what runs"
        ]


@virtual_time
async def test_copies_that_no_node_brought_are_named_at_the_end() -> None:
    async with master() as world:
        a, b = await agent(world, "n1"), await agent(world, "n2")
        await declare(world, workload("web", replicas=4), workload("all", one_per_node=True))
        await settled([a, b])
        there = {key for key in (*a.disk, *b.disk) if key.startswith("web")}
        lost = sorted(there - a.disk.keys())
        assert 0 < len(lost) < 4
    async with master(Disk(), rebuild=120.0) as world:
        a.world, a.told = world, []
        a.node = await world.register("n1")
        a.connect()
        await a.settle(121)
        [ended] = [e for e in world.events("Rebuilt") if e.kind == "master"]
        assert ended.message == f"from n1; on no node that came back, so started: {', '.join(lost)}"
        assert ended.severity is Severity.WARNING


@virtual_time
async def test_a_rebuild_to_which_nobody_comes_says_so() -> None:
    async with master(Disk(), rebuild=120.0) as world:
        await asyncio.sleep(121)
        [ended] = world.events("Rebuilt")
        assert ended.message.startswith("from no node; no node has joined in time: ")


@virtual_time
async def test_what_waits_for_the_end_of_a_rebuild_says_so() -> None:
    async with master() as world:
        a = await agent(world)
        disk = world.disk.copy()
    async with rebuilt(restored(disk, 1), [a]) as world:
        views = WorkloadViews(world.cluster, Views(world.cluster))
        await declare(world, workload("late"))
        await asyncio.sleep(1)
        [shown] = views.workloads()
        assert (shown.state, shown.message) == ("Pending", "held: the master is rebuilding")
        a.connect()
        await a.settle(PATIENCE)
        [shown] = views.workloads()
        assert "rebuilding" not in shown.message


@virtual_time
async def test_the_doctor_tells_for_a_day_what_only_people_know() -> None:
    disk, a, b = await lost_an_hour()
    async with rebuilt(disk, [a, b]) as world:
        a.connect()
        b.node = await world.register("n2")
        b.connect()
        await settled([a, b], STRANGERS + 1)
        a.report()
        b.report()
        again = "started again, for they are in the backup, but no node had them: old"
        assert await findings(world, "workloads") == [again]
        [labels] = await findings(world, "backup")
        assert labels.startswith("labels, topology, and secrets that no workload uses are as in")
        later = utc() + timedelta(days=2)
        world.cluster.clock = replace(world.cluster.clock, utc=lambda: later)
        assert await findings(world, "workloads") == await findings(world, "backup") == []


@virtual_time
async def test_a_backup_is_missed_when_there_is_something_to_lose() -> None:
    async with master() as world:
        a = await agent(world)
        assert await findings(world, "backup") == []
        await declare(world, workload("web"))
        await a.settle()
        a.report()
        assert len(await findings(world, "backup")) == 1
        await take_backup(world)
        assert await findings(world, "backup") == []
        taken = world.cluster.state.get(keys.BACKED_UP, keys.BackedUp)
        assert taken is not None
        old = keys.BackedUp(taken.at - timedelta(days=31))
        world.cluster.state.observe(keys.BACKED_UP, old)
        [message] = await findings(world, "backup")
        assert message.endswith("more than 30 days ago")


@virtual_time
async def test_a_flag_without_effect_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with master() as world:
        disk = world.disk
    async with master(restored(disk, 1), rebuild=600.0) as world:
        [said] = [r.message for r in caplog.records if "--rebuild" in r.message]
        assert said.startswith("--rebuild has no effect: ")
        assert "from the backup of" in said
        assert world.cluster.restored.wait() in (None, 0.0)
