"""Who is alive, and who has enough to live on: hours of it, in virtual time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from piccolo.core.model import NodeState
from piccolo.core.nodes.liveness import PROFILES
from piccolo.core.nodes.shortage import Thresholds
from piccolo.master import keys
from tests.master.memory_store import Disk
from tests.master.virtual_time import freeze, now, utc, virtual_time
from tests.master.world import CROWDED, ROOMY, World, master

READY, NOT_READY = NodeState.READY, NodeState.NOT_READY
WIRED = PROFILES["wired"]


async def lost_after(world: World, limit: float, name: str = "n1") -> float:
    """How long it takes until the node is NotReady, to a tenth of a second."""
    began = now()
    while world.state_of(name)[0] is not NOT_READY:
        await asyncio.sleep(0.1)
        assert now() - began < limit, "it was not noticed"
    return now() - began


# ---- life and death ----


@virtual_time
async def test_a_node_that_lives_stays_ready_and_makes_no_noise() -> None:
    async with master() as world:
        session = await world.joined()
        told = world.reasons()
        await world.lives(session, 3600)
        assert world.state_of() == (READY, "Synced")
        assert world.reasons() == [*told, "DatagramsPass"][: len(told)], "good news is no news"
        live = world.cluster.state.live("id-n1")
        assert (live.connected, live.suspect, live.datagrams) == (True, False, True)


@virtual_time
async def test_a_silent_node_is_suspect_then_lost_then_back() -> None:
    async with master() as world:
        session = await world.joined()
        await world.lives(session, 30)
        live = world.cluster.state.live
        last_sign = utc()
        await asyncio.sleep(WIRED.suspect_after - 0.1)
        assert not live("id-n1").suspect
        await asyncio.sleep(0.2)
        assert live("id-n1").suspect
        assert live("id-n1").last_heartbeat == last_sign, "a pulse counts as a sign of life"
        assert world.state_of()[0] is READY

        late = await lost_after(world, 5) + WIRED.suspect_after + 0.1 - WIRED.silent_after
        assert 0 <= late < 0.2
        assert world.state_of() == (NOT_READY, "Silent")
        assert not live("id-n1").connected
        assert not live("id-n1").suspect, "it is worse than that"
        assert live("id-n1").last_heartbeat == last_sign

        await asyncio.sleep(5)
        world.pulse(session, heard_ago=5)
        assert world.state_of()[0] is NOT_READY, "so far it does not hear us"
        world.pulse(session)  # the cable is back, before TCP gave up
        assert world.state_of() == (READY, "Recovered")
        assert live("id-n1").connected
        await world.lives(session, 30)
        assert [r for r in world.reasons() if r in ("Silent", "Recovered")] == [
            "Silent",
            "Recovered",
        ]


@virtual_time
async def test_a_node_that_came_back_in_its_session_is_found_lost_again() -> None:
    async with master() as world:
        session = await world.joined()
        for seconds in (30, 3, 0):
            await world.lives(session, seconds)
            assert await lost_after(world, 5) < WIRED.silent_after + 0.2
            await asyncio.sleep(6)
            world.pulse(session)  # before TCP gave up
            assert world.state_of() == (READY, "Recovered")


@virtual_time
async def test_a_suspect_that_is_heard_is_suspect_no_more() -> None:
    async with master() as world:
        session = await world.joined()
        await world.lives(session, 10)
        await asyncio.sleep((WIRED.suspect_after + WIRED.silent_after) / 2)
        assert world.cluster.state.live("id-n1").suspect
        world.pulse(session)
        assert not world.cluster.state.live("id-n1").suspect
        assert world.state_of() == (READY, "Synced")
        assert world.reasons().count("Silent") == 0


@virtual_time
async def test_a_closed_connection_has_a_moment_to_come_back() -> None:
    async with master() as world:
        session = await world.joined()
        await world.lives(session, 10)
        world.disconnect(session)
        await asyncio.sleep(1.0)
        assert world.state_of()[0] is READY
        session = world.connect(await world.register())
        await world.lives(session, 10)
        assert world.state_of() == (READY, "Synced")

        world.disconnect(session)
        assert 1.4 <= await lost_after(world, 3) <= 1.7
        assert world.state_of()[1] == "ConnectionClosed"


@virtual_time
async def test_a_goodbye_is_believed_at_once() -> None:
    async with master() as world:
        session = await world.joined()
        world.disconnect(session, said_goodbye=True)
        assert await lost_after(world, 1) <= 0.2
        assert world.state_of()[1] == "AgentStopped"


@virtual_time
async def test_the_end_of_a_replaced_session_says_nothing_of_the_new_one() -> None:
    async with master() as world:
        old = await world.joined()
        new = world.connect(await world.register())
        world.disconnect(old, said_goodbye=True)
        world.pulse(old)
        await world.lives(new, 20)
        assert world.state_of() == (READY, "Synced")


@virtual_time
async def test_a_stream_that_is_stuck_is_found_by_its_heartbeats() -> None:
    async with master() as world:
        session = await world.joined()
        await world.lives(session, 60, beats=False)
        assert world.state_of() == (NOT_READY, "HeartbeatTimeout")


# ---- the restart of the master ----


@virtual_time
async def test_after_a_restart_nodes_have_time_to_come_back() -> None:
    disk = Disk()
    async with master(disk) as world:
        for name in ("n1", "n2"):
            session = await world.joined(name)
            world.beat(session)
        seen = utc()
        await asyncio.sleep(1)
    await asyncio.sleep(3600)  # nobody is blamed for the time that the master was away
    async with master(disk) as world:
        assert world.state_of("n1")[0] is READY
        assert not world.cluster.state.live("id-n1").connected
        assert world.cluster.state.live("id-n1").last_heartbeat == seen
        await asyncio.sleep(5)
        assert world.state_of("n1")[0] is READY
        session = await world.joined("n1")
        task = asyncio.create_task(world.lives(session, 10))
        assert 0.5 < await lost_after(world, 10, "n2") < 2
        await task
        assert world.state_of("n1")[0] is READY
        assert world.state_of("n2") == (NOT_READY, "ConnectionClosed")
        assert [e.node_name for e in world.events("ConnectionClosed")] == ["n2"]


@virtual_time
async def test_a_node_that_was_lost_before_a_restart_is_not_told_of_again() -> None:
    disk = Disk()
    async with master(disk) as world:
        await world.joined()
        assert await lost_after(world, 6)
    async with master(disk) as world:
        await asyncio.sleep(30)
        assert world.state_of() == (NOT_READY, "Silent")
        assert len(world.events("Silent")) == 1
        assert world.events("ConnectionClosed") == []
        await world.joined()
        assert world.state_of() == (READY, "Recovered")


# ---- what is kept ----


@virtual_time
async def test_an_hour_of_heartbeats_is_a_handful_of_writes() -> None:
    disk = Disk()
    async with master(disk) as world:
        sessions = [await world.joined(f"n{i}") for i in range(10)]
        await asyncio.gather(*(world.lives(s, 30) for s in sessions))
        before = len(world.store.commits)
        await asyncio.gather(*(world.lives(s, 3600) for s in sessions))
        assert 1 <= len(world.store.commits) - before <= 5
        assert len(world.store.commits) - before == world.store.written(keys.HEARTBEATS)
        assert len(world.cluster.monitoring.history("id-n0")) == 360
        beaten = utc()
    async with master(disk) as world:
        for i in range(10):
            last = world.cluster.state.live(f"id-n{i}").last_heartbeat
            assert last is not None
            assert beaten - last <= timedelta(seconds=10)


@virtual_time
async def test_a_crash_costs_no_more_than_a_quarter_of_an_hour_of_heartbeats() -> None:
    async with master() as world:
        await world.lives(await world.joined(), 1800)
        last = utc()
        disk = world.disk.copy()  # what a crash leaves
    async with master(disk) as later:
        kept = later.cluster.state.live("id-n1").last_heartbeat
        assert kept is not None
        assert timedelta(0) <= last - kept <= timedelta(seconds=920)


# ---- shortage ----


@virtual_time
async def test_a_shortage_counts_when_it_lasts_and_ends_when_that_lasts() -> None:
    async with master() as world:
        session = await world.joined()
        await world.lives(session, 20, usage=CROWDED)
        await world.lives(session, 10, usage=ROOMY)
        await world.lives(session, 30, usage=CROWDED)
        assert world.state_of()[0] is READY
        await world.lives(session, 10, usage=CROWDED)
        assert world.state_of() == (NOT_READY, "MemoryShortage")
        assert "2.0 % of memory" in world.cluster.state.status("id-n1").message
        await world.lives(session, 30, usage=ROOMY)
        assert world.state_of()[0] is NOT_READY
        await world.lives(session, 10, usage=ROOMY)
        assert world.state_of() == (READY, "Recovered")
        assert len(world.events("MemoryShortage")) == 1


@virtual_time
async def test_a_shortage_outlives_the_master_and_still_has_to_end_slowly() -> None:
    disk = Disk()
    async with master(disk) as world:
        await world.lives(await world.joined(), 60, usage=CROWDED)
        assert world.state_of() == (NOT_READY, "MemoryShortage")
    async with master(disk) as world:
        session = await world.joined()
        await world.lives(session, 30, usage=ROOMY)
        assert world.state_of() == (NOT_READY, "MemoryShortage")
        await world.lives(session, 20, usage=ROOMY)
        assert world.state_of() == (READY, "Recovered")
        assert len(world.events("MemoryShortage")) == 1


@virtual_time
async def test_thresholds_may_change_while_it_runs() -> None:
    async with master() as world:
        session = await world.joined()
        await world.lives(session, 60, usage=ROOMY)
        world.cluster.monitoring.configure(Thresholds(60.0, 95.0, 10.0), 10.0, 3, 1.5)
        await world.lives(session, 30, usage=ROOMY)
        assert world.state_of() == (NOT_READY, "MemoryShortage")


# ---- datagrams ----


@virtual_time
async def test_blocked_datagrams_are_a_finding_and_no_fault() -> None:
    async with master() as world:
        session = await world.joined()

        def blocked() -> bool | None:
            found = world.cluster.state.status("id-n1").conditions
            return next((c.status for c in found if c.type == "DatagramsBlocked"), None)

        await world.lives(session, 4, datagrams=False)
        assert blocked() is None, "too early to tell"
        await world.lives(session, 16, datagrams=False)
        assert blocked() is True
        assert world.state_of() == (READY, "Synced")
        await world.lives(session, 20)
        assert blocked() is False
        assert world.cluster.state.live("id-n1").datagrams
        await world.lives(session, 20, datagrams=False)
        assert blocked() is True
        assert not world.cluster.state.live("id-n1").datagrams
        assert len(world.events("DatagramsBlocked")) == 2
        assert len(world.events("DatagramsPass")) == 1


# ---- the master is held up ----


@virtual_time
async def test_nobody_is_blamed_for_the_masters_own_sleep() -> None:
    async with master() as world:
        sessions = [await world.joined(f"n{i}") for i in range(3)]
        await asyncio.gather(*(world.lives(s, 20) for s in sessions))
        for _ in range(5):
            freeze(30)
            await asyncio.gather(*(world.lives(s, 10) for s in sessions))
        told = [e for e in world.events() if e.node_name and e.reason not in ("Registered",)]
        assert {e.reason for e in told} <= {"Admitted", "Synced", "DatagramsPass"}
        assert all(world.state_of(f"n{i}")[0] is READY for i in range(3))


@virtual_time
async def test_who_died_during_the_masters_sleep_is_found_out_soon_after() -> None:
    async with master() as world:
        session = await world.joined()
        await world.lives(session, 20)
        freeze(30)
        assert await lost_after(world, 6) > 1
        assert world.state_of() == (NOT_READY, "Silent")
