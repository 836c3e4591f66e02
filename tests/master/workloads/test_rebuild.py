"""A master restored from a backup: nothing newer is lost, nothing is stopped by mistake."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from piccolo.config.settings import Discovery
from piccolo.core.errors import InvalidSpec
from piccolo.core.model import Severity
from piccolo.core.workloads.declared import Assignment
from piccolo.core.workloads.instances import Happening
from piccolo.core.workloads.workload import Placement
from piccolo.master import keys
from piccolo.master.api_server.diagnosis import diagnose
from piccolo.master.api_server.views import Views
from piccolo.master.api_server.workload_views import WorkloadViews
from piccolo.master.keys import MasterRecord, Restored
from piccolo.master.workloads import inquiry
from piccolo.master.workloads.rebuild import PATIENCE, STRANGERS
from piccolo.rpc import convert, wire
from piccolo.store import codec
from piccolo.store.base import Entry
from tests.master.memory_store import Disk
from tests.master.virtual_time import now, utc, virtual_time
from tests.master.workload_world import (
    Agent,
    agent,
    change,
    declare,
    delete,
    put_secret,
    secret,
    settled,
    with_secret,
    workload,
)
from tests.master.world import World, master


def restored(disk: Disk, backup_at: float) -> Disk:
    """As `piccolo restore` leaves it; `backup_at` in seconds of virtual time ago."""
    disk.held = False
    entry = disk.entries[keys.MASTER]
    record = codec.decode(MasterRecord, entry.value, keys.MASTER)
    made = utc().fromtimestamp(utc().timestamp() - backup_at, utc().tzinfo)
    record = replace(record, epoch=record.epoch + 1000, restored=Restored(made, utc()))
    disk.entries[keys.MASTER] = Entry(keys.MASTER, codec.encode(record), entry.revision)
    return disk


@asynccontextmanager
async def rebuilt(disk: Disk, agents: Iterable[Agent]) -> AsyncIterator[World]:
    """The next master; the agents belong to it, but are not connected."""
    async with master(disk) as world:
        for one in agents:
            one.world = world
            one.told.clear()
            one.asked.clear()
        yield world


def on(*nodes: str) -> Placement:
    return Placement(nodes=nodes)


def removed(*agents: Agent) -> list[str]:
    """What agents were told to give up."""
    return [key for a in agents for told in a.told for key in told.removed]


async def lost_an_hour() -> tuple[Disk, Agent, Agent]:
    """A backup, and two agents that know better: `new` came, `web` and a secret changed, `old`
    went, and n2 joined."""
    async with master() as world:
        a = await agent(world, "n1")
        await put_secret(world, "db", password="one")
        await declare(world, workload("web"), workload("old"), workload("same"))
        await declare(world, with_secret("app", "db"))
        await a.settle()
        a.report()
        backup, backup_at = world.disk.copy(), now()
        await asyncio.sleep(60)
        b = await agent(world, "n2")
        await declare(world, workload("web", image="v2"))
        await declare(world, workload("new", placement=on("n1"), image="n"))
        await declare(world, workload("other", placement=on("n2"), image="o"))
        await put_secret(world, "db", password="two")
        await put_secret(world, "key", password="k")
        await declare(world, replace(with_secret("keyed", "key"), placement=on("n2")))
        await delete(world, "old")
        for _ in range(3):
            await settled([a, b])
            a.report()
            b.report()
        assert sorted(a.disk) == ["app.0", "new.0", "same.0", "web.0"]
        assert sorted(b.disk) == ["keyed.0", "other.0"]
        ago = now() - backup_at
    return restored(backup, ago), a, b


@virtual_time
async def test_what_is_newer_on_the_nodes_is_taken_over_and_nothing_is_touched() -> None:
    disk, a, b = await lost_an_hour()
    before = a.instances() | b.instances()
    async with rebuilt(disk, [a, b]) as world:
        state = world.cluster.state
        assert state.node("id-n2") is None
        a.connect()
        await a.settle()
        b.node = await world.register("n2")  # by its certificate
        b.connect()
        await settled([a, b], STRANGERS + 1)
        assert a.instances() | b.instances() == before | {"old.0": a.instances()["old.0"]}
        assert removed(a, b) == []
        assert {k for told in a.told + b.told for i in told.set for k in [i.key]} == {"old.0"}
        images = {n: d.workload.containers[0].image for n, d in state.declared().items()}
        assert (images["web"], images["new"], images["other"]) == ("v2", "n", "o")
        web = state.workload("web")
        assert web is not None
        assert web.generation == 2
        assert [past.generation for past in state.history("web")] == [1]
        found = {s.name: s.data for s in state.secrets()}
        assert found == {"db": {"password": secret("two")}, "key": {"password": secret("k")}}
        assert {e.subject for e in world.events("WorkloadAdopted")} == {
            "web",
            "new",
            "other",
            "keyed",
        }
        assert {e.subject for e in world.events("SecretAdopted")} == {"db", "key"}
        assert [e.subject for e in world.events("StartedAgain")] == ["old"]
        assert world.cluster.restored.missing() == []
        assert not any(secret(v) in e.message for e in world.events() for v in ("two", "k"))


@virtual_time
async def test_nobody_is_asked_twice_and_a_second_start_changes_nothing() -> None:
    disk, a, b = await lost_an_hour()
    async with rebuilt(disk, [a, b]) as world:
        a.connect()
        b.node = await world.register("n2")
        b.connect()
        await settled([a, b], STRANGERS + 1)
        assert sorted(q.keys[0] for q in a.asked) == ["app.0", "new.0", "web.0"]
        before = a.instances() | b.instances()
        declared = world.cluster.state.declared()
        disk = world.disk
    disk.held = False
    async with rebuilt(disk, [a, b]) as world:
        assert world.cluster.restored.wait() is None
        assert world.cluster.restored.waits_for == ""
        a.connect()
        b.connect()
        await settled([a, b], 1)
        assert a.asked == b.asked == []
        assert [told.set for told in a.told + b.told] == [[], []]
        assert removed(a, b) == []
        assert a.instances() | b.instances() == before
        assert world.cluster.state.declared() == declared
        assert world.events("StartedAgain")[1:] == []


@virtual_time
async def test_until_all_are_back_nothing_is_changed_but_not_for_ever() -> None:
    async with master() as world:
        a, b = await agent(world, "n1"), await agent(world, "n2")
        await declare(world, workload("web", placement=on("n2")))
        await settled([a, b])
        disk = world.disk.copy()
    async with rebuilt(restored(disk, 1), [a, b]) as world:
        a.connect()
        await declare(world, workload("late"))
        await a.settle(PATIENCE - 5)
        assert a.told == []
        status = world.cluster.restored.waits_for
        assert status.startswith("rebuilding from the backup of ")
        assert "n2" in status
        await a.settle(6)
        assert list(a.disk) == ["late.0"]
        assert world.cluster.restored.waits_for == ""
        [ended] = [e for e in world.events("Rebuilt") if e.kind == "master"]
        assert "n2" in ended.message
        views = WorkloadViews(world.cluster, Views(world.cluster))
        [finding] = [f for f in await diagnose(world.cluster, views) if "restore" in f.message]
        assert finding.subject == "node n2"
        b.connect()
        await settled([a, b], 1)
        assert (sorted(a.disk), sorted(b.disk)) == (["late.0"], ["web.0"])
        assert removed(a, b) == []
        assert not [f for f in await diagnose(world.cluster, views) if "restore" in f.message]


@virtual_time
async def test_a_node_that_comes_an_hour_later_is_heard_before_it_is_told() -> None:
    async with master() as world:
        a, b = await agent(world, "n1"), await agent(world, "n2")
        await declare(world, workload("web", placement=on("n2")))
        await settled([a, b])
        disk = world.disk.copy()
        await asyncio.sleep(1)
        await declare(world, workload("web", placement=on("n2"), image="v2"))
        await declare(world, workload("new", placement=on("n2")))
        b.report()
        await settled([a, b])
        assert b.runs() == {"new.0": "v1", "web.0": "v2"}
    async with rebuilt(restored(disk, 1), [a, b]) as world:
        a.connect()
        await a.settle(PATIENCE + 1)
        a.disconnect()
        await asyncio.sleep(3600)
        before = b.instances()
        b.connect()
        await b.settle(1)
        assert b.instances() == before
        assert removed(b) == []


@virtual_time
async def test_what_was_asked_for_since_the_restore_is_newer_than_all_that_comes_back() -> None:
    async with master() as world:
        a = await agent(world)
        await declare(world, workload("web"))
        await a.settle()
        disk = world.disk.copy()
        await asyncio.sleep(1)
        await declare(world, workload("web", image="lost"))
        a.report()
        await a.settle()
        assert a.runs() == {"web.0": "lost"}
    async with rebuilt(restored(disk, 1), [a]) as world:
        await asyncio.sleep(1)
        await declare(world, workload("web", image="wanted"))
        a.connect()
        for _ in range(20):
            await a.settle()
            a.report()
        assert a.runs() == {"web.0": "wanted"}
        web = world.cluster.state.workload("web")
        assert web is not None
        assert web.generation == 3, "not the 2 that was something else"


@virtual_time
async def test_a_workload_that_moved_runs_once() -> None:
    """The backup has it on n1; since then it went to n2, which comes back last."""
    async with master() as world:
        a, b = await agent(world, "n1"), await agent(world, "n2")
        await declare(world, workload("web", placement=on("n1")))
        await settled([a, b])
        disk = world.disk.copy()
        await asyncio.sleep(1)
        await declare(world, workload("web", placement=on("n2")))
        for _ in range(20):
            a.report()
            b.report()
            await settled([a, b])
        assert (sorted(a.disk), sorted(b.disk)) == ([], ["web.0"])
    async with rebuilt(restored(disk, 7), [a, b]) as world:
        a.connect()
        await a.settle(3)
        b.connect()
        await settled([a, b], STRANGERS + 1)
        assert (sorted(a.disk), sorted(b.disk)) == ([], ["web.0"])
        assert a.told[0].set == []
        assert removed(b) == []
        assert world.events("StartedAgain") == []


@virtual_time
async def test_what_was_deleted_before_the_backup_goes_from_a_node_that_was_away() -> None:
    async with master() as world:
        a = await agent(world)
        await declare(world, workload("web"), workload("gone"))
        await put_secret(world, "db", password="old")
        await declare(world, with_secret("app", "db"))
        await a.settle()
        a.report()
        a.disconnect()
        await asyncio.sleep(60)
        await delete(world, "gone")
        await put_secret(world, "db", password="new")
        await asyncio.sleep(60)
        disk = world.disk.copy()
    async with rebuilt(restored(disk, 0), [a]) as world:
        a.connect()
        await a.settle(1)
        assert sorted(a.disk) == ["app.0", "web.0"]
        assert a.disk["app.0"][1] == {"db/password": secret("new")}
        [event] = world.events("NotAdopted")
        assert event.subject == "gone"


@virtual_time
async def test_a_node_that_waits_for_approval_is_left_alone_until_then() -> None:
    disk, a, b = await lost_an_hour()
    async with master(disk, discovery=Discovery.LISTED) as world:
        a.world = b.world = world
        b.told.clear()
        a.connect()
        b.node = await world.register("n2")
        b.connect()
        before = b.instances()
        await settled([a, b], STRANGERS + 1)
        assert world.cluster.state.workload("other") is None
        assert b.told == []
        await world.cluster.nodes.approve("n2")
        await b.settle(1)
        assert world.cluster.state.workload("other") is not None
        assert b.instances() == before


@virtual_time
async def test_an_agent_that_cannot_tell_what_it_holds_is_told_nothing() -> None:
    disk, a, b = await lost_an_hour()
    async with rebuilt(disk, [a, b]) as world:
        before = a.instances()
        a.unreadable = "cannot read its disk"
        a.connect()
        await a.settle(PATIENCE + 5)
        assert a.instances() == before
        assert [e.subject for e in world.events("NotRebuilt")] == ["n1"]
        a.unreadable = ""
        a.disconnect()
        a.connect()
        await a.settle(1)
        assert "new" in world.cluster.state.declared()
        assert removed(a) == []


@virtual_time
async def test_specs_that_nobody_asked_for_or_that_lie_change_nothing() -> None:
    disk, a, b = await lost_an_hour()
    async with rebuilt(disk, [a, b]) as world:
        told = world.cluster.restored.told
        a.connect()
        await asyncio.sleep(0.1)
        spec, secrets = a.disk["new.0"]
        forged = wire.DesiredInstance(key="new.0", spec=spec + b" ", secrets=dict(secrets))
        told(a.session, wire.HeldSpecs(instances=[forged]))
        assert a.session.ended.is_set(), "its next Hello says what it really holds"
        for strange in (b"{}", spec.replace(b'"new"', b'"../new"')):
            a.disk["new.0"] = strange, secrets
            a.disconnect()
            a.connect()
            await a.settle(0.2)
        assert len(world.events("NotRebuilt")) == 2
        assert "new" not in world.cluster.state.declared()


@virtual_time
async def test_deleting_what_was_adopted_waits_for_those_who_may_have_it_too() -> None:
    async with master() as world:
        a, b = await agent(world, "n1"), await agent(world, "n2")
        await a.settle()
        disk = world.disk.copy()
        await asyncio.sleep(1)
        await declare(world, workload("many", one_per_node=True))
        await settled([a, b])
        assert (sorted(a.disk), sorted(b.disk)) == (["many.0"], ["many.0"])
    async with rebuilt(restored(disk, 1), [a, b]) as world:
        a.connect()
        a.report()
        await a.settle(PATIENCE + 5)
        await delete(world, "many")
        await a.settle(1)
        a.report()
        await a.settle(1)
        assert sorted(a.disk) == []
        assert world.cluster.state.workload("many") is not None
        b.connect()
        await settled([a, b], 1)
        b.report()
        await settled([a, b], 1)
        assert sorted(b.disk) == []
        assert world.cluster.state.workload("many") is None


@virtual_time
async def test_a_launched_package_and_asked_for_restarts_are_kept() -> None:
    async with master() as world:
        a = await agent(world)
        held = workload("held", held=True)
        await declare(world, held, active=False)
        await declare(world, workload("fresh"))
        await a.settle()
        disk = world.disk.copy()
        await asyncio.sleep(1)
        await change(world, "held", active=True)
        await change(world, "fresh", restarts=2)
        for _ in range(10):
            await a.settle()
            a.report()
        before = a.instances()
        assert before["fresh.0"].hash.endswith("-2")
        assert "held.0" in before
    async with rebuilt(restored(disk, 1), [a]) as world:
        a.connect()
        await a.settle(1)
        assert a.instances() == before
        assert removed(a) == []
        state = world.cluster.state
        assert [d.active for d in state.declared().values()] == [True, True]
        assert Assignment("fresh", 0, "id-n1", 1, 2) in state.assignments()


@virtual_time
async def test_without_a_backup_the_nodes_have_it_all() -> None:
    _, a, b = await lost_an_hour()
    before = a.instances() | b.instances()
    disk = Disk()
    async with master(disk, rebuild=120.0) as world:
        assert "without a backup" in world.cluster.restored.waits_for
        for one in (a, b):
            one.world, one.told = world, []
            one.node = await world.register(one.node.name)  # by a token
            one.connect()
        await settled([a, b], 119)
        assert a.told + b.told == []
        await settled([a, b], 2)
        assert a.instances() | b.instances() == before
        assert removed(a, b) == []
        state = world.cluster.state
        assert sorted(state.declared()) == ["app", "keyed", "new", "other", "same", "web"]
        assert {s.name: s.data["password"] for s in state.secrets()} == {
            "db": secret("two"),
            "key": secret("k"),
        }
    disk.held = False
    async with master(disk, rebuild=120.0) as world:
        assert world.cluster.restored.waits_for == "", "the flag may stay"


@virtual_time
async def test_a_state_that_is_there_is_not_rebuilt() -> None:
    async with master() as world:
        disk = world.disk
    disk.held = False
    with pytest.raises(InvalidSpec, match="leave it out"):
        async with master(disk, rebuild=120.0):
            pass


@virtual_time
async def test_events_go_on_though_the_backup_has_taken_in_fewer() -> None:
    async def tell(*numbers: int) -> None:
        happened = (Happening(n, utc(), Severity.INFO, "web.0", "Seen", str(n)) for n in numbers)
        told = wire.AgentEvents(stream="s", events=list(map(convert.happening_to_wire, happened)))
        a.world.cluster.agent_events.take(a.session, told)
        await asyncio.sleep(0.5)
        acks = [m.events_ack.seq for m in a.session.drain() if m.events_ack is not None]
        assert acks == [max(numbers)]

    async with master() as world:
        a = await agent(world)
        await tell(1, 2)
        disk = world.disk.copy()
        await tell(3, 4)
    async with rebuilt(restored(disk, 1), [a]) as world:
        a.connect()
        await tell(4, 5)
        assert sorted(e.message for e in world.events("Seen")) == ["1", "2", "4", "5"]
        assert world.events("EventsLost") == []


@virtual_time
async def test_an_agent_that_does_not_know_the_question_is_told_nothing() -> None:
    disk, a, _ = await lost_an_hour()
    async with rebuilt(disk, [a]) as world:
        a.connect()
        await asyncio.sleep(inquiry.PATIENCE + 1)
        [event] = world.events("NotRebuilt")
        assert "upgrade" in event.message


@virtual_time
async def test_a_master_that_was_never_restored_asks_nobody() -> None:
    async with master() as world:
        a = await agent(world)
        await declare(world, workload("web"))
        await a.settle()
        assert world.cluster.restored.wait() is None
        assert not list(world.cluster.state.group(keys.RETURNED))
