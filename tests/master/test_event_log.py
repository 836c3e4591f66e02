"""Events: in the order they happened, bounded by number and by age."""

from __future__ import annotations

import asyncio

from piccolo.config.settings import Retention
from piccolo.core.model import Severity
from piccolo.master import keys
from tests.master.memory_store import Disk
from tests.master.virtual_time import utc, virtual_time
from tests.master.world import World, master

FEW = Retention(events_max=20, events_max_age=3600.0)


def say(world: World, message: str, node: str = "") -> None:
    world.cluster.events.add(Severity.INFO, "test", "it", "Said", message, node)


def said(world: World, limit: int = 0, node: str = "") -> list[str]:
    return [e.message for e in world.cluster.events.newest(limit, node)]


@virtual_time
async def test_the_newest_are_kept() -> None:
    disk = Disk()
    async with master(disk, retention=FEW) as world:
        for number in range(50):
            say(world, str(number))
        assert said(world) == [str(n) for n in range(30, 50)]
        assert said(world, 3) == ["47", "48", "49"]
        await asyncio.sleep(1)
        assert len([k for k in disk.entries if k.startswith(keys.EVENT)]) == 20
    async with master(disk, retention=FEW) as world:
        say(world, "after the restart")
        assert said(world, 2) == ["49", "after the restart"]
        assert len(said(world)) == 20
        ids = [e.id for e in world.events()]
        assert ids == sorted(set(ids))


@virtual_time
async def test_the_old_are_forgotten() -> None:
    async with master(retention=FEW) as world:
        say(world, "old")
        await asyncio.sleep(1800)
        say(world, "older")
        began = utc()
        await asyncio.sleep(1801)
        say(world, "new")
        assert said(world) == ["older", "new"]
        assert world.events()[0].time == began


@virtual_time
async def test_a_stricter_retention_holds_from_the_next_event_on() -> None:
    async with master() as world:
        for number in range(30):
            say(world, str(number))
        world.cluster.events.retention = FEW
        say(world, "30")
        assert said(world) == [str(n) for n in range(11, 31)]


@virtual_time
async def test_events_of_one_node() -> None:
    async with master() as world:
        for number in range(10):
            say(world, str(number), node=f"n{number % 2}")
        assert said(world, 2, "n1") == ["7", "9"]
        assert said(world, 0, "n9") == []


@virtual_time
async def test_a_storm_of_events_is_few_writes() -> None:
    async with master() as world:
        await asyncio.sleep(1)
        commits = len(world.store.commits)
        for number in range(100):
            say(world, str(number))
        await asyncio.sleep(1)
        assert 1 <= len(world.store.commits) - commits <= 3
