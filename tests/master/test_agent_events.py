"""What agents saw: in order, each once, whatever happens to sessions and to the master."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from piccolo.core.model import Severity
from piccolo.core.workloads.instances import Happening
from piccolo.master import keys
from piccolo.rpc import convert, wire
from tests.master.memory_store import Disk
from tests.master.virtual_time import now, utc, virtual_time
from tests.master.world import World, master


def happening(seq: int, **fields: Any) -> wire.AgentEvent:
    values = {"severity": Severity.INFO, "subject": "web.0", "reason": "Seen", "message": str(seq)}
    return convert.happening_to_wire(Happening(seq, **{"time": utc(), **values, **fields}))


def batch(*events: int | wire.AgentEvent, stream: str = "a", lost: int = 0) -> wire.AgentEvents:
    made = [happening(e) if isinstance(e, int) else e for e in events]
    return wire.AgentEvents(stream=stream, events=made, lost=lost)


class Sender:
    """An agent's session."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def open(self) -> Sender:
        self.session = await self.world.joined()
        return self

    def send(self, events: wire.AgentEvents) -> None:
        self.world.cluster.agent_events.take(self.session, events)

    async def acknowledged(self) -> list[tuple[str, int]]:
        await asyncio.sleep(0.5)
        found = [m.events_ack for m in self.session.drain() if m.events_ack is not None]
        return [(ack.stream, ack.seq) for ack in found]


def seen(world: World) -> list[str]:
    return [e.message for e in world.events("Seen")]


@virtual_time
async def test_they_become_events_of_the_cluster() -> None:
    async with master() as world:
        a = await Sender(world).open()
        at = utc() - timedelta(hours=3)
        crash = happening(
            1, time=at, severity=Severity.ERROR, reason="Seen", message="it died", count=3
        )
        a.send(batch(crash))
        (event,) = world.events("Seen")
        assert (event.kind, event.subject, event.node_name) == ("workload", "web.0", "n1")
        assert (event.severity, event.message) == (Severity.ERROR, "it died (×3)")
        assert event.time == at, "when it happened, not when we heard of it"
        assert await a.acknowledged() == [("a", 1)]


@virtual_time
async def test_each_once_and_in_order_whatever_comes_again() -> None:
    async with master() as world:
        a = await Sender(world).open()
        a.send(batch(1, 2, 3))
        a.send(batch(1, 2, 3))
        a.send(batch(5, 4, 5, 2))
        assert seen(world) == ["1", "2", "3", "4", "5"]
        assert await a.acknowledged() == [("a", 5)]
        await a.open()
        a.send(batch(4, 5, 6))
        assert await a.acknowledged() == [("a", 6)]
        a.send(batch(6))
        assert await a.acknowledged() == [("a", 6)], "the agent waits for it"
        a.send(batch(1, 2, stream="b"))
        assert await a.acknowledged() == [("b", 2)]
        assert seen(world) == ["1", "2", "3", "4", "5", "6", "1", "2"]
        assert world.events("EventsLost") == []


@virtual_time
async def test_what_was_lost_is_said_once() -> None:
    async with master() as world:
        a = await Sender(world).open()
        a.send(batch(1, 2))
        for _ in range(2):
            a.send(batch(10, 11, lost=7))
        (event,) = world.events("EventsLost")
        assert (event.kind, event.subject) == ("node", "n1")
        assert event.message.startswith("7 events")
        a.send(batch(1, stream="b", lost=2))
        a.send(batch(1, 2, stream="b", lost=2))
        assert [e.message[:2] for e in world.events("EventsLost")] == ["7 ", "2 "]
        assert seen(world) == ["1", "2", "10", "11", "1", "2"]


@virtual_time
async def test_they_are_acknowledged_once_they_are_stored() -> None:
    disk = Disk()
    async with master(disk) as world:
        a = await Sender(world).open()
        await asyncio.sleep(1)
        world.store.away = "no route to host"
        a.send(batch(1, 2))
        assert await a.acknowledged() == []
        assert seen(world) == ["1", "2"]
        power_cut = disk.copy()
        world.store.away = ""
        await asyncio.sleep(10)
        assert await a.acknowledged() == [("a", 2)]
    async with master(power_cut) as world:
        a = await Sender(world).open()
        assert seen(world) == []
        a.send(batch(1, 2))
        assert await a.acknowledged() == [("a", 2)]
        power_cut = power_cut.copy()
    async with master(power_cut) as world:
        a = await Sender(world).open()
        a.send(batch(1, 2, 3))
        assert seen(world) == ["1", "2", "3"]


@virtual_time
async def test_odd_ones_are_cut_and_put_right() -> None:
    async with master() as world:
        a = await Sender(world).open()
        ahead = utc() + timedelta(days=365)
        a.send(batch(happening(1, time=ahead, message="x" * 1_000_000)))
        a.send(batch(happening(2, time=utc() + timedelta(seconds=2), message="soon")))
        first, second = world.events("Seen")
        assert first.time == utc()
        assert len(first.message) < 5000
        assert second.time > utc(), "clocks are never quite alike"
        a.send(batch(happening(3, subject="", reason="Seen", message="my disk")))
        assert world.events("Seen")[-1].kind == "node", "it is of no instance"
        assert world.events("Seen")[-1].subject == "n1"
        a.send(batch())
        assert await a.acknowledged() == [("a", 3)]


@virtual_time
async def test_a_session_that_ended_before_the_answer_is_no_harm() -> None:
    async with master() as world:
        a = await Sender(world).open()
        a.send(batch(1))
        world.disconnect(a.session)
        await world.cluster.remove("n1")
        a.send(batch(2))
        assert seen(world) == ["1"], "what a removed node says is not taken in"
        await asyncio.sleep(1)
        assert world.cluster.state.agent_stream("id-n1") is None
        began = now()
        a = await Sender(world).open()
        a.send(batch(2))
        assert seen(world) == ["1", "2"]
        assert await a.acknowledged() == [("a", 2)]
        assert now() - began < 1
        assert [k for k in world.disk.entries if k.startswith(keys.AGENT_EVENTS)]
