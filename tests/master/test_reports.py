"""What agents report of their containers, kept in step with them."""

from __future__ import annotations

import asyncio
import random

from piccolo.core.model import Container, ContainerUsage
from piccolo.core.report import Delta, Report
from piccolo.core.workloads.instances import InstanceStatus, Phase
from piccolo.master import keys
from tests.master.memory_store import Disk
from tests.master.virtual_time import virtual_time
from tests.master.world import master

WEB, DB = Container("1", "web", state="running"), Container("2", "db", state="running")
DEAD = Container("1", "web", state="exited", exit_code=1)


@virtual_time
async def test_deltas_and_snapshots() -> None:
    async with master() as world:
        reports, state = world.cluster.reports, world.cluster.state

        def seen() -> list[Container]:
            return sorted(state.containers("n"), key=lambda c: c.id)

        reports.delta("n", Delta((WEB, DB)))
        assert seen() == [WEB, DB]
        reports.delta("n", Delta((DEAD,), ("2",)))
        assert seen() == [DEAD]
        reports.delta("n", Delta((), ("2", "never there")))
        assert seen() == [DEAD]
        reports.snapshot("n", (DB,))
        assert seen() == [DB]
        assert state.containers("other") == []
        assert reports.of("n").digest == Report([DB]).digest


@virtual_time
async def test_only_what_differs_is_written() -> None:
    async with master() as world:
        reports = world.cluster.reports
        reports.snapshot("n", (WEB, DB))
        await asyncio.sleep(1)
        revision = world.cluster.state.revision
        for _ in range(5):
            reports.snapshot("n", (DB, WEB))
            reports.delta("n", Delta((WEB,)))
        assert world.cluster.state.revision == revision
        await asyncio.sleep(1)
        assert world.store.written(keys.CONTAINER) == 2
        reports.snapshot("n", (DEAD, DB))
        await asyncio.sleep(1)
        assert world.store.written(keys.CONTAINER) == 3


@virtual_time
async def test_a_restarted_master_still_knows_the_digest() -> None:
    disk = Disk()
    async with master(disk) as world:
        world.cluster.reports.snapshot("n", (WEB, DB))
        digest = world.cluster.reports.of("n").digest
        await asyncio.sleep(1)
    async with master(disk) as world:
        assert world.cluster.reports.of("n").digest == digest
        assert world.cluster.reports.of("m").digest == 0


@virtual_time
async def test_a_lost_delta_shows_in_the_digest_and_a_snapshot_repairs_it() -> None:
    rng = random.Random(3)
    agent = Report()
    async with master() as world:
        reports = world.cluster.reports
        lost = 0
        for _ in range(300):
            now = [Container(str(i), "c", state=rng.choice("ab")) for i in range(rng.randrange(6))]
            delta = agent.difference(now)
            agent.apply(delta)
            if delta and rng.random() < 0.2:
                lost += 1
                assert reports.of("n").digest != agent.digest
                reports.snapshot("n", tuple(agent.containers.values()))
            else:
                reports.delta("n", delta)
            assert reports.of("n").digest == agent.digest
        assert lost > 10
        held = sorted(world.cluster.state.containers("n"), key=lambda c: c.id)
        assert held == sorted(agent.containers.values(), key=lambda c: c.id)


@virtual_time
async def test_usage_is_never_written() -> None:
    async with master() as world:
        await asyncio.sleep(1)
        commits = len(world.store.commits)
        for number in range(50):
            world.cluster.reports.usage("n", (ContainerUsage("1", float(number)),))
            await asyncio.sleep(1)
        assert world.cluster.state.usage("n") == (ContainerUsage("1", 49.0),)
        assert len(world.store.commits) == commits


# ---- instances ----

RUNS = InstanceStatus("web", 0, 1, Phase.RUNNING, ready=True)
FAILS = InstanceStatus("web", 0, 1, Phase.CRASH_LOOP, restarts=3)
OTHER = InstanceStatus("db", 1, 2)


@virtual_time
async def test_instances_are_kept_in_step_too() -> None:
    disk = Disk()
    async with master(disk) as world:
        reports, state = world.cluster.reports, world.cluster.state

        def seen() -> set[InstanceStatus]:
            return set(state.seen("n").values())

        reports.delta("n", Delta((WEB,), instances=(RUNS, OTHER)))
        assert seen() == {RUNS, OTHER}
        reports.delta("n", Delta(instances=(FAILS,), removed_instances=("db.1", "never.0")))
        assert seen() == {FAILS}
        reports.snapshot("n", (WEB,), (RUNS, OTHER))
        assert seen() == {RUNS, OTHER}
        reports.snapshot("n", (WEB, DB))
        assert seen() == {RUNS, OTHER}, "nothing was said of them"
        revision = state.revision
        reports.snapshot("n", (WEB, DB), (OTHER, RUNS))
        reports.delta("n", Delta(instances=(RUNS,)))
        assert state.revision == revision
        assert reports.of("n").digest == Report((WEB, DB), (RUNS, OTHER)).digest
        await asyncio.sleep(1)
    async with master(disk) as world:
        assert set(world.cluster.state.seen("n").values()) == {RUNS, OTHER}
        assert world.cluster.reports.of("n").digest == Report((WEB, DB), (RUNS, OTHER)).digest
        world.cluster.reports.snapshot("n", (), ())
        assert world.cluster.state.seen() == {}


@virtual_time
async def test_of_a_removed_node_nothing_is_left() -> None:
    async with master() as world:
        await world.joined()
        world.cluster.reports.snapshot("id-n1", (WEB,), (RUNS,))
        await asyncio.sleep(1)
        await world.cluster.remove("n1")
        await asyncio.sleep(1)
        assert world.cluster.state.seen() == {}
        assert [k for k in world.disk.entries if "id-n1" in k and "certificate" not in k] == []
